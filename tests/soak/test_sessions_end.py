"""What sessions hold is freed when they end: memory, threads and file handles of a process that served many."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.workbench.sessions import edited, fresh_process, state_of
from tests.workbench.shown_pages import shown
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.state.vault import vault

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_WARM, N_SESSION = (10, 200) if SOAK else (2, 4)
MOST = 1.1
"""Largest memory after `N_SESSION` sessions over that after `N_WARM`."""


def one_session(resident: Resident) -> None:
    """Someone comes, applies an edit, looks at two pages, and leaves."""
    state = edited(state_of(), resident)
    for name in ("edit", "ledger"):
        assert not shown(name, state).exception


def held() -> tuple[int, int, int]:
    """Resident memory in bytes, threads and open files, after everything that can be freed is freed."""
    for _ in range(3):
        gc.collect()
    vault().release(after=-1)
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts memory and handles in /proc")
def test_sessions_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = fresh_process(tmp_path, monkeypatch)
    for _ in range(N_WARM):
        one_session(resident)
    before = held()
    for _ in range(N_SESSION - N_WARM):
        one_session(resident)
    after = held()
    print(
        f"sessions: {N_SESSION}; memory {before[0] / 1e6:.0f} → {after[0] / 1e6:.0f} MB; "
        f"threads {before[1]} → {after[1]}; open files {before[2]} → {after[2]}"
    )
    assert len(vault()._records) == 0, "no session is in memory"
    finished = [one for one in jobs.registry()._jobs.values() if one.is_finished]
    assert [one for one in finished if not one.is_aside] == [], "what is asked for all visitors stays"
    assert after[0] <= MOST * before[0]
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] + 2
