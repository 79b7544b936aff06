"""`run_probes`: ask everything once, of the model as it is, with whatever patch is attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Asked, Side, ask_sides, unchanged
from kgmet.lm.say.score import AnswerScore, NextToken, generate, likeliest
from kgmet.measure.prompts import ProbePrompt

__all__ = ["Decoding", "ProbeAnswers", "ProbeResult", "ask_probes", "run_probes"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How answers are written out. `temperature` 0 is greedy; above 0 samples with `seed`."""

    max_new_tokens: int = 12
    temperature: float = 0.0
    seed: int = 0
    chat: bool = False
    """Put the prompt into the model's chat template."""
    top_k: int = 10
    """How many next-token candidates are kept."""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What the model said to one prompt.

    `answer` is the decoded continuation. `expected` and `rejected` are scores of those answers, ``None`` where there is
    none. `top` are the likeliest next tokens. `matches` says whether the answer's text starts with, or for a question
    contains, the expected answer or an alias.
    """

    prompt: ProbePrompt
    answer: str
    expected: AnswerScore | None
    rejected: AnswerScore | None
    top: tuple[NextToken, ...]
    matches: bool | None

    @property
    def prefers_expected(self) -> bool | None:
        """Whether the expected answer is likelier than the rejected one; ``None`` without both."""
        if self.expected is None or self.rejected is None:
            return None
        return self.expected.logprob > self.rejected.logprob

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "prompt": self.prompt.to_json(),
            "answer": self.answer,
            "expected": None if self.expected is None else asdict(self.expected),
            "rejected": None if self.rejected is None else asdict(self.rejected),
            "top": [asdict(token) for token in self.top],
            "matches": self.matches,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProbeResult:
        """Inverse of `to_json`.

        Raises:
            BrokenArtifactError: if the mapping is no result of a probe.
        """
        try:
            return cls(
                prompt=ProbePrompt.from_json(data["prompt"]),
                answer=str(data["answer"]),
                expected=None if data["expected"] is None else AnswerScore(**data["expected"]),
                rejected=None if data["rejected"] is None else AnswerScore(**data["rejected"]),
                top=tuple(NextToken(**token) for token in data["top"]),
                matches=None if data["matches"] is None else bool(data["matches"]),
            )
        except (KeyError, TypeError) as error:
            raise BrokenArtifactError(f"This is no result of a probe: {error}") from error


def run_probes(
    lm: LoadedLM,
    prompts: Sequence[ProbePrompt],
    *,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
    batch_size: int = 48,
) -> list[ProbeResult]:
    """Ask each prompt: free text, probabilities of the expected and the rejected answer, likeliest next tokens.

    Raises:
        EmptyTextError: if an expectation has no token of its own.
        Cancelled: if asked to stop.
    """
    return ask_probes(lm, prompts, [unchanged], decoding=decoding, progress=progress, batch_size=batch_size)[0].results


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeAnswers:
    """What one side says: results by prompt, and logits (n_prompt, d_vocab), float32 on the CPU, of the next token."""

    results: list[ProbeResult]
    logits: Tensor


def ask_probes(
    lm: LoadedLM,
    prompts: Sequence[ProbePrompt],
    sides: Sequence[Side],
    *,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
    batch_size: int = 48,
) -> list[ProbeAnswers]:
    """As `run_probes`, of several changed models at once (see `kgmet.lm.say.packed.ask_sides`); one value a side."""
    decoding, progress = decoding or Decoding(), progress or Silent()
    found: list[list[ProbeAnswers]] = [[] for _ in sides]
    for begin in range(0, len(prompts), batch_size):
        progress.report(ProgressEvent(stage="probe", done=begin, total=len(prompts)))
        progress.check()
        for mine, answers in zip(found, _batch(lm, prompts[begin : begin + batch_size], sides, decoding), strict=True):
            mine.append(answers)
    progress.report(ProgressEvent(stage="probe", done=len(prompts), total=len(prompts)))
    return [
        ProbeAnswers(
            results=[result for part in parts for result in part.results],
            logits=torch.cat([part.logits for part in parts]) if parts else torch.empty(0, 0),
        )
        for parts in found
    ]


def _batch(
    lm: LoadedLM, prompts: Sequence[ProbePrompt], sides: Sequence[Side], decoding: Decoding
) -> list[ProbeAnswers]:
    texts = [prompt.text for prompt in prompts]
    pairs = [(prompt.text, answer) for prompt in prompts for answer in (prompt.expected, prompt.rejected) if answer]
    # A plain greedy answer goes on from the very pass that gives the probabilities.
    goes_on = not decoding.chat and decoding.temperature == 0
    asked = ask_sides(lm, texts, pairs, sides=sides, max_new_tokens=decoding.max_new_tokens if goes_on else 0)
    return [
        _answers(lm, prompts, said, said.texts if goes_on else _decoded(lm, texts, side, decoding), decoding)
        for side, said in zip(sides, asked, strict=True)
    ]


def _decoded(lm: LoadedLM, texts: Sequence[str], side: Side, decoding: Decoding) -> Sequence[str]:
    """Continuations in the chat template, or sampled."""
    with side(None):
        return generate(
            lm,
            texts,
            max_new_tokens=decoding.max_new_tokens,
            chat=decoding.chat,
            temperature=decoding.temperature,
            seed=decoding.seed,
        )


def _answers(
    lm: LoadedLM, prompts: Sequence[ProbePrompt], said: Asked, texts: Sequence[str], decoding: Decoding
) -> ProbeAnswers:
    scores = iter(said.scores)
    results = []
    for prompt, text, top in zip(prompts, texts, likeliest(lm, said.logits, k=decoding.top_k), strict=True):
        expected = next(scores) if prompt.expected else None
        rejected = next(scores) if prompt.rejected else None
        results.append(
            ProbeResult(
                prompt=prompt,
                answer=text,
                expected=expected,
                rejected=rejected,
                top=tuple(top),
                matches=_matches(prompt, text),
            )
        )
    return ProbeAnswers(results=results, logits=said.logits)


def _matches(prompt: ProbePrompt, answer: str) -> bool | None:
    if prompt.expected is None:
        return None
    said = " ".join(answer.casefold().split())
    wanted = [" ".join(text.casefold().split()) for text in (prompt.expected, *prompt.aliases)]
    if prompt.is_question:
        return any(text in said for text in wanted)
    starts = (said, said.removeprefix("the "))
    return any(start.startswith(text) for start in starts for text in wanted)
