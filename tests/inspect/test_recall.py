"""Ranks of the followed tokens, and where a chain is said to end: by numbers made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.inspect.attribution import attribute, attribute_with_states
from kgmet.inspect.lens import read_lens
from kgmet.inspect.recall import Followed, Outcome, Recall, find_break, read_recall, read_recalls
from kgmet.inspect.texts import InspectedText, TextKind
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.run.spans import Phrase
from tests.inspect.looked import random_patch
from tests.passes import passes
from tests.tiny_models import FAMILY_KINDS, N_LAYER, tiny_lm

HOP = TracedPrompt(
    phrase=Phrase(template="{} is located in the country", subject="The Eiffel Tower"),
    answer="Italy",
    rival="France",
    bridge="Rome",
)


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_at_each_token_it_is_the_logit_lens(kind: str) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    recall = read_recall(lm, HOP, patches=[patch])
    text = InspectedText(kind=TextKind.CONSEQUENCE, phrase=HOP.phrase, new=HOP.answer, old=HOP.rival)
    for position in (0, len(recall.source.ids) - 1):
        reading = read_lens(lm, patch, text, position=position)
        for layer in range(N_LAYER):
            for followed, answer in zip((Followed.ANSWER, Followed.RIVAL), reading.after[layer].answers, strict=True):
                assert int(recall.rank[followed][layer, position]) == answer.rank
                own = float(recall.logprob[followed][layer, position].exp())
                assert own == pytest.approx(answer.probability, rel=1e-3)
    assert not [module for module in lm.model.modules() if module._forward_hooks]


def test_several_answers_to_one_text_are_read_in_one_run_as_each_alone() -> None:
    lm = tiny_lm()
    patch = random_patch(lm)
    swapped = replace(HOP, answer="France", rival="Italy", bridge="Paris")
    other = replace(HOP, phrase=Phrase(template="{} is in", subject="Big Ben"))
    asked = [HOP, swapped, other]
    with passes(lm) as shapes:
        together = read_recalls(lm, asked, patches=patch)
    assert len(shapes) == 2
    for recall, prompt in zip(together, asked, strict=True):
        alone = read_recall(lm, prompt, patches=patch)
        assert recall.source == alone.source and set(recall.rank) == set(alone.rank)
        for followed, rank in alone.rank.items():
            assert torch.equal(recall.rank[followed], rank)
            assert torch.equal(recall.logprob[followed], alone.logprob[followed])


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_states_that_are_known_from_the_contributions_give_the_same_ranks_without_a_run(kind: str) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    found, states = attribute_with_states(lm, HOP, patches=patch)
    assert found.measure == pytest.approx(attribute(lm, HOP, patches=patch).measure)
    with passes(lm) as shapes:
        known = read_recall(lm, HOP, patches=patch, states=states)
    assert not shapes
    alone = read_recall(lm, HOP, patches=patch)
    for followed, rank in alone.rank.items():
        assert torch.equal(known.rank[followed], rank)
        torch.testing.assert_close(known.logprob[followed], alone.logprob[followed], rtol=1e-4, atol=1e-4)


def test_ranks_do_not_depend_on_how_many_states_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    whole = read_recall(lm, HOP)
    monkeypatch.setattr("kgmet.inspect.recall._LOGITS_AT_ONCE", 5 * lm.n_token)
    parts = read_recall(lm, HOP)
    for followed, rank in whole.rank.items():
        assert torch.equal(parts.rank[followed], rank)
        torch.testing.assert_close(parts.logprob[followed], whole.logprob[followed])


def test_without_bridge_or_rival_none_is_followed() -> None:
    recall = read_recall(tiny_lm(), replace(HOP, rival=None, bridge=None))
    assert set(recall.rank) == {Followed.ANSWER}
    assert find_break(recall).bridge is None


def made(answer: list[list[int]], bridge: list[list[int]] | None = None) -> Recall:
    """Ranks by layer (rows) and token (columns)."""
    n = len(answer[0])
    where = LocatedPrompt(
        source=HOP if bridge else replace(HOP, bridge=None),
        ids=tuple(range(n)),
        tokens=tuple(f" t{k}" for k in range(n)),
        subject=range(1),
        shared="",
        answer=1,
        rival=2,
        bridge=3 if bridge else None,
        answer_text="Italy",
    )
    rank = {Followed.ANSWER: torch.tensor(answer)} | ({Followed.BRIDGE: torch.tensor(bridge)} if bridge else {})
    return Recall(source=where, rank=rank, logprob={key: -value.float() for key, value in rank.items()})


@pytest.mark.parametrize(
    ("answer", "bridge", "outcome", "words"),
    [
        ([[9, 90], [9, 5], [9, 1]], [[9, 99], [9, 4], [9, 50]], Outcome.SAID, "No break: “Italy” is the likeliest"),
        (
            [[9, 90], [9, 80], [9, 70]],
            [[2, 99], [9, 11], [9, 50]],
            Outcome.NO_BRIDGE,
            "ranks 11 at best (after l",
        ),
        ([[9, 90], [9, 80], [9, 11]], [[9, 99], [9, 10], [9, 50]], Outcome.NO_ANSWER, "The bridge is recalled, the an"),
        ([[9, 90], [9, 10], [9, 11]], [[9, 99], [9, 10], [9, 50]], Outcome.OVERTAKEN, "but it ends at rank 11"),
        ([[9, 90], [9, 80], [9, 11]], None, Outcome.NO_ANSWER, "The answer is not recalled: at the last token “Italy”"),
        ([[9, 90], [9, 3], [9, 2]], None, Outcome.NOT_FIRST, "recalled, but not said: “Italy” ends at rank 2."),
        ([[9, 90], [9, 3], [9, 2]], [[9, 9], [9, 9], [9, 1]], Outcome.NOT_FIRST, "“Rome” itself is the likeliest"),
        ([[9, 90], [9, 3], [9, 2]], [[9, 9], [9, 8], [9, 30]], Outcome.NOT_FIRST, "“Rome” ranks 8 at best (after l"),
        ([[1, 90], [1, 30], [1, 1]], None, Outcome.SAID, "No break"),
    ],
)
def test_where_a_chain_ends(
    answer: list[list[int]], bridge: list[list[int]] | None, outcome: Outcome, words: str
) -> None:
    found = find_break(made(answer, bridge))
    assert found.outcome is outcome
    assert words in found.sentence
    assert found.last_rank == answer[-1][-1]


def test_a_bridge_recalled_elsewhere_only_is_said_to_be_there() -> None:
    found = find_break(made([[9, 90], [9, 80]], [[40, 99], [2, 60]]))
    assert found.outcome is Outcome.NO_BRIDGE
    assert found.bridge == (60, 1) and found.bridge_anywhere == (2, 1, 0)
    assert "its best rank at any token is 2, at “t0” after layer 1" in found.sentence


def test_the_best_is_the_lowest_layer_of_equals() -> None:
    recall = made([[7, 3], [2, 3], [2, 9]])
    assert recall.best(Followed.ANSWER) == (2, 1, 0)
    assert recall.best(Followed.ANSWER, 1) == (3, 0, 1)


def test_answers_that_begin_alike_are_told_apart_where_they_part() -> None:
    lm = tiny_lm()
    same = TracedPrompt(
        phrase=Phrase(template="{} is in", subject="Rome"), answer="the city of Paris", rival="the city of London"
    )
    where = locate_prompt(lm, same)
    assert where.shared == "the city of"
    assert "".join(where.tokens) == "Rome is in the city of"
    assert where.answer != where.rival
    assert where.answer_text and "Paris".startswith(where.answer_text)
    beginning = locate_prompt(lm, replace(same, rival="the city"))
    assert beginning.rival is None and beginning.shared == ""
    assert "".join(beginning.tokens) == "Rome is in"
    assert locate_prompt(lm, replace(same, rival="the city of Paris")).rival is None


def test_special_tokens_in_a_prompt_are_text() -> None:
    lm = tiny_lm(bos=True)
    where = locate_prompt(lm, TracedPrompt(phrase=Phrase(template="{} </s> is in", subject="<s>"), answer="</s>"))
    assert where.ids.count(lm.tokenizer.bos_token_id) == 1
    assert lm.tokenizer.eos_token_id not in where.ids
    assert where.answer != lm.tokenizer.eos_token_id
    assert "".join(where.tokens[index] for index in where.subject) == "<s>"
