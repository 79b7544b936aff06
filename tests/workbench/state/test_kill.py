"""A server that is killed at any moment loses no finished change, and leaves none half done."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.sessions import EIFFEL, fresh_process
from tests.workbench.state.worker import summary
from workbench.state.session import SESSION_KEY
from workbench.state.vault import SessionVault

ROOT = Path(__file__).resolve().parents[3]
SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_SESSION, N_KILL = (6, 20) if SOAK else (2, 4)
"""How many sessions, and how often the server of each is killed."""


class Workers:
    """The process that forks a worker on a session, which is then killed."""

    def __init__(self, sessions: Path) -> None:
        command = [sys.executable, "-m", "tests.workbench.state.worker", str(sessions)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill_one(self, session_id: str, journal: Path, draw: random.Random) -> None:
        """Let a worker change the session a few times, and kill it some milliseconds into what comes next."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([session_id, draw.randrange(1 << 30), str(journal)]) + "\n")
        self._process.stdin.flush()
        child = int(self._line())
        n_before = draw.randrange(4)
        while not journal.is_file() or journal.read_text(encoding="utf-8").count('"saved"') < n_before:
            os.kill(child, 0)
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert self._line() == "gone"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill") / "sessions"


@pytest.fixture(scope="module")
def workers(sessions: Path) -> Iterator[Workers]:
    made = Workers(sessions)
    yield made
    made.stop()


def allowed(journal: Path, before: list[Any]) -> tuple[list[Any], list[list[Any]]]:
    """What was saved last, and what the session may be: that, or what was being saved when the worker was killed."""
    saved, begun = before, None
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            kind, value = json.loads(line)
        except ValueError:  # the last line, cut short
            break
        if kind == "saving":
            begun = value
        elif kind == "saved" and begun is not None:
            assert value == ""
            saved, begun = begun, None
    return saved, [saved] if begun is None else [saved, begun]


def test_no_finished_change_is_lost_and_none_is_half_done(tmp_path: Path, sessions: Path, workers: Workers) -> None:
    draw, n_save = random.Random(0), 0
    for _ in range(N_SESSION):
        record = SessionVault(sessions).new()
        record.change(draft=EIFFEL)
        state = summary(record.saved)
        for number in range(N_KILL):
            journal = tmp_path / f"{record.folder.name}-{number}"
            workers.kill_one(record.session_id, journal, draw)
            n_save += journal.read_text(encoding="utf-8").count('"saved"')
            _, may_be = allowed(journal, state)
            found = SessionVault(sessions).find(record.session_id)
            assert found is not None and found.damage == () and found.unsaved == ""
            state = summary(found.saved)
            assert state in may_be
            assert all(entry.report is not None and str(entry.report) for entry in found.saved.entries)
    assert n_save >= N_SESSION * N_KILL, "they were killed at work"
    print(f"kills: {N_SESSION * N_KILL}; saves: {n_save}; lost or half done: 0")


def test_pages_open_after_a_kill(
    tmp_path: Path, sessions: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = SessionVault(sessions).new()
    record.change(draft=EIFFEL)
    draw = random.Random(1)
    for number in range(3 if SOAK else 1):
        workers.kill_one(record.session_id, tmp_path / f"journal-{number}", draw)
        fresh_process(sessions.parent, monkeypatch)
        for name in ("edit", "ledger"):
            page = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
            page.session_state[SESSION_KEY] = record.session_id
            page.run()
            assert not page.exception
