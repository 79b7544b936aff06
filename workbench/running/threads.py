"""Number of torch threads in the app, which shares the machine with other programs."""

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
"""Environment variable with the number of threads."""
MOST = 8
"""Most threads; more do not make a small model faster."""
_NATIVE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Threads:
    """The number of threads with its reason, for display. `count` is ``None`` if it was set elsewhere."""

    count: int | None
    why: str


def choose_threads(environment: Mapping[str, str], cores: int) -> Threads:
    """Return half the cores, from 1 to `MOST`, unless the environment sets a number.

    Two programs that each use every core slow each other down far more than twofold, because their threads wait for
    each other at every step.
    """
    for name in _NATIVE:
        if environment.get(name, "").strip():
            return Threads(count=None, why=f"{name} is set to {environment[name].strip()!r}")
    half = max(1, min(MOST, cores // 2))
    usual = f"half of {cores} cores" if cores > 1 else "one core"
    asked = environment.get(SETTING, "").strip()
    if not asked:
        return Threads(count=half, why=f"{usual}, so that other programs keep some; {SETTING} sets another number")
    if not asked.isdecimal() or not 1 <= int(asked) <= 1024:
        LOG.warning("%s is %r, which is no number of threads; %d is used", SETTING, asked, half)
        return Threads(count=half, why=f"{usual}; {SETTING} is {asked[:20]!r}, which is no number from 1 to 1024")
    return Threads(count=int(asked), why=f"{SETTING} is set to {asked!r}")


def limit_threads() -> Threads:
    """Choose and set the number of torch threads, and describe it."""
    chosen = choose_threads(os.environ, physical_cores())
    if chosen.count is not None:
        torch.set_num_threads(chosen.count)
    return Threads(count=torch.get_num_threads(), why=chosen.why)


def physical_cores() -> int:
    """Return the physical cores this process may use, if the system reports them."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    found = set()
    for number in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            found.add(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            found.add(str(number))
    return max(1, len(found))
