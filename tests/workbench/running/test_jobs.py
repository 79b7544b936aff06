"""One worker, jobs that outlive their browser, and a second click that is refused kindly."""

from __future__ import annotations

import threading
import time

import pytest

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, ProgressEvent, Stage, note
from workbench.running.jobs import BusyError, Job, JobRegistry, JobState


def ended(registry: JobRegistry, job_id: str) -> Job:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        job = registry.job(job_id)
        assert job is not None
        if job.is_finished:
            return job
        time.sleep(0.005)
    raise AssertionError("the job did not end")


def test_a_job_leaves_its_value_and_what_it_reported() -> None:
    registry = JobRegistry()

    def work(progress: Progress) -> str:
        progress.report(ProgressEvent(stage=Stage.SEARCH, done=1, total=2, detail={"total": 3.0}))
        progress.report(ProgressEvent(stage=Stage.WRITE, done=0, total=5))
        progress.report(ProgressEvent(stage=Stage.SEARCH, done=2, total=2, detail={"total": 2.0}))
        return "made"

    job = ended(registry, registry.submit("edit", work, "one"))
    assert (job.state, job.value) == (JobState.DONE, "made")
    assert [step["total"] for step in job.curve] == [3.0, 2.0]
    assert job.latest is not None and (job.latest.stage, job.latest.done) == ("search", 2)
    assert registry.latest("one", "edit") is job
    assert registry.latest("two") is None


def test_a_session_has_one_job_at_a_time_and_others_wait_their_turn() -> None:
    registry, gate, order = JobRegistry(), threading.Event(), []

    def first(progress: Progress) -> None:
        gate.wait(10)
        order.append("first")

    one = registry.submit("edit", first, "one", title="The long one")
    with pytest.raises(BusyError, match=r"The long one.*still running"):
        registry.submit("edit", lambda progress: order.append("never"), "one")
    two = registry.submit("edit", lambda progress: order.append("second"), "two")
    waiting = registry.job(two)
    assert waiting is not None and waiting.state is JobState.WAITING and waiting.ahead == (registry.job(one),)
    gate.set()
    ended(registry, one)
    ended(registry, two)
    assert order == ["first", "second"]
    ended(registry, registry.submit("edit", lambda progress: None, "one"))


def test_cancelling_stops_at_the_next_step_and_makes_nothing() -> None:
    registry, started, made = JobRegistry(), threading.Event(), []

    def work(progress: Progress) -> None:
        started.set()
        while True:
            progress.check()
            time.sleep(0.001)
        made.append("never")

    job_id = registry.submit("edit", work, "one")
    assert started.wait(10)
    registry.cancel(job_id)
    job = ended(registry, job_id)
    assert job.state is JobState.CANCELLED and not made and "Nothing was applied" in job.error


def test_a_job_cancelled_while_it_waits_never_begins() -> None:
    registry, gate, begun = JobRegistry(), threading.Event(), []
    registry.submit("edit", lambda progress: gate.wait(10), "one")
    waiting = registry.submit("edit", lambda progress: begun.append(1), "two")
    registry.cancel(waiting)
    gate.set()
    assert ended(registry, waiting).state is JobState.CANCELLED
    assert not begun


@pytest.mark.parametrize(
    ("error", "said"),
    [(ConfigError("layers are out of range"), "layers are out of range"), (ValueError("secret detail"), "ValueError")],
)
def test_the_worker_outlives_a_failure_and_says_what_is_for_people(error: Exception, said: str) -> None:
    registry = JobRegistry()

    def fail(progress: Progress) -> None:
        raise error

    job = ended(registry, registry.submit("edit", fail, "one"))
    assert job.state is JobState.FAILED and said in job.error
    assert "secret" not in job.error
    assert ended(registry, registry.submit("edit", lambda progress: 7, "one")).value == 7


def waiting(progress: Progress) -> None:
    while True:
        progress.check()
        time.sleep(0.001)


def test_work_on_the_side_gives_way_and_keeps_no_session_busy() -> None:
    registry = JobRegistry()
    main = registry.submit("edit", lambda progress: "made", "one")
    aside = registry.submit("remedies", waiting, "one", is_aside=True)
    ended(registry, main)
    latest = registry.latest("one")
    assert latest is not None and latest.id == main, "the session's job is the one a person started"
    assert registry.latest("one", "remedies") is registry.job(aside)
    again = registry.submit("edit", lambda progress: "made again", "one")
    assert ended(registry, aside).state is JobState.CANCELLED
    assert ended(registry, again).value == "made again"


def test_work_on_the_side_gives_way_to_other_sessions_and_leaves_their_own_alone() -> None:
    registry = JobRegistry()
    aside = registry.submit("remedies", waiting, "one", is_aside=True)
    other = registry.submit("examples", lambda progress: "sorted", "server", is_aside=True)
    found = registry.job(aside)
    assert found is not None and not found.flag.is_set
    assert ended(registry, registry.submit("edit", lambda progress: "made", "two")).value == "made"
    assert ended(registry, aside).state is JobState.CANCELLED
    assert ended(registry, other).state is JobState.CANCELLED


