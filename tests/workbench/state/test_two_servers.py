"""Two servers on one cache folder that save the same session at the same moment."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from workbench.state.disk import held
from workbench.state.kept import ResultCodec, keeps
from workbench.state.values import Result
from workbench.state.vault import SessionRecord, SessionVault

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_ROUND = 400 if SOAK else 25
NOTE = ResultCodec.of("two_servers", "A note", str)


def serve(sessions: Path, number: int, orders: Connection, both: Barrier) -> None:
    """A server: for each session asked for, read it, wait for the other server, and save an edit; say how it went."""
    lm = tiny_lm()
    keeps(NOTE)
    while (order := orders.recv()) is not None:
        session_id, seed = order
        record = SessionVault(sessions).find(session_id)
        assert record is not None
        entry = entry_for(lm, seed=2 * seed + number)
        both.wait(60)
        record.push(entry)
        orders.send((entry.id, record.unsaved))


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Connection]]:
    forks = multiprocessing.get_context("fork")
    both, pipes, started = forks.Barrier(2), [forks.Pipe() for _ in range(2)], []
    tiny_lm()
    for number, (_, theirs) in enumerate(pipes):
        one = forks.Process(target=serve, args=(tmp_path / "sessions", number, theirs, both), daemon=True)
        one.start()
        started.append(one)
    yield [mine for mine, _ in pipes]
    for mine, _ in pipes:
        mine.send(None)
    for one in started:
        one.join(20)
        one.kill()


def test_of_two_that_save_at_once_one_is_on_disk_whole_and_the_other_is_told(
    servers: list[Connection], tmp_path: Path
) -> None:
    firsts = [0, 0]
    for seed in range(N_ROUND):
        record = SessionVault(tmp_path / "sessions").new()
        record.change(draft=EIFFEL)
        for server in servers:
            server.send((record.session_id, seed))
        ended = [server.recv() for server in servers]
        saved = [number for number, (_, unsaved) in enumerate(ended) if unsaved == ""]
        assert len(saved) == 1, ended
        assert "Another server" in ended[1 - saved[0]][1]
        firsts[saved[0]] += 1
        found = on_disk(record)
        assert found.damage == () and found.unsaved == ""
        assert [entry.id for entry in found.saved.stack] == [ended[saved[0]][0]]
        assert found.saved.stack[0].report is not None
    print(f"sessions saved by two servers at once: {N_ROUND}, by the one first {firsts[0]}, by the other {firsts[1]}; ")
    print("of the two saves one on disk, whole, and one refused in words: all")


def on_disk(record: SessionRecord) -> SessionRecord:
    found = SessionVault(record.folder.parent).find(record.session_id)
    assert found is not None
    return found


def test_a_result_is_not_written_over_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that changes no edit is one, too: what the other server then stores would replace it."""
    from workbench.state import kept

    monkeypatch.setattr(kept, "_CODECS", {NOTE.name: NOTE})
    record = SessionVault(tmp_path / "sessions").new()
    record.change(draft=EIFFEL)
    other = on_disk(record)
    record.keep(NOTE.name, Result(value="mine", made_from=""))
    other.keep(NOTE.name, Result(value="theirs", made_from=""))
    assert record.unsaved == "" and "Another server" in other.unsaved
    found = on_disk(record).result(NOTE.name)
    assert found is not None and found.value == "mine"


def test_who_returns_to_what_was_before_has_saved(tmp_path: Path) -> None:
    """The edits are those that the other server knows, and still it may not write over them."""
    record = SessionVault(tmp_path / "sessions").new()
    record.push(entry_for(tiny_lm(), seed=0))
    other, before = on_disk(record), record.saved
    record.push(entry_for(tiny_lm(), seed=1))
    record.change(stack=before.stack, redo=before.redo, focus=before.focus)
    other.push(entry_for(tiny_lm(), seed=2))
    assert "Another server" in other.unsaved


def test_who_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = SessionVault(tmp_path / "sessions").new()
    record.change(draft=EIFFEL)
    monkeypatch.setattr("workbench.state.disk._PATIENCE", 0.05)
    with held(record.folder):
        record.push(entry_for(tiny_lm(), seed=0))
        assert "does not finish" in record.unsaved
        found = on_disk(record)
        assert found.saved.draft == EIFFEL and found.damage == ()
    record.save()
    assert record.unsaved == "" and len(on_disk(record).saved.stack) == 1
