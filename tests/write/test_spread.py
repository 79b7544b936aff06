"""What a write makes of a shift, before the shift is known: exact for one layer, to first order for several."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.write.config import WriteConfig
from kgmet.write.keys import KeyRow, key_rows
from kgmet.write.layers import solve_layers
from kgmet.write.ledger import EditLedger
from kgmet.write.moments import KeyMoment, estimate_key_moments
from kgmet.write.priced import FactPairs, forecast_changes
from kgmet.write.residual import ResidualSchedule
from kgmet.write.spread import SpreadEdit, shift_costs, shift_spread
from kgmet.write.writer import NullSpaceWriter, Writer
from kgmet.write.writers.least_squares import LeastSquaresWriter
from kgmet.write.writers.rank_one import RankOneWriter
from tests.editing.small import CORPUS
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import EDITS, NEIGHBOUR, TOP, all_free, rows_of, shifts_of
from tests.write.worked import drawn

N_FACT = 5
PREFIXES = ("", "It is well known. ")


def pairs_of(lm: LoadedLM, layers: tuple[int, ...]) -> dict[int, FactPairs]:
    fact = torch.arange(N_FACT).repeat_interleave(3)
    return {
        layer: FactPairs(
            keys=drawn(len(fact), lm.d_key, seed=layer).float(),
            slopes=drawn(len(fact), lm.d_model, seed=50 + layer).float(),
            fact=fact,
            token=torch.arange(3).repeat(N_FACT),
        )
        for layer in layers
    }


def moments(lm: LoadedLM, layers: tuple[int, ...]) -> dict[int, KeyMoment]:
    return estimate_key_moments(lm, list(layers), corpus=CORPUS)


def writers(lm: LoadedLM, layers: tuple[int, ...]) -> dict[str, Writer]:
    return {
        "null space": NullSpaceWriter(free=all_free(lm, layers), ridge=1.0),
        "least squares": LeastSquaresWriter(moments=moments(lm, layers), weight=10.0),
        "rank one": RankOneWriter(moments=moments(lm, layers)),
    }


def both(
    lm: LoadedLM, writer: Writer, config: WriteConfig, protected: tuple[KeyRow, ...] = ()
) -> tuple[Tensor, Tensor, float]:
    """The forecast of the written edit, the one before the write, and the error of ΔW relative to it."""
    rows = rows_of(lm, EDITS[:1], prefixes=PREFIXES)
    (shift,) = shifts_of(lm, rows, layer=config.shift_layer, ratio=0.01)
    ledger = EditLedger().appended(
        "earlier", {layer: (("old/0",), drawn(1, lm.d_key, seed=90).float()) for layer in config.layers}
    )
    written = solve_layers(lm, [shift], rows, writer=writer, config=config, protected=protected, ledger=ledger)
    edit = SpreadEdit(id=shift.edit_id, rows=rows, protected=protected)
    (spread,) = shift_spread(lm, [edit], writer=writer, config=config, ledger=ledger)
    pairs = pairs_of(lm, config.layers)
    (costs,) = shift_costs(pairs, [spread], N_FACT)
    missing = [update.dense() - torch.outer(shift.delta, spread[update.layer]) for update in written.updates]
    error = torch.stack(missing).norm() / torch.stack([update.dense() for update in written.updates]).norm()
    return forecast_changes(pairs, written.updates, N_FACT).float(), costs @ shift.delta, float(error)


@pytest.mark.parametrize(
    ("name", "keys_per_edit"),
    [(name, keys) for name in ("null space", "least squares") for keys in ("mean", "each")] + [("rank one", "mean")],
)
@pytest.mark.parametrize("restores", [False, True])
def test_the_write_of_one_layer_is_known_exactly(name: str, keys_per_edit: str, restores: bool) -> None:
    lm = tiny_lm()
    config = WriteConfig(layers=(TOP,), keys_per_edit=keys_per_edit, restores=restores)  # type: ignore[arg-type]
    protected = key_rows(lm, "protected/0", [NEIGHBOUR])
    written, before, error = both(lm, writers(lm, (TOP,))[name], config, protected)
    assert error < 1e-4
    torch.testing.assert_close(before, written, rtol=1e-3, atol=1e-4 * float(written.abs().max()))


@pytest.mark.parametrize(
    "settings",
    [
        {"repeats": 2},
        {"even_remaining": 0.3},
        {"schedule": ResidualSchedule.FRONT},
        {"schedule": ResidualSchedule.REPLAY},
        {"ridge": 1e-7},
    ],
    ids=str,
)
def test_the_write_of_two_layers_is_known_to_first_order(settings: dict[str, object]) -> None:
    """Exact to first order where the layer between adds nothing of its own; keys changed below are second order."""
    lm, layers = without_second_layer(), (1, TOP)
    config = replace(WriteConfig(layers=layers), **settings)  # type: ignore[arg-type]
    written, before, error = both(lm, writers(lm, layers)["null space"], config)
    assert error < 0.02
    torch.testing.assert_close(before, written, rtol=0.02, atol=0.02 * float(written.abs().max()))


def without_second_layer() -> LoadedLM:
    """A model whose layer `TOP` adds nothing to the residual stream before it is written."""
    model = tiny_model("llama")
    with torch.no_grad():
        layer = model.model.layers[TOP]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    return wrap_lm(model, tiny_tokenizer(), name="tiny, one layer idle")


def test_each_edit_is_spread_as_if_it_were_alone() -> None:
    lm, layers = tiny_lm(), (1, TOP)
    config, writer = WriteConfig(layers=layers), writers(lm, layers)["null space"]
    edits = [SpreadEdit(id=edit.id, rows=rows_of(lm, (edit,), prefixes=PREFIXES)) for edit in EDITS]
    together = shift_spread(lm, edits, writer=writer, config=config)
    for edit, found in zip(edits, together, strict=True):
        (alone,) = shift_spread(lm, [edit], writer=writer, config=config)
        for layer in layers:
            torch.testing.assert_close(found[layer], alone[layer], rtol=1e-3, atol=1e-6)


def test_costs_are_those_of_dense_updates_in_float64() -> None:
    lm, layers = tiny_lm(), (1, TOP)
    pairs = {
        layer: replace(own, keys=own.keys.double(), slopes=own.slopes.double())
        for layer, own in pairs_of(lm, layers).items()
    }
    spread = {layer: drawn(lm.d_key, seed=layer) for layer in layers}
    (costs,) = shift_costs(pairs, [spread], N_FACT)
    for fact in range(N_FACT):
        wanted = torch.zeros(lm.d_model, dtype=torch.float64)
        for layer, own in pairs.items():
            for row in (own.fact == fact).nonzero()[:, 0]:
                wanted += own.slopes[row] * (own.keys[row] @ spread[layer])
        torch.testing.assert_close(costs[fact], wanted, rtol=1e-10, atol=1e-12)


def test_a_model_that_normalises_what_a_layer_adds_is_refused() -> None:
    lm = tiny_lm("gemma2")
    edit = SpreadEdit(id="tower", rows=rows_of(lm, EDITS[:1]))
    with pytest.raises(ConfigError, match=r"target\.price needs a write that is linear"):
        shift_spread(lm, [edit], writer=writers(lm, (TOP,))["null space"], config=WriteConfig(layers=(TOP,)))
