"""Streamlit blocks of the inspection pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from kgmet.base.progress import Progress
from workbench import wording
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.shared import inspect_actions, panels
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["focus_picker", "is_dark", "looked_up", "reading_help"]


def is_dark() -> bool:
    """Return whether the page has a dark background; light if unknown."""
    return getattr(st.context.theme, "type", None) == "dark"


def focus_picker(state: WorkbenchState, resident: Resident) -> StackEntry:
    """Return the chosen edit; stop the page with a hint if none fits the resident model."""
    panels.require_stack(state)
    told = [entry for entry in state.stack if entry.edit is not None]
    fitting = [entry for entry in told if entry.patch.model_fingerprint == resident.lm.fingerprint]
    if not fitting:
        st.info("No edit was made for the model that is loaded. Load the one they were made for on Models.")
        st.stop()
    focus = state.focus if state.focus in fitting else fitting[-1]
    if len(fitting) == 1:
        return fitting[0]
    names = {entry.id: f"{number}. {entry.name}" for number, entry in enumerate(fitting, start=1)}
    chosen = st.selectbox(
        "Edit to look at",
        list(names),
        index=fitting.index(focus),
        format_func=lambda key: names.get(key, key),
        help="Edits under it in the ledger that are on stay on, before and after.",
    )
    if chosen != state.focus.id:  # type: ignore[union-attr]
        state.set_focus(chosen)
    return state.entry(chosen) or focus


def looked_up(
    state: WorkbenchState,
    name: str,
    work: Callable[[Progress], Any],
    *,
    made_from: str,
    title: str,
    entry: StackEntry,
) -> Any:
    """Return the named result of an edit; if missing, start its job, show progress and stop the page.

    What is still being looked at for an earlier choice is stopped first.
    """
    result = state.measured(entry, name, made_from)
    if result is not None:
        return result.value
    left: set[str] = st.session_state.setdefault("looks~", set())
    job = inspect_actions.look_job(state, name, made_from)
    other = inspect_actions.look_under_way(state)
    if other is not None and other is not job:
        left.add(other.id)
        jobs.cancel(other.id)
        st.caption("Stopping the previous inspection.")
        panels.job_panel(other, can_cancel=False)
        st.stop()
    if job is None or job.state is JobState.DONE or (job.is_finished and job.id in left):
        panels.message(inspect_actions.start_look(state, name, work, made_from=made_from, title=title), kind="info")
        job = inspect_actions.look_job(state, name, made_from)
    if job is not None and not job.is_finished:
        st.caption(wording.safe(title))
        panels.job_panel(job)
    else:
        panels.job_result(job)
        if st.button("Measure", icon=":material/refresh:"):
            panels.message(inspect_actions.start_look(state, name, work, made_from=made_from, title=title))
            st.rerun()
    st.stop()
    raise AssertionError("st.stop does not return")


def reading_help(text: str) -> None:
    """Show one sentence on how to read a figure."""
    st.caption(f":material/visibility: {text}")
