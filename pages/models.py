"""What is loaded, memory, statistics; load another."""

from __future__ import annotations

import streamlit as st

from workbench import model_panels, panels, session
from workbench.resources import model_holder

state = session.current()
panels.title("Models", "One model is resident and serves every visitor; edits lie beside its weights, never in them.")
resident = panels.require_model()

model_panels.loaded(resident)
model_panels.statistics(state, resident)
st.subheader("Load another", anchor=False)
model_panels.another(state, model_holder(), resident)
