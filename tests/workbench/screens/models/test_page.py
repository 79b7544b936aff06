"""The Models page: what the model knows, where, and calibrating it; empty, half filled, full, stopped and refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.base.errors import Cancelled
from kgmet.calibrate.calibrate import CalibrationConfig
from kgmet.calibrate.halving import Budget
from kgmet.calibrate.knowledge import ANSWERS
from kgmet.calibrate.lines import LineBook
from kgmet.calibrate.trials import calibration_folder
from kgmet.editing.profile import load_profile, profile_path, save_profile
from kgmet.forecast import known as known_module
from tests.calibrate.knowing import knowing_store
from tests.editing.test_defaults import profile_of
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import fresh_process, state_of, wait_for
from tests.workbench.shown_pages import shown as shown_page
from workbench.running import jobs, resources
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.screens.models import measuring
from workbench.screens.models.page import VIEWS
from workbench.state.session import WorkbenchState

SMALL = CalibrationConfig(budget=Budget(settings=2), facts=8, per_relation=48)


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resident]:
    lm = tiny_lm("llama", seed=1)
    monkeypatch.setattr(resources, "sample_store", lambda: knowing_store(lm))
    fresh_process(tmp_path, monkeypatch)
    yield resources.model_holder().put(lm)


def shown(state: WorkbenchState, view: str, **values: Any) -> AppTest:
    return shown_page("models", state, **{"models-view": view, **values})


def words(page: AppTest) -> str:
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "success", "subheader")
    parts = [str(item.value) for kind in kinds for item in getattr(page, kind)]
    return "\n".join([*parts, *(button.label for button in page.button)]).replace("\\", "")


def ended(state: WorkbenchState, kind: str) -> jobs.Job:
    job = state.job(kind)
    assert job is not None
    return wait_for(job.id)


def asked(state: WorkbenchState, resident: Resident) -> WorkbenchState:
    assert measuring.ask(state, resident.lm, per_relation=100) is None
    assert ended(state, measuring.ASK).state is JobState.DONE
    return state


def calibrated(state: WorkbenchState, resident: Resident) -> WorkbenchState:
    assert measuring.start_calibration(state, resident, ["MEMIT"], SMALL) is None
    job = ended(state, measuring.CALIBRATE)
    assert (job.state, job.value) == (JobState.DONE, ""), job.error
    return state


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (VIEWS[0], "not calibrated: scaled from SmolLM2"),
        (VIEWS[1], "Nothing was asked yet"),
        (VIEWS[2], "0 known facts so far; 4 are needed"),
        (VIEWS[3], "None: every editor has its uncalibrated settings"),
    ],
)
def test_every_view_says_what_to_do_before_anything_was_measured(resident: Resident, view: str, said: str) -> None:
    page = shown(state_of(), view)
    assert not page.exception
    assert said in words(page)


def test_what_the_model_knows_is_shown_by_relation_with_examples_that_open_edit(resident: Resident) -> None:
    state = asked(state_of(), resident)
    known = measuring.known_of(state, resident.lm, per_relation=100).facts
    page = shown(state, VIEWS[1], **{"knows-per-relation": 100, "knows-relation": "P131"})
    assert not page.exception
    assert f"answers {known.known} of the {known.asked} facts it was asked" in words(page)
    assert "all asked" in words(page)
    (row,) = [row for row in known.relations if row.relation == "P131"]
    assert f"Known** · {row.known}" in words(page)
    (fact, *_) = [fact for fact in known.facts if fact.prompt.relation == "P131"]
    page.button(key=f"knows-edit-{fact.prompt.id}").click().run()
    assert not page.exception
    draft = state.draft
    assert draft.template.replace("{}", draft.subject) == fact.prompt.text
    assert (draft.old_object, draft.relation) == (fact.answer, "P131")
    assert draft.new_object not in ("", fact.answer)
    missing = next(fact for fact in known.unknown)
    page.selectbox(key="knows-relation").set_value(missing.prompt.relation).run()
    page.button(key=f"knows-edit-{missing.prompt.id}").click().run()
    assert (state.draft.new_object, state.draft.old_object) == (missing.prompt.answers[0], "")


def test_a_filter_that_fits_nothing_says_so(resident: Resident) -> None:
    page = shown(asked(state_of(), resident), VIEWS[1], **{"knows-filter": "no such relation"})
    assert not page.exception
    assert "No relation is called that" in words(page)


def test_a_half_asked_model_is_shown_and_asked_on(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "_AT_ONCE", 16)
    state = asked(state_of(), resident)
    path = calibration_folder(resident.lm) / ANSWERS
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:30]), encoding="utf-8")
    other = state_of()  # another session finds what this one asked
    page = shown(other, VIEWS[1], **{"knows-per-relation": 100})
    assert not page.exception
    assert "facts are not asked in every wording yet" in words(page)
    page.button(key="knows-ask").click().run()
    assert ended(other, measuring.ASK).state is JobState.DONE
    page.run()
    assert "all asked" in words(page)
    assert measuring.known_of(other, resident.lm, per_relation=100).n_left == 0
    assert state.job(measuring.ASK) is not None


def test_stopped_asking_says_what_is_kept(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "_AT_ONCE", 16)
    state, own, batches = state_of(), known_module.answers_of, []

    def answers(*words: Any, **named: Any) -> Any:
        batches.append(1)
        if len(batches) == 3:
            jobs.cancel(state.job(measuring.ASK).id)  # type: ignore[union-attr]
        return own(*words, **named)

    monkeypatch.setattr(known_module, "answers_of", answers)
    assert measuring.ask(state, resident.lm, per_relation=100) is None
    assert ended(state, measuring.ASK).state is JobState.CANCELLED
    page = shown(state, VIEWS[1], **{"knows-per-relation": 100})
    n_kept = measuring.known_of(state, resident.lm, per_relation=100).facts.asked
    assert n_kept >= 32
    assert f"Stopped. {n_kept} answers so far are kept; asking goes on from there." in words(page)
    assert "Nothing was applied" not in words(page)


def test_the_layers_are_traced_and_drawn_with_the_reason(resident: Resident) -> None:
    state = asked(state_of(), resident)
    page = shown(state, VIEWS[2], **{"knows-size": 100})
    page.button(key="layers-trace").click().run()
    assert ended(state, measuring.TRACE).state is JobState.DONE
    page.run()
    assert not page.exception
    known = measuring.known_of(state, resident.lm, per_relation=100).facts
    effects, n_fact = measuring.effects_of(state, resident.lm, known)
    assert effects is not None and effects.n == n_fact >= 4
    assert f"averaged over {n_fact} facts" in words(page)
    assert "writes to layers 1–2 and searches the shift after layer 2" in words(page)


def test_calibrating_shows_its_check_and_is_used_downloaded_and_dropped(resident: Resident) -> None:
    state, lm = state_of(), resident.lm
    page = shown(state, VIEWS[3], **{"calibrate-editors": ["MEMIT"], "calibrate-facts": 8, "budget-settings": 2})
    assert not page.exception
    assert "At most 16 edits" in words(page) and "guessed from the model's size" in words(page)
    page.button(key="calibrate").click().run()
    ended(state, measuring.CALIBRATE)
    calibrated(state, resident)
    page.run()
    assert not page.exception
    found, _ = measuring.found_profile(lm)
    assert found is not None
    assert "Check on 4 facts that no settings were chosen on" in words(page)
    (table,) = [item.value for item in page.table]
    assert list(table.columns) == ["uncalibrated", "kept"]
    assert list(table.index) == ["efficacy", "paraphrase", "neighbours", "consequences"]
    assert "(n 4, preferred" in table.loc["efficacy", "kept"]
    assert "edits of earlier runs are kept" in words(page)
    assert not profile_path(lm).exists(), "nothing is used before it is said so"
    page.button(key="profile-use").click().run()
    assert load_profile(profile_path(lm)).editors == found.editors
    assert json.loads(measuring.profile_text(found)) == found.to_json()
    page.run()
    assert "profile-use" not in {button.key for button in page.button}
    state.set_editor("MEMIT")
    assert "calibrated on 4 facts" in words(shown(state, VIEWS[0]))
    page.button(key="profile-drop").click().run()
    assert not profile_path(lm).exists()
    assert "None: every editor has its uncalibrated settings" in words(page.run())


def test_a_page_reads_its_books_again_only_if_they_changed(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    state, lm = state_of(), resident.lm
    calibrated(state, resident)
    read, own = [], measuring.TrialBook
    monkeypatch.setattr(measuring, "TrialBook", lambda path: read.append(path) or own(path))
    first = [measuring.estimated(state, lm, SMALL, n_editor=1) for _ in range(3)]
    assert len(read) == 1 and first[0] == first[2] and first[0][1] > 0
    with read[0].open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"key": "another", "columns": {}, "failed": "no layer"}) + "\n")
    assert measuring.estimated(state, lm, SMALL, n_editor=1)[1] == first[0][1] + 1
    assert len(read) == 2


def test_a_stopped_calibration_goes_on(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    from kgmet.calibrate import measuring as runner

    state, lm = state_of(), resident.lm
    own, made = runner.write_edits, []

    def write(*words: Any, **named: Any) -> Any:
        made.append(1)
        if len(made) == 6:
            jobs.cancel(state.job(measuring.CALIBRATE).id)  # type: ignore[union-attr]
        return own(*words, **named)

    monkeypatch.setattr(runner, "write_edits", write)
    assert measuring.start_calibration(state, resident, ["MEMIT"], SMALL) is None
    assert ended(state, measuring.CALIBRATE).state is JobState.CANCELLED
    page = shown(state, VIEWS[3])
    assert not page.exception
    assert "Stopped. What was measured is kept: calibrate with the same choices to go on" in words(page)
    assert "Nothing was applied" not in words(page)
    n_kept = measuring.estimated(state, lm, SMALL, n_editor=1)[1]
    assert 4 <= n_kept < 16
    calibrated(state, resident)
    assert len(made) == 6 + measuring.estimated(state, lm, SMALL, n_editor=1)[1] - n_kept
    assert len(state.job(measuring.CALIBRATE).remarks) == 2  # type: ignore[union-attr]


def test_the_form_keeps_its_choices_while_the_job_runs(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        assert go_on.wait(60)
        raise Cancelled("Stopped as you asked.")

    monkeypatch.setattr(measuring, "calibrate", slow)
    state = state_of()
    page = shown(state, VIEWS[3])
    page.multiselect(key="calibrate-editors").set_value(["MEMIT", "AlphaEdit"])
    page.number_input(key="budget-settings").set_value(3)
    page.number_input(key="calibrate-facts").set_value(8).run()
    page.button(key="calibrate").click().run()
    assert not page.exception
    assert "calibrate-facts" not in {field.key for field in page.number_input}, "the job is shown instead"
    page.run()
    go_on.set()
    assert ended(state, measuring.CALIBRATE).state is JobState.CANCELLED
    page.run()
    assert not page.exception
    assert page.multiselect(key="calibrate-editors").value == ["MEMIT", "AlphaEdit"]
    assert page.number_input(key="budget-settings").value == 3
    assert page.number_input(key="calibrate-facts").value == 8


def test_a_model_that_knows_nothing_is_told_so(resident: Resident) -> None:
    resources.graph_holder().put(knowing_store(resident.lm, knows=False))
    state = state_of()
    assert measuring.start_calibration(state, resident, ["MEMIT"], SMALL) is None
    assert "knows 0 of" in ended(state, measuring.CALIBRATE).value
    page = shown(state, VIEWS[3])
    assert not page.exception
    assert "Not calibrated." in words(page) and "keeps its uncalibrated settings" in words(page)
    asked(state, resident)
    page = shown(state, VIEWS[1], **{"knows-per-relation": 100})
    assert not page.exception
    assert "answers 0 of the" in words(page)


def test_without_an_editor_nothing_starts(resident: Resident) -> None:
    state = state_of()
    assert measuring.start_calibration(state, resident, [], SMALL) == "Choose at least one editor."
    assert state.job(measuring.CALIBRATE) is None


def test_uploaded_profiles_are_used_or_refused_by_name(resident: Resident) -> None:
    lm = resident.lm
    mine = profile_of(lm)
    assert measuring.upload_profile(lm, measuring.profile_text(mine).encode(), name="mine.json") is None
    assert load_profile(profile_path(lm)) == mine
    theirs = json.dumps(profile_of(tiny_lm("gpt2")).to_json()).encode()
    said = measuring.upload_profile(lm, theirs, name="theirs.json")
    assert said is not None and "calibrated for tiny gpt2" in said and f"loaded is {lm.name}" in said
    future = json.dumps({**mine.to_json(), "format": 7, "version": "9.0"}).encode()
    said = measuring.upload_profile(lm, future, name="future.json")
    assert said is not None and "future.json is a profile of format 7, written by kgmet 9.0" in said
    for data in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": 1}', b"[" * 10_000):
        assert measuring.upload_profile(lm, data, name="<b>none</b>.json") is not None
    assert load_profile(profile_path(lm)) == mine


def test_a_profile_that_cannot_be_read_is_said_and_can_be_dropped(resident: Resident) -> None:
    path = profile_path(resident.lm)
    save_profile(profile_of(resident.lm), path)
    path.write_text("{", encoding="utf-8")
    page = shown(state_of(), VIEWS[3])
    assert not page.exception
    assert path.name in words(page)
    page.button(key="profile-drop").click().run()
    assert not path.exists()


def test_a_damaged_book_and_result_do_not_break_the_page(resident: Resident) -> None:
    state = asked(state_of(), resident)
    folder = calibration_folder(resident.lm)
    (folder / "found.json").write_text("[]", encoding="utf-8")
    with (folder / ANSWERS).open("a", encoding="utf-8") as lines:
        lines.write('{"key": "x", "answer": ["<b>"]}\n{"ke')
    assert len(LineBook(folder / ANSWERS)) > 0
    for view in VIEWS:
        page = shown(state, view)
        assert not page.exception
    assert "found.json" in words(page)


def test_a_graph_of_other_names_is_text(resident: Resident) -> None:
    state = asked(state_of(), resident)
    known = measuring.known_of(state, resident.lm, per_relation=100)
    hostile = "<img src=x onerror=alert(1)> **bold** :material/bomb: $x$"
    fact = known.facts.facts[0]
    spoilt = replace(fact, prompt=replace(fact.prompt, text=hostile, subject="x"), answer=hostile)
    facts = replace(
        known.facts,
        facts=(spoilt,),
        unknown=(replace(spoilt, prompt=replace(spoilt.prompt, text=hostile + " y"), answer=None),),
    )
    kept = state.result("models-known")
    assert kept is not None
    state.keep("models-known", measuring.Known(facts=facts, n_left=0), made_from=kept.made_from)
    page = shown(state, VIEWS[1], **{"knows-per-relation": 100, "knows-relation": fact.prompt.relation})
    assert not page.exception
    raw = "\n".join(str(item.value) for item in page.markdown)
    assert "\\<img" in raw and "<img" not in raw.replace("\\<img", "")
