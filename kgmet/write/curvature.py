"""`Curvature`: where the loss on ordinary text curves with a down-projection, in Kronecker factors (K-FAC).

With A = E[aaᵀ] of the projection's inputs a and S = E[ggᵀ] of the loss's gradients g at its outputs, the Gauss-Newton
matrix of the weight is about A ⊗ S. Its eigenvalues are the products λᵢ(S) λⱼ(A), with eigenvectors uᵢvⱼᵀ. CrispEdit
(arXiv:2602.15823) keeps the part of a change Q with small products:

    Q ← U_S ((U_SᵀQU_A) ⊙ [λᵢλⱼ ≤ γ]) U_Aᵀ.

γ is chosen so that the products above it carry a share of their sum. A is the key moment that every editor uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.cache import cache_dir
from kgmet.base.errors import BrokenArtifactError, NonFiniteError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import base_states, left_padded, token_positions
from kgmet.lm.run.tracing import leaves
from kgmet.write.corpus import Corpus

__all__ = ["Curvature", "output_moments"]

_ADVICE = "Delete it to estimate it again."
_EVERY = 4
"""Every so many passages of the text are used: a backward pass costs several forward passes."""
_BATCH = 8
_FORMAT = "1"


@dataclass(frozen=True, eq=False, kw_only=True)
class Curvature:
    """Eigenvectors as columns, `outputs` (d_model, d_model) and `keys` (d_key, d_key), and the flat products.

    `is_flat` (d_model, d_key) marks the pairs whose product of eigenvalues is at most γ. float32, on one device.
    """

    outputs: Tensor
    keys: Tensor
    is_flat: Tensor

    @classmethod
    def of(
        cls, output_moment: Tensor, key_moment: Tensor, *, share: float, device: torch.device | None = None
    ) -> Curvature:
        """Decompose S (d_model, d_model) and A (d_key, d_key); steep pairs carry a `share` of the curvature."""
        strengths, outputs = torch.linalg.eigh(output_moment.double())
        spreads, keys = torch.linalg.eigh(key_moment.double())
        products = strengths.clamp(min=0)[:, None] * spreads.clamp(min=0)[None, :]
        ordered = products.flatten().sort(descending=True).values
        carried = ordered.cumsum(0)
        n_steep = int((carried < share * carried[-1]).sum()) + 1
        is_flat = products < ordered[n_steep - 1]
        where = device or torch.device("cpu")
        return cls(outputs=outputs.float().to(where), keys=keys.float().to(where), is_flat=is_flat.to(where))

    def flat_part(self, change: Tensor) -> Tensor:
        """Return the part of a change (d_model, d_key) that the loss on ordinary text hardly notices."""
        inner = self.outputs.T @ change @ self.keys
        part: Tensor = self.outputs @ torch.where(self.is_flat, inner, 0.0) @ self.keys.T
        return part


def output_moments(
    lm: LoadedLM, layers: Sequence[int], *, corpus: Corpus, progress: Progress | None = None
) -> dict[int, Tensor]:
    """Return S = E[ggᵀ] of the down-projections' outputs, (d_model, d_model) float64, from disk or estimated and saved.

    g is the gradient of a token's negative log-likelihood in ordinary text, summed over the later tokens it influences.
    The bundled text is sampled from the default model, so there this is the Fisher information; elsewhere it is the
    empirical one.

    Args:
        lm: the model, with nothing attached.
        layers: decoder layers.
        corpus: the text, of which every fourth passage is used.
        progress: receives every batch; can cancel.

    Raises:
        NonFiniteError: if a gradient is not finite.
        Cancelled: if asked to stop.
    """
    paths = {layer: _path(lm, layer, corpus) for layer in layers}
    missing = [layer for layer, path in paths.items() if not path.is_file()]
    if missing:
        for layer, moment in _estimated(lm, missing, corpus, progress or Silent()).items():
            header = {"format": _FORMAT, "layer": str(layer), "model": lm.fingerprint, "corpus": corpus.fingerprint}
            save_artifact(paths[layer], {"moment": moment.float().contiguous()}, header)
    return {layer: _loaded(path, lm.d_model) for layer, path in paths.items()}


def _path(lm: LoadedLM, layer: int, corpus: Corpus) -> Path:
    name = digest("output moment", _FORMAT, lm.fingerprint, str(layer), corpus.fingerprint)[:16]
    return cache_dir() / "moments" / f"{name}.outputs.safetensors"


def _loaded(path: Path, d_model: int) -> Tensor:
    read = load_artifact(path, what="gradient statistics", advice=_ADVICE)
    with failures_as(BrokenArtifactError, f"{path} holds no gradient statistics", advice=_ADVICE):
        if read.header["format"] != _FORMAT:
            raise ValueError(f"format {read.header['format']}")
        moment = read.tensors["moment"].double()
        check_shape("moment", moment, d_model, d_model)
    return (moment + moment.T) / 2


def _estimated(lm: LoadedLM, layers: Sequence[int], corpus: Corpus, progress: Progress) -> Mapping[int, Tensor]:
    texts = lm.tokenizer(list(corpus.lines[::_EVERY]), truncation=True, max_length=corpus.n_token)["input_ids"]
    rows = sorted((tuple(row) for row in texts if len(row) > 1), key=lambda row: (len(row), row))
    sums = {layer: torch.zeros(lm.d_model, lm.d_model, dtype=torch.float64, device="cpu") for layer in layers}
    n_token = 0
    for begin in range(0, len(rows), _BATCH):
        progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=begin, total=len(rows)))
        progress.check()
        batch = rows[begin : begin + _BATCH]
        for layer, gradients in _gradients(lm, batch, layers).items():
            sums[layer] += (gradients.T @ gradients).double()
        n_token += sum(len(row) - 1 for row in batch)
    progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=len(rows), total=len(rows)))
    return {layer: total / n_token for layer, total in sums.items()}


def _gradients(lm: LoadedLM, rows: Sequence[Sequence[int]], layers: Sequence[int]) -> Mapping[int, Tensor]:
    """Return g at every token that predicts one, (n_token, d_model) float32 on the CPU, by layer."""
    ids, mask = left_padded(rows, device=lm.device)
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    is_asked = (mask[:, :-1] * mask[:, 1:]).bool()
    with torch.enable_grad(), leaves(modules) as outputs:
        states = base_states(lm, ids, attention_mask=mask, position_ids=token_positions(mask), use_cache=False)
        logprobs = lm.vocabulary_logits(states[:, :-1][is_asked]).log_softmax(-1)
        nll = -logprobs.gather(1, ids[:, 1:][is_asked][:, None]).sum()
        gradients = torch.autograd.grad(nll, outputs)
    found = {
        layer: gradient[:, :-1][is_asked.to(gradient.device)].float().cpu()
        for layer, gradient in zip(layers, gradients, strict=True)
    }
    for layer, gradient in found.items():
        if not bool(gradient.isfinite().all()):
            raise NonFiniteError(f"A gradient of layer {layer} is not finite. Load the model in float32.")
    return found
