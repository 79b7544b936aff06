"""What could make an edit take that did not: tried beforehand, each with its price and a button."""

from __future__ import annotations

import streamlit as st

from kgmet.editing.remedies import Remedies, RemedyKind, TriedRemedy
from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.running.resources import model_holder
from workbench.shared import remedies
from workbench.shared.actions import context_of
from workbench.shared.panels import job_panel, message
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["panel", "remedy_line"]


def panel(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> None:
    """Show what was found for an edit that did not take, best kept first; nothing for one that took."""
    if not remedies.can_be_tried(state, lm, entry):
        return
    message(st.session_state.pop("remedy-said", None), kind="warning")
    job = state.job(remedies.KIND)
    is_running = job is not None and not job.is_finished
    found = remedies.remedies_for(state, lm, entry)
    with st.container(key="remedies"):
        st.markdown("**What would make it take**")
        if found is not None:
            _found(state, lm, entry, found)
        if job is not None and is_running:
            n = 0 if found is None else len(found.found)
            job_panel(job, draw=lambda _job: _look_again(state, lm, entry, n))
        elif found is None or not found.is_over:
            st.caption("Other settings, wordings and editors can be tried on the side. Nothing is attached meanwhile.")
            if st.button(
                "Look for a remedy", icon=":material/healing:", key="look-for-remedies", disabled=state.is_busy
            ):
                _begin(state, entry)
                st.rerun()


def _look_again(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, n: int) -> None:
    """Redraw the page once more was found."""
    found = remedies.remedies_for(state, lm, entry)
    if found is not None and len(found.found) > n:
        st.rerun()


def _begin(state: WorkbenchState, entry: StackEntry) -> None:
    resident = model_holder().resident
    if resident is not None:
        remedies.look_for(state, resident, entry, context_of(entry, state.config))


def _found(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, found: Remedies) -> None:
    if not found.found:
        if found.is_over:
            words = wording.count(found.n_candidate, "remedy was", "remedies were")
            st.caption(f"{words} tried, and with none does the model say the new object.")
        return
    ordered = sorted(found.found, key=lambda item: (item.typed is not None and not item.typed.says, -item.kept))
    for number, tried in enumerate(ordered):
        st.markdown(remedy_line(tried, found))

        def chosen(tried: TriedRemedy = tried) -> None:
            st.session_state["remedy-said"] = remedies.use(state, lm, entry, tried)

        st.button(
            _button(tried),
            on_click=chosen,
            type="primary" if number == 0 else "secondary",
            icon=":material/healing:",
            key=f"remedy-{found.found.index(tried)}",
            help="Replaces the edit above by the one that was tried.",
            disabled=state.is_busy,
        )


def remedy_line(tried: TriedRemedy, found: Remedies) -> str:
    """Describe a remedy as Markdown: what is different, what the model says with it, and what it costs."""
    after = tried.edited.report.after
    parts = [tried.remedy.sentence, f"Then it says “{_said(after.text)}” ({wording.percent(after.p_expected)})."]
    if tried.typed is not None:
        words = "also" if tried.typed.says else "still"
        parts.append(f"The prompt as you typed it {words} goes on with “{_said(tried.typed.text)}”.")
    if tried.n_stay:
        parts.append(
            f"{tried.kept} of {wording.count(tried.n_stay, 'neighbour')} kept their answer "
            f"({found.kept} with the edit as it is)."
        )
    else:
        parts.append("The graph knows no neighbours, so what it costs was not measured.")
    return wording.safe(" ".join(parts))


def _button(tried: TriedRemedy) -> str:
    kind = tried.remedy.kind
    if kind is RemedyKind.EDITOR:
        words = "" if tried.typed is None else " with these words"
        return f"Use {tried.remedy.editor.name}{words}"
    return {
        RemedyKind.WORDS_BEFORE: "Use words before the subject",
        RemedyKind.STATEMENT: "Use this sentence",
        RemedyKind.WORDING: "Use this wording",
        RemedyKind.LONGER: "Use a longer shift",
        RemedyKind.STEPS: "Use more steps",
        RemedyKind.TOGETHER: "Use both",
    }[kind]


def _said(text: str) -> str:
    return wording.short(" ".join(text.split()), 80)
