"""What a calibration measured is kept line by line; it goes on after a stop, a damaged line and out of memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from kgmet.base.errors import ArtifactError, Cancelled, MemoryLimitError, UnwritableError
from kgmet.base.progress import ProgressEvent, Stage
from kgmet.calibrate import measuring
from kgmet.calibrate.calibrate import CalibrationConfig
from kgmet.calibrate.estimate import estimate
from kgmet.calibrate.halving import Budget, most_trials
from kgmet.calibrate.knowledge import ANSWERS, answers_state, ask_all, known_on_disk
from kgmet.calibrate.lines import LineBook
from kgmet.calibrate.results import found_path, last_found
from kgmet.calibrate.trials import TRIALS, Trial, TrialBook, calibration_folder, locked_folder
from kgmet.calibrate.where import TRACES, effects_on_disk, facts_to_trace, measure_layers
from kgmet.forecast import known as known_module
from kgmet.forecast.facts import FactPrompt
from kgmet.forecast.known import known_facts
from kgmet.lm.load.bundled import cache_root
from kgmet.measure.columns import Counts
from tests.calibrate.knowing import CATALOGUE, LM, Undisturbed, knowing_store, run
from tests.progress import Recorded


@pytest.fixture
def whole(undisturbed: Undisturbed) -> Any:
    """The profile of a calibration whose files are in the test's own cache."""
    shutil.copytree(undisturbed.cache, cache_root())
    return undisturbed.found.profile


def test_asking_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "_AT_ONCE", 16)
    store = knowing_store(LM)
    assert answers_state(LM) == (0, 0)
    nothing, n_all = known_on_disk(LM, store, CATALOGUE, per_relation=48)
    assert (nothing.asked, nothing.relations) == (0, ())
    with pytest.raises(Cancelled):
        ask_all(
            LM,
            store,
            CATALOGUE,
            per_relation=48,
            progress=Recorded(lambda so_far: so_far.most(Stage.KNOWN_FACTS) >= 32),
        )
    n_kept = len(LineBook(calibration_folder(LM) / ANSWERS))
    assert n_kept == 32
    half, n_left = known_on_disk(LM, store, CATALOGUE, per_relation=48)
    # Those asked in one wording of several are left and count as not known: the share is too low, never too high.
    assert half.asked == 32
    assert n_all - half.asked <= n_left <= n_all - half.known
    assert 0 < half.known < 32
    asked: list[FactPrompt] = []
    own = known_module.answers_of

    def counted(lm: Any, prompts: Sequence[FactPrompt], **named: Any) -> list[str | None]:
        asked.extend(prompts)
        return own(lm, prompts, **named)

    monkeypatch.setattr(known_module, "answers_of", counted)
    whole = ask_all(LM, store, CATALOGUE, per_relation=48)
    assert len(asked) == len(LineBook(calibration_folder(LM) / ANSWERS)) - n_kept
    fresh = known_facts(LM, store, CATALOGUE, per_relation=48)
    assert whole == fresh
    read, n_left = known_on_disk(LM, store, CATALOGUE, per_relation=48)
    assert (n_left, read.relations) == (0, fresh.relations)
    assert {fact.prompt.fact for fact in read.unknown} == {fact.prompt.fact for fact in fresh.unknown}
    assert {(fact.prompt.fact, fact.answer) for fact in read.facts} == {
        (fact.prompt.fact, fact.answer) for fact in fresh.facts
    }


def test_the_progress_of_asking_goes_up_over_all_wordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "_AT_ONCE", 16)
    heard: list[tuple[int, int]] = []

    class Hears:
        def report(self, event: ProgressEvent) -> None:
            heard.append((event.done, event.total or 0))

        def check(self) -> None: ...

    ask_all(LM, knowing_store(LM), CATALOGUE, per_relation=48, progress=Hears())
    done, totals = zip(*heard, strict=True)
    assert list(done) == sorted(set(done)) and done[0] == 0
    assert list(totals) == sorted(totals, reverse=True), "known facts are not asked again, so fewer are left"
    n_line = len(LineBook(calibration_folder(LM) / ANSWERS))
    assert totals[-1] >= n_line > done[-1]


def test_a_trace_goes_on_where_it_was_stopped() -> None:
    known = ask_all(LM, knowing_store(LM), CATALOGUE, per_relation=48)
    prompts = facts_to_trace(known.facts, n=6)
    assert len(prompts) == 6
    assert all(prompt.phrase.subject in prompt.text for prompt in prompts)
    assert effects_on_disk(LM, prompts) is None
    with locked_folder(LM) as folder, pytest.raises(Cancelled):
        measure_layers(
            LM,
            prompts,
            book=LineBook(folder / TRACES),
            progress=Recorded(lambda so_far: so_far.most(Stage.LAYER_EFFECTS) >= 2),
        )
    half = effects_on_disk(LM, prompts)
    assert half is not None and half.n == 2
    assert half == measure_layers(LM, prompts[:2])
    book = LineBook(calibration_folder(LM) / TRACES)
    whole = measure_layers(LM, prompts, book=book)
    assert (whole, len(book)) == (measure_layers(LM, prompts), 6)
    assert effects_on_disk(LM, prompts) == whole


