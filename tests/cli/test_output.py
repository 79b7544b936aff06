"""Whatever is printed can be printed, commands no terminal, and says in words where it cannot go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kgmet.cli.output import printable, shortened

ROOT = Path(__file__).resolve().parents[2]
GRAPH = ["graph", "--subject", "The Eiffel Tower", "--relation", "P131", "--new-object", "Tokyo"]
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"


def run(*words: str, encoding: str = "utf-8", **streams: object) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "kgmet", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, **streams)  # type: ignore[call-overload,no-any-return]


def test_what_commands_a_terminal_is_shown_as_json_shows_it() -> None:
    hostile = "Paris\x1b[2J\x1b]0;title\x07 \x9b31m \u202eabc\r\n"
    shown = printable(hostile, encoding="utf-8")
    assert shown == "Paris\\u001b[2J\\u001b]0;title\\u0007 \\u009b31m \\u202eabc\\u000d\n"
    assert json.loads(f'"{shown[:-1]}"') == hostile[:-1]
    assert printable("a\rb", encoding="utf-8", returns=True) == "a\rb"
    assert printable("São → 東京", encoding="utf-8") == "São → 東京"
    assert printable("São → 東京", encoding="cp1252") == "São \\u2192 \\u6771\\u4eac"
    assert printable("\udcff", encoding="utf-8") == "\\udcff"


def test_a_graph_s_names_command_no_terminal(tmp_path: Path) -> None:
    lines = [
        f'<http://e/a> <{LABEL}> "The Eiffel Tower" .',
        f'<http://e/b> <{LABEL}> "Paris\\u001B[2J\\u202E" .',
        "<http://e/a> <http://www.wikidata.org/prop/direct/P131> <http://e/b> .",
    ]
    (tmp_path / "names.nt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = run(*GRAPH, "--graph", str(tmp_path / "names.nt"))
    assert done.returncode == 0
    assert b"Paris [2J\\u202e" in done.stdout
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_of_another_encoding_is_no_fault(encoding: str) -> None:
    done = run(*GRAPH, "--json", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["edit"]["new_object"] == "Tokyo"
    assert "\\u2192 Tokyo" in run(*GRAPH, encoding=encoding).stdout.decode(encoding)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_said_in_words() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(*GRAPH, stdout=full)
    assert done.returncode == 2
    assert b"UnwritableError: What was found cannot be printed: No space left on device." in done.stderr
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of another kind")
def test_an_output_that_nobody_reads_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    done = run(*GRAPH, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_long_text_does_not_fill_the_screen() -> None:
    assert shortened("a" * 1500) == "a" * 1500
    assert shortened("<" + "a" * 100_000 + ">") == "<" + "a" * 999 + " … " + "a" * 399 + ">"
