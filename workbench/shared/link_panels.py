"""Blocks for links to results: making and withdrawing them, and what a visitor sees who opens one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import streamlit as st

from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.running.resources import Resident
from workbench.shared import publishing
from workbench.shared.fact_link import result_link
from workbench.shared.panels import job_panel, job_result, message
from workbench.shared.publishing import FIGURES, OwnLink
from workbench.state.published import LinkError, PublishedResult, published_links
from workbench.state.retention import days_to_keep
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["PARAMETER", "all_links", "made_elsewhere_note", "opened_link", "publish_panel"]

PARAMETER = "result"
"""Parameter of an address that holds the token of a published result."""
_SAID = "link-said"
Load = Callable[[str, str], str | None]
"""Starts loading a model with a number format; returns why that is not possible, if so."""


def publish_panel(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, *, place: str) -> None:
    """Show a button that publishes an edit's result, and the links to it so far; `place` makes their keys unique."""

    def make() -> None:
        st.session_state[_SAID] = publishing.publish(state, lm, entry)

    st.button("Make a link to this result", icon=":material/add_link:", on_click=make, key=f"publish-{place}")
    message(st.session_state.pop(_SAID, None), kind="warning")
    own = [link for link in publishing.links_of(state) if link.entry_id == entry.id]
    _listed(state, own[::-1], place=place, is_named=False)
    st.caption(
        "Anyone who may enter this server and has the link can open a copy of this edit, with its answers and figures "
        f"as they are now, without your note and your other edits. {_how_long()}"
    )


def all_links(state: WorkbenchState) -> None:
    """Show every link of this session, also to edits that it has no more."""
    message(st.session_state.pop(_SAID, None), kind="warning")
    own = publishing.links_of(state)
    if own:
        with st.expander(f"Your links, {len(own)} of at most {publishing.MOST}", icon=":material/link:"):
            _listed(state, own[::-1], place="all", is_named=True)
            st.caption(f"A withdrawn link leads to nothing; those who opened it keep their copies. {_how_long()}")


def _listed(state: WorkbenchState, links: Sequence[OwnLink], *, place: str, is_named: bool) -> None:
    def take_back(token: str) -> None:
        st.session_state[_SAID] = publishing.withdraw(state, token)

    for number, link in enumerate(links):
        if is_named:
            st.markdown(wording.safe(wording.short(link.sentence, 120)))
        st.code(result_link(st.context.url or "", link.token), language=None, wrap_lines=True)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Made {_moment(link.created)}")
            st.button(
                "Withdraw",
                icon=":material/link_off:",
                type="tertiary",
                on_click=take_back,
                args=(link.token,),
                key=f"withdraw-{place}-{number}",
                help="The link then leads to nothing. Those who opened it keep their copies.",
            )


def opened_link(state: WorkbenchState, resident: Resident | None, load: Load) -> None:
    """Show what a link in the address leads to, with a button that adds it to the visitor's edits."""
    token = st.query_params.get(PARAMETER)
    if token is None:
        return
    with st.container(border=True, key="opened-link"):
        try:
            about = published_links().about(token)
        except LinkError as error:
            message(str(error), kind="warning")
            st.button("Close", on_click=_close, key="link-close")
            return
        st.subheader("A result that was shared with you", anchor=False)
        st.markdown(f"**{wording.safe(about.sentence)}**")
        st.caption(wording.safe(_described(about)))
        for note in _notes(state, about):
            st.caption(f":material/info: {wording.safe(note)}")
        is_fitting = resident is not None and publishing.fits(about, resident.lm)
        if resident is not None and not is_fitting:
            _other_model(state, about, resident.lm, load)
        with st.container(horizontal=True):
            st.button(
                "Open it",
                type="primary",
                icon=":material/open_in_new:",
                on_click=partial(_open, state, resident, token),
                disabled=not is_fitting,
                key="link-open",
                help="Adds the edit to yours. Undo takes it off again."
                if is_fitting
                else "First the model it was made for must be loaded.",
            )
            st.button("Not now", on_click=_close, key="link-close")
        message(st.session_state.pop("link-open-said", None), kind="warning")


def _open(state: WorkbenchState, resident: Resident | None, token: str) -> None:
    if resident is None:
        return
    said = publishing.open_result(state, resident.lm, token)
    st.session_state["link-open-said"] = said
    if said is None:
        state.close_guide()
        st.session_state["undo-shown"] = False
        _close()


def _close() -> None:
    st.query_params.pop(PARAMETER, None)


def _described(about: PublishedResult) -> str:
    figures = list(dict.fromkeys(words for name, words in FIGURES.items() if name in about.figures))
    measured = f" · with {', '.join(figures)}" if figures else ""
    return f"Model {about.model} · editor {about.editor} · link made {_moment(about.created)}{measured}"


def _notes(state: WorkbenchState, about: PublishedResult) -> list[str]:
    notes = []
    if about.n_under:
        notes.append(
            f"It was made on top of {wording.count(about.n_under, 'other edit')} of its maker, which the link does not "
            "hold. The figures are those measured then."
        )
    n_live = len(state.live())
    if n_live:
        notes.append(f"Your {wording.count(n_live, 'live edit')} will stay as they are, and this one comes on top.")
    return notes


def _other_model(state: WorkbenchState, about: PublishedResult, lm: LoadedLM, load: Load) -> None:
    job = state.job("model")
    if job is not None and not job.is_finished:
        job_panel(job)
        return
    job_result(job)
    what = f"{about.model} ({about.dtype})"
    if (lm.name, lm.dtype_name) == (about.model, about.dtype):
        message(f"The model {what} is loaded, but its weights are not those the result was made for.", kind="warning")
        return
    message(f"It was made for the model {what}; loaded is {lm.name}. Load that model to open it.", kind="info")

    def pressed() -> None:
        st.session_state["link-open-said"] = load(about.model, about.dtype)

    st.button(
        wording.safe(f"Load {wording.short(about.model)}"),
        icon=":material/download:",
        on_click=pressed,
        key="link-load",
        help="All users of this workbench get that model. Edits for another model stay in the Ledger.",
    )


def made_elsewhere_note(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> None:
    """Say of an edit from a link that its figures were measured with other edits on than now."""
    if publishing.measured_elsewhere(state, lm, entry):
        st.caption(
            ":material/link: This edit came from a link. Answers and figures are those of its maker, measured with "
            "other edits on than here."
        )


def _how_long() -> str:
    days = days_to_keep(os.environ)
    return f"It ends once it has not been opened for {wording.count(days, 'day')}." if days else ""


def _moment(created: str) -> str:
    """Return a time for people; the text as it is if it is none."""
    try:
        found = datetime.fromisoformat(created)
    except ValueError:
        return wording.safe(wording.short(created, 30))
    return f"{found:%Y-%m-%d %H:%M} UTC"
