"""The one reader of untrusted files: patches, graphs, data sets, runs, settings, sessions, uploads.

Nothing in such a file is executed. Each of these is refused with one sentence that names the file: a path that is no
regular file (a device, a pipe, a folder), a link that leads out of its folder, a file larger than its limit, a
compressed file that grows out of proportion, text that is not UTF-8 (a byte-order mark is allowed), lists nested too
deeply, numbers of hundreds of digits, infinities and NaN, and broken archives. All work is linear in the bytes read, so
the limit on bytes also bounds the time.

The functions raise the error class they are given, by default `BrokenArtifactError`; all of these are `FileError`.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import math
import os
import re
import stat
import tomllib
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from kgmet.base.errors import ArtifactError, BrokenArtifactError, Cancelled, FileError, KgmetError

__all__ = [
    "JSON_FILE",
    "SETTINGS_FILE",
    "Limits",
    "check_file",
    "decode_text",
    "expanded",
    "failures_as",
    "is_file",
    "is_folder",
    "open_text_bytes",
    "parse_json",
    "parse_json_lines",
    "parse_toml",
    "read_bytes",
    "read_json",
    "read_json_object",
    "read_text",
    "read_toml",
    "unpack_zip",
]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Size and nesting limits for one kind of file."""

    n_bytes: int = 256 << 20
    """Largest size in bytes, after decompression."""
    depth: int = 64
    """Deepest nesting of lists and objects."""
    ratio: int = 200
    """Largest expansion of a compressed file (bytes out per byte in), applied above `free_bytes`."""
    free_bytes: int = 16 << 20
    """Decompressed bytes up to which `ratio` is not checked."""


JSON_FILE = Limits()
SETTINGS_FILE = Limits(n_bytes=1 << 20)

MAX_DIGITS = 300
"""Most digits of a number; a float has room for 308."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LINE = re.compile(r", line \d+$")
"""End of a place that already names the line."""
_LONG_NUMBER = re.compile(r"\d{301}|\d[eE]\+?\d{3}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ERROR = type[FileError]
_BROKEN: tuple[type[Exception], ...] = (
    KgmetError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # also NotImplementedError and RecursionError
    zlib.error,
    zipfile.BadZipFile,
)


@contextmanager
def failures_as(error: _ERROR, what: str, *, advice: str = "") -> Iterator[None]:
    """Turn any exception that a file's contents can cause into `error` with one sentence; a `KgmetError` passes.

    Args:
        error: the class to raise.
        what: the beginning of the sentence: "runs/x holds no usable patch".
        advice: the end of the sentence: what to do next.
    """
    try:
        yield
    except (FileError, ArtifactError, Cancelled):
        raise
    except _BROKEN as cause:
        said = f"it lacks {cause}" if isinstance(cause, KeyError) else str(cause) or type(cause).__name__
        raise error(f"{what}: {said[:300].rstrip('.')}.{' ' + advice if advice else ''}") from cause


def check_file(
    path: Path, *, limits: Limits = JSON_FILE, error: _ERROR = BrokenArtifactError, within: Path | None = None
) -> int:
    """Return the size of a regular file, in bytes.

    Args:
        path: the file.
        limits: its `n_bytes` is checked.
        error: the class to raise.
        within: a folder the file must lie in once links are followed.

    Raises:
        FileError: if it is missing, no regular file, too large, or a link that leads out of `within`.
    """
    try:
        status = path.stat()
        if within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise error(f"{path} is a link that leads out of {within}. Put the file itself there.")
    except (OSError, RuntimeError, ValueError) as cause:  # links in a circle; a NUL in the name
        if isinstance(cause, KgmetError):
            raise
        if isinstance(cause, FileNotFoundError):
            raise error(f"{path} is missing. Check the path.") from cause
        said = getattr(cause, "strerror", None) or str(cause)
        raise error(f"{path} cannot be read: {said}. Check the path.") from cause
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise error(f"{path} is {kind}, not a file. Give a file.")
    _check_size(status.st_size, limits, str(path), error)
    return status.st_size


def expanded(text: str) -> Path:
    """Return a typed path with ``~`` replaced; one that begins with the name of no user stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_file(path: Path) -> bool:
    """Return whether this is a file. ``Path.is_file`` raises where a name is too long or a folder may not be read."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether this is a folder, as `is_file` does for files."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_bytes(
    path: Path, *, limits: Limits = JSON_FILE, error: _ERROR = BrokenArtifactError, within: Path | None = None
) -> bytes:
    """Return all bytes of a file, checked by `check_file`."""
    check_file(path, limits=limits, error=error, within=within)
    with _open_regular(path, error) as stream:
        data = _or_raise(lambda: stream.read(limits.n_bytes + 1), path, error)
    _check_size(len(data), limits, str(path), error)
    return data


def read_text(
    path: Path, *, limits: Limits = JSON_FILE, error: _ERROR = BrokenArtifactError, within: Path | None = None
) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark."""
    return decode_text(read_bytes(path, limits=limits, error=error, within=within), where=str(path), error=error)


