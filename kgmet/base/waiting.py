"""`wait_politely`: threads that wait give up their core soon, instead of spinning on it.

OpenMP reads its settings once, when torch is imported, so this is called before. Threads that spin keep cores from the
programs beside this one, and from the very thread they wait for. Sleeping at once is no better: threads wait thousands
of times in an edit, and waking takes longer than most waits. Only programs call this; a library leaves the process
alone.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["SETTINGS", "SPINS", "wait_politely"]

SPINS = 1000
"""How often a thread looks before it sleeps. An edit of the default model took, alone and beside a process that keeps
one of two cores busy: 1.6 and 3.3 s with this, 1.6 and 5.5 s spinning on, 2.4 and 4.7 s sleeping at once; 300 and 3,000
are worse on the one side and on the other (`benchmarks/single_edit.py --busy`, medians of 4 to 6 edits). GNU's OpenMP
only, which torch has on Linux."""

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What people set for the same purpose: OpenMP's own, GNU's and LLVM's or Intel's. One that is set is left alone."""


def wait_politely(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the waiting policy of this process and of those it starts, unless one is set."""
    if not any(environment.get(name, "").strip() for name in SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(SPINS)
