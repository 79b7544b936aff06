"""The real server, killed with SIGKILL at any moment of what a visitor asked for, loses nothing that was finished.

A visitor without a browser (`tests.soak.visitor`) presses the buttons; the server (`tests.soak.served`) has a tiny
random model, so that a kill and a restart take a second, and is killed by its process id.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kgmet.lm.load.loaded import load_lm
from kgmet.write.patch import attached
from tests.soak.served import Served
from tests.soak.visitor import Visitor
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import logits_of
from workbench.state.values import SavedSession, StackEntry
from workbench.state.vault import SessionRecord, SessionVault

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_KILL = int(os.environ.get("KGMET_SOAK_KILLS", "70" if SOAK else "7"))
"""How often the server is killed at an action on edits; every action gets an equal share."""
N_RUN_KILL = int(os.environ.get("KGMET_SOAK_RUN_KILLS", "16" if SOAK else "1"))
"""How often it is killed during a benchmark run."""
N_CASE = 12 if SOAK else 3
PAGES = ("edit", "ledger", "graph", "probe", "benchmark", "shift", "orthogonality", "compare", "share", "chat")
N_PAGE = len(PAGES) if SOAK else 1
"""How many of them are opened after each kill."""
PEOPLE = ("The Eiffel Tower", "The Colosseum", "Big Ben", "The Louvre", "The Kremlin", "The Taj Mahal")
CITIES = ("Tokyo", "Rome", "Berlin", "Madrid", "Vienna", "Lisbon", "Oslo", "Cairo")
PROMPT = "{} is located in the city of"
Summary = dict[str, list[list[Any]]]


@dataclass
class Person:
    """A visitor who comes back to the same session after each restart, and what was seen of it."""

    server: Served
    draw: random.Random
    tab: Visitor
    killed: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict[str, float]())
    """The longest that an action took when no process was killed."""

    def come_back(self) -> None:
        """Open a new tab with the same cookie."""
        self.tab.close()
        self.tab = Visitor(self.server.url, session_id=self.tab.session_id)

    def record(self) -> SessionRecord:
        """The session as a server that has just been started reads it."""
        record = SessionVault(self.server.cache / "sessions").find(self.tab.session_id)
        assert record is not None
        return record

    def kill(self, act: Callable[[Person], None], *, within: float) -> None:
        """Do something, and kill the server at a random moment of it."""
        act(self)
        end = time.monotonic() + self.draw.uniform(0.0, within)
        while act is apply and time.monotonic() < end:
            self.tab.look()  # as the page does while a job runs
            time.sleep(0.01)
        time.sleep(max(0.0, end - time.monotonic()))
        self.server.kill()
        self.tab.hear_out()
        name = act.__name__
        self.killed[name] = self.killed.get(name, 0) + 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served") / "cache") as made:
        yield made


@pytest.fixture
def person(server: Served) -> Iterator[Person]:
    found = Person(server=server, draw=random.Random(0), tab=Visitor(server.url))
    found.tab.open("edit")
    yield found
    found.tab.close()


def summary(saved: SavedSession) -> Summary:
    """What must not be lost of a session, and never be half there."""

    def one(entry: StackEntry) -> list[Any]:
        return [entry.id, entry.name, entry.note, entry.is_on]

    return {"stack": [one(entry) for entry in saved.stack], "redo": [one(entry) for entry in saved.redo]}


def test_a_killed_server_loses_no_finished_change(person: Person) -> None:
    finish_one_of_each(person)
    actions = (apply, undo, toggle, rename, reorder, export_patch, export_merged)
    n_done = 0
    for number in range(N_KILL):
        act = actions[number % len(actions)]
        make_ready(person, act)
        before = summary(person.record().saved)
        person.kill(act, within=1.3 * person.seconds[act.__name__])
        found = person.record()
        assert found.damage == () and found.unsaved == ""
        after = summary(found.saved)
        assert after == before or after in outcomes(act, before, after)
        n_done += after != before
        shown = live_shown(person)
        assert shown in (None, n_live(before)) or (after != before and shown == n_live(after)), "shown, and is lost"
        assert all(entry.report is not None for entry in found.saved.entries)
        person.server.start()
        person.come_back()
        pages_open(person)
    check_merged_folders(person)
    left = [one.name for one in person.server.cache.rglob("*") if one.name.startswith(".") or one.suffix == ".tmp"]
    print(
        f"kills: {person.killed}; changes that were finished in time: {n_done}; lost or half done: 0; pages that did "
    )
    print(f"not open: 0 of {N_KILL * N_PAGE}; unfinished files left: {len(left)}")
    assert sum(person.killed.values()) == N_KILL


def finish_one_of_each(person: Person) -> None:
    """Do everything once to its end, and note how long it takes."""
    for act in (apply, apply, apply, undo, toggle, rename, reorder, export_patch, export_merged):
        make_ready(person, act)
        begin = time.monotonic()
        act(person)
        person.tab.hear_out()
        person.tab.look()  # on a busy machine, what was pressed may not even have begun
        person.tab.wait_until(lambda tab: not tab.has("button", "Stop"))
        took = time.monotonic() - begin - 0.2
        person.seconds[act.__name__] = max(0.05, took, person.seconds.get(act.__name__, 0.0))


def make_ready(person: Person, act: Callable[[Person], None]) -> None:
    """Open the page from which something is done, with what it needs: up to the button that is pressed."""
    tab = person.tab
    while act is not apply and len(person.record().saved.stack) < 2:
        make_ready(person, apply)
        apply(person)
        tab.look()
        tab.wait_until(lambda one: not one.has("button", "Stop"))
    if act is apply:
        tab.open("edit")
        tab.fill(
            Subject=person.draw.choice(PEOPLE),
            New_object=person.draw.choice(CITIES),
            Template=PROMPT,
            Old_object="Paris",
        )
        tab.wait_until(lambda one: one.can_press("Apply the edit"))
    else:
        tab.open("ledger")
        if any(entry[3] is False for entry in summary(person.record().saved)["stack"]) and act in EXPORTS:
            for number, entry in enumerate(summary(person.record().saved)["stack"], start=1):
                if not entry[3]:
                    tab.switch(f"{number}.", on=True)
        if act in EXPORTS:
            tab.choose("Form", EXPORTS[act])
    assert tab.faults == []


def apply(person: Person) -> None:
    person.tab.press("Apply the edit", wait=False)


def undo(person: Person) -> None:
    person.tab.press("Undo", wait=False)


def toggle(person: Person) -> None:
    is_on = person.record().saved.stack[0].is_on
    person.tab.switch("1.", on=not is_on, wait=False)


def rename(person: Person) -> None:
    person.tab.fill(wait=False, Name=f"name {person.draw.random()}", Note=f"note {person.draw.random()}")


def reorder(person: Person) -> None:
    person.tab.press("Move down", wait=False)


def export_patch(person: Person) -> None:
    person.tab.press("Export", wait=False)


def export_merged(person: Person) -> None:
    person.tab.press("Export", wait=False)


EXPORTS: dict[Callable[[Person], None], int] = {export_patch: 0, export_merged: 2}


def outcomes(act: Callable[[Person], None], before: Summary, after: Summary) -> list[Summary]:
    """What a session may be after an action that was finished; `after` is asked for new names only."""
    stack, redo = before["stack"], before["redo"]
    if act is apply:
        others = [one for one in after["stack"] if one[0] not in {entry[0] for entry in stack}]
        known = [one for one in after["stack"] if one in stack]
        same = next((one for one in stack if one[0] == after["stack"][-1][0]), None)
        again = [[one for one in stack if one != same] + [after["stack"][-1]]] if same is not None else []
        assert len(others) <= 1
        made = [[*known, *others]] if others and known == stack else again
        return [{"stack": one, "redo": []} for one in made]
    if act is undo:
        return [{"stack": stack[:-1], "redo": [*redo, stack[-1]]}]
    first, rest = stack[0], stack[1:]
    if act is toggle:
        return [{"stack": [[*first[:3], not first[3]], *rest], "redo": redo}]
    if act is rename:
        name, note = after["stack"][0][1:3]
        assert name == first[1] or name.startswith("name "), "no name is half written"
        assert note == first[2] or note.startswith("note ")
        return [{"stack": [[first[0], name, note, first[3]], *rest], "redo": redo}]
    if act is reorder:
        return [{"stack": [rest[0], first, *rest[1:]], "redo": redo}]
    return []


def n_live(one: Summary) -> int:
    return sum(is_on for *_, is_on in one["stack"])


def live_shown(person: Person) -> int | None:
    """How many live edits the page showed last, before the server was killed; ``None`` if it was being drawn."""
    found = re.search(rb"(\d+) edits? live", person.tab.page())
    return None if found is None else int(found[1])


def pages_open(person: Person) -> None:
    for name in person.draw.sample(PAGES, N_PAGE):
        person.tab.open(name)
        assert person.tab.faults == [], name


def check_merged_folders(person: Person) -> None:
    """Every merged checkpoint that is there, under its own name, is whole: it loads and says what the edits say."""
    folders = sorted((person.server.cache / "exports").glob("merged-*"))
    assert folders
    entries = person.record().saved.stack
    for folder in folders:
        assert load_lm(str(folder)).d_model == tiny_lm().d_model
    person.server.start() if person.server.pid is None else None
    make_ready(person, export_merged)
    person.tab.press("Export")
    person.tab.wait_until(lambda tab: not tab.has("button", "Stop"))
    entries = person.record().saved.stack
    made = Path(person.tab.texts("code", "code_text")[-1])
    with attached([entry.patch for entry in entries], tiny_lm()):
        said = logits_of(tiny_lm())
    assert float((logits_of(load_lm(str(made))) - said).abs().max()) < 1e-3 * float(said.abs().max())


def test_a_benchmark_run_goes_on_after_kills_with_no_case_lost_or_doubled(person: Person) -> None:
    whole = run_to_the_end(person)
    seen: dict[Path, list[dict[str, Any]]] = {}
    for _ in range(N_RUN_KILL):
        if not unfinished(person):
            begin_run(person)
        else:
            person.tab.open("benchmark")
            person.tab.press("Resume")
        time.sleep(person.draw.uniform(0.0, 0.8 * person.seconds["run"]))
        person.server.kill()
        for folder in runs(person):
            rows = read_rows(folder)
            assert len({row["case_id"] for row in rows}) == len(rows), "no case is doubled"
            assert rows[: len(seen.get(folder, []))] == seen.get(folder, []), "no scored case is lost"
            seen[folder] = rows
        person.server.start()
        person.come_back()
        pages_open(person)
    for folder in runs(person):
        finish(person)
        assert comparable(read_rows(folder)) == comparable(whole), folder
    print(f"kills during a run: {N_RUN_KILL}; runs: {len(runs(person))} of {N_CASE} cases; lost or doubled: 0")


def run_to_the_end(person: Person) -> list[dict[str, Any]]:
    """The rows of a run that nobody disturbs."""
    begin = time.monotonic()
    begin_run(person)
    person.tab.wait_until(lambda tab: not tab.has("button", "Stop"))
    person.seconds["run"] = time.monotonic() - begin
    rows = read_rows(newest_run(person))
    assert len(rows) == N_CASE
    return rows


def begin_run(person: Person) -> None:
    person.tab.open("benchmark")
    person.tab.number("Cases", N_CASE)
    person.tab.press("Start")
    assert person.tab.has("button", "Stop"), person.tab.page()


def finish(person: Person) -> None:
    """Resume what is not complete, and wait for it."""
    person.tab.open("benchmark")
    while person.tab.has("button", "Resume") or person.tab.has("button", "Stop"):
        if person.tab.has("button", "Resume"):
            person.tab.press("Resume")
        person.tab.wait_until(lambda tab: not tab.has("button", "Stop"))
        person.tab.look()


def runs(person: Person) -> list[Path]:
    found = [path.parent for path in (person.server.cache / "runs").glob("*/*/run_*/order.json")]
    return sorted(found, key=lambda folder: (folder / "order.json").stat().st_mtime_ns)


def newest_run(person: Person) -> Path:
    return runs(person)[-1]


def unfinished(person: Person) -> bool:
    return any(len(read_rows(folder)) < N_CASE for folder in runs(person))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The cases that were scored; of a last line that was cut short nothing."""
    file = folder / "cases.jsonl"
    data = file.read_bytes() if file.is_file() else b""
    whole, _, _ = data.rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what differs from run to run."""
    return sorted(
        ({key: value for key, value in row.items() if "second" not in key} for row in rows),
        key=lambda row: str(row["case_id"]),
    )
