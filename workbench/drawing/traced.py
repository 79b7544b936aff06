"""What the Trace page finds of a prompt, and its words: for the page itself and for the file that is shared.

No Streamlit here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from kgmet.inspect.attribution import Attribution, Removal
from kgmet.inspect.causal_trace import CausalTrace, TraceConfig
from kgmet.inspect.patching import PatchMap
from kgmet.inspect.recall import ChainBreak, Recall
from kgmet.inspect.sweep import Part
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt
from workbench import wording
from workbench.drawing.heatmaps import Scale

__all__ = [
    *("READING", "Choice", "Contributions", "Map", "Reading", "Side", "TracedMap"),
    *("break_line", "check_sentence", "check_table", "layers_label", "map_name", "map_scale", "map_sentence"),
    *("map_values", "step_of", "sum_sentence", "token_of", "unit_of"),
]

READING = "trace"
"""Name of the stored contributions and ranks."""


class Side(Enum):
    """The unedited or the edited model."""

    EDITED = "edited"
    UNEDITED = "unedited"

    @property
    def other(self) -> Side:
        """The other side."""
        return Side.UNEDITED if self is Side.EDITED else Side.EDITED


class Map(Enum):
    """The kinds of map by layer and token: the part, and the source of its state."""

    STATE = "Causal trace: hidden state"
    MLP = "Causal trace: MLP"
    ATTENTION = "Causal trace: attention"
    OTHER_STATE = "From the other side: hidden state"
    OTHER_MLP = "From the other side: MLP"
    OTHER_ATTENTION = "From the other side: attention"

    @property
    def is_causal(self) -> bool:
        """Whether it restores a clean state in a text with a corrupted subject."""
        return self in (Map.STATE, Map.MLP, Map.ATTENTION)

    @property
    def part(self) -> Part:
        """The patched part."""
        return Part[self.name.removeprefix("OTHER_")]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One prompt to trace: its new answer on the edited model, its old answer on the unedited one."""

    label: str
    edited: TracedPrompt
    unedited: TracedPrompt | None

    def on(self, side: Side) -> TracedPrompt | None:
        """Return the traced prompt on one side; ``None`` if no old answer is known."""
        return self.edited if side is Side.EDITED else self.unedited


