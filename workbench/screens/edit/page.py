"""Type or choose a fact, see what will change, apply it, undo it."""

from __future__ import annotations

import streamlit as st

from workbench import wording
from workbench.drawing import curves
from workbench.drawing.graph_view import graph_html
from workbench.screens.edit import panels as edit_panels
from workbench.screens.edit import settings as edit_settings
from workbench.shared import actions, panels, result_panels
from workbench.state import session

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title(
        "Edit", "Change one fact the model believes, see what follows from it, and take it back whenever you like."
    )
    resident = panels.require_model()
    lm = resident.lm

    form, now = st.columns([5, 4], gap="large")
    with form:
        edit_panels.fact_form(state)
        edit_settings.settings_panel(state, lm)
    if state.draft.is_blank:
        now.info(
            "Pick an example or type a fact; what the model says about it now appears here.",
            icon=":material/lightbulb:",
        )
        result_panels.history(state, lm)
        return

    complaint = actions.prepare(state)
    context = state.context
    with now:
        panels.message(complaint)
        if context is not None:
            edit_panels.present_answers(state, lm, context.edit)
    if context is None:
        result_panels.history(state, lm)
        return

    with st.container(border=True):
        st.subheader("What the graph says", anchor=False)
        edit_panels.candidates(state, context)
        edit_panels.doubts(state, lm, context)
        if context.has_graph and context.subgraph is not None:
            picture, follows = st.columns([5, 4], gap="large")
            with picture:
                page = graph_html(context.subgraph, theme=panels.theme(), height=470)
                st.iframe(
                    page,
                    height=470,
                    alt=f"Graph of {len(context.subgraph.triples)} triples around {context.edit.subject}",
                )
                panels.page_link("graph", "Switch triples off, expand nodes", icon="hub")
            with follows:
                edit_panels.consequences(state, context)
        else:
            st.info(wording.NO_GRAPH, icon=":material/link_off:")

    job = state.job("edit")
    apply, undo, redo = st.columns([2, 1, 1])
    if apply.button("Apply the edit", type="primary", icon=":material/play_arrow:", width="stretch", key="apply"):
        complaint = actions.apply(state, resident)
        panels.message(complaint, kind="warning")
        job = state.job("edit")
    result_panels.undo_buttons(state, undo, redo)

    if job is not None and not job.is_finished:

        def draw(running: panels.Job) -> None:
            """The curve so far."""
            if running.curve:
                alt = "The terms of the loss by step, so far"
                st.plotly_chart(curves.search_curve(running.curve), key=f"live-{running.id}", alt=alt)

        panels.job_panel(job, draw=draw)
        return
    if job is not None and job.title == actions.title_of(context.edit):
        panels.job_result(job)
    result_panels.history(state, lm)
