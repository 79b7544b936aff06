"""Edit page: type or choose a fact, see its consequences, apply and undo it, in one view."""

from __future__ import annotations

import streamlit as st

from kgmet.editing.context import EditContext
from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.drawing.live_curve import live_curve
from workbench.running.resources import Resident
from workbench.screens.edit import form, many
from workbench.screens.edit import panels as edit_panels
from workbench.screens.edit.settings import settings_panel
from workbench.shared import actions, consequence_panels, graph_panels, panels, result_panels
from workbench.state import session
from workbench.state.session import WorkbenchState

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Edit", "Change one fact, see its consequences, and undo it at any time.")
    resident = panels.require_model()
    lm = resident.lm
    with st.container(key="edit-top"):
        # On a phone the result stands right under the form; beside it, the style sheet puts the answers below the form.
        typed, now, below = st.columns([5, 4, 5], gap="large")
    with typed:
        form.fact_form(state, resident)
        complaint = None if state.draft.is_incomplete else actions.prepare(state)
        context = None if state.draft.is_incomplete or complaint else state.context
        edit_panels.linking_line(state, context, complaint)
        form.apply_bar(state, resident, context)
    job = state.job("edit")
    with now, st.container(key="edit-now"):
        if job is not None and not job.is_finished:
            _progress(state, job)
        else:
            if job is not None and context is not None and job.title == context.edit.sentence:
                panels.job_result(job)
            result_panels.history(state, lm)
            # In the place of the progress, which the browser would keep below the result until the script has ended.
            st.empty()
        if not state.stack and not state.redo and not state.is_busy:
            st.info("What the model says before and after the edit appears here.", icon=":material/lightbulb:")
    if context is not None:
        _graph(state, lm, context)
        with below:
            edit_panels.present_answers(state, lm, context.edit)
    result_panels.details(state, lm)
    _more(state, resident)
    if context is not None and not form.is_live(state, resident, context):
        actions.look_ahead(state, resident)


def _progress(state: WorkbenchState, job: panels.Job) -> None:
    """Show the edit's progress with the search curve, then the answers to its own prompt as soon as they are known."""

    def draw(running: panels.Job) -> None:
        first = actions.first_answers(state)
        if first is not None:
            result_panels.first_answers(first)
        elif running.curve:
            st.html(live_curve(running.curve, dark=panels.theme() == "dark"))

    panels.job_panel(job, draw=draw, news=lambda: actions.first_answers(state))


def _graph(state: WorkbenchState, lm: LoadedLM, context: EditContext) -> None:
    """Show the story of the edit as a picture, and below it as a list; what the model must be asked for comes last."""
    with st.container(border=True):
        st.subheader("What the graph says", anchor=False)
        doubts = st.container()
        if not context.has_graph:
            st.info(wording.NO_GRAPH, icon=":material/link_off:")
        else:
            graph_panels.story_panel(state, context)
            panels.page_link("graph", "Switch triples off, look at single names", icon="hub")
        follows, stays = st.columns([5, 4], gap="large")
        with follows:
            consequence_panels.changes(state, context)
        with stays:
            consequence_panels.kept(state, context)
        with doubts:
            edit_panels.doubts(state, lm, context)


def _more(state: WorkbenchState, resident: Resident) -> None:
    settings_panel(state, resident.lm)
    many.panel(state, resident)
