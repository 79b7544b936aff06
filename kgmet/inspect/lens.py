"""`read_lens`: the logit lens at every layer, with a patch off and on.

The logit lens (nostalgebraist, 2020): the final norm and the vocabulary projection applied to the residual stream after
every decoder layer. After the last layer it is the model's own answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.inspect.shift import layer_states, token_texts
from kgmet.inspect.texts import InspectedText
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate
from kgmet.lm.say.score import NextToken
from kgmet.write.patch import EditPatch, attached

__all__ = ["AnswerAtLayer", "LensReading", "LensRow", "read_lens"]


@dataclass(frozen=True, kw_only=True)
class AnswerAtLayer:
    """Probability, in [0, 1], and rank, from 1, of an answer's first token at one layer."""

    probability: float
    rank: int


@dataclass(frozen=True, kw_only=True)
class LensRow:
    """One layer's likeliest next tokens, best first, and the answers in the order of `LensReading.answers`."""

    layer: int
    top: tuple[NextToken, ...]
    answers: tuple[AnswerAtLayer, ...]


@dataclass(frozen=True, kw_only=True)
class LensReading:
    """Logit lens of all layers at one position of one text, before and after.

    `divergence` is KL(before ‖ after) of the next-token distributions by layer, in nats. `answers` are the texts whose
    first tokens (`answer_tokens`) are followed.
    """

    source: InspectedText
    position: int
    token: str
    answers: tuple[str, ...]
    answer_tokens: tuple[str, ...]
    before: tuple[LensRow, ...]
    after: tuple[LensRow, ...]
    divergence: tuple[float, ...]


def read_lens(
    lm: LoadedLM,
    patches: EditPatch | Sequence[EditPatch],
    text: InspectedText,
    *,
    position: int,
    earlier: Sequence[EditPatch] = (),
    k: int = 5,
) -> LensReading:
    """Apply the logit lens to every layer at one token position.

    Args:
        lm: the model; nothing needs to be attached.
        patches: the patches to inspect.
        text: the prompt; its new and old answer are tracked.
        position: token position from 0; negative counts from the end.
        earlier: patches that are attached in both cases.
        k: number of likeliest tokens to return.

    Raises:
        IndexError: if the text has no such position.
        StaleArtifactError: if a patch was made for another model.
    """
    span = locate(lm, text.phrase)
    ids = span.input_ids
    if not -len(ids) <= position < len(ids):
        raise IndexError(f"{text.text!r} has {len(ids)} tokens; there is no position {position}")
    position %= len(ids)
    several = [patches] if isinstance(patches, EditPatch) else list(patches)
    first = [_first_token(lm, text, answer) for answer in text.answers]
    with attached(list(earlier), lm):
        before = _logprobs(lm, layer_states(lm, ids)[:, position])
    with attached([*earlier, *several], lm):
        after = _logprobs(lm, layer_states(lm, ids)[:, position])
    return LensReading(
        source=text,
        position=position,
        token=token_texts(lm, ids)[position],
        answers=text.answers,
        answer_tokens=token_texts(lm, first),
        before=_rows(lm, before, first, k),
        after=_rows(lm, after, first, k),
        divergence=tuple(float(value) for value in (before.exp() * (before - after)).sum(-1).clamp(min=0)),
    )


def _first_token(lm: LoadedLM, text: InspectedText, answer: str) -> int:
    """Return the first token of the answer after the full prompt."""
    phrase = Phrase(
        template=text.phrase.template, subject=text.phrase.subject, prefix=text.phrase.prefix, target=answer
    )
    return locate(lm, phrase).target_ids[0]


def _logprobs(lm: LoadedLM, states: Tensor) -> Tensor:
    """Compute log-probabilities (n_layer, d_vocab), float64, from states (n_layer, d_model)."""
    with torch.no_grad():
        return lm.vocabulary_logits(states.to(device=lm.device, dtype=lm.dtype)).double().log_softmax(-1).cpu()


def _rows(lm: LoadedLM, logprobs: Tensor, first: Sequence[int], k: int) -> tuple[LensRow, ...]:
    top = logprobs.topk(k, dim=-1)
    return tuple(
        LensRow(
            layer=layer,
            top=tuple(
                NextToken(text=text, probability=float(value.exp()))
                for text, value in zip(token_texts(lm, top.indices[layer].tolist()), top.values[layer], strict=True)
            ),
            answers=tuple(
                AnswerAtLayer(probability=float(row[token].exp()), rank=int((row > row[token]).sum()) + 1)
                for token in first
            ),
        )
        for layer, row in enumerate(logprobs)
    )
