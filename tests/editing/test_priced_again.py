"""`write.price.again`: facts are measured under the priced update, and what they really lost is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from kgmet.editing.config import config_from_mapping
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.fact import FactEdit
from kgmet.forecast.facts import own_facts
from kgmet.forecast.index import FactIndex, measured_index
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import CORPUS, TOWER, small_editor
from tests.graph.small_world import world

FACTS = (
    ("The capital of Germany is", "Berlin"),
    ("The Arc is located in the city of", "Paris"),
    ("Big Ben is located in the city of", "London"),
    ("The currency of Japan is the", "yen"),
)
LOUVRE = FactEdit(subject="The Louvre", template="{} is located in the city of", new_object="Rome", relation="P131")


@pytest.fixture(scope="module")
def index(lm: LoadedLM) -> FactIndex:
    facts = [(fact, fact.answers[0]) for fact in own_facts(FACTS)]
    return measured_index(lm, facts, (1, 2), per_fact=0, dtype=torch.float32)


def editor(weight: float, again: int) -> Editor:
    small = small_editor(EDITORS["KGMET-priced"])
    changes = {"write": {"price": {"weight": weight, "again": again}}}
    return replace(small, config=config_from_mapping(changes, base=small.config))


def context(edit: FactEdit, chosen: Editor) -> EditContext:
    return prepare_edit(edit, store=world(), catalogue=RelationCatalogue.load(), config=chosen.config)


def plan(
    lm: LoadedLM, edit: FactEdit, index: FactIndex, *, weight: float, again: int, earlier: EditsSoFar | None = None
) -> EditPlan:
    chosen = editor(weight, again)
    return plan_edits(
        lm,
        [context(edit, chosen)],
        editor=chosen,
        statistics=KeyStatistics(lm, CORPUS),
        index=index,
        earlier=earlier,
    )


def logprobs(lm: LoadedLM, patches: Sequence[EditPatch]) -> torch.Tensor:
    with attached(list(patches), lm):
        return torch.tensor([score.logprob for score in score_answers(lm, FACTS)], dtype=torch.float64)


def test_what_priced_facts_really_lose_is_taken_back(lm: LoadedLM, index: FactIndex) -> None:
    before = logprobs(lm, [])
    moved = {
        name: float((logprobs(lm, [plan(lm, TOWER, index, weight=weight, again=again).patch]) - before).abs().max())
        for name, weight, again in (("plain", 0.0, 0), ("priced", 1e6, 0), ("again", 1e6, len(FACTS)))
    }
    assert moved["again"] < 0.2 * moved["priced"] < 0.2 * moved["plain"]


def test_the_edit_still_takes_and_only_the_facts_asked_for_are_measured(
    lm: LoadedLM, index: FactIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = FactIndex.price

    def price(self: FactIndex, *args: object, **rest: object) -> object:
        made = real(self, *args, **rest)  # type: ignore[arg-type]
        assert made.measure is not None
        measure = made.measure

        def counted(rows: Sequence[int], layers: Sequence[int]) -> object:
            asked.extend(rows)
            return measure(rows, layers)

        return replace(made, measure=counted)  # type: ignore[arg-type]

    monkeypatch.setattr(FactIndex, "price", price)
    found = plan(lm, TOWER, index, weight=10.0, again=2)
    assert len(asked) == len(set(asked)) == 2
    before, plain, after = (
        said(lm, patches) for patches in ([], [plan(lm, TOWER, index, weight=0.0, again=0).patch], [found.patch])
    )
    assert after - before > 0.5 * (plain - before) > 0


def said(lm: LoadedLM, patches: Sequence[EditPatch]) -> float:
    """The log-probability of the new object."""
    with attached(list(patches), lm):
        return score_answers(lm, [(TOWER.prompt, TOWER.new_object)])[0].logprob


def test_in_a_sequence_facts_return_to_what_they_were_before_this_edit(lm: LoadedLM, index: FactIndex) -> None:
    first = plan(lm, TOWER, index, weight=0.0, again=0)
    between = logprobs(lm, [first.patch])
    moved = {}
    for again in (0, len(FACTS)):
        second = plan(lm, LOUVRE, index, weight=1e6, again=again, earlier=first.so_far)
        moved[again] = float((logprobs(lm, [first.patch, second.patch]) - between).abs().max())
    assert moved[len(FACTS)] < 0.5 * moved[0]
