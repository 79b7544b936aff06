"""Free memory of a device, and a check before work starts that it will fit."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self, TypeVar

import psutil
import torch

from kgmet.base.errors import MemoryLimitError

__all__ = [
    "Movable",
    "check_room",
    "container_room",
    "free_memory",
    "gigabytes",
    "is_out_of_memory",
    "moved_if_it_fits",
]


class Movable(Protocol):
    """A value that can be moved to another device."""

    def to(self, device: torch.device) -> Self:
        """Return it there."""


T = TypeVar("T", bound=Movable)


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a device; ``None`` where they cannot be determined."""
    if device.type == "cpu":
        available, in_container = int(psutil.virtual_memory().available), container_room()
        return available if in_container is None else min(available, in_container)
    if device.type == "cuda" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info(device)
        # Memory that torch has reserved and does not use is free as well.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps" and torch.backends.mps.is_available():
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def container_room(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that a container's limit leaves; ``None`` without a limit. Files held in memory count as free.

    Args:
        root: where Linux tells a container's limits (control groups, version 2 or 1).
    """
    versions = (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    )
    for limit_name, used_name, stat_name, cached_name in versions:
        try:
            limit, used = int((root / limit_name).read_text()), int((root / used_name).read_text())
            rows = dict(line.split(maxsplit=1) for line in (root / stat_name).read_text().splitlines() if " " in line)
            return max(0, limit - used + int(rows.get(cached_name, 0)))
        except (OSError, ValueError):  # no such file, or no limit: "max"
            continue
    return None


def check_room(n_byte: int, device: torch.device, *, what: str, advice: str) -> None:
    """Refuse work that would not fit into memory.

    Args:
        n_byte: bytes it will allocate on the device.
        device: the device.
        what: the beginning of the message, for example ``The key statistics of 6 layers``.
        advice: what would fit.

    Raises:
        MemoryLimitError: if that much is not free.
    """
    free = free_memory(device)
    if free is not None and n_byte > free:
        raise MemoryLimitError(
            f"{what} would take about {gigabytes(n_byte)} on {device}, where {gigabytes(free)} are free. {advice}"
        )


def gigabytes(n_byte: float) -> str:
    """Format a number of bytes as ``1.6 GB``."""
    return f"{n_byte / 1e9:.1f} GB" if n_byte >= 1e8 else f"{n_byte / 1e6:.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory; on the CPU torch raises a plain `RuntimeError` for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error))


def moved_if_it_fits(value: T, device: torch.device) -> T:
    """Return a value on another device, or as it is where that device's memory runs out."""
    try:
        return value.to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return value
