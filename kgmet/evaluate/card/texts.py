"""Effect of an edit on running text: divergence, perplexity, entropy and repetition."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.value import Cell
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import encode_texts
from kgmet.measure.general import bundled_passages, next_token_table
from kgmet.write.corpus import bundled_corpus

__all__ = ["TextLoss", "chosen_texts", "divergence_cell", "perplexity_cell", "repetition", "text_losses"]

_Z = 1.959964
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """One text: its `n` predicted tokens, and their summed losses before and after and divergence, in nats."""

    n: int
    before: float
    after: float
    divergence: float


def chosen_texts(lm: LoadedLM, n_token: int) -> tuple[list[str], str]:
    """Return texts of about `n_token` tokens, and a description of their source.

    The passages written for this project come first. Further text is taken from the corpus of the key statistics, which
    favours editors that use these statistics; the description says so.
    """
    found: list[str] = []
    count = 0
    n_corpus = 0
    for is_corpus, texts in ((False, bundled_passages()), (True, bundled_corpus().lines)):
        for text, row in zip(texts, encode_texts(lm, texts) if count < n_token else (), strict=False):
            if count >= n_token:
                break
            found.append(text)
            count += len(row.ids) - 1
            n_corpus += is_corpus
    where = f"{len(found) - n_corpus} passages written for this project"
    if n_corpus:
        where += f" and {n_corpus} texts of the corpus that the key statistics are measured on"
    return found, where


def text_losses(edited: EditedModel, texts: Sequence[str], *, batch_size: int = 8) -> list[TextLoss]:
    """Compute loss and divergence of each text; its first token is given."""
    rows = [row.ids for row in encode_texts(edited.base, texts)]
    order = sorted((n for n, row in enumerate(rows) if len(row) > 1), key=lambda n: len(rows[n]))
    found: dict[int, TextLoss] = {}
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        ids = [rows[n] for n in batch]
        with torch.no_grad():
            old, targets = next_token_table(edited.base, ids)
            with edited.attached():
                new, _ = next_token_table(edited.lm, ids)
        losses = [-table.gather(1, targets[:, None])[:, 0].double() for table in (old, new)]
        divergence = (old.exp() * (old - new)).double().sum(-1)
        sizes = torch.tensor([len(rows[n]) - 1 for n in batch], dtype=torch.int64, device=targets.device)
        text = torch.repeat_interleave(sizes)
        sums = [each.new_zeros(len(batch)).index_add_(0, text, each).tolist() for each in (*losses, divergence)]
        for n, size, before, after, moved in zip(batch, sizes.tolist(), *sums, strict=True):
            found[n] = TextLoss(n=size, before=before, after=after, divergence=max(moved, 0.0))
    return [found[n] for n in sorted(found)]


def divergence_cell(losses: Sequence[TextLoss], *, is_after: bool) -> Cell:
    """Return the mean KL per token; the interval treats texts, not tokens, as independent."""
    if not losses:
        return Cell()
    mean, error, n = _mean_per_token([loss.divergence if is_after else 0.0 for loss in losses], losses)
    return Cell(value=mean, n=n, interval=(max(0.0, mean - _Z * error), mean + _Z * error))


def perplexity_cell(losses: Sequence[TextLoss], *, is_after: bool) -> Cell:
    """Return the perplexity, with its standard error (delta method) in the note."""
    if not losses:
        return Cell()
    mean, error, n = _mean_per_token([loss.after if is_after else loss.before for loss in losses], losses)
    value = math.exp(min(mean, 700.0))
    interval = math.exp(min(mean - _Z * error, 700.0)), math.exp(min(mean + _Z * error, 700.0))
    return Cell(value=value, n=n, interval=interval, note=f"standard error {value * error:.2g}")


def repetition(text: str) -> float | None:
    """Return the share of repeated trigrams of words and signs; ``None`` for fewer than three words."""
    words = _WORD.findall(text)
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else None


def _mean_per_token(sums: Sequence[float], losses: Sequence[TextLoss]) -> tuple[float, float, int]:
    """Return Σ sum / Σ n, its standard error as a ratio over texts (Cochran 1977, §2.11), and Σ n."""
    total, k = sum(loss.n for loss in losses), len(losses)
    mean = sum(sums) / total
    if k < 2:
        return mean, 0.0, total
    spread = sum((one - mean * loss.n) ** 2 for one, loss in zip(sums, losses, strict=True))
    return mean, math.sqrt(k / (k - 1) * spread) / total, total
