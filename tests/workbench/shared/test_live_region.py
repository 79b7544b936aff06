"""What is read aloud when a job ends, and which job it is."""

from __future__ import annotations

import pytest

from kgmet.base.errors import Cancelled, ConfigError
from kgmet.base.progress import Progress
from tests.workbench.sessions import entry_for, state_of, wait_for
from workbench.running import jobs
from workbench.running.resources import Resident
from workbench.shared import inspect_actions
from workbench.shared.live_region import latest_job, said_of
from workbench.state.session import WorkbenchState


def ended(kind: str, work: jobs.Work, owner: str, *, title: str = "") -> jobs.Job:
    return wait_for(jobs.submit(kind, work, owner, title=title))


def test_an_edit_says_whether_it_took(resident: Resident) -> None:
    state = state_of()
    entry = entry_for(resident.lm)
    state.record.push(entry)
    job = ended("edit", lambda _: entry.id, state.session_id)
    assert said_of(state, job) == "Edit applied: took."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "Done: Probe the tower."),
        (Cancelled("Stopped."), "Stopped: Probe the tower."),
        (ConfigError("There are no layers."), "Failed: Probe the tower. There are no layers."),
    ],
)
def test_any_other_job_says_how_it_ended(resident: Resident, error: Exception | None, said: str) -> None:
    def work(_: Progress) -> None:
        if error is not None:
            raise error

    state = state_of()
    job = ended("probe", work, state.session_id, title="Probe the tower")
    assert said_of(state, job) == said
    assert latest_job(state) is job


def test_the_last_of_all_queues_is_told_and_nobody_elses(resident: Resident) -> None:
    one, other = state_of(), state_of()
    assert latest_job(one) is None and said_of(one, None) == ""
    first = ended("probe", lambda _: None, one.session_id)
    look = ended("shift x", lambda _: None, inspect_actions.queue(one))
    ended("probe", lambda _: None, other.session_id)
    assert latest_job(one) is look
    assert latest_job(WorkbenchState(one.record)) is look and first is not look
