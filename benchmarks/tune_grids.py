"""Variants that `tune.py` tries: three rounds per editor, each from the best of the last, `BUDGET` in total.

The rounds vary the search, then the written layers, then the write. Every editor gets the same number of variants; the
last round depends on its writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kgmet.calibrate.settings import Changes
from kgmet.editing.editors import Editor, WriterKind
from kgmet.write.writers.finetune import Bound

__all__ = ["BUDGET", "rounds_for"]

BUDGET = 14
"""Variants per editor: 8 + 2 + 4; the editor's present settings are the first of them."""

_LONG, _SHORT = {"max_steps": 20, "rate": 0.2}, {"max_steps": 12, "rate": 0.3}
_QUICK = {"max_steps": 8, "rate": 0.4, "momentum": 0.3, "memory": 0.7}
_PLAIN_SEARCH: list[Changes] = [
    {},
    {"target": {**_LONG, "max_norm_ratio": 1.3}},
    {"target": {**_SHORT, "max_norm_ratio": 0.75}},
    {"target": {**_SHORT, "max_norm_ratio": 1.3}},
    {"target": {**_QUICK, "max_norm_ratio": 0.75}},
    {"target": {**_QUICK, "max_norm_ratio": 1.3, "rate": 0.6}},
    {"target": {**_LONG, "max_norm_ratio": 0.75}, "hold": {"contexts": 6}},
    {"target": {**_LONG, "max_norm_ratio": 1.3}, "hold": {"contexts": 6}},
]
_GRAPH_SEARCH: list[Changes] = [
    {},
    {"target": {**_LONG, "max_norm_ratio": 0.9}},
    {"target": _QUICK},
    {"target": {**_QUICK, "rate": 0.6}},
    {"target": {**_QUICK, "rate": 0.6, "max_steps": 6}},
    {"target": {**_QUICK, "rate": 0.8}},
    {"hold": {"consequences": 2}},
    {"hold": {"paraphrases": 1}},
]
_TUNE: list[Changes] = [
    {},
    {"finetune": {"bound": 1e-2}},
    {"finetune": {"bound": 5e-2}},
    {"finetune": {"rate": 1e-3}},
    {"finetune": {"rate": 5e-3}},
    {"finetune": {"steps": 50}},
    {"finetune": {"steps": 10}},
    {"finetune": {"bound": 1e-1}},
]
_TUNE_UNBOUND: list[Changes] = [
    {},
    *({"finetune": {"rate": rate}} for rate in (1e-4, 2e-4, 4e-4, 2e-3)),
    {"finetune": {"rate": 2e-4, "steps": 50}},
    {"finetune": {"rate": 4e-4, "contexts": 3}},
    {"finetune": {"stop_nll": 0.5}},
]
"""Of fine-tuning that only its rate and its stop keep near the start."""
_SPANS: list[Changes] = [{"write": {"layers": [4, 5, 6, 7, 8, 9]}}, {"write": {"layers": [5, 6, 7]}}]
_SINGLE: list[Changes] = [{"write": {"layers": [4]}}, {"write": {"layers": [8]}}]
_SCHEDULE = {"1/remaining": "1/sqrt(remaining)", "1/sqrt(remaining)": "1/remaining"}


def rounds_for(editor: Editor) -> tuple[Sequence[Changes], Sequence[Changes], Sequence[Changes]]:
    """Return the three rounds of an editor."""
    kind = editor.writer
    if kind is WriterKind.FINE_TUNE and editor.config.finetune.kind is Bound.NONE:
        places: list[Changes] = [{"write": {"layers": layers}} for layers in ([4, 5, 6], [24, 25, 26])]
        last = [{"write": {"layers": [layer]}} for layer in (5, 20)]
        shares: list[Changes] = [{"finetune": {"curvature": share}} for share in (0.95, 0.6)]
        stops: list[Changes] = [{"finetune": {"stop_nll": nll}} for nll in (0.1, 0.3)]
        return _TUNE_UNBOUND, places, [*last, *(shares if editor.config.finetune.curvature else stops)]
    if kind is WriterKind.FINE_TUNE:
        return (
            _TUNE,
            _SINGLE,
            [
                {"finetune": {"contexts": 3}},
                {"finetune": {"stop_nll": 0.1}},
                {"write": {"layers": [5, 6, 7], "schedule": "1/remaining"}},
                {"write": {"layers": [10]}},
            ],
        )
    if kind is WriterKind.NORMALISED_GRADIENTS:
        rates: list[Changes] = [{"ultra": {"rate": rate}} for rate in (3e-5, 1e-4, 2e-4, 8e-4, 2e-3)]
        pilots: list[Changes] = [{"ultra": {"pilots": pilots}} for pilots in (24, 96)]
        spans: list[Changes] = [{"write": {"layers": [20, 21, 22, 23, 24]}}, {"write": {"layers": [26, 27, 28]}}]
        single: list[Changes] = [{"write": {"layers": [layer]}} for layer in (18, 22, 25, 28)]
        return [{}, *rates, *pilots], spans, single
    if kind is WriterKind.RANK_ONE:
        return _PLAIN_SEARCH, _SINGLE, [{"write": {"layers": [layer]}} for layer in (3, 5, 7, 10)]
    search = _GRAPH_SEARCH if editor.config.hold.consequences else _PLAIN_SEARCH
    return search, _SPANS, [*_writer_changes(editor)]


def _writer_changes(editor: Editor) -> list[Changes]:
    write = editor.config.write
    schedule = {"schedule": _SCHEDULE.get(write.schedule.value, write.schedule.value)}
    weight = [{"moment_weight": write.moment_weight * factor} for factor in (0.25, 4.0, 0.0625)]
    if editor.writer is WriterKind.NULL_SPACE and editor.config.hold.consequences:
        ridges = [{"write": {"ridge": ridge}} for ridge in (1.0, 4.0)]
        return [*ridges, {"hold": {"consequences": 6}}, {"hold": {"wordings": 2}}]
    options: dict[WriterKind, list[dict[str, Any]]] = {
        WriterKind.NULL_SPACE: [{"ridge": 0.5}, {"ridge": 2.0}, {"ridge": 4.0}, schedule],
        WriterKind.LEAST_SQUARES: [*weight, schedule],
        WriterKind.LEAST_SQUARES_SPARSE: [{"kept_share": 0.2}, {"kept_share": 0.6}, {"kept_share": 0.8}, weight[0]],
        WriterKind.LEAST_SQUARES_CONDITIONED: [{"log_base": 1.05}, {"log_base": 1.1}, {"log_base": 1.5}, weight[0]],
        WriterKind.NEURONS: [{"neuron_share": 0.6}, {"neuron_share": 0.95}, *weight[:2]],
    }
    return [{"write": change} for change in options[editor.writer]]
