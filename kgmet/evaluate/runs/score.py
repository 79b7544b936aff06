"""`score_cases`: all measurements of some cases on the model with its attached patches.

These are teacher-forced probabilities of both answers, a free continuation, and longer texts for fluency and
consistency. Prompts of all cases share batches; a prompt is encoded once for all its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kgmet.base.fingerprint import digest
from kgmet.base.ranges import check_numbers
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.datasets.mquake import COT_SHOTS, PLAIN_SHOTS
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.continue_texts import Continuation, continue_texts
from kgmet.lm.say.packed import score_packed
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding
from kgmet.measure.ask import ask as ask_questions
from kgmet.measure.metrics import TfIdf, n_gram_entropy
from kgmet.measure.question import Form, Question, QuestionKind
from kgmet.measure.verdict import prefers

__all__ = ["AskScore", "CaseScore", "ScoreConfig", "question_of", "says_expected", "score_cases"]

_BATCH = 64
"""Texts continued in one batch; a step reads every weight once per batch."""
_GENERATION_TOP_K = 5
"""Texts for fluency and consistency are sampled from the five likeliest tokens, as in the ROME code."""
_STAYING_TOKENS = 8
"""Longest continuation, in tokens, if only its first clause is compared with the unedited model's."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Measurements beyond probabilities."""

    free_tokens: int = 12
    """Length of the free continuations in tokens; 0 leaves them out."""
    n_generation: int = 2
    """Most generation prompts per case that are continued; 0 leaves out fluency and consistency."""
    generation_tokens: int = 100
    """Length of these texts in tokens; the ROME code uses 100."""
    generation_interval: int = 1
    """Generate text for every N-th case only."""
    n_multi_hop: int = 4
    """Most multi-hop questions per case, asked in chat; 0 leaves them out."""
    answer_tokens: int = 32
    """Longest answer to such a question, in tokens."""
    chain_of_thought: bool = True
    """Whether MQuAKE's questions are also asked with chain-of-thought examples."""
    seed: int = 0
    """Seed of the sampling."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        counts = ("free_tokens", "n_generation", "generation_tokens", "n_multi_hop", "answer_tokens")
        check_numbers(self, "score", *counts, least=0)
        check_numbers(self, "score", "generation_interval", least=1)


@dataclass(frozen=True, kw_only=True)
class AskScore:
    """Result of one prompt.

    `preferred`: the expected answer is likelier per token than the rejected one, as in CounterFact's code; ``None``
    without a rejected one. `first`: greedy decoding gives exactly the expected answer. `accuracy`: share of its tokens
    that are likeliest after the right ones. Log-probabilities are in nats per token. `said`: the free continuation
    names the expected answer and not the rejected one; `said_cot`: the same with chain of thought. ``None`` if not
    asked.
    """

    preferred: bool | None
    first: bool
    accuracy: float
    logprob: float
    rejected_logprob: float | None
    said: bool | None = None
    said_cot: bool | None = None
    text: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """Results of a case, `asks` in the case's order; `texts` are the longer continuations."""

    asks: tuple[AskScore, ...]
    texts: tuple[str, ...]
    fluency: float | None
    consistency: float | None


def score_cases(
    lm: LoadedLM,
    cases: Sequence[EvalCase],
    *,
    config: ScoreConfig,
    tfidf: TfIdf | None = None,
    positions: Sequence[int] | None = None,
) -> list[CaseScore]:
    """Score cases in order.

    Args:
        lm: the model, with any attached patches.
        cases: the cases.
        config: measurements beyond probabilities.
        tfidf: word weights for consistency; ``None`` leaves it out.
        positions: position of each case in its data set, for `config.generation_interval`.
    """
    asks = [ask for case in cases for ask in case.asks]
    scores = iter(_ask_scores(lm, asks, config))
    places = list(positions) if positions is not None else list(range(len(cases)))
    texts = _texts(lm, cases, places, config)
    return [
        _case_score(case, tuple(next(scores) for _ in case.asks), written, tfidf)
        for case, written in zip(cases, texts, strict=True)
    ]


def says_expected(text: str, ask: Ask) -> bool:
    """Return whether a free continuation says the expected answer, by the rule of `kgmet.measure`."""
    question = question_of(ask)
    form = Form.QUESTION_AND_ANSWER if ask.is_question else Form.CLOZE
    return Answer(question=question, said=text, form=form).says


def question_of(ask: Ask) -> Question:
    """Return the prompt as a `Question`; only those over several facts are asked in chat.

    The others keep the form of their data set's code, so that shares are comparable with published ones.
    """
    is_chat = ask.kind is AskKind.MULTI_HOP_CHAT
    return Question(
        kind=QuestionKind.MULTI_HOP if is_chat else QuestionKind.OWN,
        text=ask.prompt,
        form=Form.CHAT if is_chat else Form.CLOZE,
        expected=ask.expected,
        rejected=ask.rejected,
        aliases=ask.aliases,
        rejected_aliases=ask.rejected_aliases,
    )


