"""Editors on the tiny models' layers, with little of everything that is counted."""

from __future__ import annotations

from dataclasses import replace

from kgmet.editing.editors import Editor

__all__ = ["small_editor"]


def small_editor(editor: Editor, *, steps: int = 6) -> Editor:
    """The editor on the tiny models' layers, with few steps, pilot edits and priced facts."""
    config = editor.config
    layers = (2,) if len(config.write.layers) == 1 else (1, 2)
    config = replace(
        config,
        write=replace(config.write, layers=layers, price=replace(config.write.price, facts=10)),
        target=replace(config.target, max_steps=steps, anchor_pilots=min(config.target.anchor_pilots, 4)),
        direction=replace(config.direction, feature_layer=1),
        finetune=replace(config.finetune, steps=steps - 1),
        ultra=replace(config.ultra, pilots=4),
    )
    return replace(editor, config=config)
