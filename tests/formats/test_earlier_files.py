"""Values that an earlier version wrote are read as they were, and what this version writes is read by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kgmet.base.fingerprint import plain
from kgmet.calibrate.trials import Trial
from kgmet.calibrate.where import LayerEffects
from kgmet.editing.foresee import KeptForecast
from kgmet.editing.graph_part import GraphPart
from kgmet.editing.profile import profile_from_json
from kgmet.editing.report import EditReport
from kgmet.evaluate.card.value import ReportCard
from kgmet.evaluate.runs.score import CaseScore
from kgmet.fact import FactEdit
from kgmet.forecast.forecast import FactForecast
from kgmet.forecast.index import IndexedFact
from kgmet.graph.consequence import Consequence, EditConsequences, KeptFact
from kgmet.graph.reading.probe_prompts import GeneratedPrompt
from kgmet.graph.subgraph_value import Subgraph
from kgmet.measure.answer import Answer
from kgmet.measure.columns import Counts
from kgmet.measure.edit_verdict import EditVerdict
from kgmet.measure.question import Question
from tests.formats import values

FILE = Path(values.__file__).resolve().parent / "files" / "values.json"
KINDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "edit": (values.EDIT, FactEdit.from_json),
    "short_edit": (values.SHORT_EDIT, FactEdit.from_json),
    "forward": (values.FORWARD, Consequence.from_json),
    "lost": (values.LOST, Consequence.from_json),
    "own": (values.OWN, KeptFact.from_json),
    "consequences": (values.CONSEQUENCES, EditConsequences.from_json),
    "subgraph": (values.SUBGRAPH, Subgraph.from_json),
    "generated": (values.GENERATED, GeneratedPrompt.from_json),
    "question": (values.QUESTION, Question.from_json),
    "asked": (values.ASKED, Question.from_json),
    "unexpected": (values.UNEXPECTED, Question.from_json),
    "before": (values.BEFORE, Answer.from_json),
    "unexpected_answer": (values.UNEXPECTED_ANSWER, Answer.from_json),
    "verdict": (values.REPORT.verdict, EditVerdict.from_json),
    "part": (values.PART, GraphPart.from_json),
    "report": (values.REPORT, EditReport.from_json),
    "known": (values.KNOWN, IndexedFact.from_json),
    "own_known": (values.OWN_KNOWN, IndexedFact.from_json),
    "move": (values.MOVES[0], FactForecast.from_stored),
    "forecast": (values.FORECAST, KeptForecast.from_json),
    "counts": (values.COUNTS["efficacy"], Counts.from_json),
    "effects": (values.EFFECTS, LayerEffects.from_json),
    "trial": (values.TRIAL, Trial.from_json),
    "failed_trial": (values.FAILED_TRIAL, Trial.from_json),
    "card": (values.CARD, ReportCard.from_json),
    "profile": (values.PROFILE, lambda data: profile_from_json(data, where="profile.json")),
    "case": (values.CASE, lambda data: msgspec.convert(data, CaseScore)),
}


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def test_every_value_of_the_file_is_read(written: dict[str, Any]) -> None:
    assert set(written) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_what_was_written_is_read_as_it_was(written: dict[str, Any], name: str) -> None:
    value, read = KINDS[name]
    found = read(written[name])
    assert type(found) is type(value)
    # Some values hold tensors or compare by identity; entities compare by their ids alone.
    assert _all_of(found) == _all_of(value)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_now_is_read_too(name: str) -> None:
    value, read = KINDS[name]
    to_json = getattr(value, "stored", None) or getattr(value, "to_json", lambda: plain(value))()
    assert _all_of(read(json.loads(json.dumps(to_json)))) == _all_of(value)


def _all_of(value: Any) -> str:
    return repr(plain(value))
