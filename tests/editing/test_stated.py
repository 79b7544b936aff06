"""What earlier edits made true is priced in later writes, measured with them attached, unless it is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kgmet.editing.config import config_from_mapping
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.foresee import foresee, protect
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.editing.session import EditSession
from kgmet.editing.stated import stated_index, statements_of, with_stated
from kgmet.fact import FactEdit
from kgmet.forecast.facts import own_facts, stated_prompt
from kgmet.forecast.index import FactIndex, measured_index
from kgmet.forecast.leave_out import priced_rows
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import EditPatch, attached, load_patch, save_patch
from kgmet.write.so_far import EditsSoFar
from kgmet.write.stated import StatedFact, own_statement, still_stated
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import CORPUS, TOWER, small_editor
from tests.graph.small_world import world
from tests.passes import passes

LOUVRE = FactEdit(subject="The Louvre", template="{} is located in the city of", new_object="Rome", relation="P131")
TOWER_AGAIN = replace(TOWER, new_object="London", id="")
FACTS = (("The capital of Germany is", "Berlin"), ("The currency of Japan is the", "yen"))


@pytest.fixture(scope="module")
def index(lm: LoadedLM) -> FactIndex:
    facts = [(fact, fact.answers[0]) for fact in own_facts(FACTS)]
    return measured_index(lm, facts, (1, 2), per_fact=0, dtype=torch.float32)


def editor(earlier: int, weight: float = 1e6) -> Editor:
    small = small_editor(EDITORS["KGMET-priced"], steps=12)
    changes = {"write": {"price": {"weight": weight, "earlier": earlier}}, "hold": {"consequences": 2}}
    return replace(small, config=config_from_mapping(changes, base=small.config))


def context(edit: FactEdit, chosen: Editor) -> EditContext:
    return prepare_edit(edit, store=world(), catalogue=RelationCatalogue.load(), config=chosen.config)


def plan(lm: LoadedLM, edit: FactEdit, index: FactIndex, *, earlier: int, so_far: EditsSoFar | None = None) -> EditPlan:
    chosen = editor(earlier)
    statistics = KeyStatistics(lm, CORPUS)
    contexts = [context(edit, chosen)]
    return plan_edits(lm, contexts, editor=chosen, statistics=statistics, index=index, earlier=so_far)


@pytest.fixture(scope="module")
def first(lm: LoadedLM, index: FactIndex) -> EditPlan:
    return plan(lm, TOWER, index, earlier=0)


def made(first: EditPlan) -> EditsSoFar:
    """The first edit as an earlier one."""
    return EditsSoFar.of([first.patch])


def logprobs(lm: LoadedLM, facts: Sequence[StatedFact], patches: Sequence[EditPatch]) -> torch.Tensor:
    with attached(list(patches), lm):
        scores = score_answers(lm, [(fact.prompt, fact.answer) for fact in facts])
    return torch.tensor([score.logprob for score in scores], dtype=torch.float64)


def test_a_patch_says_what_it_makes_true_and_so_does_its_file(lm: LoadedLM, first: EditPlan, tmp_path: Path) -> None:
    stated = first.patch.stated
    assert stated[0] == own_statement(first.contexts[0].edit)
    assert stated[0].prompt == TOWER.prompt
    assert [(fact.subject, fact.answer) for fact in stated[1:]] == [("The Eiffel Tower", "Japan")] or len(stated) > 1
    assert stated == statements_of(first.contexts[0], editor(0).config)
    save_patch(first.patch, tmp_path / "patch")
    assert load_patch(tmp_path / "patch").stated == stated
    bare = replace(first.patch, stated=())
    assert bare.statements == stated[:1]


def test_the_control_with_unrelated_facts_states_the_edit_alone(first: EditPlan) -> None:
    config = config_from_mapping({"hold": {"shuffled": True}}, base=editor(0).config)
    assert statements_of(first.contexts[0], config) == first.patch.stated[:1]


def test_statements_are_measured_with_the_edits_attached_and_once(
    lm: LoadedLM, index: FactIndex, first: EditPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1e-30)
    so_far = made(first)
    found = stated_index(lm, (1, 2), so_far, most=100)
    assert [fact.prompt for fact in found.facts] == [stated_prompt(fact) for fact in first.patch.stated]
    edited = logprobs(lm, first.patch.stated, [first.patch])
    assert [fact.logprob for fact in found.facts] == pytest.approx(edited.tolist(), abs=1e-3)
    assert not torch.allclose(edited, logprobs(lm, first.patch.stated, []), atol=1e-2)
    with attached(first.patch, lm):
        expected = measured_index(lm, [(f.prompt, f.answer) for f in found.facts], (1, 2))
    for layer in (1, 2):
        assert torch.equal(found.pairs[layer].keys, expected.pairs[layer].keys)
        assert torch.equal(found.pairs[layer].slopes, expected.pairs[layer].slopes)
    with passes(lm) as seen:
        again = stated_index(lm, (1, 2), so_far, most=1)
    assert not seen
    assert [fact.prompt for fact in again.facts] == [stated_prompt(first.patch.stated[-1])], "the newest come first"


def test_an_answer_the_model_does_not_give_after_the_edit_is_no_fact(
    lm: LoadedLM, first: EditPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1.0)
    assert len(stated_index(lm, (1, 2), made(first), most=100)) == 0


def test_a_later_edit_leaves_what_an_earlier_one_made_true(
    lm: LoadedLM, index: FactIndex, first: EditPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1e-30)
    before = logprobs(lm, first.patch.stated, [first.patch])
    moved = {}
    for earlier in (0, 100):
        second = plan(lm, LOUVRE, index, earlier=earlier, so_far=made(first))
        moved[earlier] = float((logprobs(lm, first.patch.stated, [first.patch, second.patch]) - before).abs().max())
    assert moved[100] < 0.5 * moved[0]


def test_without_earlier_edits_the_price_is_as_it_was(lm: LoadedLM, index: FactIndex, first: EditPlan) -> None:
    priced = plan(lm, TOWER, index, earlier=100)
    for one, other in zip(priced.patch.updates, first.patch.updates, strict=True):
        assert torch.equal(one.dense(), other.dense())


def test_an_edit_that_replaces_a_fact_does_not_pay_for_it(
    lm: LoadedLM, index: FactIndex, first: EditPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1e-30)
    found = with_stated(lm, index, made(first), edits=[])
    assert len(found) == len(index) + len(first.patch.stated)

    def priced(edit: FactEdit) -> set[str]:
        new = context(edit, editor(100))
        entry = (new.edit, new.consequences, new.left)
        found = with_stated(lm, index, made(first), edits=[new.edit])
        rows = priced_rows(found, [entry], earlier=list(first.patch.edits))
        return {found.facts[row].prompt.text for row in rows if found.facts[row].prompt.is_stated}

    assert priced(LOUVRE) == {fact.prompt for fact in first.patch.stated}
    assert not priced(TOWER_AGAIN), "the same fact, and all that followed from it"


def test_a_later_answer_replaces_an_earlier_one() -> None:
    old = StatedFact(prompt="The Louvre is in", answer="Rome", subject="The Louvre", relation="P131")
    other = replace(old, prompt="The Louvre is made of", answer="steel", relation="P186")
    for new in (
        replace(old, answer="Oslo"),
        replace(old, prompt="One finds the Louvre in", answer="Oslo"),
        replace(old, answer="Oslo", relation="", subject="Louvre"),
    ):
        assert new.replaces(old) and not new.replaces(other)
    follows = replace(other, edit_id="1", prompt="The Louvre's country is")
    first, later = replace(old, edit_id="1"), replace(old, answer="Oslo", edit_id="2")
    assert still_stated([[first, follows], [later]]) == (later,)
    assert still_stated([[first, follows], [replace(follows, answer="x", edit_id="2")]])[0] == first
    by_id = replace(old, subject_id="E-louvre")
    assert replace(by_id, subject="Musée du Louvre", prompt="x").replaces(by_id)


def test_an_outdated_fact_leaves_the_index_with_its_replacement(
    lm: LoadedLM, first: EditPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1e-30)
    stated = next(fact for fact in first.patch.stated if fact.subject_id and fact.relation)
    outdated = replace(stated_prompt(stated), answers=("Paris",), text="It is in", is_stated=False)
    known = measured_index(lm, [(outdated, "Paris"), (own_facts(FACTS)[0], "Berlin")], (1, 2))
    found = with_stated(lm, known, made(first), edits=[])
    assert "It is in" not in [fact.prompt.text for fact in found.facts]
    assert {fact.answer for fact in found.facts} >= {"Berlin", stated.answer}


def test_a_session_prices_what_its_edits_made_true(
    lm: LoadedLM, index: FactIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1e-30)
    moved = {}
    for earlier in (0, 100):
        chosen = editor(earlier)
        session = EditSession(
            lm,
            editor=chosen,
            config=chosen.config,
            graph=world(),
            statistics=KeyStatistics(lm, CORPUS),
            index=index,
        )
        session.edit(TOWER)
        stated = session.patches[0].stated
        before = logprobs(lm, stated, session.patches)
        session.edit_many([LOUVRE])
        moved[earlier] = float((logprobs(lm, stated, session.patches) - before).abs().max())
        # Switched off, the first edit made nothing true.
        session.toggle(session.patches[0].id, on=False)
        assert EditsSoFar.of(session.patches).stated == session.patches[0].stated
        assert session.patches[0].stated[0].subject == "The Louvre"
    assert moved[100] < 0.5 * moved[0]


def test_a_merged_sequence_keeps_its_statements(lm: LoadedLM, index: FactIndex, first: EditPlan) -> None:
    so_far = EditsSoFar().then_merged(first.patch, lm)
    second = plan(lm, LOUVRE, index, earlier=0, so_far=so_far)
    merged = so_far.then_merged(second.patch, lm)
    assert merged.stated == (*first.patch.stated, *second.patch.stated)
    assert merged.measured is so_far.measured
    third = plan(lm, TOWER_AGAIN, index, earlier=0, so_far=merged)
    answers = {fact.prompt: fact.answer for fact in merged.then_merged(third.patch, lm).stated}
    assert answers[TOWER.prompt] == "London"
    assert answers[LOUVRE.prompt] == "Rome"


def test_what_an_earlier_edit_made_true_can_be_foreseen_and_protected(
    lm: LoadedLM, index: FactIndex, first: EditPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.stated._LEAST", 1e-30)
    so_far, chosen = made(first), small_editor(EDITORS["KGMET"])
    found = with_stated(lm, index, so_far, edits=[LOUVRE])
    rest = {"editor": chosen, "statistics": KeyStatistics(lm, CORPUS), "index": found, "earlier": so_far}
    plain = foresee(lm, [context(LOUVRE, chosen)], **rest)  # type: ignore[arg-type]
    own = {stated_prompt(fact).id for fact in first.patch.stated}
    assert own <= {item.fact.prompt.id for item in plain.forecasts}
    safe = protect(lm, plain, own, **rest)  # type: ignore[arg-type]
    assert safe.protected == own
    assert safe.mean_change(own) < 0.1 * plain.mean_change(own)
