"""Effect of an edit on running text: divergence and perplexity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.evaluate.card.edited import EditedModel, same_base
from kgmet.evaluate.card.known import KnownAnswers, TextLoss
from kgmet.evaluate.card.value import Cell
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import encode_texts
from kgmet.measure.general import bundled_passages, next_token_states, token_parts
from kgmet.write.corpus import bundled_corpus

__all__ = ["chosen_texts", "divergence_cell", "perplexity_cell", "text_losses"]

_Z = 1.959964


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


def text_losses(
    models: Sequence[EditedModel],
    texts: Sequence[str],
    *,
    known: KnownAnswers,
    progress: Progress | None = None,
    batch_size: int = 8,
) -> list[tuple[TextLoss, ...]]:
    """Compute loss and divergence of each text for each edited model; a text's first token is given.

    The unedited model reads the texts once: its last states are `known` afterwards.

    Raises:
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    base = same_base(models).base
    rows = [row.ids for row in encode_texts(base, texts)]
    order = sorted((n for n, row in enumerate(rows) if len(row) > 1), key=lambda n: len(rows[n]))
    batches = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
    missing = {model.key: model for model in models if known.losses(model.key, texts) is None}
    found: dict[str, dict[int, TextLoss]] = {key: {} for key in missing}
    if missing:
        states = _base_states(models[0], texts, [[rows[n] for n in batch] for batch in batches], known, progress)
        for done, (batch, before) in enumerate(zip(batches, states, strict=True)):
            progress.report(ProgressEvent(stage=Stage.CARD, done=done, total=len(batches)))
            progress.check()
            for key, losses in _batch_losses(base, missing, [rows[n] for n in batch], before).items():
                found[key] |= zip(batch, losses, strict=True)
        progress.report(ProgressEvent(stage=Stage.CARD, done=len(batches), total=len(batches)))
    for key, by_text in found.items():
        known.keep_losses(key, texts, [by_text[n] for n in sorted(by_text)])
    return [known.losses(model.key, texts) or () for model in models]


def _base_states(
    model: EditedModel,
    texts: Sequence[str],
    batches: Sequence[Sequence[Sequence[int]]],
    known: KnownAnswers,
    progress: Progress,
) -> list[Tensor]:
    """Return the unedited model's last states of each batch (n_token, d_model), at the tokens that predict one."""
    sizes = [sum(len(row) - 1 for row in batch) for batch in batches]
    kept = known.states(model.base_key, texts)
    if kept is None or kept.shape != (sum(sizes), model.base.d_model):
        parts = []
        for done, batch in enumerate(batches):
            progress.report(ProgressEvent(stage=Stage.CARD, done=done, total=len(batches)))
            progress.check()
            with torch.no_grad(), model.base_side(None):
                parts.append(next_token_states(model.base, batch)[0].cpu())
        kept = torch.cat(parts) if parts else torch.empty(0, model.base.d_model, dtype=model.base.dtype)
        known.keep_states(model.base_key, texts, kept)
    return list(torch.split(kept.to(model.base.device), sizes))


def _batch_losses(
    base: LoadedLM, models: Mapping[str, EditedModel], ids: Sequence[Sequence[int]], before: Tensor
) -> dict[str, list[TextLoss]]:
    """Return the losses of each text by model, from the unedited model's last states (n_token, d_model)."""
    after: dict[str, Tensor] = {}
    tokens: dict[str, list[Tensor]] = {key: [] for key in models}
    with torch.no_grad():
        for key, model in models.items():
            with model.attached():
                after[key], targets = next_token_states(model.lm, ids)
        for part in token_parts(base, len(before)):
            old = base.vocabulary_logits(before[part]).log_softmax(-1)
            for key, model in models.items():
                with model.attached():
                    new = model.lm.vocabulary_logits(after[key][part]).log_softmax(-1)
                tokens[key].append(_token_losses(old, new, targets[part]))
    return {key: _text_losses(ids, torch.cat(parts, dim=1)) for key, parts in tokens.items()}


def _token_losses(old: Tensor, new: Tensor, targets: Tensor) -> Tensor:
    """Return loss before, loss after and divergence (3, n_token), from log-probabilities (n_token, d_vocab)."""
    before, after = (-table.gather(1, targets[:, None])[:, 0].double() for table in (old, new))
    return torch.stack([before, after, (old.exp() * (old - new)).double().sum(-1)])


def _text_losses(ids: Sequence[Sequence[int]], tokens: Tensor) -> list[TextLoss]:
    """Sum loss before, loss after and divergence of tokens (3, n_token) by text."""
    sizes = torch.tensor([len(row) - 1 for row in ids], dtype=torch.int64, device=tokens.device)
    text = torch.repeat_interleave(sizes)
    sums = tokens.new_zeros(3, len(ids)).index_add_(1, text, tokens).tolist()
    return [
        TextLoss(n=size, before=before, after=after, divergence=max(moved, 0.0))
        for size, before, after, moved in zip(sizes.tolist(), *sums, strict=True)
    ]


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


def _mean_per_token(sums: Sequence[float], losses: Sequence[TextLoss]) -> tuple[float, float, int]:
    """Return Σ sum / Σ n, its standard error as a ratio over texts (Cochran 1977, §2.11), and Σ n."""
    total, k = sum(loss.n for loss in losses), len(losses)
    mean = sum(sums) / total
    if k < 2:
        return mean, 0.0, total
    spread = sum((one - mean * loss.n) ** 2 for one, loss in zip(sums, losses, strict=True))
    return mean, math.sqrt(k / (k - 1) * spread) / total, total
