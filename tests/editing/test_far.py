"""The whole way of an edit on a device that is not the CPU (`tests.far`): nothing is mixed, hardly anything waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.editing.editors import EDITORS
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.lm.run.placement import layer_device
from kgmet.lm.say.score import score_answers
from kgmet.search.directions.source import FreeDirection
from kgmet.search.search import TargetConfig, find_target_shifts
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import CORPUS, GATE, TOWER, context_of, small_editor
from tests.far import FarMode, placed_far
from tests.search.test_search import LAYER, PROBLEMS, problem
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import EDITS

NEVER = TargetConfig(max_steps=6, stop_nll=1e-9)


def fresh_lm(kind: str = "llama") -> LoadedLM:
    """A model of the test's own: its weights change their place."""
    return wrap_lm(tiny_model(kind), tiny_tokenizer(), name=f"far {kind}")


def edited(lm: LoadedLM, name: str) -> EditPlan:
    editor = small_editor(EDITORS[name])
    # One step: what is compared is where things are worked out, not how rounding grows over a search.
    editor = replace(editor, config=replace(editor.config, target=replace(editor.config.target, max_steps=1)))
    statistics, plans = KeyStatistics(lm, CORPUS), []
    for edit in (TOWER, GATE):
        plans.append(
            plan_edits(
                lm,
                [context_of(edit, editor)],
                editor=editor,
                statistics=statistics,
                earlier=plans[-1].so_far if plans else None,
            )
        )
    return plans[-1]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, None) for name in ("KGMET", "KGMET-many", "KGMET-paper", "random")),
        *((name, None) for name in ("MEMIT_rect", "MEMIT_prune", "MEMIT_seq", "NSE", "ROME")),
        *((name, 2) for name in ("KGMET", "GLAME", "MEMIT")),
    ],
)
def test_an_edit_on_another_device_is_the_same_edit(name: str, split: int | None) -> None:
    near = edited(tiny_lm(), name)
    lm = fresh_lm()
    with placed_far(lm, FarMode(), split=split):
        far = edited(lm, name)
        with attached(far.patch, lm):
            after = score_answers(lm, [(GATE.prompt, GATE.new_object)])[0].logprob
    with attached(near.patch, tiny_lm()):
        assert after == pytest.approx(score_answers(tiny_lm(), [(GATE.prompt, GATE.new_object)])[0].logprob, abs=1e-3)
    for one, other in zip(near.patch.updates, far.patch.updates, strict=True):
        assert other.input_factor.device.type == other.output_factor.device.type == "cpu"
        assert float((one.dense() - other.dense()).norm() / one.dense().norm()) < 1e-5


@pytest.mark.parametrize("n_edit", [2, 6])
def test_a_step_of_a_search_waits_for_the_device_once_however_many_edits(n_edit: int) -> None:
    lm, mode = fresh_lm(), FarMode()
    problems = [problem(EDITS[n % 2], answer=answer) for n, answer in zip(range(n_edit), "abcdef", strict=False)]
    for steps in (2, 6):
        mode.waits = 0
        with placed_far(lm, mode):
            sources = [FreeDirection(lm.d_model, device=layer_device(lm, LAYER)) for _ in problems]
            shifts = find_target_shifts(lm, problems, sources, layer=LAYER, config=replace(NEVER, max_steps=steps))
        assert {shift.steps for shift in shifts} == {steps}
        # One for each of the steps and for the state before them; one for the lengths of states, two for the results.
        assert mode.waits == steps + 1 + 3
        mode.log.clear()


def test_a_far_tensor_is_mixed_with_no_other() -> None:
    lm = fresh_lm()
    with placed_far(lm, FarMode()), pytest.raises(RuntimeError, match="mixes devices"):
        _ = lm.embedding.weight + torch.ones(lm.embedding.weight.shape, device="cpu")


def test_the_shifts_of_a_search_on_another_device_are_the_same() -> None:
    near = find_target_shifts(
        tiny_lm(), PROBLEMS, [FreeDirection(32) for _ in PROBLEMS], layer=LAYER, config=replace(NEVER, max_steps=3)
    )
    lm = fresh_lm()
    with placed_far(lm, FarMode()):
        sources = [FreeDirection(lm.d_model, device=layer_device(lm, LAYER)) for _ in PROBLEMS]
        far = find_target_shifts(lm, PROBLEMS, sources, layer=LAYER, config=replace(NEVER, max_steps=3))
    for one, other in zip(near, far, strict=True):
        assert float((one.delta - other.delta).norm() / one.delta.norm()) < 1e-5
