"""Files are data: what is no file, too much, too deep or not what it says is refused with one sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigFileError, FileError, GraphFileError
from kgmet.base.files import (
    Limits,
    check_file,
    expanded,
    failures_as,
    is_file,
    is_folder,
    open_text_bytes,
    parse_json,
    parse_json_lines,
    parse_toml,
    read_bytes,
    read_json,
    read_text,
    unpack_zip,
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 10_000 + "]" * 10_000, "more than 64 deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "more than 64 deep"),
        ("9" * 6_000, "a number of 6,000 digits; at most 300"),
        ("[-" + "9" * 301 + "]", "302 digits"),
        ("1e999", "holds the number 1e999"),
        ("[NaN]", "holds the number NaN"),
        ("[-Infinity]", "holds the number -Infinity"),
        ('["\\ud800"]', "half a character"),
        ("[1,\n2,,]", "line 2: not JSON"),
        ("", "not JSON"),
    ],
)
def test_json_that_cannot_be_data_is_refused(text: str, says: str) -> None:
    with pytest.raises(GraphFileError, match=says):
        parse_json(text, where="x.json", error=GraphFileError)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * 64 + "]" * 64, None),
        ("9" * 300, int("9" * 300)),
        ("1e300", 1e300),
        ('"\\ud83d\\ude00"', "😀"),
        ("1" + "0" * 299 + ".5", 1e299),
    ],
)
def test_json_at_the_limits_is_read(text: str, value: Any) -> None:
    assert value is None or parse_json(text, where="x") == value


def test_a_digest_that_looks_like_a_long_number_is_only_text() -> None:
    assert parse_json(json.dumps(["1" * 400, 7, 0.5]), where="x") == ["1" * 400, 7, 0.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "9" * 6_000, "not TOML"),
        ("a = " + "9" * 400, "more than 300 digits"),
        ("a = nan", "not a number"),
        ("a = [inf]", "infinite"),
        ("a = " + "[" * 10_000 + "]" * 10_000, "more than 64 deep|not TOML"),
        (".".join("a" * 500) + " = 1", "more than 64 deep"),
        ("a = ", "not TOML"),
    ],
)
def test_toml_keeps_the_same_rules(text: str, says: str) -> None:
    with pytest.raises(ConfigFileError, match=says):
        parse_toml(text, where="x.toml", error=ConfigFileError)


def test_a_byte_order_mark_is_taken_and_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + '["é"]'.encode())
    assert read_json(path) == ["é"]
    path.write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(BrokenArtifactError, match=r"not UTF-8 \(byte 0xE9 at position 3\)"):
        read_json(path)
    path.write_bytes('["é"]'.encode("utf-16"))
    with pytest.raises(BrokenArtifactError, match="is UTF-16"):
        read_json(path)


def test_json_lines_end_at_line_feeds_only() -> None:
    data = '{"a": "x\u2028y"}\n\n  \r\n{"a": 2}\r\n'.encode()
    assert parse_json_lines(data, where="x") == [(1, {"a": "x\u2028y"}), (4, {"a": 2})]
    with pytest.raises(BrokenArtifactError, match="x, line 2: not JSON"):
        parse_json_lines(b"1\n{\n", where="x")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
@pytest.mark.parametrize("read", [read_bytes, read_text, read_json, check_file])
def test_devices_pipes_and_folders_are_no_files(read: Any, tmp_path: Path) -> None:
    link, pipe = tmp_path / "zero", tmp_path / "pipe"
    link.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for path, says in ((link, "a device or a pipe"), (pipe, "a device or a pipe"), (tmp_path, "a folder")):
        with pytest.raises(BrokenArtifactError, match=says):
            read(path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path in (tmp_path / "circle", tmp_path / "missing", tmp_path / "nul\0"):
        with pytest.raises(BrokenArtifactError, match=r"cannot be read|is missing"):
            read(path)


def test_a_link_may_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.json").write_text("[1]")
    (inside / "a.json").symlink_to("../secret.json")
    (inside / "b.json").write_text("[2]")
    (inside / "c.json").symlink_to("b.json")
    assert read_json(inside / "c.json", within=inside) == [2]
    assert read_json(inside / "a.json") == [1]
    with pytest.raises(BrokenArtifactError, match="a link that leads out of"):
        read_json(inside / "a.json", within=inside)


def test_a_file_larger_than_its_kind_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(BrokenArtifactError, match="has 5,120 MB; at most 256 MB are read"):
        read_bytes(path)


def test_a_compressed_file_may_not_grow_out_of_proportion(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nt.gz"
    with gzip.open(path, "wb") as packed:
        for _ in range(64):
            packed.write(bytes(1 << 20))
    limits = Limits(n_bytes=1 << 40)
    with (
        pytest.raises(GraphFileError, match="grows to more than 16 MB"),
        open_text_bytes(path, limits=limits, error=GraphFileError) as stream,
    ):
        while stream.read(1 << 16):
            pass
    with open_text_bytes(path, limits=Limits(free_bytes=1 << 30)) as stream:
        assert len(stream.read()) == 64 << 20


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zip_of(("a.json", b"secret")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def damaged() -> bytes:
    data = bytearray(zip_of(("a.json", os.urandom(500)), method=zipfile.ZIP_STORED))
    data[100] ^= 255
    return bytes(data)


def bomb() -> bytes:
    """Packed by the test: each process that collects the tests would take a second for it."""
    return zip_of(("a.json", bytes(40 << 20)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no archive", "no zip archive that can be read"),
        (b"", "no zip archive that can be read"),
        (zip_of(("a.json", b"1"))[:-30], "no zip archive that can be read"),
        (damaged(), "no zip archive that can be read: Bad CRC"),
        (encrypted(), "is encrypted"),
        (zip_of(("a.json", b"1"), method=zipfile.ZIP_LZMA), "packed in an unusual way"),
        (zip_of(("x/a.json", b"1"), ("y/a.json", b"2")), "holds a.json twice"),
        (bomb, "would grow from .* to 40 MB"),
        (zip_of(("a.json", bytes(2 << 20))), "at most 1 MB are read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_archives_are_opened_with_care(data: bytes | Callable[[], bytes], says: str) -> None:
    limits = Limits(n_bytes=1 << 20) if "at most" in says else Limits(n_bytes=512 << 20)
    with pytest.raises(BrokenArtifactError, match=says):
        unpack_zip(data() if callable(data) else data, ("a.json",), where="The archive", limits=limits)


def test_only_the_wanted_members_are_unpacked_by_their_bare_names() -> None:
    data = zip_of(("../../etc/a.json", b"1"), ("evil.sh", b"rm"), ("deep\\b.json", b"2"))
    found = unpack_zip(data, ("a.json", "b.json"), where="x", limits=Limits())
    assert found == {"a.json": b"1", "b.json": b"2"}


@pytest.mark.parametrize(
    "cause",
    [KeyError("layer"), ZeroDivisionError("x"), RecursionError(), IndexError("x"), AttributeError("x"), OSError("x")],
)
def test_every_failure_of_reading_becomes_one_sentence(cause: Exception) -> None:
    with pytest.raises(FileError, match=r"^runs/x is broken: .+\. Delete it\.$"):  # noqa: SIM117
        with failures_as(BrokenArtifactError, "runs/x is broken", advice="Delete it."):
            raise cause


@pytest.mark.parametrize("typed", ["x" * 5000, "~nobody-of-this-name/x", "a\0b", "/dev/null/x", "/" * 3000 + "y" * 300])
def test_what_a_person_types_may_be_no_path_at_all(typed: str) -> None:
    path = expanded(typed)
    assert not is_file(path) and not is_folder(path)
    assert not is_file(path / "config.json")
