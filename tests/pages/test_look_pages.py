"""Shift, Orthogonality, Compare, Benchmark, Method: empty, half, full, and with something wrong."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.base.errors import Cancelled
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import editor_named
from kgmet.evaluate.runs.folder import RunFolder
from kgmet.evaluate.runs.settings import RunSettings
from kgmet.evaluate.tables.summary import RunSummary
from tests.workbench.sessions import EIFFEL, batch_entry, edited, entry_for, state_of, wait_for
from tests.workbench.shown_pages import shown, words
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.screens.benchmark import actions as benchmark_actions
from workbench.screens.compare import view as compare_view
from workbench.shared import inspect_actions
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft
from workbench.state.vault import SessionVault

LOOKS = ("shift", "orthogonality")


def looked(name: str, state: WorkbenchState) -> AppTest:
    """The page once its measurement is done."""
    page = shown(name, state)
    job = jobs.latest(inspect_actions.queue(state))
    assert job is None or wait_for(job.id).state is JobState.DONE, job.error
    return page.run()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shift", "No edit yet"),
        ("orthogonality", "No edit yet"),
        ("compare", "No fact yet"),
        ("benchmark", "No run yet"),
        ("method", "Read the graph"),
    ],
)
def test_an_empty_session_is_told_what_to_do_next(resident: Resident, name: str, said: str) -> None:
    page = shown(name, state_of())
    assert not page.exception
    assert said in words(page)


@pytest.mark.parametrize(("name", "said"), [("shift", "Logit lens at"), ("orthogonality", "cutoff for the next edits")])
def test_an_applied_edit_is_looked_into(resident: Resident, name: str, said: str) -> None:
    page = looked(name, edited(state_of(), resident))
    assert not page.exception
    assert said in words(page)


def test_the_cell_chosen_by_keyboard_drives_the_rest(resident: Resident) -> None:
    page = looked("shift", edited(state_of(), resident))
    page.slider(key="shift-layer").set_value(1).run()
    page.selectbox(key="shift-position").select_index(0).run()
    assert not page.exception
    assert "What layer 1 would say here" in words(page)


@pytest.mark.parametrize("view", ["Energy of the update", "Edit × edit", "Drift"])
def test_every_view_of_orthogonality(resident: Resident, view: str) -> None:
    state = edited(state_of(), resident)
    edited(state, resident, FactDraft(subject="Germany", template="The capital of {} is", new_object="Rome"))
    page = looked("orthogonality", state)
    page.button_group[0].set_value(view).run()
    assert not page.exception
    assert {"Energy of the update": "blue bars", "Edit × edit": "share what they write on", "Drift": "edited layer's"}[
        view
    ] in words(page)


def test_a_patch_without_graph_or_curve_can_be_looked_into(resident: Resident) -> None:
    state = state_of()
    state.record.push(entry_for(resident.lm))
    for name in LOOKS:
        page = looked(name, state)
        assert not page.exception, name


def test_every_edit_of_a_patch_can_be_looked_at(resident: Resident) -> None:
    state = state_of()
    entry = batch_entry(resident.lm)
    state.record.push(entry)
    page = looked("shift", state)
    assert not page.exception
    first = state.result("shift")
    assert first is not None and first.value[0].source.text == "The Eiffel Tower is located in the city of"
    page.selectbox(key=f"edit-of-{entry.id}-0").select_index(2).run()
    assert not page.exception
    assert state.edit_of(entry) == entry.patch.edits[2]
    page = looked("shift", state)
    traces = state.result("shift")
    assert traces is not None and traces.value[0].source.text == "Big Ben is located in the city of"
    page = looked("orthogonality", state)
    kept = state.result("orthogonality")
    assert not page.exception and kept is not None
    assert kept.value.drift.texts[0].text == "Big Ben is located in the city of"
    assert len(kept.value.writes[0].keys) == len(kept.value.overlap.edits) == 3
    assert "The 3 edits of this patch" in words(page)
    again = WorkbenchState(SessionVault(state.record.folder.parent).find(state.session_id))  # type: ignore[arg-type]
    assert again.edit_of(again.stack[0]).id == entry.patch.edits[2].id  # type: ignore[union-attr]


def test_compare_and_probe_offer_every_edit_of_a_patch(resident: Resident) -> None:
    state = state_of()
    entry = batch_entry(resident.lm)
    state.record.push(entry)
    state.record.push(entry_for(resident.lm, seed=4))
    choices = inspect_actions.comparable_edits(state)
    assert len(choices) == 4
    found = [inspect_actions.edit_to_compare(state, choice).subject for choice in choices]
    assert found == ["The Eiffel Tower", "The Colosseum", "Big Ben", "Paris 4"]
    state.set_focus(entry.id, entry.patch.edits[1].id)
    page = shown("probe", state)
    assert not page.exception
    assert page.selectbox(key=f"edit-of-{entry.id}-1").value == 1


def test_an_adapter_that_tells_no_edit_is_not_offered_for_a_look(resident: Resident) -> None:
    state = state_of()
    untold = replace(entry_for(resident.lm, seed=2), patch=replace(batch_entry(resident.lm).patch, edits=(), keys={}))
    state.record.push(untold)
    for name in (*LOOKS, "compare", "probe"):
        page = shown(name, state)
        assert not page.exception, name
        assert "No edit yet" in words(page) or "No fact yet" in words(page)


def test_edits_of_another_model_are_said_to_be_so(resident: Resident) -> None:
    from tests.tiny_models import tiny_lm

    state = state_of()
    state.record.push(entry_for(tiny_lm(seed=1)))
    for name in LOOKS:
        page = shown(name, state)
        assert not page.exception
        assert "No edit was made for the model that is loaded" in words(page)


def test_looking_does_not_keep_an_edit_from_starting(resident: Resident) -> None:
    state = edited(state_of(), resident)
    shown("orthogonality", state)
    assert not state.is_busy


def test_compare_makes_its_table_and_greys_it_when_the_fact_changes(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"editor": "AlphaEdit", "layers": "1,2", "ridge": None, "cutoff": None, "steps": n} for n in (1, 2)]
    monkeypatch.setattr(compare_view, "DEFAULT_ROWS", tuple(rows))
    state = state_of()
    state.set_draft(EIFFEL)
    page = shown("compare", state)
    next(button for button in page.button if button.label == "Compare 2 columns").click().run()
    job = state.job("compare")
    assert job is not None
    while not job.is_finished:
        time.sleep(0.01)
    assert job.error == ""
    page.run()
    assert not page.exception
    (matrix,) = [item.value for item in page.get("html") if "kg-matrix" in item.value]
    assert "Edit took" in matrix and matrix.count('<th scope="col">') == 4
    assert "Perplexity" in str(page.table[0].value.index.tolist())
    assert "Outdated" not in words(page)
    state.set_draft(FactDraft(subject="Germany", template="The capital of {} is", new_object="Rome"))
    page.run()
    assert not page.exception
    assert "Outdated" in words(page)


def test_compare_says_what_is_wrong_with_a_fact(resident: Resident) -> None:
    state = state_of()
    state.set_draft(FactDraft(subject="Paris", template="two {} places {}", new_object="Rome"))
    page = shown("compare", state)
    assert not page.exception
    assert any("2 places" in item.value for item in page.error)


CASES = [
    {
        "case_id": number,
        "requested_rewrite": {
            "prompt": "{} is located in the city of",
            "relation_id": "P131",
            "target_new": {"str": "Rome"},
            "target_true": {"str": "Paris"},
            "subject": subject,
        },
        "paraphrase_prompts": [f"To see {subject} you go to"],
        "neighborhood_prompts": ["Big Ben is located in the city of"],
        "generation_prompts": [],
    }
    for number, subject in enumerate(("The Eiffel Tower", "The Louvre", "Big Ben"))
]


@pytest.fixture
def small_editor(monkeypatch: pytest.MonkeyPatch) -> str:
    """AlphaEdit on the tiny model's layers."""
    from dataclasses import replace

    from kgmet.editing.editors import EDITORS, Editor

    def small(name: str) -> Editor:
        editor = EDITORS[name]
        config = editor.config
        return replace(
            editor,
            config=replace(
                config,
                write=replace(config.write, layers=(1, 2)),
                target=replace(config.target, max_steps=2),
            ),
        )

    monkeypatch.setattr(benchmark_actions, "editor_named", small)
    return "AlphaEdit"


