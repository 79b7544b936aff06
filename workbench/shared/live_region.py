"""What every page does unasked: it tells screen readers of the end of a job, and follows a change of theme."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kgmet.base.shipped import shipped
from workbench import wording
from workbench.running import jobs
from workbench.running.jobs import Job, JobState
from workbench.shared import inspect_actions
from workbench.shared.panels import theme
from workbench.state.session import WorkbenchState

__all__ = ["latest_job", "live_region", "said_of"]

_HTML = '<div class="kg-live" role="status" aria-live="polite"></div>'
_STYLE = ".kg-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }"


@st.cache_resource(show_spinner=False)
def _made() -> Any:
    """Register the component once; its element then stays on every page, as a live region must."""
    script = (shipped("assets") / "live.js").read_text(encoding="utf-8")
    return st.components.v2.component("kgmet_live", html=_HTML, css=_STYLE, js=script)


def live_region(state: WorkbenchState) -> None:
    """Show the region that is read aloud when a job ends. A change of theme runs the page again."""
    job = latest_job(state)
    number = "" if job is None else f"{job.id} {job.state.value if job.is_finished else 'begun'}"
    _made()(
        key="live-region",
        data={"job": number, "said": said_of(state, job), "theme": theme()},
        on_theme_change=lambda: None,
    )


def latest_job(state: WorkbenchState) -> Job | None:
    """Return this session's job that was started last: an edit, an inspection, a benchmark."""
    found = (
        state.job(),
        jobs.latest(inspect_actions.queue(state)),
        jobs.long_runs().latest(state.session_id),
    )
    return max((job for job in found if job is not None), key=lambda job: job.ended or job.submitted, default=None)


def said_of(state: WorkbenchState, job: Job | None) -> str:
    """Return one sentence on how a job ended; empty while it waits or runs."""
    if job is None or not job.is_finished:
        return ""
    if job.state is JobState.FAILED:
        return f"Failed: {job.title or job.kind}. {job.error}"
    if job.state is JobState.CANCELLED:
        return f"Stopped: {job.title or job.kind}."
    entry = state.entry(job.value) if job.kind == "edit" else None
    if entry is not None and entry.report is not None:
        return f"Edit applied: {wording.short(entry.report.verdict.outcome.value)}."
    return f"Done: {job.title or job.kind}."
