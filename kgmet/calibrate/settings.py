"""`settings_to_try`: variants of an editor's settings for one model, drawn with a seed.

Each editor gets the same number. What is varied is what differs between models: where an edit is written, how far and
how fast the state is pushed, which directions are free, and how much ordinary text counts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.editors import Editor, WriterKind
from kgmet.write.nullspace import CutoffKind

__all__ = ["Changes", "changes_text", "merged_changes", "settings_to_try"]

Changes = Mapping[str, Mapping[str, Any]]
"""Settings that differ, by stage, as `kgmet.editing.config.config_from_mapping` reads them."""

_FEWEST, _MOST = 1, 3
"""Groups of settings that one variant changes."""
_ENERGY = (0.05, 0.15, 0.3, 0.5)
"""Shares of the keys' energy that free directions may carry. SmolLM2's absolute cutoff amounts to 0.25 to 0.63."""
_SHORTER = 0.6
"""The limit of a shift's length where more words share it, as a share of the uncalibrated one."""
_DRAWS = 200


def settings_to_try(
    editor: Editor, base: EditConfig, n_layer: int, *, n: int, seed: int, proposed: Sequence[int] = ()
) -> list[Changes]:
    """Return variants to compare: the uncalibrated settings, the proposed layers, more words, then drawn ones.

    Args:
        editor: the method: says which settings matter to its writer.
        base: its uncalibrated settings for the model.
        n_layer: decoder layers of the model.
        n: how many at most; with a larger `n` the first ones are the same.
        seed: of the draw.
        proposed: layers that a causal trace proposes; none if it has nothing to say.
    """
    groups, draw = _groups(editor, base, n_layer, proposed), random.Random(f"{seed}/{editor.name}")
    wanted: list[Changes] = [{}]
    if proposed:
        wanted.append({"write": {"layers": list(proposed)}})
    if base.hold.consequences:
        wanted.append(_more_words(base))
    turns = _turns(len(groups), draw)
    for _ in range(_DRAWS):
        first = next(turns)
        others = [group for group in range(len(groups)) if group != first]
        more = draw.sample(others, min(draw.randint(_FEWEST, _MOST) - 1, len(others)))
        changes: Changes = {}
        for group in sorted([first, *more]):
            changes = merged_changes(changes, draw.choice(groups[group]))
        wanted.append(changes)
    return _different(wanted, base)[:n]


def _more_words(base: EditConfig) -> Changes:
    """Return settings that optimise more wordings, in a shorter shift that the layers from the first on share.

    On Gemma 3 270M, 18 of 39 consequences came first with these, 12 with the uncalibrated settings (8 tuning edits).
    """
    hold, target = base.hold, base.target
    return {
        "hold": {"paraphrases": hold.paraphrases + 1, "wordings": hold.wordings + 2},
        "target": {"max_norm_ratio": float(f"{_SHORTER * target.max_norm_ratio:.2g}")},
        "write": {"layers": list(range(base.write.layers[-1] + 1))},
    }


def _turns(n: int, draw: random.Random) -> Iterator[int]:
    """Yield every group once before any comes again, so that a small budget leaves no kind of setting untried."""
    while True:
        yield from draw.sample(range(n), n)


def changes_text(changes: Changes) -> str:
    """Return ``target.max_norm_ratio 1.3, write.ridge 2.0``."""
    parts = [f"{stage}.{name} {value}" for stage, settings in changes.items() for name, value in settings.items()]
    return ", ".join(parts) or "uncalibrated"


def merged_changes(first: Changes, second: Changes) -> Changes:
    """Return both merged; where they disagree, the second's."""
    return {stage: {**first.get(stage, {}), **second.get(stage, {})} for stage in (*first, *second)}


def _different(wanted: Sequence[Changes], base: EditConfig) -> list[Changes]:
    found: dict[str, Changes] = {}
    for changes in wanted:
        try:
            config = config_from_mapping(changes, base=base)
        except ConfigError:  # two changes that do not go together
            continue
        found.setdefault(fingerprint_value(config), changes)
    return list(found.values())


def _groups(editor: Editor, base: EditConfig, n_layer: int, proposed: Sequence[int]) -> list[list[Changes]]:
    """Return alternatives by what they are about; one variant takes one of a few groups."""
    groups = [_layers(base.write.layers, n_layer, proposed)]
    if editor.writer is WriterKind.FINE_TUNE:
        groups += [_scaled("finetune", name, getattr(base.finetune, name), (0.5, 2.0)) for name in ("rate", "bound")]
        groups.append(_scaled("finetune", "steps", base.finetune.steps, (0.5, 2.0)))
        return [group for group in groups if group]
    if editor.writer is WriterKind.NORMALISED_GRADIENTS:
        groups.append(_scaled("ultra", "rate", base.ultra.rate, (0.25, 0.5, 2.0, 4.0)))
        return [group for group in groups if group]
    target = base.target
    groups.append(_scaled("target", "rate", target.rate, (0.5, 1.5, 2.0)))
    groups.append(_scaled("target", "max_steps", target.max_steps, (0.5, 1.5, 2.0)))
    groups.append(_scaled("target", "max_norm_ratio", target.max_norm_ratio, (0.4, 0.6, 0.8, 1.25)))
    if base.hold.consequences:
        # On Gemma 3 270M, 8 of 15 consequences came first with two wordings, 7 with one (6 facts of the search).
        groups.append(_scaled("hold", "wordings", base.hold.wordings, (2.0,)))
    groups += _writer_groups(editor, base)
    return [group for group in groups if group]


def _writer_groups(editor: Editor, base: EditConfig) -> list[list[Changes]]:
    write = base.write
    if editor.writer is WriterKind.RANK_ONE:
        return []
    if editor.writer is not WriterKind.NULL_SPACE:
        return [_scaled("write", "moment_weight", write.moment_weight, (1 / 16, 1 / 4, 4.0, 16.0))]
    groups: list[list[Changes]] = [
        [{"cutoff": {"kind": CutoffKind.ENERGY.value, "value": share}} for share in _ENERGY],
        _scaled("write", "ridge", write.ridge, (1 / 16, 1 / 4, 4.0, 16.0)),
    ]
    if write.ordinary_weight:
        groups.append(_scaled("write", "ordinary_weight", write.ordinary_weight, (1 / 16, 1 / 4, 4.0, 16.0)))
    return groups


def _layers(own: Sequence[int], n_layer: int, proposed: Sequence[int]) -> list[Changes]:
    """Return the same span lower and higher, the upper half of it, and one that reaches further down."""
    top, size, step = n_layer - 2, len(own), max(1, round(n_layer / 15))
    spans = [tuple(range(own[0] + shift, own[-1] + shift + 1)) for shift in (-2 * step, -step, step, 2 * step)]
    if size > 1:
        spans += [tuple(range(own[size // 2], own[-1] + 1)), tuple(range(own[0] - step, own[-1] + 1))]
    fitting = [span for span in (*spans, tuple(proposed)) if span and span[0] >= 0 and span[-1] <= top]
    return [{"write": {"layers": list(span)}} for span in dict.fromkeys(fitting)]


def _scaled(stage: str, name: str, value: float, factors: Sequence[float]) -> list[Changes]:
    if isinstance(value, int):
        return [{stage: {name: changed}} for factor in factors if (changed := max(1, round(value * factor))) != value]
    return [{stage: {name: float(f"{value * factor:.4g}")}} for factor in factors]
