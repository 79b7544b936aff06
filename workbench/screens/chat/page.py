"""Chat A | B: one question, answered by the unedited, the edited and the told model, with one seed."""

from __future__ import annotations

import streamlit as st

from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.ask import Decoding
from workbench import wording
from workbench.screens.chat import actions as chat_actions
from workbench.screens.chat.view import chat_json, chat_markdown, exchange_html
from workbench.shared import panels
from workbench.shared.told import Telling, choose_telling, form_caption
from workbench.state import session
from workbench.state.session import WorkbenchState

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Chat", "Ask one question of the unedited model, the edited one, and the unedited one told the facts.")
    lm = panels.require_model().lm
    names = [entry.name for entry in state.live(lm)]
    if names:
        st.caption(f"Live: {wording.safe(wording.short(', '.join(names), 300))}")
    else:
        st.info("No edit is live, so both models are the same. Apply one on the Edit page.", icon=":material/edit:")
        panels.page_link("edit", "Go to Edit", icon="edit")
    with st.container(border=True):
        telling = choose_telling("chat-told")
        decoding = _decoding()
    _exchanges(state)
    job = state.job(chat_actions.KIND)
    if job is not None and not job.is_finished:
        panels.job_panel(job)
    else:
        panels.job_result(job)
    _ask(state, lm, telling, decoding)


def _decoding() -> Decoding:
    first, second, third = st.columns(3, vertical_alignment="bottom")
    way = first.segmented_control("Decoding", ["greedy", "sampled"], default="greedy", required=True, key="chat-way")
    length = second.number_input("Longest answer, tokens", 1, 400, 60, key="chat-length")
    seed = third.number_input(
        "Seed", 0, 2**31 - 1, 0, key="chat-seed", disabled=way != "sampled", help="The same for all three."
    )
    return Decoding(
        max_answer_tokens=int(length),
        temperature=1.0 if way == "sampled" else 0.0,
        seed=int(seed) if way == "sampled" else 0,
    )


def _ask(state: WorkbenchState, lm: LoadedLM, telling: Telling, decoding: Decoding) -> None:
    text = st.chat_input(
        "Which country is the Eiffel Tower in?", key="chat-text", max_chars=2000, disabled=state.is_busy
    )
    if text and text.strip():
        said = chat_actions.ask_all(state, lm, text, telling, decoding)
        panels.message(said, kind="warning")
        if said is None:
            st.rerun()


def _exchanges(state: WorkbenchState) -> None:
    found = chat_actions.exchanges(state)
    if not found:
        st.caption("Each question is asked on its own, in the model's chat template: earlier ones are not part of it.")
        return
    for exchange in found:
        with st.chat_message("user"):
            st.markdown(wording.safe(exchange.question.text))
        seed = f", seed {exchange.decoding.seed}" if exchange.decoding.temperature else ", greedy"
        edits = f"{wording.count(len(exchange.edits), 'edit')} live"
        st.html(exchange_html(exchange))
        st.caption(f"{edits}{seed}, {exchange.seconds:.1f} s")
    told = found[-1].told
    if told is not None:
        with st.expander("What was told, in its exact form", icon=":material/chat:"):
            form_caption(told.sentences)
    with st.container(horizontal=True):
        panels.downloads("chat", {"json": chat_json(found), "md": chat_markdown(found)}, key="get-chat")
        st.button("Begin again", on_click=chat_actions.forget, args=(state,), icon=":material/delete_sweep:")
