"""Blocks of the Models page."""

from __future__ import annotations

import streamlit as st
import torch

from kgmet.base.errors import KgmetError
from kgmet.base.memory import free_memory, gigabytes
from kgmet.lm.load.bundled import BUNDLED
from kgmet.lm.load.family import FAMILIES
from workbench import wording
from workbench.running.access import access
from workbench.running.jobs import JobState
from workbench.running.resources import ModelHolder, Resident, threads
from workbench.screens.models import actions as model_actions
from workbench.screens.models.actions import DTYPES
from workbench.shared.panels import job_panel, job_result, message
from workbench.state.session import WorkbenchState

__all__ = ["another", "loaded", "statistics"]


def loaded(resident: Resident) -> None:
    """Show the resident model."""
    lm = resident.lm
    with st.container(border=True):
        st.subheader("Loaded now", anchor=False)
        st.text(lm.name)
        facts = [
            ("Family", lm.family.name),
            ("Parameters", f"{lm.n_parameter / 1e6:.1f} M"),
            ("Layers", str(lm.n_layer)),
            ("State width", str(lm.d_model)),
            ("Key width", str(lm.d_key)),
            ("Device", str(lm.device)),
            ("Number format", lm.dtype_name),
            ("Weights", f"{resident.n_bytes / 1e6:.0f} MB"),
        ]
        free = free_memory(lm.device)
        computing = threads()
        facts.append(("Threads", str(computing.count)))
        facts.append(("Memory free", wording.NOT_MEASURED if free is None else f"{free / 1e9:.1f} GB"))
        with st.grid(min_column_width=130):
            for name, value in facts:
                st.metric(name, value)
        st.caption(wording.safe(f"Threads: {computing.why}."))
        st.caption(f"Fingerprint {lm.fingerprint}: edits carry it and refuse another model.")


def statistics(state: WorkbenchState, resident: Resident) -> None:
    """Show whether the key statistics of the written layers exist, and a button to measure them."""
    layers = state.config.write.layers
    fitting = [layer for layer in layers if layer < resident.lm.n_layer]
    with st.container(border=True):
        st.subheader("Key statistics", anchor=False)
        st.caption("Which directions of a layer ordinary text uses; measured once per model and layer, kept on disk.")
        ready = [layer for layer in fitting if resident.statistics.is_ready([layer])]
        st.markdown(
            f"Layers of the chosen editor, **{wording.safe(state.editor.name)}**: " + ", ".join(map(str, layers))
        )
        if len(fitting) < len(layers):
            missing = ", ".join(str(layer) for layer in layers if layer not in fitting)
            st.warning(f"This model has no layer {missing}: choose other layers in the settings on the Edit page.")
        if len(ready) == len(fitting):
            st.badge("ready", color="green", icon=":material/check:")
        else:
            st.badge(f"{len(ready)} of {len(fitting)} layers ready", color="orange", icon=":material/hourglass_empty:")
            if st.button("Measure now", icon=":material/monitoring:", key="measure-statistics"):
                message(model_actions.measure_statistics(state, resident, fitting), kind="warning")
        job = state.job("statistics")
        if job is not None and not job.is_finished:
            job_panel(job)
        job_result(job)


def another(state: WorkbenchState, holder: ModelHolder, resident: Resident) -> None:
    """Show the form to choose a model, see its memory needs, and load it."""
    other = "allowed here" if access().is_shared else "Hugging Face id or folder"
    way = st.segmented_control("From", ["bundled", other], default="bundled", required=True, key="from")
    if way == "bundled":
        names = {row.name: row for row in BUNDLED.values()}
        source = str(
            st.selectbox("Model", list(names), format_func=lambda key: f"{names[key].title} · {key}", key="bundled")
        )
        st.caption(wording.safe(f"{names[source].licence}. {names[source].notice}".strip(". ") + "."))
    elif access().is_shared:
        source = str(st.selectbox("Model", sorted(access().models), key="allowed-model", placeholder="none") or "")
        st.caption("Others use this server too, so only these models can be loaded. The operator can allow more.")
    else:
        source = st.text_input(
            "Id or folder", key="source", placeholder="Qwen/Qwen2.5-0.5B or ~/models/mine", max_chars=400
        )
        families = "; ".join(f"{family.name} ({', '.join(family.model_types)})" for family in FAMILIES)
        st.caption(wording.safe(f"Families that work: {families}."))
    first, second = st.columns(2)
    device = str(first.selectbox("Device", model_actions.devices(), key="device"))
    dtype = str(second.selectbox("Number format", list(DTYPES), index=int(device != "cpu"), key=f"dtype-{device}"))
    _preflight(state, source.strip(), device=device, dtype=dtype)
    st.caption("All users of this workbench get the new model. Edits for another model stay in the Ledger.")
    if st.button("Load", type="primary", icon=":material/download:", key="load-model"):
        message(model_actions.load_model(state, holder, source.strip(), device=device, dtype=dtype), kind="warning")
    job = state.job("model")
    if job is not None and not job.is_finished:
        job_panel(job)
    elif job is not None and job.state is JobState.DONE:
        st.success(wording.safe(f"Loaded: {job.value}"), icon=":material/check_circle:")
    elif job is not None:
        job_result(job)
        st.caption(wording.safe(f"{resident.lm.name} is still loaded."))


def _preflight(state: WorkbenchState, source: str, *, device: str, dtype: str) -> None:
    """Show the memory that loading and editing need, and the free memory."""
    try:
        need = model_actions.memory_needed(state, source, device=device, dtype=dtype) if source else None
    except KgmetError as error:
        message(str(error))
        return
    free = free_memory(torch.device(device))
    has = wording.NOT_MEASURED if free is None else f"{gigabytes(free)} free on {device}"
    if need is None:
        st.caption(f"Memory: unknown until it is downloaded; {has}.")
        return
    text = (
        f"{need.n_parameter / 1e6:.0f} M parameters need {gigabytes(need.weights)} as {dtype}; "
        f"editing with {state.editor.name} needs about {gigabytes(need.peak)} in all; {has}."
    )
    if free is not None and need.weights > free:
        message(f"{text} Fits here: {'; '.join(need.ways)}.", kind="error")
    elif free is not None and need.least > free:
        message(f"{text} Fits here: {'; '.join(need.ways)}.", kind="warning")
    else:
        message(text, kind="info")
