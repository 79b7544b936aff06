"""Error compensation: the recursion of arXiv:2605.26670 to the letter, and the state from the ledger alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.fact import FactEdit
from kgmet.write.config import WriteConfig
from kgmet.write.patch import EditPatch, load_patch, save_patch
from kgmet.write.so_far import EditsSoFar
from kgmet.write.solve import LayerUpdate
from kgmet.write.writer import WriteRequest
from kgmet.write.writers.compensate import CompensatedWriter, compensation_error
from kgmet.write.writers.condition import ConditionedWriter, damped, largest_singular_value
from kgmet.write.writers.least_squares import LeastSquaresWriter
from kgmet.write.writers.sparsify import SparseWriter, largest_relative
from tests.write.worked import D_KEY, D_MODEL, LAYER, drawn, key_moment

WEIGHT = drawn(D_MODEL, D_KEY, seed=90) / 4
MOMENT, LAMBDA, SHARE, BASE = key_moment(), 2.0, 0.4, 3.0
INNER = LeastSquaresWriter(moments={LAYER: MOMENT}, weight=LAMBDA, keeps_earlier=True)
EDITS = tuple((drawn(3, D_KEY, seed=n), 20 * drawn(3, D_MODEL, seed=50 + n)) for n in range(4))
"""Keys and residuals of four batches of three edits."""


def sparse(update: Tensor, _written: Tensor) -> Tensor:
    """RECT."""
    return largest_relative(update, WEIGHT, SHARE)


def restrained(update: Tensor, written: Tensor) -> Tensor:
    """PRUNE of the sum."""
    left, values, right = torch.linalg.svd(update + written, full_matrices=False)
    return (left * damped(values, largest_singular_value(WEIGHT), BASE)) @ right - written


def untreated(update: Tensor, _written: Tensor) -> Tensor:
    return update


def by_recursion(post: Callable[[Tensor, Tensor], Tensor]) -> tuple[list[Tensor], Tensor]:
    """What each batch writes, and the last E, dense and in float64."""
    system = LAMBDA * MOMENT.second_moment
    error, total, found = torch.zeros(D_MODEL, D_KEY).double(), torch.zeros(D_MODEL, D_KEY).double(), []
    for keys, residuals in EDITS:
        system = system + keys.T @ keys
        solved = (residuals.T @ keys - error) @ torch.linalg.inv(system)
        written = post(solved, total)
        error = (written - solved) @ system
        total = total + written
        found.append(written)
    return found, error


def request(number: int, so_far: EditsSoFar) -> WriteRequest:
    keys, residuals = EDITS[number]
    return WriteRequest(
        layer=LAYER,
        weight_name="w",
        keys=keys.float(),
        residuals=residuals.float(),
        written=so_far.ledger.at(LAYER, D_KEY),
        protected_names=(),
        protected=keys[:0].float(),
        weight=lambda: WEIGHT,
        model_fingerprint="m",
    )


def patch(number: int, update: LayerUpdate, so_far: EditsSoFar) -> EditPatch:
    """The patch as `solve_layers` fills it."""
    keys, residuals = EDITS[number]
    asked = so_far.ledger.asked.get(LAYER)
    outputs = residuals.float() if asked is None else residuals.float() + keys.float() @ asked.written.T
    return EditPatch(
        edits=(FactEdit(id=f"e{number}", subject="a", template="{} is", new_object="b"),),
        updates=(update,),
        model_fingerprint="m",
        editor="MEMIT_rect-ec",
        keys={LAYER: (tuple(f"e{number}/{row}" for row in range(3)), keys.float())},
        asked={LAYER: outputs},
    )


def sequence(treat: Callable[[CompensatedWriter, EditsSoFar], object]) -> tuple[list[Tensor], EditsSoFar]:
    so_far, found = EditsSoFar(), []
    for number in range(len(EDITS)):
        writer = treat(CompensatedWriter(inner=INNER, asked=so_far.ledger.asked), so_far)
        update = writer.solve(request(number, so_far))  # type: ignore[attr-defined]
        found.append(update.dense().double())
        so_far = so_far.then(patch(number, update, so_far))
    return found, so_far


def as_rect(inner: CompensatedWriter, _so_far: EditsSoFar) -> SparseWriter:
    return SparseWriter(inner=inner, share=SHARE)


def as_prune(inner: CompensatedWriter, so_far: EditsSoFar) -> ConditionedWriter:
    earlier = {LAYER: [update for one in so_far.patches for update in one.updates]}
    return ConditionedWriter(inner=inner, base=BASE, earlier=earlier)


def as_is(inner: CompensatedWriter, _so_far: EditsSoFar) -> CompensatedWriter:
    return inner


@pytest.mark.parametrize(("treat", "post"), [(as_rect, sparse), (as_prune, restrained)], ids=["RECT", "PRUNE"])
def test_it_is_the_recursion_of_the_paper(treat: Callable[..., object], post: Callable[..., Tensor]) -> None:
    found, so_far = sequence(treat)
    wanted, error = by_recursion(post)
    assert float((wanted[0] - by_recursion(untreated)[0][0]).norm()) > 0.1  # the treatment changes something
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-3)
    asked = so_far.ledger.asked[LAYER]
    state = compensation_error(
        asked.written.double(), asked, LAMBDA * MOMENT.second_moment, so_far.ledger.at(LAYER, D_KEY).keys.double()
    )
    torch.testing.assert_close(state, error, rtol=1e-3, atol=2e-2)


def test_without_a_treatment_there_is_nothing_to_compensate() -> None:
    for mine, theirs in zip(sequence(as_is)[0], by_recursion(untreated)[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-3)


def test_prune_restrains_the_solution_for_all_edits_at_once() -> None:
    found, so_far = sequence(as_prune)
    asked = so_far.ledger.asked[LAYER]
    keys, outputs = asked.keys.double(), asked.outputs.double()
    together = outputs.T @ keys @ torch.linalg.inv(LAMBDA * MOMENT.second_moment + keys.T @ keys)
    torch.testing.assert_close(sum(found), restrained(together, torch.zeros_like(together)), rtol=1e-3, atol=2e-3)


def test_the_state_depends_on_the_patches_alone_and_not_on_their_order(tmp_path: Path) -> None:
    patches = sequence(as_rect)[1].patches
    for number, one in enumerate(patches):
        save_patch(one, tmp_path / str(number))
    again = [load_patch(tmp_path / str(number)) for number in (2, 0, 3)]  # the second one is undone
    other, straight = EditsSoFar.of(again), EditsSoFar.of([patches[0], patches[2], patches[3]])
    states = [
        compensation_error(
            one.ledger.asked[LAYER].written.double(),
            one.ledger.asked[LAYER],
            LAMBDA * MOMENT.second_moment,
            one.ledger.at(LAYER, D_KEY).keys.double(),
        )
        for one in (other, straight)
    ]
    torch.testing.assert_close(states[0], states[1], rtol=1e-4, atol=1e-3)


def test_a_key_edited_again_counts_once() -> None:
    first = sequence(as_rect)[1].patches[0]
    twice = EditsSoFar.of([first, replace(first, asked={LAYER: first.asked[LAYER] + 1})])
    asked = twice.ledger.asked[LAYER]
    assert len(asked.names) == 3
    torch.testing.assert_close(asked.outputs, first.asked[LAYER] + 1)
    torch.testing.assert_close(asked.written, 2 * first.updates[0].dense())


def test_repeated_passes_are_refused() -> None:
    with pytest.raises(ConfigError, match="repeats must be 1"):
        WriteConfig(compensates=True, repeats=2)
