"""`Corpus`: the ordinary text whose keys are measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from kgmet.base.errors import ConfigError, ConfigFileError
from kgmet.base.files import Limits, read_text
from kgmet.base.fingerprint import digest

__all__ = ["Corpus", "bundled_corpus"]

_LIMITS = Limits(n_bytes=1 << 30)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text to estimate from: one passage per line, each cut at `n_token` tokens; `name` is for display."""

    name: str
    lines: tuple[str, ...]
    n_token: int = 96

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits for the text and the cut."""
        return digest(str(self.n_token), *self.lines)[:16]

    @classmethod
    def from_file(cls, path: Path, *, n_token: int = 96) -> Corpus:
        """Read a UTF-8 text file.

        Raises:
            ConfigError: if it cannot be read or holds fewer than 16 passages.
        """
        text = read_text(path, limits=_LIMITS, error=ConfigFileError)
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(lines) < 16:
            raise ConfigError(f"The corpus {path} must have at least 16 lines of text; it has {len(lines)}.")
        return cls(name=path.name, lines=lines, n_token=n_token)


def bundled_corpus() -> Corpus:
    """Return the bundled text: 320 passages sampled from the default model."""
    text = (resources.files("kgmet.write") / "corpus.txt").read_text(encoding="utf-8")
    return Corpus(name="bundled", lines=tuple(line for line in text.splitlines() if line))
