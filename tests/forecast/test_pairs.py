"""Properties of measuring pairs: a fact's do not depend on the facts beside it, and a batch is padded little."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from kgmet.forecast import pairs as pairs_module
from kgmet.forecast.pairs import MeasuredFacts, measure_facts, padded_batches
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from tests.passes import passes
from tests.tiny_models import FAMILY_KINDS, tiny_lm

LAYERS = (1, 2)
FACTS = (
    ("The capital of Germany is", "Berlin"),
    ("The Eiffel Tower is located in the city of", "Paris"),
    ("Rome", "is"),
    ("Big Ben is located in", "the city of London"),
    ("The capital of Germany is", "Rome"),
)


def measured(lm: LoadedLM, facts: tuple[tuple[str, str], ...] = FACTS, per_fact: int = 0) -> MeasuredFacts:
    return measure_facts(lm, facts, LAYERS, per_fact=per_fact, dtype=torch.float32)


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("per_fact", [0, 7, 14])
def test_a_fact_has_the_pairs_it_has_alone(kind: str, per_fact: int) -> None:
    lm = tiny_lm(kind)
    with passes(lm) as seen:
        together = measured(lm, per_fact=per_fact)
    assert len(seen) == 1
    for number, fact in enumerate(FACTS):
        alone = measured(lm, (fact,), per_fact=per_fact)
        assert together.tokens[number] == alone.tokens[0]
        torch.testing.assert_close(together.logprobs[number], alone.logprobs[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.kept[number], alone.kept[0], rtol=1e-5, atol=1e-6)
        for layer in LAYERS:
            own = together.pairs[layer].of(torch.tensor([number]))
            assert torch.equal(own.token, alone.pairs[layer].token)
            for found, expected in ((own.keys, alone.pairs[layer].keys), (own.slopes, alone.pairs[layer].slopes)):
                scale = float(expected.abs().max()) if len(expected) else 1.0
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


def test_without_layers_nothing_is_differentiated(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a backward pass")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    with torch.enable_grad():
        found = measure_facts(lm, FACTS, (), per_fact=0)
    scores = [score.logprob for score in score_answers(lm, FACTS)]
    assert found.logprobs.tolist() == pytest.approx(scores, abs=1e-4)
    assert not found.logprobs.requires_grad
    assert not found.pairs


def test_batches_hold_every_text_once_and_cost_least() -> None:
    draw = random.Random(0)
    for _ in range(20):
        lengths = [draw.randint(1, 30) for _ in range(draw.randint(1, 7))]
        found = padded_batches(lengths, most=64)
        assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
        assert all(len(b) == 1 or len(b) * max(lengths[n] for n in b) <= 64 for b in found)
        ordered = sorted(lengths)
        cuts = itertools.product((False, True), repeat=len(ordered) - 1)
        assert cost([[lengths[n] for n in batch] for batch in found]) == min(
            cost(parts) for cut in cuts if (parts := cut_at(ordered, cut)) and fits(parts)
        )
    assert padded_batches([], most=64) == []
    assert padded_batches([100, 3], most=64) == [[1], [0]]


def cut_at(values: list[int], cut: tuple[bool, ...]) -> list[list[int]]:
    parts = [[values[0]]]
    for value, is_new in zip(values[1:], cut, strict=True):
        if is_new:
            parts.append([])
        parts[-1].append(value)
    return parts


def fits(parts: list[list[int]]) -> bool:
    return all(len(part) * max(part) <= 64 for part in parts)


def cost(parts: list[list[int]]) -> int:
    return sum(len(part) * max(part) + pairs_module._PASS for part in parts)
