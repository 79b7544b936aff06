"""Edits so far: switch on and off, undo and redo, name, export, import."""

from __future__ import annotations

import streamlit as st

from workbench import wording
from workbench.screens.ledger import panels as ledger_panels
from workbench.shared import panels, result_panels
from workbench.state import session

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title(
        "Ledger",
        "Every edit so far, in order. The model answers with the edits that are on; its weights never change.",
    )
    resident = panels.require_model()

    buttons = st.container(horizontal=True, vertical_alignment="center", key="ledger-buttons")
    result_panels.undo_buttons(state, buttons)
    live = len(state.live(resident.lm))
    buttons.markdown(f"{len(state.stack)} in the ledger, **{live} live**, {len(state.redo)} to redo")
    panels.message(st.session_state.pop("ledger-said", None), kind="warning")
    if not state.stack:
        st.info(wording.PLAN_FIRST, icon=":material/edit:")
        panels.page_link("edit", "Go to Edit", icon="edit")
    else:
        ledger_panels.ledger_head()
    for number, entry in enumerate(state.stack, start=1):
        ledger_panels.entry_row(state, resident.lm, entry, number)
    if state.stack:
        ledger_panels.order_panel(state, resident)
        ledger_panels.standing_panel(state, resident)
        with st.expander("Export", icon=":material/ios_share:"):
            ledger_panels.export_panel(state, resident)
    with st.expander("Import", icon=":material/upload:", expanded=not state.stack):
        ledger_panels.import_panel(state, resident)
