"""Python script that repeats edits with the library alone, one after the other, and checks them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kgmet.base.fingerprint import plain
from workbench.state.values import StackEntry
from workbench.wording import count

__all__ = ["edit_script"]

_SCRIPT = '''"""Repeats {n} as the workbench made them, one after the other.

Save this file in the folder of the workbench and run it there: .venv/bin/python repeat_edits.py
"""

import json

import torch

import kgmet

EDITS = json.loads({edits})

lm = kgmet.load_lm({model!r}, dtype=torch.{dtype})
session = kgmet.EditSession(lm)
for step in EDITS:
    session.use(step["editor"], step["config"])
    contexts = [
        session.prepare(
            kgmet.FactEdit.from_json(fact),
            exclude=[tuple(item) if isinstance(item, list) else item for item in step["exclude"]],
            leave=step["leave"],
        )
        for fact in step["edits"]
    ]
    edited = session.edit_prepared(contexts)
    for fact, report in zip(edited.patch.edits, edited.reports, strict=True):
        print(f"{{fact.prompt}} … {{report.before.said.strip()!r}} → {{report.after.said.strip()!r}}")
        was, now = report.before.p_expected, report.after.p_expected
        print(f"probability of {{fact.new_object!r}}: {{was:.6f}} → {{now:.6f}} ({{report.verdict.outcome.value}})")
'''


def edit_script(entries: Sequence[StackEntry], model: str, *, dtype: str = "float32") -> str:
    """Return the script's text, with names and prompts as data only.

    An entry without a known fact cannot be repeated and is left out.
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
    n = count(sum(len(step["edits"]) for step in steps), "edit")
    return _SCRIPT.format(n=n, model=model, dtype=dtype, edits=repr(text))
