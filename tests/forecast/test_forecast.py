"""Properties of the forecast: accurate for small patches in every family; intended changes are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import ConfigError, StaleArtifactError
from kgmet.fact import FactEdit
from kgmet.forecast.facts import FactPrompt, own_facts
from kgmet.forecast.forecast import forecast
from kgmet.forecast.index import FactIndex, IndexedFact, measured_index
from kgmet.forecast.leave_out import changed_facts, probed_facts, unpriced
from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import EditPatch, attached
from tests.forecast.tiny_world import PROMPTS, TO_TOKYO
from tests.graph.small_world import world
from tests.tiny_models import FAMILY_KINDS, tiny_lm
from tests.write.tiny_edits import random_patch

LAYERS = (1, 2)
FACTS = (*PROMPTS, ("Big Ben is located in", "the city of London"))


def index_of(lm: LoadedLM, **rest: object) -> FactIndex:
    facts = [(fact, fact.answers[0]) for fact in own_facts(FACTS)]
    return measured_index(lm, facts, LAYERS, **{"per_fact": 0, "dtype": torch.float32, **rest})  # type: ignore[arg-type]


def patch_of(lm: LoadedLM, size: float) -> EditPatch:
    """A random patch of layers 1 and 2, scaled."""
    patch = random_patch(lm, layers=LAYERS)
    updates = tuple(replace(update, output_factor=size * update.output_factor) for update in patch.updates)
    return replace(patch, updates=updates)


def measured(lm: LoadedLM, patch: EditPatch) -> torch.Tensor:
    before = score_answers(lm, FACTS)
    with attached(patch, lm):
        after = score_answers(lm, FACTS)
    return torch.tensor([b.logprob - a.logprob for a, b in zip(before, after, strict=True)], dtype=torch.float64)


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_a_small_patch_does_what_was_forecast(kind: str) -> None:
    lm = tiny_lm(kind)
    index = index_of(lm)
    wide = forecast(patch_of(lm, 1.0), index).changes
    patch = patch_of(lm, 0.01 / float(wide.abs().max()))
    found = forecast(patch, index)
    assert float(found.changes.abs().max()) == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(found.changes, measured(lm, patch), rtol=0.05, atol=3e-4)


def test_what_the_tokens_add_is_the_change() -> None:
    lm = tiny_lm()
    found = forecast(patch_of(lm, 1.0), index_of(lm))
    for number in range(len(FACTS)):
        table = found.by_token(number)
        assert table.shape == (len(LAYERS), len(found.index.facts[number].tokens))
        assert float(table.sum()) == pytest.approx(float(found.changes[number]), rel=1e-4)


def test_two_patches_are_forecast_together() -> None:
    lm, index = tiny_lm(), index_of(tiny_lm())
    one, other = patch_of(lm, 1.0), patch_of(lm, -0.25)
    both = forecast([one, other], index).changes
    torch.testing.assert_close(both, forecast(one, index).changes + forecast(other, index).changes)


def test_half_precision_and_fewer_tokens_cost_little() -> None:
    lm = tiny_lm()
    patch = patch_of(lm, 1.0)
    exact = forecast(patch, index_of(lm)).changes
    half = forecast(patch, index_of(lm, dtype=torch.bfloat16)).changes
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))
    few = index_of(lm, per_fact=8)
    assert all(int((few.pairs[1].fact == n).sum() + (few.pairs[2].fact == n).sum()) == 8 for n in range(len(FACTS)))
    assert 0 < few.kept < 1
    assert index_of(lm).kept == 1


def test_the_worst_come_first_and_read_as_probabilities() -> None:
    lm = tiny_lm()
    found = forecast(patch_of(lm, 3.0), index_of(lm))
    changes = [item.change for item in found.worst(3)]
    assert changes == sorted(changes)
    assert found.losing(0.0) == sum(change < 0 for change in changes)
    item = found.worst(1)[0]
    told = replace(item, fact=replace(item.fact, logprob=-0.21, answer="Madrid"), change=-1.91)
    told = replace(told, fact=replace(told.fact, prompt=replace(told.fact.prompt, subject="Reina Sofía Museum")))
    assert str(told) == "Reina Sofía Museum: Madrid 81 % → 12 %"
    assert replace(told, change=5.0).after == 1.0


def test_a_patch_of_another_model_or_layer_is_refused() -> None:
    lm = tiny_lm()
    index = index_of(lm)
    with pytest.raises(StaleArtifactError):
        forecast(replace(patch_of(lm, 1.0), model_fingerprint="other"), index)
    with pytest.raises(ConfigError, match="lacks 0"):
        forecast(random_patch(lm, layers=(0, 1)), index)


def bare_index(*facts: tuple[str, str, str, str]) -> FactIndex:
    """Facts (subject id, relation, prompt, answer) without any pairs."""
    return FactIndex(
        model_fingerprint="m",
        pairs={},
        facts=tuple(
            IndexedFact(
                prompt=FactPrompt(text=text, answers=(answer,), subject=subject, subject_id=subject, relation=relation),
                answer=answer,
                logprob=-0.1,
                tokens=(),
            )
            for subject, relation, text, answer in facts
        ),
    )


def test_what_the_edit_changes_and_what_it_is_measured_with_is_not_priced() -> None:
    catalogue = RelationCatalogue.load()
    edit = TO_TOKYO
    found = find_consequences(world(), catalogue, edit, config=ConsequenceConfig())
    changed = changed_facts(edit, found)
    assert {("E-eiffel-tower", "P131"), ("E-eiffel-tower", "P17"), ("E-eiffel-tower", "P38")} <= changed
    assert ("E-eiffel-tower", "P84") not in changed  # who built it stays as it is
    probed = probed_facts(found)
    protected = {(fact.triple.subject.id, fact.triple.relation.id) for fact in found.protected_neighbours}
    assert probed
    assert not probed & protected
    index = bare_index(
        ("E-eiffel-tower", "P131", "a", "Paris"),
        ("E-eiffel-tower", "P84", "b", "Stephen Sauvestre"),
        ("E-louvre", "P17", "c", "France"),
        *((subject, relation, "d", "x") for subject, relation in sorted(probed)),
        ("", "own", "The Eiffel Tower is in", "Paris"),
        ("", "own", "The Louvre is in", "Paris"),
    )
    typed = replace(edit, old_object="Paris")
    left = unpriced(index, [(typed, found, ())])
    assert [fact.prompt.text for fact in left.facts] == ["b", "c", "The Louvre is in"]
    later = unpriced(index, [], earlier=[edit])
    assert all(fact.prompt.subject_id != "E-eiffel-tower" for fact in later.facts)


def test_a_fact_a_person_left_out_is_not_priced() -> None:
    edit = FactEdit(
        subject="The Eiffel Tower",
        subject_id="E-eiffel-tower",
        relation="P131",
        template="{} is located in the city of",
        new_object="Tokyo",
    )
    found = find_consequences(world(), RelationCatalogue.load(), edit, config=ConsequenceConfig())
    fact = found.protected_neighbours[0]
    key = fact.triple.subject.id, fact.triple.relation.id
    index = bare_index((*key, "a", "x"))
    assert len(unpriced(index, [(edit, found, ())])) == 1
    assert len(unpriced(index, [(edit, found, {fact.id})])) == 0
