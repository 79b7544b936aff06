"""Free memory, in a container too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kgmet.base.errors import MemoryLimitError
from kgmet.base.memory import check_room, container_room, free_memory

GB = 10**9


def limited(folder: Path, *, limit: str, used: int, cached: int) -> Path:
    """A folder as Linux shows it to a container (control groups 2)."""
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\nactive_file 9\n")
    return folder


def test_a_container_leaves_its_limit_less_what_is_used_and_cannot_be_dropped(tmp_path: Path) -> None:
    assert container_room(limited(tmp_path, limit=str(4 * GB), used=3 * GB, cached=GB)) == 2 * GB
    assert container_room(limited(tmp_path, limit=str(GB), used=3 * GB, cached=0)) == 0


def test_without_a_limit_the_machine_decides(tmp_path: Path) -> None:
    assert container_room(tmp_path) is None
    assert container_room(limited(tmp_path, limit="max", used=3 * GB, cached=0)) is None


def test_older_containers_are_understood(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(str(5 * GB))
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(str(2 * GB))
    (tmp_path / "memory" / "memory.stat").write_text("total_inactive_file 0\n")
    assert container_room(tmp_path) == 3 * GB


def test_the_smaller_of_machine_and_container_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("kgmet.base.memory.container_room", lambda: 1000)
    assert free_memory(cpu) == 1000
    with pytest.raises(MemoryLimitError, match=r"would take about 0 MB on cpu, where 0 MB are free\. Wait"):
        check_room(2000, cpu, what="This", advice="Wait.")
    monkeypatch.setattr("kgmet.base.memory.container_room", lambda: 1 << 60)
    assert 1000 < (free_memory(cpu) or 0) < 1 << 60
