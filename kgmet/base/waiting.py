"""`wait_politely`: threads that wait give up their core instead of spinning on it.

OpenMP reads its settings once, when torch is imported, so this is called before. Threads that spin keep cores from the
programs beside this one, and from the very thread they wait for: on a machine of two cores with one of them busy, an
edit with spinning threads takes several times as long. Only programs call this; a library leaves the process alone.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["SETTINGS", "wait_politely"]

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What people set for the same purpose: OpenMP's own, GNU's and LLVM's or Intel's. One that is set is left alone."""


def wait_politely(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the waiting policy of this process and of those it starts, unless one is set."""
    if not any(environment.get(name, "").strip() for name in SETTINGS):
        environment["OMP_WAIT_POLICY"] = "passive"
