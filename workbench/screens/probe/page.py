"""Probe page: answers before and after, side by side, by kind of prompt; own questions."""

from __future__ import annotations

import streamlit as st

from workbench import wording
from workbench.screens.probe import actions as probe_actions
from workbench.screens.probe import panels as probe_panels
from workbench.shared import actions, panels
from workbench.shared.told import choose_telling, what_is_told
from workbench.state import session

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Probe", "The same questions without and with the edit: changes, consequences and kept facts.")
    resident = panels.require_model()
    panels.require_stack(state)
    entry = panels.choose_entry(state)
    if not probe_panels.fits(entry, resident.lm):
        return
    config = state.config
    context = actions.context_of(entry, config, panels.choose_edit(state, entry))

    with st.container(border=True):
        kinds, _ = probe_panels.choose_kinds(probe_actions.generated(context))
        own = probe_panels.typed_prompts()
        decoding = probe_panels.choose_decoding()
        told = what_is_told([context], choose_telling("probe-told"))
    prompts = (*kinds, *own)
    chains = probe_actions.chain_prompts(context)
    made_from = probe_actions.probe_fingerprint(state, resident.lm, entry, prompts, decoding, told=told)

    job = state.job("probe")
    is_running = job is not None and not job.is_finished
    label = f"Ask {wording.count(len(prompts), 'prompt')} before and after" + (", and told" if told else "")
    if st.button(label, type="primary", icon=":material/quiz:", disabled=not prompts, key="ask"):
        said = probe_actions.probe(state, resident, entry, prompts, chains, decoding=decoding, told=told)
        panels.message(said, kind="warning")
        job = state.job("probe")
        is_running = job is not None and not job.is_finished
    if job is not None and is_running:
        panels.job_panel(job)
        return
    panels.job_result(job)

    kept = state.result("probe") or entry.figures.get("probe")
    if kept is None:
        st.info(f"Nothing asked yet: {wording.NOT_MEASURED}.", icon=":material/quiz:")
        return
    is_stale = kept.is_stale(made_from)
    panels.stale_note(is_stale)
    with st.container(key="stale-probe" if is_stale else "probe-result"):
        probe_panels.show(kept.value, edit=context.edit.sentence)
