"""A comparison survives a restart as it was, and a file that is none does no harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kgmet.base.errors import BrokenArtifactError
from kgmet.inspect.matrix import answer_matrix
from tests.workbench.sessions import EIFFEL, fresh_process, state_of, wait_for
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.screens.compare import view as compare_view
from workbench.shared import inspect_actions
from workbench.state.compared import CODEC, EARLIER, editors_from_json, editors_to_json
from workbench.state.kept import load_result
from workbench.state.sealed import write_sealed
from workbench.state.session import WorkbenchState
from workbench.state.vault import SessionVault

FILE = CODEC.files[0]
ROWS = (
    {"editor": "AlphaEdit", "layers": "1,2", "ridge": None, "cutoff": None, "steps": 1},
    {"editor": "MEMIT", "layers": "1", "ridge": 2.5, "cutoff": None, "steps": 2},
    {"editor": "MEMIT", "layers": "77", "ridge": None, "cutoff": 0.5, "steps": 1},
)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resident]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield fresh_process(tmp_path_factory.mktemp("compared"), monkeypatch)


@pytest.fixture(scope="module")
def compared(resident: Resident) -> WorkbenchState:
    """A session whose typed fact was compared three ways; the last one fails for want of such a layer."""
    made = state_of()
    made.set_draft(EIFFEL)
    edit = inspect_actions.edit_to_compare(made, "")
    candidates = compare_view.candidates_from_rows(ROWS)
    assert inspect_actions.compare(made, resident, edit, candidates, rows=ROWS) is None
    job = jobs.latest(made.session_id, "compare")
    assert job is not None and wait_for(job.id).error == ""
    return made


@pytest.fixture
def state(compared: WorkbenchState, tmp_path: Path) -> WorkbenchState:
    """A copy of that session, with its file on disk."""
    made = SessionVault(tmp_path).new()
    made.change(draft=compared.draft)
    result = compared.result("compare")
    assert result is not None
    made.keep("compare", result)
    return WorkbenchState(made)


def restarted(state: WorkbenchState) -> WorkbenchState:
    found = SessionVault(state.record.folder.parent).find(state.session_id)
    assert found is not None
    return WorkbenchState(found)


def test_all_that_the_page_shows_comes_back(state: WorkbenchState) -> None:
    was, now = state.result("compare"), restarted(state).result("compare")
    assert was is not None and now is not None
    before, after = was.value.comparison, now.value.comparison
    assert after.rows() == before.rows()
    assert len(after.results) == 3 and after.results[2].error == before.results[2].error != ""
    assert answer_matrix(after) == answer_matrix(before)
    assert compare_view.errors(after) == compare_view.errors(before) != []
    assert compare_view.comparison_alt(after) == compare_view.comparison_alt(before)
    assert [outcome.candidate for outcome in after.results] == [outcome.candidate for outcome in before.results]
    assert (now.value.rows, now.value.chosen) == (ROWS, "")


def test_it_is_as_fresh_or_stale_as_it_was(resident: Resident, state: WorkbenchState) -> None:
    again = restarted(state)
    result = again.result("compare")
    assert result is not None
    edit, candidates = inspect_actions.edit_to_compare(again, ""), compare_view.candidates_from_rows(result.value.rows)

    def now(chosen: list[compare_view.Candidate]) -> str:
        return inspect_actions.comparison_fingerprint(again, resident, edit, chosen, under=None)

    assert not result.is_stale(now(candidates))
    assert result.is_stale(now(candidates[:1]))


def test_writing_and_reading_give_the_same_text(state: WorkbenchState) -> None:
    result = state.result("compare")
    assert result is not None
    data = json.loads(json.dumps(editors_to_json(result.value.comparison)))
    assert json.dumps(editors_to_json(editors_from_json(data))) == json.dumps(data)


def test_a_table_that_is_not_complete_is_kept_as_far_as_it_got(state: WorkbenchState) -> None:
    result = state.result("compare")
    assert result is not None
    comparison = replace(result.value.comparison, results=result.value.comparison.results[:1])
    state.record.keep("compare", replace(result, value=replace(result.value, comparison=comparison)))
    kept = restarted(state).result("compare")
    assert kept is not None and len(kept.value.comparison.results) == 1


def test_nothing_compared_is_nothing_kept(tmp_path: Path) -> None:
    assert load_result(tmp_path, CODEC) is None


def damaged(data: dict[str, object], where: str, value: object) -> str:
    *path, last = where.split(".")
    inside: object = data
    for name in path:
        inside = inside[int(name) if isinstance(inside, list) else name]  # type: ignore[index]
    inside[int(last) if isinstance(inside, list) else last] = value  # type: ignore[index]
    return json.dumps(data)


WRONG = (
    ("format", 1),
    ("format", 4),
    ("rows", 7),
    ("rows.0.ridge", "much"),
    ("contest", None),
    ("contest.edit", {}),
    ("contest.trials.0.editor", "nobody"),
    ("contest.trials.0.config", {"no such setting": 1}),
    ("contest.trials.0.perplexity", "loud"),
    ("contest.before.0.expected.n_token", 0),
    ("contest.before.0.expected.logprob", float("nan")),
    ("contest.trials.0.seconds", {"search": "long"}),
    ("contest.trials.0.after", []),
    ("contest.trials.0.after.0.expected.logprob", "x"),
    ("contest.before.0.question", 3),
)


def as_format_2(data: dict[str, Any]) -> dict[str, Any]:
    """The file of an earlier version: no digest, and other names for two fields."""
    value = data["value"]
    inner = {("trials" if name == "results" else name): item for name, item in value["comparison"].items()}
    rest = {name: item for name, item in value.items() if name != "comparison"}
    return {"format": 2, "made_from": data["made_from"], **rest, "contest": inner}


def as_format_3(data: dict[str, Any]) -> dict[str, Any]:
    """The file of another one: all of it side by side."""
    return {"format": 3, "made_from": data["made_from"], **data["value"]}


def rewritten(state: WorkbenchState, make: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """The session has a file of an earlier version instead; its path."""
    new, old = state.record.folder / FILE, state.record.folder / EARLIER
    write_sealed(old, make(json.loads(new.read_text(encoding="utf-8"))))
    new.unlink()
    return old


@pytest.mark.parametrize("make", [as_format_2, as_format_3])
def test_a_file_of_an_earlier_version_is_read(
    state: WorkbenchState, make: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    was = state.result("compare")
    rewritten(state, make)
    again = restarted(state).result("compare")
    assert again is not None and was is not None
    assert editors_to_json(again.value.comparison) == editors_to_json(was.value.comparison)
    assert (again.made_from, again.value.rows) == (was.made_from, was.value.rows)


@pytest.mark.parametrize("name", CODEC.files)
def test_a_file_that_was_changed_is_left_out_and_kept_aside(state: WorkbenchState, name: str) -> None:
    path = state.record.folder / FILE if name == FILE else rewritten(state, as_format_3)
    changed = path.read_text(encoding="utf-8").replace('"chosen": ""', '"chosen": "x"')
    path.write_text(changed, encoding="utf-8")
    again = restarted(state)
    assert again.result("compare") is None and "changed after it was saved" in " ".join(again.damage)
    assert (state.record.folder / "damaged" / name).read_text(encoding="utf-8") == changed
    assert not path.exists()


def test_a_damaged_file_is_said_to_be_so_and_left_out(state: WorkbenchState) -> None:
    path = rewritten(state, as_format_2)
    sound = path.read_text(encoding="utf-8")
    for where, value in WRONG:
        path.write_text(damaged(json.loads(sound), where, value), encoding="utf-8")
        again = restarted(state)
        assert again.result("compare") is None and again.draft == state.draft, where
        (said,) = again.damage
        assert EARLIER in said and "is left out" in said, where


@pytest.mark.parametrize("name", CODEC.files)
@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_file_that_is_no_comparison_is_refused(tmp_path: Path, text: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(BrokenArtifactError, match="left out"):
        load_result(tmp_path, CODEC)


def test_a_new_comparison_takes_the_damaged_ones_place(state: WorkbenchState) -> None:
    (state.record.folder / FILE).write_bytes(b"{")
    again = restarted(state)
    kept = state.result("compare")
    assert kept is not None and again.damage
    again.record.keep("compare", kept)
    assert restarted(again).result("compare") is not None and restarted(again).damage == ()
