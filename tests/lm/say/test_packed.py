"""A token in a tree has the states it would have in a text of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from kgmet.base.errors import EmptyTextError
from kgmet.lm.run.tracing import hooked
from kgmet.lm.say import continue_begun as continuing
from kgmet.lm.say import packed as packing
from kgmet.lm.say.packed import ask_packed, ask_sides, score_packed, unchanged
from kgmet.lm.say.score import generate, next_logits, score_answers
from kgmet.measure.sides import before_and_after
from tests.passes import passes
from tests.tiny_models import FAMILY_KINDS, tiny_lm
from tests.write.tiny_edits import random_patch

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


PROMPTS = ["The Eiffel Tower is located in the city of", "Big Ben", "Big Ben", "The capital of Italy is", "In"]


@pytest.mark.parametrize("kind", FAMILY_KINDS)
@pytest.mark.parametrize("bos", [False, True])
def test_one_pass_says_what_each_prompt_alone_does(kind: str, bos: bool) -> None:
    lm = tiny_lm(kind, bos=bos)
    asked = ask_packed(lm, PROMPTS, PAIRS, max_new_tokens=6)
    alone = torch.cat([next_logits(lm, [prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(asked.logits, alone, rtol=1e-3, atol=1e-3)
    assert asked.texts == tuple(generate(lm, [prompt], max_new_tokens=6)[0] for prompt in PROMPTS)
    for packed, single in zip(asked.scores, score_answers(lm, PAIRS), strict=True):
        assert packed.logprob == pytest.approx(single.logprob, abs=2e-4)
        assert (packed.is_first, packed.rank, packed.n_hit) == (single.is_first, single.rank, single.n_hit)


@pytest.mark.parametrize("n_node", [0, 2, 5])
def test_logits_are_read_a_few_nodes_at_a_time(n_node: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    sides = before_and_after(random_patch(lm), lm)
    whole = ask_sides(lm, PROMPTS, PAIRS, sides=sides)
    read: list[tuple[int, ...]] = []
    monkeypatch.setattr(packing, "_MOST_LOGITS", n_node * len(sides) * lm.n_token)
    with hooked(lm.model.get_output_embeddings(), lambda given, _logits: read.append(tuple(given[0].shape[:2]))):
        apart = ask_sides(lm, PROMPTS, PAIRS, sides=sides)
    longest = max(score.n_token for score in whole[0].scores)
    assert len(read) > 1
    assert max(nodes for _, nodes in read) <= max(n_node, longest)
    for one, other in zip(apart, whole, strict=True):
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-5, atol=1e-5)
        for part, scored in zip(one.scores, other.scores, strict=True):
            assert part.logprob == pytest.approx(scored.logprob, abs=1e-4)
            assert (part.answer, part.is_first, part.rank) == (scored.answer, scored.is_first, scored.rank)


@pytest.mark.parametrize("max_token", [1, 12, 1000])
def test_what_is_written_does_not_depend_on_what_is_laid_out_together(max_token: int) -> None:
    lm = tiny_lm()
    apart = ask_packed(lm, PROMPTS, PAIRS, max_new_tokens=9, max_token=max_token)
    assert apart.texts == ask_packed(lm, PROMPTS, max_new_tokens=9).texts


def test_a_text_that_ends_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    written = [lm.tokenizer(text)["input_ids"] for text in ask_packed(lm, PROMPTS, max_new_tokens=8).texts]
    end = written[0][2]
    monkeypatch.setattr("kgmet.lm.say.continue_begun.end_tokens", lambda _lm: {end})
    for before, text in zip(written, ask_packed(lm, PROMPTS, max_new_tokens=8).texts, strict=True):
        expected = before[: before.index(end) + 1] if end in before else before
        assert text == lm.tokenizer.decode(expected)


def test_nothing_is_written_unless_asked_for() -> None:
    assert ask_packed(tiny_lm(), PROMPTS).texts == ("",) * len(PROMPTS)
    assert ask_packed(tiny_lm(), []).texts == ()


def one_by_one(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """The rows of the passes of one new token each."""
    return [n_row for n_row, n_token in shapes if n_token == 1]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("most_kept", [1, 8192])
def test_a_text_that_has_ended_leaves_the_batch_and_changes_nothing_of_the_others(
    kind: str, most_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuing, "_MOST_KEPT", most_kept)
    lm = tiny_lm(kind)
    names = ("Rome", "Oslo", "Big Ben", "Paris")
    prompts = ["In the", *(f"{name} is a place that lies near the city of" for name in names)]
    lengths = [24, 2, 3, 2, 3]
    alone = [generate(lm, [text], max_new_tokens=n)[0] for text, n in zip(prompts, lengths, strict=True)]
    with passes(lm) as seen:
        (asked,) = ask_sides(lm, prompts, sides=[unchanged], max_new_tokens=lengths)
    assert list(asked.texts) == alone
    together = [5, 3] + [1] * 21
    apart = [1] * sum(length - 1 for length in lengths)
    assert one_by_one(seen) == (apart if most_kept == 1 else together)


def test_a_side_whose_text_has_ended_costs_nothing_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    sides = before_and_after(random_patch(lm), lm)
    (before, after) = (asked.texts[0] for asked in ask_sides(lm, PROMPTS[:1], sides=sides, max_new_tokens=9))
    end = next(token for token in lm.tokenizer(after)["input_ids"] if token not in lm.tokenizer(before)["input_ids"])
    monkeypatch.setattr(continuing, "end_tokens", lambda _lm: {end})
    with passes(lm) as seen:
        (same, shorter) = (asked.texts[0] for asked in ask_sides(lm, PROMPTS[:1], sides=sides, max_new_tokens=9))
    assert same == before
    assert after.startswith(shorter)
    n = lm.tokenizer(after)["input_ids"].index(end)
    assert one_by_one(seen) == [2] * n + [1] * (8 - n)


@pytest.mark.parametrize("most_kept", [1, 8192])
def test_what_the_first_prompt_gives_is_known_before_the_others_end(
    most_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuing, "_MOST_KEPT", most_kept)
    lm, seen = tiny_lm(), []
    sides = before_and_after(random_patch(lm), lm)
    prompts, lengths = [PROMPTS[0], "Big Ben", "The capital of Italy is"], [4, 9, 2]
    with passes(lm) as shapes:
        found = ask_sides(
            lm,
            prompts,
            PAIRS,
            sides=sides,
            max_new_tokens=lengths,
            on_first=lambda first: seen.append((len(shapes), first)),
        )
    ((n_pass, first),) = seen
    assert n_pass < len(shapes)
    for whole, own in zip(found, first, strict=True):
        assert own.texts == whole.texts[:1] and own.scores == whole.scores[:2]
        assert torch.equal(own.logits, whole.logits[:1])


def test_nothing_is_said_of_a_first_prompt_that_is_not_continued() -> None:
    seen: list[object] = []
    ask_sides(tiny_lm(), PROMPTS[:2], sides=[unchanged], max_new_tokens=[0, 3], on_first=seen.append)
    ask_sides(tiny_lm(), [], sides=[unchanged], on_first=seen.append)
    assert not seen