def _ask_scores(lm: LoadedLM, asks: Sequence[Ask], config: ScoreConfig) -> list[AskScore]:
    """Score in order: chat questions by `kgmet.measure`, the others in the form of their data set."""
    chat = [n for n, item in enumerate(asks) if item.kind is AskKind.MULTI_HOP_CHAT]
    rest = [n for n, item in enumerate(asks) if item.kind is not AskKind.MULTI_HOP_CHAT]
    plain = [asks[n] for n in rest]
    scores: dict[int, AskScore] = {}
    answers = iter(_answers(lm, plain))
    said = _said(lm, plain, config)
    cot = _said_with_thoughts(lm, plain, config)
    for place, n in enumerate(rest):
        expected, rejected = next(answers), next(answers) if asks[n].rejected else None
        scores[n] = _ask_score(asks[n], expected, rejected, said.get(place), cot.get(place))
    decoding = Decoding(max_answer_tokens=config.answer_tokens, top_k=1)
    for n, answer in zip(chat, ask_questions(lm, [question_of(asks[n]) for n in chat], decoding=decoding), strict=True):
        assert answer.expected is not None
        text = answer.said if config.answer_tokens else None
        score = _ask_score(asks[n], answer.expected, answer.rejected, None, None)
        scores[n] = replace(score, said=None if text is None else answer.says, text=text)
    return [scores[n] for n in range(len(asks))]


def _answers(lm: LoadedLM, asks: Sequence[Ask]) -> list[AnswerScore]:
    pairs = [(ask.prompt, answer) for ask in asks for answer in (ask.expected, ask.rejected) if answer]
    return score_packed(lm, pairs) if pairs else []


def _said(lm: LoadedLM, asks: Sequence[Ask], config: ScoreConfig) -> dict[int, str]:
    """Generate free continuations, by prompt index."""
    if not config.free_tokens:
        return {}
    groups: dict[tuple[str, int], list[int]] = {}
    for n, item in enumerate(asks):
        shots = PLAIN_SHOTS if item.kind is AskKind.MULTI_HOP else ""
        length = min(config.free_tokens, _STAYING_TOKENS) if item.kind.should_stay else config.free_tokens
        groups.setdefault((f"{shots}Q: " if item.is_question else "", length), []).append(n)
    found: dict[int, str] = {}
    for (before, length), members in groups.items():
        ending = "\nA:" if before else ""
        prompts = [f"{before}{asks[n].prompt}{ending}" for n in members]
        how = Continuation(max_new_tokens=length, stop="\n" if before else None)
        # Worked examples precede every text of a batch, each with its own keys and values.
        size = _BATCH if before != PLAIN_SHOTS + "Q: " else _BATCH // 2
        found |= dict(zip(members, continue_texts(lm, prompts, how=how, batch_size=size), strict=True))
    return found


def _said_with_thoughts(lm: LoadedLM, asks: Sequence[Ask], config: ScoreConfig) -> dict[int, str]:
    """Generate chain-of-thought answers, by prompt index; empty if no answer was reached."""
    members = [n for n, ask in enumerate(asks) if ask.kind is AskKind.MULTI_HOP]
    if not members or not config.chain_of_thought:
        return {}
    how = Continuation(max_new_tokens=64, stop="\n\n")
    prompts = [f"{COT_SHOTS}Question: {asks[n].prompt}\nThoughts:" for n in members]
    texts = continue_texts(lm, prompts, how=how)
    return {n: text.partition("Answer:")[2].partition("\n")[0] for n, text in zip(members, texts, strict=True)}


def _texts(
    lm: LoadedLM, cases: Sequence[EvalCase], places: Sequence[int], config: ScoreConfig
) -> list[tuple[tuple[str, str], ...]]:
    """Generate the (prompt, continuation) pairs of each case; each distinct prompt is continued once."""
    if not config.n_generation or not config.generation_tokens:
        return [()] * len(cases)
    how = Continuation(max_new_tokens=config.generation_tokens, top_k=_GENERATION_TOP_K)
    chosen = [
        tuple(dict.fromkeys(case.generation_prompts))[: config.n_generation]
        if place % config.generation_interval == 0
        else ()
        for case, place in zip(cases, places, strict=True)
    ]
    prompts = [prompt for group in chosen for prompt in group]
    seeds = [
        int(digest(str(config.seed), case.case_id, prompt)[:12], 16)
        for case, group in zip(cases, chosen, strict=True)
        for prompt in group
    ]
    texts = continue_texts(lm, prompts, how=how, seeds=seeds, batch_size=_BATCH)
    written = iter(zip(prompts, texts, strict=True))
    return [tuple(next(written) for _ in group) for group in chosen]


def _ask_score(
    ask: Ask, expected: AnswerScore, rejected: AnswerScore | None, text: str | None, thought: str | None
) -> AskScore:
    return AskScore(
        preferred=None if rejected is None else prefers(expected, rejected),
        first=expected.is_first,
        accuracy=expected.n_hit / expected.n_token,
        logprob=expected.mean_logprob,
        rejected_logprob=None if rejected is None else rejected.mean_logprob,
        said=None if text is None else says_expected(text, ask),
        said_cot=None if thought is None else says_expected(thought, ask),
        text=text,
    )


def _case_score(
    case: EvalCase, asks: tuple[AskScore, ...], written: tuple[tuple[str, str], ...], tfidf: TfIdf | None
) -> CaseScore:
    texts = tuple(text for _, text in written)
    entropies = [n_gram_entropy(prompt + text) for prompt, text in written]
    has_references = bool(texts and tfidf and case.references)
    return CaseScore(
        asks=asks,
        texts=texts,
        fluency=100 * sum(entropies) / len(entropies) if entropies else None,
        consistency=100
        * tfidf.similarity(" ".join(prompt + text for prompt, text in written), " ".join(case.references))
        if has_references and tfidf
        else None,
    )
