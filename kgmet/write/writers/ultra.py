"""`ultra_updates`: UltraEdit, one backward pass and a least-squares solve instead of a search.

UltraEdit (arXiv:2505.14679). At each position that predicts a token of the answer, hᵢ is the input of the
down-projection and gᵢ = ∂L/∂(W h) the gradient at its output. With mean and deviation of [h; g] over all edits so far,

    [ĥ; ĝ] = ([h; g] − mean) / deviation,    Vᵢ = −η ‖ĥᵢ‖² ĝᵢ,    ΔWᵀ = (HHᵀ + I)⁻¹ H V

with H the keys of this turn as columns. By push-through that is ``H (HᵀH + I)⁻¹ V``: factors of one row per position.
Differences here:

- The running statistics begin with pilot edits of the unedited model. Otherwise a single first edit would have no
  deviation to be measured in; the published runs begin with a hundred edits at once.
- An edit's prompts are its contexts and paraphrases as the search would use them, not the bare prompt alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.errors import NonFiniteError, RequestError
from kgmet.base.ranges import check_numbers
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import locate_all
from kgmet.lm.run.tracing import leaves, recorded
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.search import MOST_PILOTS
from kgmet.write.config import check_layers
from kgmet.write.running import RunningMoments
from kgmet.write.solve import LayerUpdate
from kgmet.write.writers.answers import answers_nll

__all__ = ["UltraConfig", "answer_features", "ultra_update"]

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class UltraConfig:
    """Step size and first statistics of UltraEdit."""

    rate: float = 4e-4
    """η, the step size; above 0."""
    pilots: int = 48
    """Pilot edits of the unedited model with which the running statistics begin; 0 to 10,000."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "ultra", "rate", above=0)
        check_numbers(self, "ultra", "pilots", least=0, most=MOST_PILOTS)


def answer_features(lm: LoadedLM, problems: Sequence[ShiftProblem], layers: Sequence[int]) -> Mapping[int, Tensor]:
    """Return [h; g] at every position that predicts a token of an answer, by layer: (n_position, d_key + d_model).

    The gradient is that of each prompt's negative log-likelihood per answer token.

    Args:
        lm: the model, with whatever patches attached.
        problems: of their prompts the REWRITE ones are used.
        layers: decoder layers.

    Raises:
        ConfigError: if a layer is out of range.
        RequestError: if there is no prompt.
        NonFiniteError: if a gradient is not finite.
    """
    check_layers(lm, layers)
    phrases = [prompt.phrase(problem.edit.subject) for problem in problems for prompt in problem.of(Term.REWRITE)]
    if not phrases:
        raise RequestError("There is no edit with a rewriting prompt. Give at least one.")
    spans, found = locate_all(lm, phrases), {layer: list[Tensor]() for layer in layers}
    for begin in range(0, len(spans), _BATCH):
        texts = [(span.input_ids, span.target or range(0)) for span in spans[begin : begin + _BATCH]]
        for layer, features in _features(lm, texts, layers).items():
            found[layer].append(features)
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def _features(
    lm: LoadedLM, texts: Sequence[tuple[Sequence[int], range]], layers: Sequence[int]
) -> Mapping[int, Tensor]:
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    with torch.enable_grad(), recorded(modules, inputs=True) as keys, leaves(modules) as outputs:
        nll, asked = answers_nll(lm, texts)
        gradients = torch.autograd.grad(nll.sum(), outputs)
    found = {}
    for layer, key, gradient in zip(layers, keys, gradients, strict=True):
        assert key is not None
        row, place = asked[:, 0].to(gradient.device), asked[:, 1].to(gradient.device)
        features = torch.cat([key.detach()[row, place], gradient[row, place]], dim=1).float().cpu()
        if not bool(features.isfinite().all()):
            raise NonFiniteError(f"A gradient of layer {layer} is not finite. Load the model in float32.")
        found[layer] = features
    return found


def ultra_update(
    features: Tensor, moments: RunningMoments, *, d_key: int, rate: float, layer: int, weight_name: str
) -> LayerUpdate:
    """Return UltraEdit's update of one layer, factors of n_position rows.

    Args:
        features: (n_position, d_key + d_model) [h; g] of this turn.
        moments: of [h; g] over all edits so far, these included.
        d_key: width of h.
        rate: η.
        layer: for the result.
        weight_name: for the result.
    """
    keys = features[:, :d_key].double()
    normal = moments.normalised(features)
    values = -rate * normal[:, :d_key].square().sum(1, keepdim=True) * normal[:, d_key:]
    system = keys @ keys.T + torch.eye(len(keys), dtype=torch.float64, device="cpu")
    return LayerUpdate(
        layer=layer,
        weight_name=weight_name,
        output_factor=values.float(),
        input_factor=torch.linalg.solve(system, keys).float(),
    )