def order_of(state: WorkbenchState, editor: str, **rest: object) -> benchmark_actions.RunOrder:
    path = benchmark_actions.keep_upload(state, json.dumps(CASES).encode())
    given: dict[str, object] = {"editor": editor, "ds_path": str(path), "ds_label": "mine.json"}
    return benchmark_actions.RunOrder(**(given | rest))  # type: ignore[arg-type]


def ended(state: WorkbenchState) -> jobs.Job:

    job = benchmark_actions.bench_job(state)
    assert job is not None
    while not job.is_finished:
        time.sleep(0.01)
    return job


@pytest.mark.parametrize("sequential", [False, True])
def test_a_run_is_made_shown_and_found_again(resident: Resident, small_editor: str, sequential: bool) -> None:
    state = state_of()
    assert benchmark_actions.begin(state, resident, [order_of(state, small_editor, sequential=sequential)]) is None
    assert ended(state).error == ""
    (run,) = benchmark_actions.past_runs(state)
    assert run.is_complete and run.n_case == 3 and "mine.json" in run.label
    page = shown("benchmark", state)
    assert not page.exception
    table = page.dataframe[0].value
    assert table["state"].tolist() == ["before", "after"]
    assert "Efficacy" in table.columns and "n 3" in table["Efficacy"].iloc[1]
    # What was chosen of another run, or before there was another kind of question, is no curve of this one.
    page = shown("benchmark", state, **{"past-curve": "Portability"})
    assert not page.exception
    assert page.session_state["past-curve"] == "Efficacy"
    assert benchmark_actions.past_runs(state_of()) == []