def read_json(
    path: Path, *, limits: Limits = JSON_FILE, error: _ERROR = BrokenArtifactError, within: Path | None = None
) -> Any:
    """Return the value of a JSON file; see `parse_json`."""
    text = read_text(path, limits=limits, error=error, within=within)
    return parse_json(text, where=str(path), limits=limits, error=error)


def read_json_object(
    path: Path, *, limits: Limits = JSON_FILE, error: _ERROR = BrokenArtifactError, within: Path | None = None
) -> dict[str, Any]:
    """Return the object a JSON file holds."""
    value = read_json(path, limits=limits, error=error, within=within)
    if not isinstance(value, dict):
        raise error(f"{path} must hold a JSON object, got {_kind(value)}.")
    return value


def read_toml(path: Path, *, limits: Limits = SETTINGS_FILE, error: _ERROR = BrokenArtifactError) -> dict[str, Any]:
    """Return the tables of a TOML file; see `parse_toml`."""
    return parse_toml(read_text(path, limits=limits, error=error), where=str(path), limits=limits, error=error)


def decode_text(data: bytes, *, where: str, error: _ERROR = BrokenArtifactError) -> str:
    """Decode UTF-8 bytes, without a byte-order mark.

    Raises:
        FileError: if they are UTF-16 or not UTF-8; says at which byte.
    """
    if data.startswith(_UTF_16):
        raise error(f"{where} is UTF-16. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(
            f"{where} is not UTF-8 (byte 0x{data[cause.start]:02X} at position {cause.start + 1}); it may be Latin-1 "
            "or Windows-1252, or no text at all. Save it as UTF-8."
        ) from cause


def parse_json(
    text: str | bytes,
    *,
    where: str,
    limits: Limits = JSON_FILE,
    error: _ERROR = BrokenArtifactError,
    finite: bool = True,
) -> Any:
    """Parse JSON and check that texts can be written as UTF-8 and numbers are finite.

    With `finite` off, infinities and NaN are allowed: our own tables of results may hold them.

    Raises:
        FileError: if it is no JSON, nested too deeply, or holds a number too long, infinite or not a number.
    """
    text = decode_text(text, where=where, error=error) if isinstance(text, bytes) else text
    hooks: dict[str, Any] = {"parse_constant": _Refusal(where, error)} if finite else {}
    if _LONG_NUMBER.search(text):
        hooks |= {"parse_int": _Digits(where, error), "parse_float": _Finite(where, error)}
    try:
        value = json.loads(text, **hooks)
    except json.JSONDecodeError as cause:
        place = where if _LINE.search(where) else f"{where}, line {cause.lineno}"
        raise error(f"{place}: not JSON ({cause.msg}, column {cause.colno}).") from cause
    except RecursionError as cause:
        raise error(_too_deep(where, limits)) from cause
    _check_depth(value, where, limits, error)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as cause:
            raise error(f"{where} holds half a character (a lone \\ud… escape). Write the whole character.") from cause
    return value


def parse_json_lines(
    data: bytes, *, where: str, limits: Limits = JSON_FILE, error: _ERROR = BrokenArtifactError
) -> list[tuple[int, Any]]:
    """Return (line number, value) of each non-blank line. Only a line feed ends a line: text may hold U+2028."""
    text = decode_text(data, where=where, error=error)
    return [
        (number, parse_json(line, where=f"{where}, line {number}", limits=limits, error=error))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def parse_toml(
    text: str, *, where: str, limits: Limits = SETTINGS_FILE, error: _ERROR = BrokenArtifactError
) -> dict[str, Any]:
    """Parse TOML by the same rules as JSON.

    Raises:
        FileError: if it is no TOML, nested too deeply, or holds a number too long, infinite or not a number.
    """
    try:
        value = tomllib.loads(text)
    except RecursionError as cause:
        raise error(_too_deep(where, limits)) from cause
    except ValueError as cause:  # no TOML, or an integer of more digits than Python reads
        raise error(f"{where} is not TOML: {cause}.") from cause
    _check_depth(value, where, limits, error, numbers=True)
    return value


@contextmanager
def open_text_bytes(
    path: Path, *, limits: Limits, error: _ERROR = BrokenArtifactError, within: Path | None = None
) -> Iterator[IO[bytes]]:
    """Open a text file as a stream of bytes after any byte-order mark; a ``.gz`` file is decompressed.

    Reading past a limit, or into a damaged part, raises `error`.
    """
    size = check_file(path, limits=limits, error=error, within=within)
    is_packed = path.name.lower().endswith(".gz")
    with _open_regular(path, error) as stream:
        source: Any = gzip.GzipFile(fileobj=stream, mode="rb") if is_packed else stream
        most = limits.n_bytes
        if is_packed:
            most = min(most, max(limits.free_bytes, size * limits.ratio))
        bounded = io.BufferedReader(_Bounded(source, path, most, error), buffer_size=1 << 16)
        mark = bounded.peek(3)[:3]
        if mark[:2] in _UTF_16:
            raise error(f"{path} is UTF-16. Save it as UTF-8.")
        if mark == codecs.BOM_UTF8:
            bounded.read(3)
        yield bounded


def unpack_zip(
    data: bytes, names: Collection[str], *, where: str, limits: Limits, error: _ERROR = BrokenArtifactError
) -> dict[str, bytes]:
    """Return the wanted members of a zip archive by their bare names; paths inside the archive are ignored.

    Raises:
        FileError: if it is no archive, a name occurs twice, a member is encrypted, damaged or packed in an unusual way,
            or all of them together are too large or grow out of proportion.
    """
    with (
        failures_as(error, f"{where} is no zip archive that can be read", advice="Choose one that Export made."),
        zipfile.ZipFile(io.BytesIO(data)) as archive,
    ):
        wanted: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/")).name
            if member.is_dir() or name not in names:
                continue
            if name in wanted:
                raise error(f"{where} holds {name} twice. Choose an archive with one patch.")
            if member.flag_bits & 1:
                raise error(f"{where} is encrypted. Unpack it and pack it without a password.")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise error(f"{name} in {where} is packed in an unusual way. Pack it as an ordinary zip file.")
            wanted[name] = member
        total = sum(member.file_size for member in wanted.values())
        _check_size(total, limits, f"What is packed in {where}", error)
        if total > max(limits.free_bytes, len(data) * limits.ratio):
            raise error(f"{where} would grow from {_megabytes(len(data))} to {_megabytes(total)}. It is not unpacked.")
        return {name: _member(archive, member, where, error) for name, member in wanted.items()}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, error: _ERROR) -> bytes:
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise error(f"{member.filename} in {where} is cut short or longer than it says.")
    return data


