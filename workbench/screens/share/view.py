"""One edit's result → the sections of a file to share, and its answers as rows. No Streamlit here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kgmet.editing.foresee import ForecastFacts
from kgmet.editing.report import ConsequenceReport, EditReport
from kgmet.evaluate.card.value import ReportCard
from kgmet.forecast.check import CheckedForecast
from kgmet.inspect.shift import Quantity, ShiftTrace
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.told import Told
from workbench.drawing.answers import AnswerRow, answer_table, marked_names, told_card
from workbench.drawing.card_table import card_html, scale_text
from workbench.drawing.forecast_words import LOSS, check_sentence
from workbench.drawing.handout import Handout, Section
from workbench.drawing.heat_svg import heat_svg
from workbench.drawing.heatmaps import Scale
from workbench.drawing.hop_line import HopLine, hop_line_html, hop_line_sentence
from workbench.drawing.plain import bdi, shown
from workbench.drawing.probe_story import ProbeStory, counts_html
from workbench.drawing.protection import Protection, drift_table, headline, write_table
from workbench.drawing.tables import answer_side, frame_html
from workbench.drawing.traced import (
    Reading,
    TracedMap,
    break_line,
    check_table,
    map_scale,
    map_sentence,
    map_values,
    sum_sentence,
)
from workbench.drawing.traced import (
    check_sentence as check_of_parts,
)
from workbench.wording import VERDICT_HELP, percent, short

__all__ = ["Shared", "answer_rows", "handout_of", "parts"]

_LENGTH = Scale(label="relative length of the shift", low=0, high=1, unit="× ‖h‖")
_MOST_TOKENS = 16
_MOST_CARD_ROWS = 12
_MOST_FACTS = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Shared:
    """All there is to share about one edit; what was not measured is ``None`` and is left out."""

    report: EditReport
    model: str
    told: Told | None = None
    telling: str = ""
    graph: str | None = None
    story: ProbeStory | None = None
    trace: ShiftTrace | None = None
    protection: Protection | None = None
    reading: Reading | None = None
    maps: Sequence[TracedMap] = ()
    forecast: ForecastFacts | None = None
    checked: CheckedForecast | None = None
    card: ReportCard | None = None
    layers: Sequence[int] = ()
    link: str = ""
    footer: str = ""
    is_dark: bool = False
    """Whether the pictures are drawn for a dark ground."""

    @property
    def sentence(self) -> str:
        """The edit in one line."""
        return self.report.edit.sentence


def parts(shared: Shared) -> dict[str, bool]:
    """Return what the file holds, and what could be in it and was not asked for yet."""
    return {
        "the edit, the answers before and after": True,
        "what the unedited model says when it is told the fact": shared.told is not None,
        "the graph": shared.graph is not None,
        "chains hop by hop and counts by kind (ask on Probe)": shared.story is not None,
        "the forecast of what else moves (ask on Foresee)": shared.forecast is not None,
        "a heat map of the shift (open Shift)": shared.trace is not None,
        "the causal trace and each part's contribution (open Trace)": bool(shared.maps) or shared.reading is not None,
        "what the write protects (open Orthogonality)": shared.protection is not None,
        "the report card (score it on Report card)": shared.card is not None,
    }


def answer_rows(shared: Shared) -> list[AnswerRow]:
    """Return the edit's own prompt, what follows, and the multi-hop questions, as rows."""
    report = shared.report
    items = [(AnswerPair(before=report.before, after=report.after), "")]
    items += [(item.pair, item.reason) for item in (*report.consequences, *report.multi_hop)]
    told: Sequence[Answer | None] = [None] * len(items) if shared.told is None else shared.told.answers
    return [AnswerRow(pair=pair, told=answer, about=why) for (pair, why), answer in zip(items, told, strict=True)]


def handout_of(shared: Shared) -> Handout:
    """Return the file: every section is a page of the talk, too."""
    rows, report = answer_rows(shared), shared.report
    n = 1 + len(report.consequences)
    sections = [_title(shared), _answers(shared)]
    if shared.graph is not None:
        sections.append(Section(heading="What the graph says", body=f"<figure>{shared.graph}</figure>"))
    sections += [_line(line) for line in ([] if shared.story is None else shared.story.lines)]
    sections += _table("Questions over several facts, asked as a person asks", rows[n:], report.multi_hop)
    sections += _table("What follows, as a text to continue", rows[1:n], report.consequences)
    if shared.story is not None and shared.story.counts:
        about = f'<p class="quiet">{shown(VERDICT_HELP)}</p>'
        heading = "How many say it, and how many of what must stay are unchanged"
        sections.append(Section(heading=heading, body=counts_html(shared.story.counts) + about))
    if shared.forecast is not None:
        sections.append(_forecast(shared.forecast, shared.checked))
    if shared.trace is not None:
        sections.append(_heat(shared.trace, shared))
    sections += [_map(one, shared) for one in shared.maps]
    if shared.reading is not None:
        sections.append(_parts(shared.reading))
    if shared.protection is not None:
        sections.append(_protection(shared.protection))
    sections += [] if shared.card is None else _card(shared.card)
    sections.append(_made(shared))
    return Handout(title=shared.sentence, sections=sections, footer=shared.footer)


def _title(shared: Shared) -> Section:
    verdict, graph = shared.report.verdict, shared.report.graph
    reasons = "".join(f"<li>{shown(reason.value)}</li>" for reason in verdict.reasons)
    linking = f"In the graph: {bdi(str(graph['linking']))}" if graph.get("linking") else "No graph took part."
    body = (
        f'<p class="lead">{bdi(verdict.headline)}</p>'
        f"<p>{linking}</p>"
        + (f"<ul>{reasons}</ul>" if reasons else "")
        + f'<p class="quiet">Model {bdi(shared.model)}, editor {bdi(shared.report.editor)}</p>'
    )
    return Section(heading=shared.sentence, body=body, is_title=True)