@dataclass(frozen=True, eq=False, kw_only=True)
class Contributions:
    """Contributions before and after, and the measured removal of the largest on each side."""

    before: Attribution
    after: Attribution
    removed_before: tuple[Removal, ...]
    removed_after: tuple[Removal, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """Contributions and ranks before and after, and the end of the chain on each side with a tracked answer."""

    choice: Choice
    contributions: Contributions
    before: Recall
    after: Recall
    breaks: tuple[tuple[Side, ChainBreak], ...]
    n_token: int
    """Size of the vocabulary: the last possible rank."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What it was made from, beside model and edits."""
        return (self.choice,)


@dataclass(frozen=True, eq=False, kw_only=True)
class TracedMap:
    """One map with what was chosen for it; `config` is ``None`` for one without noise."""

    choice: Choice
    side: Side
    kind: Map
    config: TraceConfig | None
    step: int
    found: CausalTrace | PatchMap

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What it was made from, beside model and edits."""
        return (self.choice, self.side, self.kind, self.config, self.step)


def map_name(kind: Map) -> str:
    """Return the name under which the last map of a kind is stored."""
    return f"trace-map-{kind.name}"


def layers_label(step: int) -> str:
    """Return which layers are tried, in words."""
    return "every layer" if step == 1 else f"every {step}{ {2: 'nd', 3: 'rd'}.get(step, 'th') } layer"


def step_of(layers: Sequence[int]) -> int:
    """Return the distance between the layers that were tried."""
    return layers[1] - layers[0] if len(layers) > 1 else 1


def map_values(found: CausalTrace | PatchMap) -> list[list[float]]:
    """Return probabilities in percent, (n_tried, pos)."""
    values = found.restored if isinstance(found, CausalTrace) else found.patched
    return (100 * values.double()).tolist()


def map_scale(found: CausalTrace | PatchMap) -> Scale:
    """Return a scale from 0 to the largest probability, so that nothing is clipped."""
    ends = (found.clean, found.corrupted) if isinstance(found, CausalTrace) else (found.receiver, found.giver)
    highest = 100 * max(*ends, float((found.restored if isinstance(found, CausalTrace) else found.patched).max()))
    digits = 2 if highest >= 1 else 6
    return Scale(label="probability of the answer", low=0, high=max(highest, 1e-9), unit="%", digits=digits)


def map_sentence(found: CausalTrace | PatchMap, side: Side) -> str:
    """Describe the measurement, with its extremes and n."""
    answer = f"“{found.source.source.answer}”"
    if isinstance(found, CausalTrace):
        layer, position = found.strongest
        n = f"{found.n_sample} draw{'' if found.n_sample == 1 else 's'} of noise"
        over = f" (window of {found.window} layers)" if found.window > 1 else ""
        step = step_of(found.layers)
        tried = "" if step == 1 else f", trying {layers_label(step)},"
        return (
            f"{side.value.capitalize()} model, {answer}: {wording.percent(found.clean)} as it is, "
            f"{wording.percent(found.corrupted)} with the subject unreadable (mean of {n}). "
            f"Before the last token{tried} the {found.part.value} of layer {layer} at "
            f"{token_of(found.source, position)}{over} has the largest effect: "
            f"{wording.percent(found.at(layer, position))}."
        )
    at = "" if step_of(found.layers) == 1 else f", at {layers_label(step_of(found.layers))}"
    return (
        f"{answer}: {wording.percent(found.receiver)} on the {side.value} model, {wording.percent(found.giver)} on the "
        f"{side.other.value} one, whose {found.part.value}s are put in one at a time{at}."
    )


def unit_of(attribution: Attribution) -> str:
    """Return the unit of contributions."""
    return "logits" if attribution.source.rival is not None else "nats"


def sum_sentence(found: Contributions) -> str:
    """Describe the measure before and after, and the (different) sum of all contributions."""
    before, after, unit = found.before, found.after, unit_of(found.after)
    prompt = after.source.source
    measure = f"Log-probability of “{prompt.answer}”"
    if after.source.rival is not None:
        measure = f"Logit of “{prompt.answer}” minus that of “{prompt.rival}”"
    shared = f", after both begin with “{after.source.shared}”" if after.source.shared else ""
    totals = [round(each.total, 2) + 0.0 for each in (before, after)]  # no minus before a zero
    return (
        f"{measure}{shared}: {before.measure:+.2f} before, {after.measure:+.2f} {unit} after. All contributions "
        f"add up to {totals[0]:+.2f} and {totals[1]:+.2f}, not to this: they are first order, and a normalisation "
        "ignores the length of what it reads. Compare them with each other."
    )


def check_sentence(found: Contributions) -> str:
    """Describe how often the estimate has the sign of the measured removal."""
    removed = found.removed_after
    same = sum(item.estimate * item.fall > 0 for item in removed)
    return (
        f"Checked by taking out each of the {len(removed)} largest parts after the edit: for {same} of them the "
        "estimate has the right sign."
    )


def check_table(found: Contributions) -> pd.DataFrame:
    """Return the largest contributions after the edit: estimates before and after, and measured removals."""
    rows = []
    for before, after in zip(found.removed_before, found.removed_after, strict=True):
        rows.append(
            {
                "part": after.component.label,
                "before": round(before.estimate, 2),
                "after": round(after.estimate, 2),
                "difference": round(after.estimate - before.estimate, 2),
                "taken out, before": round(before.fall, 2),
                "taken out, after": round(after.fall, 2),
            }
        )
    return pd.DataFrame(rows)


def break_line(side: Side, found: ChainBreak) -> str:
    """Describe where the chain ends on one side."""
    return f"{side.value.capitalize()} model, “{found.source.source.answer}”. {found.sentence}"


def token_of(where: LocatedPrompt, position: int) -> str:
    """Return a token in quotation marks."""
    token = where.tokens[position]
    return f"“{token.strip() or repr(token)}”"
