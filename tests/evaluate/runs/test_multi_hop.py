"""Questions over several facts are the same for every editor, and are asked in the form a person uses."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.runs.multi_hop import with_multi_hop
from kgmet.evaluate.runs.rows import case_row
from kgmet.evaluate.runs.score import AskScore, CaseScore, ScoreConfig, score_cases
from kgmet.fact import FactEdit
from kgmet.lm.say.score import generate
from tests.graph.small_world import CATALOGUE, world
from tests.tiny_models import tiny_lm

TOWER = FactEdit(
    subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo", old_object="Paris"
)
OWN = Ask(kind=AskKind.EFFICACY, prompt=TOWER.prompt, expected="Tokyo", rejected="Paris")


def case_of(*asks: Ask, edit: FactEdit = TOWER) -> EvalCase:
    return EvalCase(case_id="1", edits=(edit,), asks=(OWN, *asks))


def asked(case: EvalCase, *, most: int = 3) -> EvalCase:
    return with_multi_hop(case, store=world(), catalogue=CATALOGUE, most=most)


def in_chat(case: EvalCase) -> tuple[Ask, ...]:
    return case.of(AskKind.MULTI_HOP_CHAT)


def test_questions_come_from_the_graph() -> None:
    made = in_chat(asked(case_of()))
    assert 1 <= len(made) <= 3 and len({ask.prompt for ask in made}) == len(made)
    for ask in made:
        assert "Eiffel Tower" in ask.prompt and ask.prompt.endswith("?") and ask.is_question
        assert ask.expected != ask.rejected


def test_none_are_added_where_none_are_wanted_or_the_graph_knows_nothing() -> None:
    assert asked(case_of(), most=0) == case_of()
    unknown = FactEdit(subject="Zorblax", template="{} is known for", new_object="Quux", old_object="Blip")
    assert asked(case_of(edit=unknown)) == case_of(edit=unknown)


def test_mquake_is_asked_its_own_questions() -> None:
    own = Ask(kind=AskKind.MULTI_HOP, prompt="Which country?", expected="Japan", aliases=("Nippon",), is_question=True)
    made = in_chat(asked(case_of(own)))
    assert made == (replace(own, kind=AskKind.MULTI_HOP_CHAT),)


def test_a_question_is_scored_in_chat() -> None:
    lm = tiny_lm()
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}<user> {{ message['content'] }}\n{% endfor %}<assistant> "
    lm = replace(lm, tokenizer=tokenizer)
    question = Ask(
        kind=AskKind.MULTI_HOP_CHAT, prompt="Which country?", expected="Japan", rejected="France", is_question=True
    )
    case = case_of(question)
    config = ScoreConfig(free_tokens=3, n_generation=0, answer_tokens=5)
    (score,) = score_cases(lm, [case], config=config)
    assert score.asks[0].text == generate(lm, [OWN.prompt], max_new_tokens=3)[0]
    assert score.asks[1].text == generate(lm, ["<user> Which country?\n<assistant> "], max_new_tokens=5)[0]
    (silent,) = score_cases(lm, [case], config=replace(config, answer_tokens=0))
    assert silent.asks[1].said is None and silent.asks[1].text is None
    assert silent.asks[1].logprob == pytest.approx(score.asks[1].logprob, abs=1e-4)


@pytest.mark.parametrize(
    ("was", "now", "is_said", "is_kept"),
    [
        (" London, England", " London", False, True),
        (" London", " Oslo", False, False),
        (" London", " Paris", True, True),
        ("", "", False, False),
        (None, None, None, None),
    ],
)
def test_what_must_stay_is_compared_with_the_unedited_model(
    was: str | None, now: str | None, is_said: bool | None, is_kept: bool | None
) -> None:
    def scored(text: str | None, said: bool | None) -> CaseScore:
        ask = AskScore(preferred=True, first=False, accuracy=0, logprob=-1, rejected_logprob=-2, said=said, text=text)
        return CaseScore(asks=(ask,), texts=(), fluency=None, consistency=None)

    stay = Ask(kind=AskKind.NEIGHBORHOOD, prompt="The Louvre is in", expected="Paris", rejected="Tokyo")
    case = EvalCase(case_id="1", edits=(TOWER,), asks=(stay,))
    row = case_row(case, scored(was, None if was is None else False), scored(now, is_said), position=0, batch=0)
    assert row["asks"][0]["unchanged"] is is_kept
