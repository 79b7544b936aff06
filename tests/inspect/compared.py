"""A comparison made by hand: three questions, three editors, one of which fails."""

from __future__ import annotations

from kgmet.editing.editors import EDITORS
from kgmet.fact import FactEdit
from kgmet.inspect.comparison import Candidate, CandidateResult, EditorComparison
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.answer import Answer
from kgmet.measure.compare import compare_answers
from kgmet.measure.question import Form, Question, QuestionKind

_QUESTIONS = tuple(
    Question(kind=kind, text=f"{kind.value} {expected} is in", expected=expected, rejected=rejected)
    for kind, expected, rejected in (
        (QuestionKind.MULTI_HOP, "Japan", "France"),
        (QuestionKind.MULTI_HOP, "Asia", "Europe"),
        (QuestionKind.NEIGHBOUR, "Rome", "Tokyo"),
    )
)


def by_hand() -> EditorComparison:
    """Two questions that should change, the second of them so before, and one that must stay; MEMIT fails."""
    before = _answers("France", "Asia", "Oslo")
    edit = FactEdit(subject="The Eiffel Tower", template="{} is in", new_object="Tokyo", old_object="Paris")
    results = (
        CandidateResult(
            candidate=_candidate("KGMET"), comparison=compare_answers(before, _answers("Japan", "Asia", "Oslo"))
        ),
        CandidateResult(candidate=_candidate("MEMIT"), error="no such layer"),
        CandidateResult(
            candidate=_candidate("AlphaEdit"), comparison=compare_answers(before, _answers("", "Asia", "Tokyo"))
        ),
    )
    return EditorComparison(edit=edit, before=before, perplexity=1.0, n_token=1, results=results)


def _candidate(name: str) -> Candidate:
    return Candidate(label=name, editor=EDITORS[name], config=EDITORS[name].config)


def _answers(*said: str) -> tuple[Answer, ...]:
    """Answers to the three questions; expected and rejected are equally likely, so that nothing is preferred."""
    return tuple(
        Answer(
            question=question,
            said=text,
            form=Form.CLOZE,
            expected=_score(question.text, question.expected),
            rejected=_score(question.text, question.rejected),
        )
        for question, text in zip(_QUESTIONS, said, strict=True)
    )


def _score(prompt: str, answer: str | None) -> AnswerScore:
    return AnswerScore(prompt=prompt, answer=answer or "", logprob=-1.0, n_token=1, is_first=False, rank=2, n_hit=0)
