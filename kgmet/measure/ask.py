"""`ask`: put questions to the model with its attached patches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.ranges import check_numbers
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Asked, Side, ask_sides, unchanged
from kgmet.lm.say.score import chat_question, generate, likeliest, question_and_answer
from kgmet.measure.answer import Answer
from kgmet.measure.question import Form, Question
from kgmet.measure.verdict import judged_text

__all__ = ["Decoding", "SideAnswers", "ask", "ask_each_side", "form_of", "worded"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Length and sampling of answers. `temperature` 0 is greedy; above 0 samples with `seed`."""

    max_new_tokens: int = 12
    """Longest continuation of a cloze, in tokens."""
    max_answer_tokens: int = 32
    """Longest answer to a question, in tokens; long enough for a full sentence."""
    temperature: float = 0.0
    seed: int = 0
    top_k: int = 10
    """Number of next-token candidates to return."""
    only_judged: bool = False
    """Whether a greedy cloze stops at the end of its sentence, because later text is not judged."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "decoding", "max_new_tokens", "max_answer_tokens", "temperature", least=0)
        check_numbers(self, "decoding", "top_k", least=1)

    def longest(self, question: Question) -> int:
        """Return the most tokens generated for this question."""
        return self.max_new_tokens if question.is_cloze else self.max_answer_tokens

    def stops(self, question: Question) -> bool:
        """Return whether the answer to this question stops where its sentence ends."""
        return self.only_judged and question.is_cloze


@dataclass(frozen=True, eq=False, kw_only=True)
class SideAnswers:
    """One side's answers in order, and next-token logits (n_question, d_vocab), float32 on the CPU."""

    answers: list[Answer]
    logits: Tensor


def form_of(lm: LoadedLM, question: Question) -> Form:
    """Return the form for this model: ``Q: … A:`` replaces chat without a chat template."""
    if question.form is Form.CHAT and not lm.tokenizer.chat_template:
        return Form.QUESTION_AND_ANSWER
    return question.form


def worded(lm: LoadedLM, question: Question) -> str:
    """Return the text before the answer, as the model sees it."""
    form = form_of(lm, question)
    if form is Form.CLOZE:
        return question.text
    if form is Form.QUESTION_AND_ANSWER:
        return question_and_answer(question.text)
    return chat_question(lm, question.text)


def ask(
    lm: LoadedLM,
    questions: Sequence[Question],
    *,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
    batch_size: int = 48,
) -> list[Answer]:
    """Ask each question: generated text, scores of expected and rejected answer, likeliest next tokens.

    Raises:
        EmptyTextError: if an expected answer has no token of its own.
        Cancelled: if asked to stop.
    """
    (side,) = ask_each_side(lm, questions, [unchanged], decoding=decoding, progress=progress, batch_size=batch_size)
    return side.answers


