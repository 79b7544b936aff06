"""What commands print: text from any source, made printable in the encoding of the stream."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from kgmet.base.errors import UnwritableError

__all__ = ["PIPE_CLOSED", "printable", "printable_errors", "printable_output", "shortened"]

PIPE_CLOSED = 141
"""Exit status of a command whose output is not read to its end, as in ``kgmet graph … | head``."""

_INVISIBLE = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
"""Characters that command a terminal or turn the direction of text, but for tab, line feed and carriage return."""


def printable(text: str, *, encoding: str, returns: bool = False) -> str:
    r"""Return the text with what cannot be shown as ``\uXXXX``, which means the same character in JSON.

    Args:
        text: what is to be printed.
        encoding: the stream's; characters it lacks are replaced too.
        returns: whether a carriage return is printed, as by a line of progress.
    """
    text = re.sub(f"[{_INVISIBLE}{'' if returns else chr(13)}]", lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def shortened(text: str, *, most: int = 1500) -> str:
    """Return a sentence without the middle of what someone typed or a file holds, if that is very long."""
    return text if len(text) <= most else f"{text[: most - 500]} … {text[-400:]}"


@contextlib.contextmanager
def printable_errors() -> Iterator[None]:
    """Make what is printed on stderr within printable."""
    with contextlib.redirect_stderr(cast("TextIO", _Printable(sys.stderr, returns=True))):
        yield


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Make what is printed on stdout within printable, and print all of it before the end.

    Raises:
        UnwritableError: if something cannot be printed.
        BrokenPipeError: if the output is not read to its end.
    """
    out = _Printable(sys.stdout, returns=False)
    with contextlib.redirect_stdout(cast("TextIO", out)):
        try:
            yield
            out.flush()
        finally:
            if out.is_broken:
                _throw_away(out)


class _Printable:
    """A text stream that prints what is `printable`, and says in words why nothing can be printed."""

    def __init__(self, stream: TextIO, *, returns: bool) -> None:
        self._stream, self._returns = stream, returns
        self.is_broken = False

    def write(self, text: str) -> int:
        shown = printable(text, encoding=self._stream.encoding or "utf-8", returns=self._returns)
        self._do(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            self.is_broken = True
            if isinstance(error, BrokenPipeError):
                raise
            raise UnwritableError(
                f"What was found cannot be printed: {error.strerror or error}. Free some room, or print elsewhere."
            ) from error


def _throw_away(stream: Any) -> None:
    """Let what is still in the stream go nowhere: Python prints it once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
