"""Form of the Edit page, filled from an example or a sentence, with a bar to apply and undo."""

from __future__ import annotations

from functools import partial

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.editing.context import EditContext
from kgmet.fact import FactEdit
from kgmet.graph.wording.sentence import EXAMPLE, read_sentence
from workbench import wording
from workbench.running.resources import Resident, catalogue, store
from workbench.shared import actions, result_panels
from workbench.shared.examples import sorted_examples
from workbench.shared.fact_link import link_to, read_link
from workbench.shared.panels import follow, message
from workbench.state.session import WorkbenchState, retyped
from workbench.state.values import TEXTS, FactDraft

__all__ = ["FIRST", "apply_bar", "fact_form", "fill", "is_live", "link_button"]

FIRST = FactEdit(
    subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome", old_object="Paris"
)
"""The first-time user's one-click edit."""
_HARD = "— Where it gets hard —"
"""Heading among the examples."""
_SENTENCE, _SAID, _ASKED, _LINKED = "sentence", "sentence-said", "apply-asked", "fact-linked"


def fact_form(state: WorkbenchState, resident: Resident) -> None:
    """Show the three inputs of a fact: one click, a sentence, the fields. Every change is saved immediately."""
    _from_address(state)
    for name in TEXTS:
        follow(f"fact-{name}", getattr(state.draft, name))
    if any(st.session_state[f"fact-{name}"] != getattr(state.draft, name) for name in TEXTS):
        _take(state)  # a request that comes during a callback ends that callback before it has taken the text
    # The slot always exists. If it came and went, the fields below would be new elements to the browser, and text being
    # typed into them would be lost.
    with st.container(key="first-slot"):
        if state.draft.is_blank and not state.stack:
            _first_edit(state, resident)
    _shortcuts(state, resident)
    _fields(state)


def _first_edit(state: WorkbenchState, resident: Resident) -> None:
    def begin() -> None:
        state.close_guide()
        fill(state, FIRST)
        st.session_state["apply-said"] = actions.apply(state, resident)

    st.button(
        "Try it: move the Eiffel Tower to Rome",
        on_click=begin,
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        key="try-it",
        help="Fills the form and applies the edit. It takes some seconds and can be undone.",
    )


def _shortcuts(state: WorkbenchState, resident: Resident) -> None:
    def said() -> None:
        text = st.session_state[_SENTENCE].strip()
        st.session_state[_SAID] = None
        if text:
            try:
                fill(state, read_sentence(text, catalogue=catalogue(), store=store()))
                st.session_state[_SENTENCE] = ""
            except KgmetError as error:
                st.session_state[_SAID] = str(error)

    def picked() -> None:
        chosen: FactEdit | str | None = st.session_state["fact-example"]
        if isinstance(chosen, FactEdit):
            fill(state, chosen)

    left, right = st.columns(2)
    left.text_input(
        "Say it in a sentence",
        key=_SENTENCE,
        on_change=said,
        placeholder=EXAMPLE,
        max_chars=400,
        help="Press Enter, and the fields below are filled in.",
    )
    offered = sorted_examples(resident.lm)

    def shown(item: FactEdit | str) -> str:
        return item if isinstance(item, str) else f"{item.subject} → {item.new_object}"

    right.selectbox(
        "Start from an example",
        [*offered.known, *([_HARD, *offered.hard] if offered.hard else [])],
        index=None,
        format_func=shown,
        placeholder="Pick one",
        help="First those facts that the model knows; where it gets hard, it says something else than the old object.",
        key="fact-example",
        on_change=picked,
    )
    with st.container(key="sentence-slot"):
        if st.session_state.get(_SAID):
            st.caption(f":material/edit: {wording.safe(st.session_state[_SAID])}")


def _take(state: WorkbenchState) -> None:
    """Take over what stands in the fields, from a callback."""
    state.set_draft(retyped(state.draft, **{name: st.session_state[f"fact-{name}"] for name in TEXTS}))


