"""Properties of overlap and drift: edits at right angles do not meet, and what is not attached does not drift."""

from __future__ import annotations

import math

import pytest
import torch

from kgmet.inspect.overlap import OverlapKind, measure_drift, measure_overlap
from kgmet.inspect.texts import InspectedText, TextKind
from kgmet.lm.run.spans import Phrase
from kgmet.lm.run.tracing import recorded
from kgmet.write.nullspace import Cutoff, NullSpace
from tests.inspect.looked import GATE, RANK, TOWER, moment_of, random_patch, text_of, written_patch
from tests.tiny_models import tiny_lm

LM = tiny_lm()
FREE = {1: NullSpace.from_moment(moment_of(LM, 1), Cutoff(kind=RANK, value=0.5))}


def test_every_edit_overlaps_wholly_with_itself_and_cosines_are_symmetric() -> None:
    overlap = measure_overlap([written_patch(LM), written_patch(LM, edits=(GATE,), seed=3)], FREE)
    assert overlap.layers == (1,)
    for kind in OverlapKind:
        torch.testing.assert_close(overlap.of(kind)[0].diagonal(), torch.ones(2, dtype=torch.float64))
    for table in (overlap.cosine[0], overlap.free_cosine[0]):
        torch.testing.assert_close(table, table.T)


def test_keys_at_right_angles_in_the_free_directions_do_not_disturb_each_other() -> None:
    basis = FREE[1].project(torch.eye(LM.d_key, dtype=torch.float64))
    vectors = torch.linalg.svd(basis).U
    one = written_patch(LM, keys=vectors[:, :1].T, n_kept=0)
    other = written_patch(LM, keys=vectors[:, 1:2].T, n_kept=0, edits=(GATE,))
    overlap = measure_overlap([one, other], FREE)
    for kind in OverlapKind:
        assert abs(float(overlap.of(kind)[0, 0, 1])) < 1e-6
        assert abs(float(overlap.of(kind)[0, 1, 0])) < 1e-6


def test_crosstalk_is_how_far_one_update_moves_the_others_key() -> None:
    one, other = written_patch(LM), written_patch(LM, edits=(GATE,), seed=3)
    key = other.keys[1][1][0].double()
    by_one, by_other = (patch.updates[0].dense().double() @ key for patch in (one, other))
    overlap = measure_overlap([one, other], FREE)
    assert float(overlap.crosstalk[0, 0, 1]) == pytest.approx(float(by_one.norm() / by_other.norm()), rel=1e-5)


def test_edits_written_together_are_not_measured_apart() -> None:
    together = written_patch(LM, edits=(TOWER, GATE))
    table = measure_overlap([together], FREE).crosstalk[0]
    assert math.isnan(table[0, 1]) and math.isnan(table[1, 0])
    assert table.diagonal().tolist() == [1.0, 1.0]


def test_patches_without_a_common_layer_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no layer in common"):
        measure_overlap([written_patch(LM), random_patch(LM)], FREE)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_drift_of_the_lowest_edited_layer_is_the_update_on_its_key(kind: str) -> None:
    lm = tiny_lm(kind)
    patch, text = random_patch(lm), text_of()
    ids = lm.tokenizer("The Eiffel Tower")["input_ids"]
    module = lm.family.write_module(lm.model, 1)
    with torch.no_grad(), recorded([module], inputs=True) as key, recorded([module]) as output:
        lm.base(torch.tensor([ids]), use_cache=False)
    moved = patch.updates[0].dense() @ key[0][0, -1]  # type: ignore[index]
    drift = measure_drift(lm, patch, [text])
    expected = float(moved.norm() / output[0][0, -1].norm())  # type: ignore[index]
    assert float(drift.values[0, 0]) == pytest.approx(expected, rel=1e-4)


def test_an_update_of_nothing_drifts_nowhere() -> None:
    still = random_patch(LM, size=0.0)
    assert bool((measure_drift(LM, still, [text_of()]).values == 0).all())


def test_drift_is_summed_up_by_kind_of_text() -> None:
    plain = InspectedText(kind=TextKind.UNRELATED, phrase=Phrase(template="Big Ben is in"))
    drift = measure_drift(LM, random_patch(LM), [text_of(), text_of(GATE, kind=TextKind.NEIGHBOUR), plain, plain])
    by_kind = {summary.kind: summary for summary in drift.by_kind()}
    assert list(by_kind) == [TextKind.EDIT, TextKind.NEIGHBOUR, TextKind.UNRELATED]
    assert by_kind[TextKind.UNRELATED].n == 2
    assert by_kind[TextKind.UNRELATED].mean == pytest.approx(float(drift.values[2].mean()))
    assert by_kind[TextKind.EDIT].largest == float(drift.values[0].max())
