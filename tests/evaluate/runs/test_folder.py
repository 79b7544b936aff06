"""A run folder survives being killed, and refuses to be continued as something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError, StaleArtifactError, UnwritableError
from kgmet.evaluate.runs.folder import RunFolder, Table, new_run
from kgmet.evaluate.tables.summary import summarize_run

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


def test_only_the_settings_that_differ_are_printed(tmp_path: Path) -> None:
    config = {"seed": 0, "target": {f"setting_{n}": n for n in range(200)}}
    header = {"settings": {"config": config, "score": {"seed": 0}}, "fingerprints": {"config": "a"}}
    RunFolder(tmp_path / "run_000", header)
    other = {"settings": {"config": config | {"seed": 3}, "score": {"seed": 3}}, "fingerprints": {"config": "b"}}
    with pytest.raises(StaleArtifactError) as caught:
        RunFolder(tmp_path / "run_000", other)
    assert "config.seed = 0; now it is 3; score.seed 0 (now 3)" in str(caught.value)
    assert "setting_" not in str(caught.value)


def test_a_place_that_takes_nothing_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableError, match="Choose another folder with --out"):
        new_run(tmp_path / "file" / "runs")


@pytest.mark.parametrize("name", ["editor", "dataset", "mode"])
@pytest.mark.parametrize("value", [None, 3, ["KGMET"], {"a": 1}])
def test_a_name_that_is_no_text_is_refused(name: str, value: object, tmp_path: Path) -> None:
    settings = {"editor": "KGMET", "dataset": "own", "mode": "alone", "num_edits": 1, name: value}
    RunFolder(tmp_path / "run", HEADER | {"settings": settings, "model": "tiny", "fingerprints": {}})
    with pytest.raises(BrokenArtifactError, match=f"settings.{name} must be text"):
        summarize_run(tmp_path / "run")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
@pytest.mark.parametrize("name", ["settings.json", "cases.jsonl"])
def test_a_link_to_a_device_is_no_part_of_a_run(name: str, tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", HEADER)
    (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).symlink_to("/dev/zero")
    with pytest.raises(BrokenArtifactError, match="link that leads out of"):
        summarize_run(tmp_path / "run")