def test_out_of_memory_half_way_goes_on_with_fewer_at_once(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (calibration_folder(LM) / TRIALS).unlink()
    own, sizes = measuring.search_edits, []

    def search(lm: Any, contexts: Sequence[Any], **named: Any) -> Any:
        sizes.append(len(contexts))
        if len(contexts) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return own(lm, contexts, **named)

    monkeypatch.setattr(measuring, "search_edits", search)
    heard = Recorded()
    found = run(progress=heard)
    assert sizes[0] == 4 and set(sizes[1:]) <= {1, 2}, "after the first failure never more than fit"
    assert [text for text in heard.notes if "Out of memory" in text] == [
        "Out of memory: from here on 2 edits are searched at once."
    ]
    assert found.profile == whole


def test_an_edit_that_never_fits_is_said_and_what_was_measured_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    own, calls = measuring.search_edits, []

    def search(lm: Any, contexts: Sequence[Any], **named: Any) -> Any:
        calls.append(len(contexts))
        if len(calls) > 1:
            raise MemoryLimitError("too large")
        return own(lm, contexts, **named)

    monkeypatch.setattr(measuring, "search_edits", search)
    with pytest.raises(MemoryLimitError, match=r"Not even one edit of MEMIT fits .* kept"):
        run()
    assert len(TrialBook(calibration_folder(LM) / TRIALS)) == 4


def test_other_errors_of_torch_are_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(measuring, "search_edits", search)
    with pytest.raises(RuntimeError, match="shapes"):
        run()


def test_without_a_calibration_no_result_is_on_disk() -> None:
    assert last_found(LM) is None


def test_the_result_is_on_disk_before_it_is_put_to_use(whole: Any) -> None:
    assert whole is not None
    assert last_found(LM) == whole
    found_path(LM).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"found\.json"):
        last_found(LM)


def test_the_estimate_counts_edits_and_learns_how_long_they_take() -> None:
    # 8 settings on 4 facts, the uncalibrated and 4 others on 4 more; then the check of two.
    assert most_trials(8, 8) == 8 * 4 + 5 * 4
    config = CalibrationConfig(budget=Budget(settings=8), facts=20)
    before = estimate(LM, config, n_editor=2)
    assert (before.edits, before.is_timed, before.limit) == (2 * (52 + 2 * 12), False, None)
    with locked_folder(LM) as folder:
        book = TrialBook(folder / TRIALS)
        for number in range(9):
            book.add(str(number), Trial(columns={"efficacy": Counts(n=1, preferred=1, first=1)}, seconds=2.0))
    after = estimate(LM, config, n_editor=2)
    assert (after.seconds_per_edit, after.is_timed, after.seconds) == (2.0, True, 304.0)
    timed = estimate(LM, CalibrationConfig(budget=Budget(settings=200, seconds=60), facts=20), n_editor=1)
    assert timed.seconds == 60 + 2 * 12 * 2.0


@pytest.mark.usefixtures("whole")
def test_the_time_of_an_edit_on_a_cpu_is_that_of_its_thread() -> None:
    assert TrialBook(calibration_folder(LM) / TRIALS).seconds_per_edit() == 8.0 / 4, "four facts are edited at once"


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    path.write_bytes(b'{"key": "a", "x": 1}\n[1]\n{"x": 2}\n\xff\xfe\n{"key": "b", "x": NaN}\n{"key": "c", "x"')
    book = LineBook(path)
    assert (list(book), book.find("a"), book.find("c")) == (["a"], {"x": 1}, None)
    gone = LineBook(tmp_path / "no folder" / "book.jsonl")
    with pytest.raises(UnwritableError, match="What was measured so far is kept"):
        gone.add("a", {})


def test_a_trial_of_an_earlier_version_has_no_time_and_a_broken_one_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(
        '{"key": "a", "columns": {"efficacy": {"n": 1, "preferred": 1, "first": 0}}, "failed": ""}\n'
        '{"key": "b", "columns": {"efficacy": {"n": 1, "preferred": 5, "first": 0}}, "failed": ""}\n'
        '{"key": "c", "columns": 3, "failed": ""}\n',
        encoding="utf-8",
    )
    book = TrialBook(path)
    assert (len(book), book.seconds_per_edit()) == (1, None)
    assert book.find("a") == Trial(columns={"efficacy": Counts(n=1, preferred=1, first=0)})


def test_a_prompt_marks_its_subject() -> None:
    def prompt(text: str, subject: str) -> FactPrompt:
        return FactPrompt(text=text, answers=("x",), subject=subject)

    found = prompt("The Eiffel Tower is in", "Eiffel Tower").phrase
    assert found is not None and (found.template, found.subject) == ("{} is in", "The Eiffel Tower")
    found = prompt("The capital of France is", "France").phrase
    assert found is not None and (found.template, found.subject) == ("The capital of {} is", "France")
    assert prompt("It is in", "France").phrase is None
    assert prompt("France {x} is in", "France").phrase is None