def stopped_in(monkeypatch: pytest.MonkeyPatch, editor: str, after: int) -> None:
    """Stop every run of this editor after so many cases, as the button does."""
    run_evaluation, left = benchmark_actions.run_evaluation, iter([True])

    def run(lm: object, dataset: object, settings: RunSettings, *, progress: Progress, **rest: Any) -> RunFolder:
        if settings.editor == editor and next(left, False):
            progress = StopAfter(progress, after)
        return run_evaluation(lm, dataset, settings, progress=progress, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(benchmark_actions, "run_evaluation", run)


class StopAfter(Silent):
    """A progress that is cancelled once so many cases are scored."""

    def __init__(self, progress: Progress, after: int) -> None:
        self._inner, self._after, self._scored = progress, after, 0

    def report(self, event: ProgressEvent) -> None:
        self._inner.report(event)
        self._scored += event.stage is Stage.EVALUATE and event.detail.get("doing") == "score"

    def check(self) -> None:
        self._inner.check()
        if self._scored >= self._after:
            raise Cancelled("Stopped.")


def test_a_stopped_run_says_what_was_kept_and_all_its_editors_are_taken_up_again(
    resident: Resident, small_editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of()
    stopped_in(monkeypatch, "AlphaEdit", after=2)
    orders = [order_of(state, name) for name in ("AlphaEdit", "MEMIT")]
    assert benchmark_actions.begin(state, resident, orders) is None
    assert ended(state).state is JobState.CANCELLED
    (parts,) = benchmark_actions.unfinished(state, benchmark_actions.past_runs(state))
    assert [part.kept for part in parts] == ["AlphaEdit 2 edits made, 2 of 3 cases scored", "MEMIT not begun"]
    (run,) = benchmark_actions.past_runs(state)
    kept = list(run.summary.rows)
    page = shown("benchmark", state)
    assert not page.exception
    assert "2 of 3 cases scored" in words(page) and "MEMIT not begun" in words(page)
    next(button for button in page.button if button.label == "Resume all 2").click().run()
    assert ended(state).error == ""
    runs = benchmark_actions.past_runs(state)
    assert sorted((run.summary.editor, run.summary.n_cases) for run in runs) == [("AlphaEdit", 3), ("MEMIT", 3)]
    first = next(run for run in runs if run.summary.editor == "AlphaEdit")
    assert list(first.summary.rows)[:2] == kept, "what was scored is not scored again"
    assert benchmark_actions.unfinished(state, benchmark_actions.past_runs(state)) == []


def test_what_was_not_begun_can_be_dropped(
    resident: Resident, small_editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of()
    stopped_in(monkeypatch, "AlphaEdit", after=0)
    benchmark_actions.begin(state, resident, [order_of(state, name) for name in ("AlphaEdit", "MEMIT")])
    assert ended(state).state is JobState.CANCELLED
    (parts,) = benchmark_actions.unfinished(state, benchmark_actions.past_runs(state))
    benchmark_actions.drop_not_begun(parts)
    assert [
        part.order.editor
        for group in benchmark_actions.unfinished(state, benchmark_actions.past_runs(state))
        for part in group
    ] == ["AlphaEdit"]


def test_a_run_edits_with_the_settings_for_its_model_and_resumes_with_the_same(resident: Resident) -> None:
    """SmolLM2's layers do not fit a model of four layers; the Edit page takes those at the same depth."""
    state = state_of()
    order = benchmark_actions.RunOrder(editor="ROME", limit=1)
    assert benchmark_actions.begin(state, resident, [order]) is None
    assert ended(state).error == ""
    (run,) = benchmark_actions.past_runs(state)
    assert run.is_complete and run.order is not None
    wanted = default_settings(editor_named("ROME"), resident.lm).config
    assert run.order.settings.config == wanted
    assert wanted.write.layers != editor_named("ROME").config.write.layers


def test_a_file_that_is_no_data_set_is_a_message(resident: Resident, small_editor: str) -> None:
    from kgmet.base.errors import BrokenArtifactError

    state = state_of()
    for data in (b"\xff\xfe", b"{", b'{"a": 1}'):
        with pytest.raises(BrokenArtifactError, match=r"JSON|UTF-8"):
            benchmark_actions.keep_upload(state, data)
    path = benchmark_actions.keep_upload(state, b'[{"case_id": 1}]')
    order = benchmark_actions.RunOrder(editor=small_editor, ds_path=str(path))
    said = benchmark_actions.begin(state, resident, [order])
    assert said is not None and "record" in said.casefold()
    assert benchmark_actions.bench_job(state) is None


def test_a_run_is_summarized_again_only_when_something_was_added(
    resident: Resident, small_editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of()
    assert benchmark_actions.begin(state, resident, [order_of(state, small_editor)]) is None
    assert ended(state).error == ""
    made: list[Path] = []
    summarize = benchmark_actions.summarize_run

    def counted(folder: Path) -> RunSummary:
        made.append(folder)
        return summarize(folder)

    monkeypatch.setattr(benchmark_actions, "summarize_run", counted)
    benchmark_actions._summarized.cache_clear()
    (first,) = benchmark_actions.past_runs(state)
    assert benchmark_actions.past_runs(state) == [first] and len(made) == 1
    cases = first.folder / "cases.jsonl"
    lines = cases.read_text(encoding="utf-8").splitlines(keepends=True)
    cases.write_text("".join(lines[:-1]), encoding="utf-8")
    assert state.draft.is_blank
    restarted = SessionVault(state.record.folder.parent).find(state.session_id)
    assert restarted is not None, "a session in which nothing was typed must lead to its runs after a restart, too"
    (shorter,) = benchmark_actions.past_runs(WorkbenchState(restarted))
    assert len(made) == 2 and shorter.summary.n_cases == first.summary.n_cases - 1
    assert (first.is_complete, shorter.is_complete) == (True, False)
    only = replace(first, summary=replace(first.summary, n_wanted=1))
    assert only.label.endswith("· 1 case") and shorter.label.endswith(f"{len(lines) - 1} of {len(lines)}")
