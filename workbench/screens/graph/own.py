"""The graph that is asked, and loading another: files, a folder, a SPARQL address."""

from __future__ import annotations

import streamlit as st

from kgmet.graph.sparql.store import WIKIDATA
from kgmet.graph.stores.sample import sample_store
from workbench import wording
from workbench.running.access import access
from workbench.running.jobs import Job, JobState
from workbench.running.resources import GraphHolder, graph_holder
from workbench.screens.graph import reading
from workbench.shared.panels import job_panel, job_result, message
from workbench.state.session import WorkbenchState

__all__ = ["panel"]

_WAYS = ("files", "folder on this machine", "SPARQL address")


def panel(state: WorkbenchState) -> None:
    """Show which graph is asked, and another in its place."""
    holder, job = graph_holder(), state.job("graph")
    graph = holder.graph
    size = wording.count(len(graph), "triple") if len(graph) else "asked over the network"
    st.subheader("The graph that is asked", anchor=False)
    st.markdown(f"{wording.safe(graph.name)} · {size}" + (" · comes with the program" if holder.is_sample else ""))
    is_running = job is not None and not job.is_finished
    with st.expander("Load a graph of your own", icon=":material/upload_file:", expanded=job is not None):
        st.caption("Everybody who uses this workbench is answered from it, until another is loaded or the server ends.")
        if is_running and job is not None:
            job_panel(job)
            return
        ways = [way for way in _WAYS if way != _WAYS[1] or not access().is_shared]
        way = st.segmented_control("From", ways, default=ways[0], required=True, key="own-from")
        message(_load(state, holder, str(way)), kind="warning")
        _outcome(job)
    if not holder.is_sample and st.button("Back to the graph that comes with the program", key="own-back"):
        holder.put(sample_store())
        st.rerun()


def _load(state: WorkbenchState, holder: GraphHolder, way: str) -> str | None:
    """Return the widgets of one way to load; a message where its button could not start the job."""
    if way == _WAYS[0]:
        files = st.file_uploader(
            "Files of triples: tsv, csv, json, nt, ttl, nq, trig, also with .gz",
            type=list(reading.SUFFIXES),
            accept_multiple_files=True,
            key="own-files",
            help="A table has the columns subject, relation and object, or their ids. A table called entities.tsv "
            "gives names to ids.",
        )
        if not _pressed(state, is_ready=bool(files)):
            return None
        problem = reading.start_files(state, holder, {file.name: file.getvalue() for file in files})
    elif way == _WAYS[1]:
        folder = st.text_input("Folder or file", key="own-folder", placeholder="~/graphs/mine", max_chars=400)
        if not _pressed(state, is_ready=bool(folder.strip())):
            return None
        problem = reading.start_folder(state, holder, folder)
    else:
        address = st.text_input("Address", key="own-address", placeholder=WIKIDATA, max_chars=400)
        st.caption("The only thing here that asks another machine: the names of an edit are sent to this address.")
        if not _pressed(state, is_ready=bool(address.strip())):
            return None
        problem = reading.start_endpoint(state, holder, address.strip())
    if problem is None:
        st.rerun()
    return problem


def _pressed(state: WorkbenchState, *, is_ready: bool) -> bool:
    return st.button(
        "Load", icon=":material/download:", key="own-load", disabled=not is_ready or state.is_busy, type="primary"
    )


def _outcome(job: Job | None) -> None:
    """Show what was read, and what was refused."""
    if job is None:
        return
    if job.state is not JobState.DONE:
        job_result(job)
        st.caption("The graph that was asked before is still asked.")
        return
    found: reading.Reading = job.value
    n = len(found.graph)
    total = f": {wording.count(n, 'triple')}, {wording.count(len(found.graph.relations()), 'relation')}" if n else ""
    st.success(wording.safe(f"Read{total}"), icon=":material/check_circle:")
    for line in found.read[:20]:
        st.caption(f":material/check: {wording.safe(line)}")
    if len(found.read) > 20:
        st.caption(f"{len(found.read) - 20} more files")
    for line in found.refused[:20]:
        st.caption(f":material/block: {wording.safe(line)}")
    if len(found.refused) > 20:
        st.caption(f"{len(found.refused) - 20} more files were refused")