def _answers(shared: Shared) -> Section:
    report = shared.report
    cards = [
        answer_side("before", marked_names(report.before), report.before),
        answer_side("after", marked_names(report.after), report.after),
    ]
    told = ""
    if shared.told is not None:
        cards.append(told_card(shared.told.answers[0], telling=shared.telling))
        text = " ".join([*shared.told.sentences, "‹question›"])
        told = f'<p class="quiet">Told, in the same turn before each question:</p><pre>{shown(text)}</pre>'
    prompt = f'<p class="lead">{bdi(report.before.question.text)} …</p>'
    return Section(heading="The answer", body=f'{prompt}<div class="kg-sides">{"".join(cards)}</div>{told}')


def _line(line: HopLine) -> Section:
    ends = " → ".join([line.start, *(station.name for station in line.stations)])
    return Section(heading=ends, body=f"<p>{bdi(hop_line_sentence(line))}</p>{hop_line_html(line)}")


def _table(heading: str, rows: Sequence[AnswerRow], items: Sequence[ConsequenceReport]) -> list[Section]:
    return [Section(heading=heading, body=answer_table(rows))] if items else []


def _heat(trace: ShiftTrace, shared: Shared) -> Section:
    tokens = trace.tokens[-_MOST_TOKENS:]
    values = [line[-_MOST_TOKENS:] for line in trace.of(Quantity.LENGTH).tolist()]
    rows = [str(layer) for layer in range(trace.n_layer)]
    drawn = heat_svg(values, rows=rows, columns=tokens, scale=_LENGTH, edited=shared.layers, dark=shared.is_dark)
    about = f'<p class="quiet">{bdi(short(trace.source.text, 200))}</p>'
    return Section(heading="How far the edit moves the hidden states", body=f"<figure>{drawn}</figure>{about}")


def _map(made: TracedMap, shared: Shared) -> Section:
    found = made.found
    first = max(0, len(found.source.tokens) - _MOST_TOKENS)
    near = {row for row, layer in enumerate(found.layers) for own in shared.layers if 0 <= layer - own < made.step}
    drawn = heat_svg(
        [line[first:] for line in map_values(found)],
        rows=[str(layer) for layer in found.layers],
        columns=found.source.tokens[first:],
        scale=map_scale(found),
        edited=sorted(near),
        dark=shared.is_dark,
    )
    about = f'<p>{bdi(map_sentence(found, made.side))}</p><p class="quiet">{bdi(short(made.choice.label, 200))}</p>'
    return Section(heading=made.kind.value, body=f"<figure>{drawn}</figure>{about}")


def _parts(reading: Reading) -> Section:
    found = reading.contributions
    ends = "".join(f"<li>{bdi(break_line(side, one))}</li>" for side, one in reading.breaks)
    body = (
        f"<ul>{ends}</ul>{frame_html(check_table(found))}<p>{bdi(check_of_parts(found))}</p>"
        f'<p class="quiet">{bdi(sum_sentence(found))}</p><p class="quiet">{bdi(short(reading.choice.label, 200))}</p>'
    )
    return Section(heading="Where the chain ends, and which parts say it", body=body)


def _protection(protection: Protection) -> Section:
    first = "".join(
        f"<tr><td>{shown(label)}</td><td>{shown(value)}</td><td>{shown(about)}</td></tr>"
        for label, value, about in headline(protection.writes, protection.drift)
    )
    body = f'<table class="kg-counts">{first}</table>{frame_html(write_table(protection.writes))}'
    return Section(heading="What the write protects", body=f"{body}{frame_html(drift_table(protection.drift))}")


def _forecast(forecast: ForecastFacts, checked: CheckedForecast | None) -> Section:
    measured = {} if checked is None else checked.probabilities
    rows = []
    for item in forecast.strongest_first[:_MOST_FACTS]:
        row = {
            "fact": f"{short(item.fact.prompt.text, 70)} … {short(item.fact.answer, 30)}",
            "before": percent(item.before),
            "forecast": percent(item.after),
        }
        if measured:
            row["measured"] = percent(measured.get(item.fact.prompt.id))
        rows.append(row)
    n, said = len(forecast.forecasts), "" if checked is None else f" {check_sentence(checked)}"
    about = (
        f"Of {n} known facts that the edit should not change, {forecast.losing(LOSS)} are forecast to lose more than "
        f"{LOSS} nats.{said}"
    )
    table = frame_html(pd.DataFrame(rows)) if rows else ""
    return Section(heading="Which other facts move most", body=f"<p>{shown(about)}</p>{table}")


def _card(card: ReportCard) -> list[Section]:
    """Return the card in parts that each fit a screen."""
    about = f'<p class="quiet">{shown(scale_text(card))}</p>'
    parts = [card.shown[start : start + _MOST_CARD_ROWS] for start in range(0, len(card.shown), _MOST_CARD_ROWS)]
    return [
        Section(heading=f"Report card, {number} of {len(parts)}", body=card_html(card, rows) + about)
        for number, rows in enumerate(parts, start=1)
    ]


def _made(shared: Shared) -> Section:
    report = shared.report
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in report.seconds.items())
    link = f"<p>Fills the form of a workbench with this fact:</p><pre>{shown(shared.link)}</pre>" if shared.link else ""
    fact = "".join(
        f"<tr><td>{shown(name)}</td><td>{bdi(str(value))}</td></tr>"
        for name, value in report.edit.to_json().items()
        if value is not None
    )
    body = f'<table class="kg-counts">{fact}</table><p>Editor {bdi(report.editor)}; {shown(seconds)}</p>{link}'
    return Section(heading="How it was made", body=body)
