"""A token in a tree has the states it would have in a text of its own."""

from __future__ import annotations

import pytest

from kgmet.errors import EmptyTextError
from kgmet.evaluate.packed import score_packed
from kgmet.lm.score import score_answers
from tests.tiny_models import FAMILY_KINDS, tiny_lm

PAIRS = [
    ("The Eiffel Tower is located in the city of", "Paris"),
    ("The Eiffel Tower is located in the city of", "Rome and more of it"),
    ("The Eiffel Tower is located in", "France"),
    ("The Louvre is located in the city of", "Paris"),
    ("Big Ben", "London"),
    ("Big Ben", "London"),
    ("The", "capital of Germany is Berlin"),
]


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("bos", [False, True])
def test_scores_are_those_of_single_texts(kind: str, bos: bool) -> None:
    lm = tiny_lm(kind, bos=bos)
    for packed, alone in zip(score_packed(lm, PAIRS), score_answers(lm, PAIRS), strict=True):
        assert packed.logprob == pytest.approx(alone.logprob, abs=2e-4)
        assert (packed.prompt, packed.answer, packed.n_token) == (alone.prompt, alone.answer, alone.n_token)
        assert (packed.is_first, packed.rank, packed.n_hit) == (alone.is_first, alone.rank, alone.n_hit)


@pytest.mark.parametrize("max_token", [1, 12, 1000])
def test_it_does_not_matter_how_many_are_laid_out_together(max_token: int) -> None:
    lm = tiny_lm()
    for few, many in zip(score_packed(lm, PAIRS, max_token=max_token), score_packed(lm, PAIRS), strict=True):
        assert few.logprob == pytest.approx(many.logprob, abs=1e-4)


def test_an_answer_without_a_token_is_refused() -> None:
    with pytest.raises(EmptyTextError):
        score_packed(tiny_lm(), [("Big Ben", "")])
