"""A run folder survives being killed, and refuses to be continued as something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError, StaleArtifactError
from kgmet.evaluate.runs.folder import RunFolder, Table, new_run

HEADER = {"settings": {"editor": "KGMET", "num_edits": 1}, "fingerprints": {"model": "a" * 16}}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_last_line_that_was_cut_off_is_dropped_wherever_it_was_cut(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    Table(path).append([{"n": 1}, {"n": 2, "text": "é"}])
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    table = Table(path)
    assert table.rows == [{"n": 1}]
    table.append([{"n": 3}])
    assert Table(path).rows == [{"n": 1}, {"n": 3}]


def test_what_was_appended_is_on_the_disk_at_once(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.jsonl")
    table.append({"n": n} for n in range(3))
    assert (tmp_path / "t.jsonl").read_bytes().count(b"\n") == 3


def test_damage_in_the_middle_is_no_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"n": 1}\nxx\n{"n": 2}\n')
    with pytest.raises(BrokenArtifactError, match="byte 9"):
        Table(path)
    assert path.read_bytes() == b'{"n": 1}\nxx\n{"n": 2}\n'


def test_a_shared_table_is_read_around_damage_and_never_mended(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"n": 1}\nxx\n{"n": 2}\n{"n"')
    assert Table(path, is_shared=True).rows == [{"n": 1}, {"n": 2}]
    assert path.read_bytes().endswith(b'{"n"')


def test_a_folder_is_continued_with_the_same_settings_only(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run_000", HEADER)
    RunFolder(tmp_path / "run_000", HEADER)
    other = {"settings": HEADER["settings"] | {"num_edits": 5}, "fingerprints": HEADER["fingerprints"]}
    with pytest.raises(StaleArtifactError, match="num_edits = 1; now it is 5"):
        RunFolder(tmp_path / "run_000", other)
    other = {"settings": HEADER["settings"], "fingerprints": {"model": "b" * 16}}
    with pytest.raises(StaleArtifactError, match="model"):
        RunFolder(tmp_path / "run_000", other)


def test_runs_are_numbered_and_found_again(tmp_path: Path) -> None:
    assert [new_run(tmp_path).name for _ in range(3)] == ["run_000", "run_001", "run_002"]
    RunFolder(tmp_path / "run_001", HEADER)
    assert new_run(tmp_path, "run_001") == tmp_path / "run_001"
    with pytest.raises(ConfigError, match="run_007"):
        new_run(tmp_path, "run_007")