def ask_each_side(
    lm: LoadedLM,
    questions: Sequence[Question],
    sides: Sequence[Side],
    *,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
    batch_size: int = 48,
    max_token: int = 768,
    on_first: Callable[[list[Answer]], None] | None = None,
) -> list[SideAnswers]:
    """Ask several changed models at once (see `kgmet.lm.say.packed.ask_sides`); one value per side.

    A question that occurs twice is asked once. The questions are asked in equal batches of about `batch_size`, because
    a small last batch would generate as many tokens, one by one, as a full one. A batch is laid out in trees of at
    most `max_token` tokens. Each tree is answered token by token, so few trees suit long answers and many suit long
    prompts. `on_first` receives each side's answer to the first question before the others end (see `ask_sides`).
    `progress` can cancel before every pass.
    """
    decoding, progress = decoding or Decoding(), progress or Silent()
    unique = list(dict.fromkeys(questions))
    found: list[list[SideAnswers]] = [[] for _ in sides]
    n_batch = max(1, round(len(unique) / batch_size))
    ends = [len(unique) * number // n_batch for number in range(n_batch + 1)]
    for begin, end in itertools.pairwise(ends) if unique else ():
        progress.report(ProgressEvent(stage=Stage.PROBE, done=begin, total=len(unique)))
        progress.check()
        batch = _batch(
            lm,
            unique[begin:end],
            sides,
            decoding,
            max_token=max_token,
            on_first=None if begin else on_first,
            check=progress.check,
        )
        for mine, answers in zip(found, batch, strict=True):
            mine.append(answers)
    progress.report(ProgressEvent(stage=Stage.PROBE, done=len(unique), total=len(unique)))
    place = {question: number for number, question in enumerate(unique)}
    order = [place[question] for question in questions]
    return [_in_order(parts, order) for parts in found]


def _in_order(parts: Sequence[SideAnswers], order: Sequence[int]) -> SideAnswers:
    """Return the answers of all batches in another order, in which one may occur twice."""
    if not parts:
        return SideAnswers(answers=[], logits=torch.empty(0, 0, dtype=torch.float32))
    answers, logits = [answer for part in parts for answer in part.answers], torch.cat([p.logits for p in parts])
    if list(order) != list(range(len(answers))):
        logits = logits[list(order)]
    return SideAnswers(answers=[answers[number] for number in order], logits=logits)


def _batch(
    lm: LoadedLM,
    questions: Sequence[Question],
    sides: Sequence[Side],
    decoding: Decoding,
    *,
    max_token: int,
    on_first: Callable[[list[Answer]], None] | None,
    check: Callable[[], None],
) -> list[SideAnswers]:
    texts = [worded(lm, question) for question in questions]
    pairs = [
        (text, answer)
        for text, question in zip(texts, questions, strict=True)
        for answer in (question.expected, question.rejected)
        if answer
    ]
    # A greedy answer continues from the same pass that gives the probabilities.
    is_greedy = decoding.temperature == 0
    lengths = [decoding.longest(question) if is_greedy else 0 for question in questions]
    done = [_sentence_ends(question) if decoding.stops(question) else None for question in questions]

    def first_known(sides_of_first: list[Asked], tell: Callable[[list[Answer]], None]) -> None:
        tell([_answers(lm, questions[:1], one, one.texts, decoding).answers[0] for one in sides_of_first])

    asked = ask_sides(
        lm,
        texts,
        pairs,
        sides=sides,
        max_new_tokens=lengths,
        is_done=done,
        max_token=max_token,
        on_first=None if on_first is None else partial(first_known, tell=on_first),
        check=check,
    )
    return [
        _answers(lm, questions, one, one.texts if is_greedy else _sampled(lm, questions, side, decoding), decoding)
        for side, one in zip(sides, asked, strict=True)
    ]


def _sentence_ends(question: Question) -> Callable[[str], bool]:
    """Return whether a text holds all that is judged, whatever follows: "3." may be the beginning of "3.5"."""
    names = (*question.expected_names, *question.rejected_names)

    def ends(text: str) -> bool:
        going_on = f"{text}x"
        return len(judged_text(going_on, Form.CLOZE, names)) < len(going_on.strip())

    return ends


def _sampled(lm: LoadedLM, questions: Sequence[Question], side: Side, decoding: Decoding) -> Sequence[str]:
    found: dict[int, str] = {}
    for is_chat in (False, True):
        members = [n for n, question in enumerate(questions) if (form_of(lm, question) is Form.CHAT) is is_chat]
        if members:
            texts = [questions[n].text if is_chat else worded(lm, questions[n]) for n in members]
            with side(None):
                made = generate(
                    lm,
                    texts,
                    max_new_tokens=max(decoding.longest(questions[n]) for n in members),
                    chat=is_chat,
                    temperature=decoding.temperature,
                    seed=decoding.seed,
                )
            found |= zip(members, made, strict=True)
    return [found[n] for n in range(len(questions))]


def _answers(
    lm: LoadedLM, questions: Sequence[Question], asked: Asked, texts: Sequence[str], decoding: Decoding
) -> SideAnswers:
    scores = iter(asked.scores)
    answers = [
        Answer(
            question=question,
            said=text,
            form=form_of(lm, question),
            expected=next(scores) if question.expected else None,
            rejected=next(scores) if question.rejected else None,
            top=tuple(top),
        )
        for question, text, top in zip(questions, texts, likeliest(lm, asked.logits, k=decoding.top_k), strict=True)
    ]
    return SideAnswers(answers=answers, logits=asked.logits)
