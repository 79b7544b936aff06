"""How a page watches a running job."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from workbench.running.jobs import Job, JobState
from workbench.shared import panels


@pytest.fixture
def glances(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens between glances, one after the other; their time passes without waiting."""
    happens: list[Callable[[], None]] = []
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if happens:
            happens.pop(0)()

    monkeypatch.setattr(panels, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    return happens


def a_job() -> Job:
    return Job(id="1", kind="edit", session_id="s", state=JobState.RUNNING)


def nothing() -> None:
    return None


def test_a_look_ends_when_the_job_ends(glances: list[Callable[[], None]]) -> None:
    job = a_job()
    glances += [nothing, lambda: setattr(job, "state", JobState.DONE), nothing]
    panels._watch(job, lambda: False)
    assert len(glances) == 1


def test_a_look_ends_when_there_is_news(glances: list[Callable[[], None]]) -> None:
    told: list[str] = []
    glances += [nothing, lambda: told.append("Rome"), nothing]
    panels._watch(a_job(), lambda: bool(told))
    assert len(glances) == 1


def test_a_look_without_news_ends_before_the_next_one_is_due(glances: list[Callable[[], None]]) -> None:
    n_most = int(panels._POLL_SECONDS / panels._GLANCE_SECONDS)
    glances += [nothing] * (n_most + 1)
    panels._watch(a_job(), lambda: False)
    assert 1 < len(glances) < n_most


def test_the_first_look_is_part_of_the_page_and_does_not_wait(glances: list[Callable[[], None]]) -> None:
    glances += [nothing]
    panels.job_panel(a_job(), can_cancel=False)
    assert len(glances) == 1
