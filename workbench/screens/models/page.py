"""Models page: the loaded model, memory, statistics, and loading another model."""

from __future__ import annotations

import streamlit as st

from workbench.running.resources import model_holder
from workbench.screens.models import panels as model_panels
from workbench.shared import panels
from workbench.state import session

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Models", "One model is loaded for all users; edits are kept beside its weights, never in them.")
    resident = panels.require_model()

    model_panels.loaded(resident)
    model_panels.statistics(state, resident)
    st.subheader("Load another", anchor=False)
    model_panels.another(state, model_holder(), resident)