class _Bounded(io.RawIOBase):
    """A stream that raises `error` once it has given more than `most` bytes, and for every kind of damage."""

    def __init__(self, source: Any, path: Path, most: int, error: _ERROR) -> None:
        self._source, self._path, self._left, self._most, self._error = source, path, most, most, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = _or_raise(lambda: self._source.read(len(buffer)), self._path, self._error)
        self._left -= len(data)
        if self._left < 0:
            raise self._error(
                f"{self._path} grows to more than {_megabytes(self._most)} when it is read, which no such file does. "
                "It is not read."
            )
        buffer[: len(data)] = data
        return len(data)


def _open_regular(path: Path, error: _ERROR) -> IO[bytes]:
    """Open without blocking on a pipe, and check again that the opened file is a regular one."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}. Check the path.") from cause
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise error(f"{path} is a device or a pipe, not a file. Give a file.")
    return os.fdopen(handle, "rb")


def _or_raise(read: Any, path: Path, error: _ERROR) -> bytes:
    try:
        data: bytes = read()
    except (OSError, EOFError, zlib.error) as cause:
        raise error(f"{path} cannot be read: {cause}. It may be cut off or damaged.") from cause
    return data


class _Refusal:
    """Callback of `json` for NaN and infinities: raises."""

    def __init__(self, where: str, error: _ERROR) -> None:
        self._where, self._error = where, error

    def __call__(self, text: str) -> NoReturn:
        raise self._error(f"{self._where} holds the number {text}; only finite numbers can be used.")


class _Digits(_Refusal):
    def __call__(self, text: str) -> int:  # type: ignore[override]
        if len(text) > MAX_DIGITS:
            raise self._error(f"{self._where} holds a number of {len(text):,} digits; at most {MAX_DIGITS} are read.")
        return int(text)


class _Finite(_Refusal):
    def __call__(self, text: str) -> float:  # type: ignore[override]
        value = float(text)
        if not math.isfinite(value):
            super().__call__(text[:40])
        return value


def _check_depth(value: Any, where: str, limits: Limits, error: _ERROR, *, numbers: bool = False) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limits.depth):
        if not level:
            return
        below = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        if numbers and any(_is_too_large(item) for item in below):
            raise error(f"{where} holds a number that is infinite, not a number, or of more than {MAX_DIGITS} digits.")
        level = [item for item in below if isinstance(item, (dict, list))]
    if level:
        raise error(_too_deep(where, limits))


def _is_too_large(item: Any) -> bool:
    if isinstance(item, float):
        return not math.isfinite(item)
    return isinstance(item, int) and item.bit_length() > 3.32 * MAX_DIGITS


def _too_deep(where: str, limits: Limits) -> str:
    return f"{where} nests lists and objects more than {limits.depth} deep, which is not allowed."


def _check_size(size: int, limits: Limits, where: str, error: _ERROR) -> None:
    if size > limits.n_bytes:
        raise error(f"{where} has {_megabytes(size)}; at most {_megabytes(limits.n_bytes)} are read.")


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB" if size >= 1 << 20 else f"{size:,} bytes"


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an empty list" if not value else "a list"
    names: Mapping[type, str] = {dict: "an object", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
