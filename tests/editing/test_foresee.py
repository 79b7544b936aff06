"""An edit is foreseen without a trace, protected from the same search, and is then exactly what was foreseen."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import ConfigError, RequestError
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.factories import make_writer
from kgmet.editing.foresee import PROTECTING_WEIGHT, Foreseen, foresee, foresee_patch, protect
from kgmet.editing.plan import plan_edits
from kgmet.forecast.facts import own_facts
from kgmet.forecast.forecast import forecast
from kgmet.forecast.index import FactIndex, measured_index
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from kgmet.write.corpus import Corpus
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics
from kgmet.write.writer import MetricWriter
from tests.editing.small import CORPUS, TOWER, small_editor
from tests.graph.small_world import world

FACTS = (
    ("The capital of Germany is", "Berlin"),
    ("The Louvre is located in the city of", "Paris"),
    ("Big Ben is located in the city of", "London"),
    ("The currency of Japan is the", "yen"),
    ("The Eiffel Tower is located in the city of", "Paris"),
)


@pytest.fixture(scope="module")
def index(lm: LoadedLM) -> FactIndex:
    facts = [(fact, fact.answers[0]) for fact in own_facts(FACTS)]
    return measured_index(lm, facts, (1, 2), per_fact=0, dtype=torch.float32)


def context(editor: Editor) -> EditContext:
    return prepare_edit(TOWER, store=world(), catalogue=RelationCatalogue.load(), config=editor.config)


def foreseen(lm: LoadedLM, index: FactIndex, name: str = "KGMET") -> tuple[Foreseen, Editor, KeyStatistics]:
    editor, statistics = small_editor(EDITORS[name]), KeyStatistics(lm, CORPUS)
    return foresee(lm, [context(editor)], editor=editor, statistics=statistics, index=index), editor, statistics


def test_a_foreseen_edit_is_the_edit_that_would_be_made_and_nothing_is_attached(lm: LoadedLM, index: FactIndex) -> None:
    before = score_answers(lm, FACTS)
    found, editor, statistics = foreseen(lm, index)
    assert score_answers(lm, FACTS) == before
    made = plan_edits(lm, [context(editor)], editor=editor, statistics=statistics)
    for one, other in zip(found.patch.updates, made.patch.updates, strict=True):
        assert torch.equal(one.dense(), other.dense())
    with attached(made.patch, lm):
        after = score_answers(lm, [(TOWER.prompt, TOWER.new_object)])[0]
    unedited = score_answers(lm, [(TOWER.prompt, TOWER.new_object)])[0]
    assert found.p_new[0] == pytest.approx((unedited.probability, after.probability))


def test_the_forecast_is_of_the_facts_the_edit_should_not_change(lm: LoadedLM, index: FactIndex) -> None:
    found, _, _ = foreseen(lm, index)
    assert [item.fact.prompt.text for item in found.forecasts] == [text for text, _ in FACTS[:-1]]
    whole = forecast(found.patch, index)
    assert [item.change for item in found.forecasts] == pytest.approx(whole.changes[:-1].tolist())
    changes = [abs(item.change) for item in found.strongest_first]
    assert changes == sorted(changes, reverse=True)
    assert found.losing(0.0) == sum(item.change < 0 for item in found.forecasts)
    assert found.mean_change() == pytest.approx(sum(changes) / len(changes))
    assert found.mean_change(set()) == 0


def test_protected_facts_are_forecast_to_stay_and_the_others_are_free(lm: LoadedLM, index: FactIndex) -> None:
    found, editor, statistics = foreseen(lm, index)
    chosen = {found.strongest_first[0].fact.prompt.id}
    safe = protect(lm, found, chosen, editor=editor, statistics=statistics, index=index)
    assert safe.protected == chosen
    assert safe.patch.id != found.patch.id
    assert safe.is_priced and not found.is_priced
    assert safe.mean_change(chosen) < 0.1 * found.mean_change(chosen)
    assert safe.patch.config["write"]["price"]["weight"] == PROTECTING_WEIGHT == 10
    assert safe.searched is found.searched, "another set of facts can be protected from the same search"
    again = foresee_patch(lm, safe.patch, [context(editor)], index=index)
    assert [item.change for item in again.forecasts] == pytest.approx([item.change for item in safe.forecasts])


def test_what_cannot_be_protected_is_said(lm: LoadedLM, index: FactIndex) -> None:
    found, editor, statistics = foreseen(lm, index)
    rest = {"editor": editor, "statistics": statistics, "index": index}
    with pytest.raises(RequestError, match="None of these facts"):
        protect(lm, found, {"nothing"}, **rest)  # type: ignore[arg-type]
    applied = foresee_patch(lm, found.patch, [context(editor)], index=index)
    with pytest.raises(RequestError, match="written already"):
        protect(lm, applied, {"nothing"}, **rest)  # type: ignore[arg-type]
    rome, editor, _ = foreseen(lm, index, "ROME")
    with pytest.raises(ConfigError, match="ROME cannot protect"):
        protect(lm, rome, {index.facts[0].prompt.id}, editor=editor, statistics=statistics, index=index)


@pytest.mark.parametrize("name", [n for n, e in EDITORS.items() if e.writer.searches])
def test_an_editor_can_price_if_its_writer_has_a_metric(lm: LoadedLM, name: str) -> None:
    from kgmet.base.progress import Silent

    editor = small_editor(EDITORS[name])
    lines = Corpus(name="short", lines=CORPUS.lines[:6])
    writer = make_writer(editor, editor.config, KeyStatistics(lm, lines), Silent())
    assert editor.can_price is isinstance(writer, MetricWriter)
