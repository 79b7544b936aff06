"""`score_cases`: ask everything about some cases once, of the model as it is.

Teacher-forced probabilities of both answers, a free continuation beside them, and longer texts for fluency and
consistency. Prompts of all cases share batches; a prompt is encoded once for all its answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import digest
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.datasets.mquake import COT_SHOTS, PLAIN_SHOTS
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.continue_texts import Continuation, continue_texts
from kgmet.lm.say.packed import score_packed
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.metrics import TfIdf, n_gram_entropy

__all__ = ["AskScore", "CaseScore", "ScoreConfig", "names_expected", "score_cases"]

_BATCH = 64
"""Texts continued at once: a step reads every weight, for however many."""
_FREE_KINDS = frozenset(AskKind) - {AskKind.NEIGHBORHOOD, AskKind.LOCALITY}


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """What is asked beyond probabilities."""

    free_tokens: int = 12
    """Length of the free continuations; 0 leaves them out."""
    n_generation: int = 2
    """Most generation prompts of a case that are continued for fluency; 0 leaves fluency and consistency out."""
    generation_tokens: int = 100
    """Their length, in tokens; the public code's is 100."""
    generation_top_k: int = 5
    """The public code draws from the five likeliest tokens."""
    generation_interval: int = 1
    """Only every so manieth case is continued."""
    chain_of_thought: bool = True
    """Ask MQuAKE's questions with worked-out examples too."""
    seed: int = 0
    """Of the sampling."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("free_tokens", "n_generation", "generation_tokens", "generation_top_k"):
            if getattr(self, name) < 0:
                raise ConfigError(f"score.{name} must be at least 0, got {getattr(self, name)}")
        if self.generation_interval < 1:
            raise ConfigError(f"score.generation_interval must be at least 1, got {self.generation_interval}")


@dataclass(frozen=True, kw_only=True)
class AskScore:
    """One prompt's result.

    `preferred`: the expected answer is likelier per token than the rejected one, as the public code compares; ``None``
    without a rejected one. `first`: greedy decoding gives exactly the expected answer. `accuracy`: share of its tokens
    that are likeliest after the right ones. Log-probabilities are in nats per token. `said`: the free continuation
    names the expected answer first; `said_cot` the same with chain of thought. ``None`` where it was not asked.
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
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """A case's results, `asks` in the order of the case's; `texts` are the longer continuations."""

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
        lm: the model with whatever is attached.
        cases: what to ask.
        config: what is asked beyond probabilities.
        tfidf: word weights for consistency; without them there is none.
        positions: place of each case in its data set, for `config.generation_interval`.
    """
    asks = [ask for case in cases for ask in case.asks]
    answers = iter(_answers(lm, asks))
    said = _said(lm, asks, config)
    cot = _said_with_thoughts(lm, asks, config)
    scores = iter(
        [
            _ask_score(ask, next(answers), next(answers) if ask.rejected else None, said.get(n), cot.get(n))
            for n, ask in enumerate(asks)
        ]
    )
    places = list(positions) if positions is not None else list(range(len(cases)))
    texts = _texts(lm, cases, places, config)
    return [
        _case_score(case, tuple(next(scores) for _ in case.asks), written, tfidf)
        for case, written in zip(cases, texts, strict=True)
    ]


def names_expected(text: str, ask: Ask) -> bool:
    """Whether `text` names the expected answer or an alias as whole words, and the rejected one not before it."""
    wanted = _first_place(text, (ask.expected, *ask.aliases))
    if wanted is None:
        return False
    other = None if ask.rejected is None else _first_place(text, (ask.rejected,))
    return other is None or wanted <= other


def _answers(lm: LoadedLM, asks: Sequence[Ask]) -> list[AnswerScore]:
    pairs = [(ask.prompt, answer) for ask in asks for answer in (ask.expected, ask.rejected) if answer]
    return score_packed(lm, pairs) if pairs else []


def _said(lm: LoadedLM, asks: Sequence[Ask], config: ScoreConfig) -> dict[int, str]:
    """Free continuations by place of the prompt."""
    if not config.free_tokens:
        return {}
    how = Continuation(max_new_tokens=config.free_tokens, stop="\n")
    groups: dict[str, list[int]] = {"": [], "Q: ": [], PLAIN_SHOTS + "Q: ": []}
    for n, ask in enumerate(asks):
        if ask.kind in _FREE_KINDS:
            shots = PLAIN_SHOTS if ask.kind is AskKind.MULTI_HOP else ""
            groups[f"{shots}Q: " if ask.is_question else ""].append(n)
    found: dict[int, str] = {}
    for before, members in groups.items():
        ending = "\nA:" if before else ""
        prompts = [f"{before}{asks[n].prompt}{ending}" for n in members]
        # Worked examples stand before every text of a batch, each time with keys and values of their own.
        size = _BATCH if before != PLAIN_SHOTS + "Q: " else _BATCH // 2
        found |= dict(zip(members, continue_texts(lm, prompts, how=how, batch_size=size), strict=True))
    return found


def _said_with_thoughts(lm: LoadedLM, asks: Sequence[Ask], config: ScoreConfig) -> dict[int, str]:
    """Answers after worked-out thoughts, by place of the prompt; empty where no answer was reached."""
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
    """(prompt, continuation) pairs of each case; each distinct prompt is continued once."""
    if not config.n_generation or not config.generation_tokens:
        return [()] * len(cases)
    how = Continuation(max_new_tokens=config.generation_tokens, top_k=config.generation_top_k)
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
        preferred=None if rejected is None else expected.mean_logprob > rejected.mean_logprob,
        first=expected.is_first,
        accuracy=expected.n_hit / expected.n_token,
        logprob=expected.mean_logprob,
        rejected_logprob=None if rejected is None else rejected.mean_logprob,
        said=None if text is None else names_expected(text, ask),
        said_cot=None if thought is None else names_expected(thought, ask),
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


def _first_place(text: str, names: Iterable[str]) -> int | None:
    folded = " ".join(text.casefold().split())
    places = [
        match.start()
        for name in names
        if (match := re.search(rf"(?<!\w){re.escape(' '.join(name.casefold().split()))}(?!\w)", folded))
    ]
    return min(places, default=None)
