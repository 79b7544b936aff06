"""Small second moments, keys and requests, made from a seed, in float64 where the laws are about numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from kgmet.write.ledger import WrittenKeys
from kgmet.write.moments import KeyMoment
from kgmet.write.nullspace import Cutoff, CutoffKind, NullSpace
from kgmet.write.writer import WriteRequest

D_KEY, D_MODEL, LAYER = 24, 10, 3


def drawn(*shape: int, seed: int) -> Tensor:
    """Normally distributed float64 values."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def key_moment(*, d_key: int = D_KEY, n_token: int = 200, seed: int = 0, model: str = "m") -> KeyMoment:
    """Second moment of keys whose spread falls off over three orders of magnitude."""
    keys = drawn(n_token, d_key, seed=seed) * torch.logspace(0, -1.5, d_key, dtype=torch.float64)
    square = keys.T @ keys / n_token
    return KeyMoment(
        layer=LAYER, second_moment=(square + square.T) / 2, n_token=n_token, corpus="c", model_fingerprint=model
    )


def free_space(share: float, *, d_key: int = D_KEY, seed: int = 0) -> NullSpace:
    """The given share of directions is free."""
    values, vectors = torch.linalg.eigh(key_moment(d_key=d_key, seed=seed).second_moment)
    cutoff = Cutoff(kind=CutoffKind.RANK, value=share)
    return NullSpace.from_eigen(values, vectors, layer=LAYER, cutoff=cutoff, source=f"{share} {d_key} {seed}")


def projector(free: NullSpace) -> Tensor:
    """P as a matrix."""
    return free.project(torch.eye(free.eigenvalues.numel(), dtype=torch.float64))


def request_for(
    keys: Tensor,
    residuals: Tensor,
    *,
    earlier: Tensor | None = None,
    protected: Tensor | None = None,
    weight: Tensor | None = None,
    model: str | None = "m",
) -> WriteRequest:
    """A request to layer `LAYER`."""
    earlier = keys[:0] if earlier is None else earlier
    protected = keys[:0] if protected is None else protected
    chosen = torch.zeros(residuals.shape[1], keys.shape[1]) if weight is None else weight
    return WriteRequest(
        layer=LAYER,
        weight_name="w",
        keys=keys,
        residuals=residuals,
        written=WrittenKeys(names=tuple(f"e{n}" for n in range(len(earlier))), keys=earlier),
        protected_names=tuple(f"p{n}" for n in range(len(protected))),
        protected=protected,
        weight=lambda: chosen,
        model_fingerprint=model,
    )
