"""Foresee page: forecast which known facts an edit will change, protect them, and check the forecast."""

from __future__ import annotations

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.forecast.index import index_bytes
from kgmet.forecast.near import NEAR_FACTS, index_seconds
from workbench import wording
from workbench.running.resources import Resident
from workbench.screens.foresee import actions as foresee_actions
from workbench.screens.foresee import panels as foresee_panels
from workbench.screens.foresee import view
from workbench.screens.foresee.actions import Question
from workbench.shared import panels
from workbench.shared.foreseen import SIZES
from workbench.state import session
from workbench.state.session import WorkbenchState

__all__ = ["show"]

CHOICE, SIZE = "foresee-choice", "foresee-size"


def show() -> None:
    """Draw the page."""
    panels.title(
        "Foresee",
        "Which other facts will this edit move? Forecast before anything is applied, and compared with what happens.",
    )
    state = session.current()
    resident = panels.require_model()
    question = _question(state, resident)
    if question is None:
        return
    job = state.job(foresee_actions.KIND)
    is_running = job is not None and not job.is_finished
    _begin(state, resident, question, is_running=is_running)
    job = state.job(foresee_actions.KIND)
    if job is not None and not job.is_finished:
        panels.job_panel(job, draw=foresee_panels.time_left)
        return
    panels.job_result(job)
    foresee_panels.result(state, resident, question)


def _question(state: WorkbenchState, resident: Resident) -> Question | None:
    """Let the user choose the edit and the number of facts; ``None``, with a hint, if there is no edit."""
    choices = foresee_actions.choices(state, resident)
    if not choices:
        if state.stack:
            st.info("No edit was made for the model that is loaded. Type one on Edit, or load that model on Models.")
        else:
            st.info(wording.NO_CONTEXT, icon=":material/edit:")
        panels.page_link("edit", "Go to Edit", icon="edit")
        return None
    if st.session_state.get(CHOICE) not in choices:
        focus = state.focus
        is_typed = "" in choices or focus is None or focus.id not in choices
        st.session_state[CHOICE] = next(iter(choices)) if is_typed else focus.id  # type: ignore[union-attr]
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Edit",
        list(choices),
        format_func=lambda key: choices.get(key, key),
        key=CHOICE,
        help="A typed fact is searched and written, but not applied. An applied edit is forecast and asked at once.",
    )
    if SIZE not in st.session_state:
        st.session_state[SIZE] = foresee_actions.size_of(state, resident, chosen or "") or NEAR_FACTS
    n_fact = right.segmented_control(
        "Known facts to ask",
        SIZES,
        key=SIZE,
        required=True,
        help="Half are of the edit's relation; the others are about its entities, of its consequences' relations, "
        "or of any other relation. Only facts that the model answers right are used. What earlier edits made true "
        "comes on top.",
    )
    if not chosen and state.draft.is_incomplete:
        st.info("The fact on the Edit page is not complete: subject, template and new object are needed.")
        panels.page_link("edit", "Go to Edit", icon="edit")
        return None
    try:
        return foresee_actions.question_of(state, resident, chosen or "", n_fact or NEAR_FACTS)
    except KgmetError as error:
        panels.message(str(error))
        return None


def _begin(state: WorkbenchState, resident: Resident, question: Question, *, is_running: bool) -> None:
    """Show the button and its cost."""
    lm, on_disk = resident.lm, question.on_disk(resident)
    label = "Foresee" if question.entry is None else "Foresee and ask"
    with st.container(horizontal=True, vertical_alignment="center"):
        is_pressed = st.button(label, type="primary", icon=":material/query_stats:", disabled=is_running, key="foresee")
        st.caption(
            view.estimate(
                question.n_fact,
                on_disk,
                index_seconds(lm, question.n_fact - on_disk),
                n_bytes=index_bytes(lm, question.n_fact),
                is_cpu=lm.device.type == "cpu",
            )
        )
    if is_pressed:
        panels.message(foresee_actions.begin(state, resident, question))
