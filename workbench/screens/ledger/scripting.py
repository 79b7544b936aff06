"""A Python script that repeats edits with the library alone, one after the other, and shows that they took."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kgmet.base.fingerprint import plain
from workbench.state.values import StackEntry

__all__ = ["edit_script"]

_SCRIPT = '''"""Repeats {n} edit(s) as the workbench made them, one after the other.

Save this file in the folder of the workbench and run it there: .venv/bin/python repeat_edits.py
"""

import json

import torch

from kgmet.edit.config import config_from_mapping
from kgmet.edit.context import prepare_edit
from kgmet.edit.editors import editor_named
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import load_lm
from kgmet.edit.plan import plan_edits
from kgmet.edit.report import report_edit
from kgmet.fact import FactEdit
from kgmet.write.statistics import KeyStatistics
from kgmet.write.ledger import EditLedger

EDITS = json.loads({edits})

lm = load_lm({model!r}, dtype=torch.{dtype})
store, catalogue, statistics = sample_store(), RelationCatalogue.load(), KeyStatistics(lm)
patches, ledger = [], EditLedger()
for step in EDITS:
    editor = editor_named(step["editor"])
    config = config_from_mapping(step["config"], base=editor.config)
    contexts = [
        prepare_edit(
            FactEdit.from_json(edit),
            store=store,
            catalogue=catalogue,
            config=config,
            exclude=[tuple(item) if isinstance(item, list) else item for item in step["exclude"]],
            leave=step["leave"],
        )
        for edit in step["edits"]
    ]
    plan = plan_edits(
        lm, contexts, editor=editor, statistics=statistics, config=config, ledger=ledger, earlier=patches
    )
    for position, edit in enumerate(plan.patch.edits):
        report = report_edit(lm, plan, earlier=patches, position=position)
        before, after = report.before, report.after
        print(f"{{edit.prompt}} … {{before.answer!r}} → {{after.answer!r}}")
        print(f"probability of {{edit.new_object!r}}: {{before.p_new:.6f}} → {{after.p_new:.6f}}")
    patches.append(plan.patch)
    ledger = plan.ledger
'''


def edit_script(entries: Sequence[StackEntry], model: str, *, dtype: str = "float32") -> str:
    """The script's text. Names and prompts are in it as data only, whatever they contain.

    An entry that does not say which fact it changes cannot be repeated, and is left out.
    """
    steps = [
        {
            "editor": entry.patch.editor,
            "config": plain(entry.patch.config),
            "edits": [edit.to_json() for edit in entry.patch.edits],
            "exclude": plain(entry.exclude),
            "leave": sorted(entry.leave),
        }
        for entry in entries
        if entry.patch.edits
    ]
    text = json.dumps(steps, ensure_ascii=True, indent=1)
    return _SCRIPT.format(n=sum(len(step["edits"]) for step in steps), model=model, dtype=dtype, edits=repr(text))
