"""A process that works on a session until it is killed: what `test_kill` starts.

It loads once, and then forks a worker for each line on its input: a session's id, a seed and the journal's path. Around
every save the worker writes to the journal what is being saved, and that it is.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from workbench.screens.ledger import actions as ledger_actions
from workbench.screens.ledger.recompute import move
from workbench.shared import actions
from workbench.state.session import WorkbenchState
from workbench.state.values import SavedSession
from workbench.state.vault import SessionRecord, SessionVault


def summary(saved: SavedSession) -> list[Any]:
    """What must not be lost of a session, and never be half there."""
    edits = [[[entry.id, entry.name, entry.is_on] for entry in entries] for entries in (saved.stack, saved.redo)]
    return [*edits, saved.draft.new_object]


def work(sessions: Path, session_id: str, seed: int, journal: Path) -> None:
    """Change the session at random for as long as the process lives."""
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    save = SessionRecord.save

    def journalled(self: SessionRecord, **named: Any) -> None:
        os.write(handle, (json.dumps(["saving", summary(self.saved)]) + "\n").encode())
        save(self, **named)
        os.write(handle, (json.dumps(["saved", self.unsaved]) + "\n").encode())

    SessionRecord.save = journalled  # type: ignore[method-assign]
    record = SessionVault(sessions).find(session_id)
    assert record is not None
    state, draw, lm = WorkbenchState(record), random.Random(seed), tiny_lm()
    os.write(handle, b'["ready", ""]\n')
    while True:
        change(state, draw, lm)


def change(state: WorkbenchState, draw: random.Random, lm: Any) -> None:
    """Apply, undo, redo, switch, rename, move or remove an edit, or type."""
    entry = draw.choice(state.stack) if state.stack else None
    kind = draw.choice(("apply", "apply", "undo", "redo", "switch", "rename", "move", "remove", "type"))
    if kind == "type":
        state.set_draft(replace(EIFFEL, new_object=f"Rome {draw.random()}"))
    elif kind == "undo" or len(state.stack) > 5:
        actions.undo(state)
    elif kind == "redo":
        actions.redo(state)
    elif kind == "apply" or entry is None:
        state.record.push(entry_for(lm, seed=draw.randrange(1 << 30)))
    elif kind == "switch":
        ledger_actions.change_entries(state, [replace(entry, is_on=not entry.is_on)])
    elif kind == "rename":
        ledger_actions.change_entries(state, [replace(entry, name=f"name {draw.random()}")])
    elif kind == "move":
        move(state, entry.id, by=draw.choice((-1, 1)))
    else:
        ledger_actions.remove(state, entry.id)


def main() -> None:
    """Fork a worker for each line, say its process id, and wait until it is gone."""
    torch.set_num_threads(1)
    tiny_lm()
    sessions = Path(sys.argv[1])
    for line in sys.stdin:
        session_id, seed, journal = json.loads(line)
        child = os.fork()
        if child == 0:
            work(sessions, session_id, seed, Path(journal))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)
        sys.stdout.write("gone\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
