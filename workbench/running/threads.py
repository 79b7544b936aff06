"""How many threads torch computes with here: the app is a guest on somebody's machine, not its only program."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["SETTING", "Threads", "choose_threads", "limit_threads", "physical_cores"]

LOG = logging.getLogger(__name__)
SETTING = "KGMET_THREADS"
"""The environment variable that names a number."""
MOST = 8
"""More do not make a small model faster."""
_NATIVE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Threads:
    """A number and the reason for it, for people. `count` is ``None`` where the number was set elsewhere."""

    count: int | None
    why: str


def choose_threads(environment: Mapping[str, str], cores: int) -> Threads:
    """Half the cores, at least 1 and at most `MOST`; what the environment sets goes first.

    Two programs that each take every core slow each other down far more than twofold: their threads wait for each other
    at every step of the search.
    """
    for name in _NATIVE:
        if environment.get(name, "").strip():
            return Threads(count=None, why=f"{name} is set to {environment[name].strip()!r}")
    half = max(1, min(MOST, cores // 2))
    usual = f"half of {cores} cores" if cores > 1 else "one core"
    asked = environment.get(SETTING, "").strip()
    if not asked:
        return Threads(count=half, why=f"{usual}, so that other programs keep theirs; {SETTING} sets another number")
    if not asked.isdecimal() or not 1 <= int(asked) <= 1024:
        LOG.warning("%s is %r, which is no number of threads; %d is used", SETTING, asked, half)
        return Threads(count=half, why=f"{usual}; {SETTING} is {asked[:20]!r}, which is no number from 1 to 1024")
    return Threads(count=int(asked), why=f"{SETTING} is set to {asked!r}")


def limit_threads() -> Threads:
    """Choose for this process, tell torch, and say what it computes with now."""
    chosen = choose_threads(os.environ, physical_cores())
    if chosen.count is not None:
        torch.set_num_threads(chosen.count)
    return Threads(count=torch.get_num_threads(), why=chosen.why)


def physical_cores() -> int:
    """Cores this process may use; the two halves of one core count once where the system tells them apart."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    found = set()
    for number in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            found.add(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            found.add(str(number))
    return max(1, len(found))
