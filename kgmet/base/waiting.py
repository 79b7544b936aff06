"""`wait_politely`: OpenMP threads that wait release their core after a short spin.

OpenMP reads its settings once, when torch is imported, so call this first. Spinning threads take cores from other
programs and from the thread they wait for. Sleeping at once is slower: an edit waits thousands of times, and waking
takes longer than most waits. Only programs call this; a library must not change its process.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["SETTINGS", "SPINS", "wait_politely"]

SPINS = 1000
"""How many times a thread polls before it sleeps. One edit of the default model, alone and beside a process that keeps
one of two cores busy: 1.6 and 3.3 s with this value, 1.6 and 5.5 s with endless spinning, 2.4 and 4.7 s when sleeping
at once; 300 and 3,000 are worse in one of the two cases (`benchmarks/single_edit.py --busy`, medians of 4 to 6 edits).
Used by GNU's OpenMP only, which torch has on Linux."""

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables with the same purpose (OpenMP's, GNU's, LLVM's, Intel's). If one is set, it is kept."""


def wait_politely(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the waiting policy of this process and its children, unless the user has set one."""
    if not any(environment.get(name, "").strip() for name in SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(SPINS)