def awaited_and_awaiting(gate: threading.Event) -> tuple[JobRegistry, Job, Job]:
    """A session's work on the side, held up at its first event, and its job that awaits it."""
    registry, begun = JobRegistry(), threading.Event()

    def search(progress: Progress) -> str:
        progress.report(ProgressEvent(stage=Stage.SEARCH, done=1, total=8))
        begun.set()
        while not gate.is_set():
            progress.check()
            time.sleep(0.001)
        return "found"

    aside = registry.submit("ahead of it", search, "one", is_aside=True)
    assert begun.wait(10)
    main = registry.submit("edit", lambda progress: registry.job(aside).value, "one", awaits="ahead of it")  # type: ignore[union-attr]
    first, second = registry.job(aside), registry.job(main)
    assert first is not None and second is not None
    return registry, first, second


def test_work_on_the_side_goes_on_for_a_job_that_awaits_it_and_its_progress_is_shown() -> None:
    gate = threading.Event()
    registry, aside, main = awaited_and_awaiting(gate)
    assert not aside.flag.is_set and main.state is JobState.WAITING
    assert main.latest is not None and (main.latest.stage, main.latest.done) == (Stage.SEARCH, 1)
    gate.set()
    assert ended(registry, main.id).value == "found"
    assert aside.state is JobState.DONE


def test_stopping_a_job_stops_the_work_that_it_awaits() -> None:
    registry, aside, main = awaited_and_awaiting(threading.Event())
    registry.cancel(main.id)
    assert ended(registry, main.id).state is JobState.CANCELLED
    assert aside.state is JobState.CANCELLED


def test_awaited_work_on_the_side_still_gives_way_to_other_sessions() -> None:
    registry, aside, main = awaited_and_awaiting(threading.Event())
    assert ended(registry, registry.submit("edit", lambda progress: "made", "two")).value == "made"
    assert aside.state is JobState.CANCELLED
    assert main.state is JobState.DONE and main.value is None, "it goes on without what it awaited"


def test_work_on_the_side_replaces_the_same_sessions_earlier_one() -> None:
    registry = JobRegistry()
    first = registry.submit("remedies", waiting, "one", is_aside=True)
    second = registry.submit("remedies", lambda progress: "found", "one", is_aside=True)
    assert ended(registry, first).state is JobState.CANCELLED
    assert ended(registry, second).value == "found"


def test_a_full_server_says_so_and_takes_jobs_again_later() -> None:
    registry, gate = JobRegistry(2), threading.Event()
    one = registry.submit("edit", lambda progress: gate.wait(10), "one")
    two = registry.submit("edit", lambda progress: None, "two")
    with pytest.raises(BusyError, match=r"server is full: 2 jobs .*Try again"):
        registry.submit("edit", lambda progress: None, "three")
    gate.set()
    ended(registry, one)
    ended(registry, two)
    ended(registry, registry.submit("edit", lambda progress: None, "three"))


def test_what_is_ahead_shrinks_and_is_let_go() -> None:
    registry, gates = JobRegistry(), [threading.Event(), threading.Event()]
    one = registry.submit("edit", lambda progress: gates[0].wait(10), "one")
    registry.submit("compare", lambda progress: gates[1].wait(10), "two")
    last = registry.submit("edit", lambda progress: None, "three")
    job = registry.job(last)
    assert job is not None
    assert [item.kind for item in job.ahead] == ["edit", "compare"]
    gates[0].set()
    ended(registry, one)
    assert [item.kind for item in job.ahead] == ["compare"]
    gates[1].set()
    assert ended(registry, last).queued_before == ()


def test_the_jobs_of_an_ended_session_are_forgotten_with_their_values() -> None:
    registry, gate = JobRegistry(), threading.Event()
    done = registry.submit("edit", lambda progress: object(), "one")
    ended(registry, done)
    kept = registry.submit("look", lambda progress: object(), "other")
    ended(registry, kept)
    running = registry.submit("look", lambda progress: gate.wait(10), "one/look")
    registry.forget("one")
    assert registry.job(done) is None
    assert registry.job(kept) is not None
    assert registry.job(running) is not None, "it is under way"
    gate.set()
    ended(registry, running)
    registry.forget("one")
    assert registry.job(running) is None


def test_what_a_stage_remarks_is_kept_beside_its_progress() -> None:
    registry = JobRegistry()

    def work(progress: Progress) -> None:
        progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=1, total=2))
        note(progress, Stage.KEY_STATISTICS, "kept in memory")

    job = ended(registry, registry.submit("edit", work, "one"))
    assert job.remarks == ["kept in memory"]
    assert job.latest is not None and job.latest.done == 1