def _fields(state: WorkbenchState) -> None:
    typed = partial(_take, state)
    left, right = st.columns(2)
    left.text_input("Subject", key="fact-subject", on_change=typed, placeholder="The Eiffel Tower", max_chars=400)
    right.text_input(
        "New object",
        key="fact-new_object",
        on_change=typed,
        placeholder="Tokyo",
        max_chars=400,
        help="What the model should say.",
    )
    left, right = st.columns([3, 2])
    left.text_input(
        "Template, with {} where the subject goes",
        key="fact-template",
        on_change=typed,
        placeholder="{} is located in the city of",
        max_chars=2000,
        help="The beginning of a sentence whose natural continuation is the object. The subject instead of {} is fine.",
    )
    right.text_input(
        "Old object (optional)",
        key="fact-old_object",
        on_change=typed,
        placeholder="from the graph, if empty",
        max_chars=400,
    )


def apply_bar(state: WorkbenchState, resident: Resident, context: EditContext | None) -> None:
    """Show Apply, Undo and Redo; applying a fact that is already live needs a confirmation."""
    is_repeated = context is not None and is_live(state, resident, context)
    if not is_repeated:
        st.session_state.pop(_ASKED, None)
    with st.container(key="apply-bar"):
        # Undo and Redo go to a line of their own where the label of Apply would not fit beside them.
        buttons = st.container(horizontal=True, vertical_alignment="center", gap="small", key="apply-buttons")

        def pressed() -> None:
            _take(state)  # Ctrl+Enter in a field presses the button before the field's own callback has run
            problem = actions.prepare(state)
            if problem is None and state.context is not None and is_live(state, resident, state.context):
                st.session_state[_ASKED] = True
            else:
                _apply(state, resident)

        buttons.button(
            "Apply the edit",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            key="apply",
            shortcut="Ctrl+Enter",
            disabled=context is None or state.is_busy,
            on_click=pressed,
        )
        result_panels.undo_buttons(state, buttons)
        if st.session_state.get(_ASKED) and not state.is_busy:
            _ask_again(state, resident)
        message(st.session_state.pop("apply-said", None), kind="warning")


def is_live(state: WorkbenchState, resident: Resident, context: EditContext) -> bool:
    """Return whether this fact is already among the live edits."""
    return any(context.edit.id in {edit.id for edit in entry.patch.edits} for entry in state.live(resident.lm))


def _apply(state: WorkbenchState, resident: Resident) -> None:
    # First, because a request that comes during a callback ends it where it next reads or writes the page's values.
    said = actions.apply(state, resident)
    state.close_guide()
    st.session_state["undo-shown"] = False
    st.session_state["apply-said"] = said


def _ask_again(state: WorkbenchState, resident: Resident) -> None:
    def again() -> None:
        said = actions.apply(state, resident)
        st.session_state.pop(_ASKED, None)
        st.session_state["apply-said"] = said

    def leave() -> None:
        st.session_state.pop(_ASKED, None)

    st.caption(":material/help: This edit is already live. Applying it again writes it a second time.")
    with st.container(horizontal=True):
        st.button("Apply it again", on_click=again, key="apply-again")
        st.button("Leave it", on_click=leave, key="apply-leave")


def link_button(state: WorkbenchState) -> None:
    """Show the link that fills this form, in a popover."""
    with st.popover("Link", icon=":material/link:", type="tertiary", help="Link to this fact"):
        st.code(link_to(st.context.url or "", state.draft), language=None, wrap_lines=True)
        st.caption("Opens this page with the form filled in; it applies nothing.")


def fill(state: WorkbenchState, edit: FactEdit) -> None:
    """Put a fact into the form, from a callback."""
    state.set_draft(FactDraft.of(edit))


def _from_address(state: WorkbenchState) -> None:
    """Fill the form once from a link with ``?subject=…&template=…&new_object=…``; apply nothing."""
    if st.session_state.get(_LINKED) or not st.query_params:
        return
    st.session_state[_LINKED] = True
    found = read_link(st.query_params)
    st.session_state[_SAID] = " ".join(found.refused) or None
    if found.draft is not None:
        state.set_draft(found.draft)
