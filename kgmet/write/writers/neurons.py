"""`NeuronWriter`: NSE, MEMIT's update confined to the neurons most active on the edited keys.

NSE (arXiv:2410.04045, eqs. 6 to 9): for each key the fewest neurons whose absolute activations add up to a share p of
the total; for several keys, the union. On these columns of the weight MEMIT-seq's system is solved; all others stay.
The paper repeats over the layers until the residual is small: ``WriteConfig.repeats`` and ``tolerance``.

Compared with the baseline in jianghoucheng/AlphaEdit (nse/nse_main.py), by the same authors. The system solved is the
same: ``λC + K_pK_pᵀ + KKᵀ`` on the chosen rows and columns. Differences in that code:

- For a batch it sums absolute activations over the edits and chooses one set; here each key has its own set and the
  union is taken. The two agree for one edit.
- It chooses the largest set that carries at most the share; here the smallest that carries at least the share: one
  neuron more. (Its settings for Llama 3 have a share of 1, every neuron.)
- Its further passes take only edits whose residual length is between two bounds; here all edits take part until each
  residual is a small enough part of its shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.base.ranges import check_number
from kgmet.write.moments import KeyMoment
from kgmet.write.solve import KeySystem, LayerUpdate, solve_layer_update
from kgmet.write.writer import WriteRequest
from kgmet.write.writers.least_squares import Whitening, definite_cholesky, moment_for

__all__ = ["NeuronWriter", "loudest_neurons"]


def loudest_neurons(keys: Tensor, share: float) -> Tensor:
    """Return the neurons, ascending, that carry at least `share` of the absolute activation of any key (n_key, d_key).

    For each key the smallest sufficient set is taken.
    """
    loud, order = keys.double().abs().sort(dim=1, descending=True)
    before = loud.cumsum(1) - loud
    needed = before < share * loud.sum(1, keepdim=True)
    chosen: Tensor = torch.unique(order[needed])
    return chosen


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronWriter:
    """Writer of NSE. `weight` is MEMIT's λ, above 0; `share` the neurons' part of a key's activation, in (0, 1]."""

    moments: Mapping[int, KeyMoment]
    weight: float = 1500.0
    share: float = 0.8
    keeps_earlier: bool = True
    name: str = "loudest neurons"

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_number("write.moment_weight", self.weight, above=0)
        check_number("write.neuron_share", self.share, above=0, most=1)

    def solve(self, request: WriteRequest) -> LayerUpdate:
        """Solve for the update of one layer, factors of n_key rows; zero outside the chosen neurons.

        Raises:
            StaleArtifactError: if there are no key statistics for this layer, or they are of another model.
        """
        moment = moment_for(request, self.moments)
        chosen = loudest_neurons(request.keys, self.share)
        second = moment.second_moment[chosen.cpu()][:, chosen.cpu()].to(chosen.device)
        metric = Whitening(factor=definite_cholesky(second), moment_fingerprint=moment.fingerprint)
        kept = [request.written.keys] if self.keeps_earlier else []
        kept.append(request.protected)
        earlier = torch.cat([keys.to(request.keys) for keys in kept])[:, chosen]
        within = solve_layer_update(
            request.keys[:, chosen],
            request.residuals,
            written=KeySystem(metric, self.weight).appended(earlier),
            layer=request.layer,
            weight_name=request.weight_name,
        )
        input_factor = torch.zeros(request.keys.shape, dtype=torch.float32, device="cpu")
        input_factor[:, chosen.cpu()] = within.input_factor
        return LayerUpdate(
            layer=request.layer,
            weight_name=request.weight_name,
            output_factor=within.output_factor,
            input_factor=input_factor,
        )
