"""Models page: the loaded model, what it knows and where, its calibration, and loading another model."""

from __future__ import annotations

import streamlit as st

from workbench.running.resources import model_holder
from workbench.screens.models import calibration, knowledge
from workbench.screens.models import panels as model_panels
from workbench.shared import panels
from workbench.state import session

__all__ = ["VIEWS", "show"]

VIEWS = ("Loaded model", "What it knows", "Where facts are kept", "Calibrate")


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Models", "One model is loaded for all users; edits are kept beside its weights, never in them.")
    resident = panels.require_model()
    shown = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], key="models-view", label_visibility="collapsed", required=True
    )
    if shown == VIEWS[0]:
        model_panels.loaded(resident)
        calibration.settings_in_use(state, resident.lm)
        model_panels.statistics(state, resident)
        st.subheader("Load another", anchor=False)
        model_panels.another(state, model_holder(), resident)
        return
    st.subheader(f"{shown}: {resident.lm.name}", anchor=False)
    if shown == VIEWS[1]:
        knowledge.knows(state, resident.lm)
    elif shown == VIEWS[2]:
        knowledge.where(state, resident.lm)
    else:
        calibration.calibration(state, resident)
