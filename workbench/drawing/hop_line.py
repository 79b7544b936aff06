"""A chain of facts as a line of stations: the question and both answers of each, and where the chain breaks.

`hop_line_html` draws it on a page of any width, `hop_line_svg` as a picture for a talk. Every text is escaped, and no
text can change the reading direction of another. No Streamlit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from kgmet.measure.compare import AnswerPair
from workbench.drawing.plain import bdi, shown

__all__ = ["KEY", "HopLine", "Mark", "Station", "State", "hop_line_html", "hop_line_sentence", "mark_of"]


class Mark(Enum):
    """The object that an answer names. The value is the drawn symbol."""

    SAYS = "✓"
    """The object expected after the edit."""
    OLD = "○"
    """The object that was right before the edit."""
    NEITHER = "✗"
    """Neither."""

    @property
    def words(self) -> str:
        """The symbol in words."""
        return {"✓": "says it", "○": "says the old answer", "✗": "says neither"}[self.value]


class State(Enum):
    """Drawing style of a station. The value is the CSS class of its element."""

    HELD = "held"
    """The edited model says the expected object."""
    BROKEN = "broken"
    """It does not."""
    UNKNOWN = "unknown"
    """It does not, and the unedited model fails here too, so the edit did not break it."""


@dataclass(frozen=True, kw_only=True)
class Station:
    """One question of a chain with both answers, each with its `Mark`.

    `relation` leads here from the previous station. `is_known` is false if the unedited model fails at this question
    too; the edited fact itself counts as known, because the edit must supply it.
    """

    name: str
    relation: str
    asked: str
    before: str
    after: str
    mark_before: Mark
    mark_after: Mark
    is_known: bool = True

    @property
    def state(self) -> State:
        """Drawing style of the station."""
        if self.mark_after is Mark.SAYS:
            return State.HELD
        return State.BROKEN if self.is_known else State.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class HopLine:
    """A whole chain: its start, one station per hop, and the question over all of them (``None`` if not asked)."""

    start: str
    stations: tuple[Station, ...]
    whole: Station | None = None

    @property
    def breaks_at(self) -> int | None:
        """Number (from 1) of the first hop that the edited model does not say."""
        return next((n for n, s in enumerate(self.stations, start=1) if s.state is not State.HELD), None)


def mark_of(pair: AnswerPair) -> tuple[Mark, Mark]:
    """Return what the answers of a pair name, before and after."""
    before, after = (
        Mark.SAYS if answer.says else Mark.OLD if answer.says_rejected else Mark.NEITHER
        for answer in (pair.before, pair.after)
    )
    return before, after


def hop_line_sentence(line: HopLine) -> str:
    """Describe where the chain holds or breaks, in one or two plain sentences."""
    n, broken, whole = len(line.stations), line.breaks_at, line.whole
    if broken is None:
        hops = "The edited model says every fact of the chain" if n > 1 else "The edited model says the fact"
    else:
        station = line.stations[broken - 1]
        hops = f"The chain breaks at hop {broken} of {n} ({station.relation}: {station.name})"
        hops += ", which the unedited model does not say either" if station.state is State.UNKNOWN else ""
    if whole is None:
        return f"{hops}."
    answered = {
        State.HELD: "is answered",
        State.BROKEN: "is not answered",
        State.UNKNOWN: "is not answered, and was not before the edit either",
    }
    return f"{hops}. The question over all of them {answered[whole.state]}."


def hop_line_html(line: HopLine) -> str:
    """Return the line as HTML: side by side on wide pages, stacked on narrow ones."""
    stops = list(line.stations)
    ways = [station.relation for station in stops]
    cards = [f'<div class="stop start" role="listitem">{_way(ways[:1])}<p class="name">{bdi(line.start)}</p></div>']
    for number, station in enumerate(stops, start=1):
        is_last = number == len(stops)
        cards.append(_card(station, f"hop {number}", ways[number : number + 1], kind="last" if is_last else ""))
    columns = f"minmax(5.5rem, .7fr) repeat({len(stops)}, minmax(0, 1fr))"
    if line.whole is not None:
        cards.append(_card(line.whole, "all in one question", [], kind="whole"))
        columns += " minmax(0, 1.4fr)"
    return (
        f'<div class="kg-hops-box"><div class="kg-hops" style="--columns:{columns}" role="list" '
        f'aria-label="{shown(hop_line_sentence(line))}">{"".join(cards)}</div>'
        f'<p class="kg-hops-key">{shown(KEY)}</p></div>'
    )


KEY = " · ".join(f"{mark.value} {mark.words}" for mark in Mark) + " · grey: the unedited model fails here too"
"""Legend of the symbols and the grey."""


def _way(relations: Iterable[str]) -> str:
    return "".join(f'<p class="way">{bdi(relation)}</p>' for relation in relations)


def _card(station: Station, number: str, onwards: Iterable[str], *, kind: str = "") -> str:
    return (
        f'<div class="stop {station.state.value} {kind}" role="listitem">{_way(onwards)}'
        f'<p class="name">{bdi(station.name)} <small>{number}</small></p>'
        f'<p class="asked">{bdi(station.asked)}</p><dl>'
        f"{_answer('before', station.before, station.mark_before)}{_answer('after', station.after, station.mark_after)}"
        "</dl></div>"
    )


def _answer(side: str, said: str, mark: Mark) -> str:
    sign = f'<b title="{mark.words}">{mark.value}</b>'
    text = bdi(said) if said else "∅"
    return f'<div class="{mark.name.casefold()}"><dt>{side}</dt><dd>{sign} {text}</dd></div>'
