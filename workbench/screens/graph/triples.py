"""The triples that take part in an edit, as a table with a switch for each."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from kgmet.editing.context import EditContext
from kgmet.graph.reading.retrieve import Subgraph, Switch
from workbench import wording
from workbench.drawing import tables
from workbench.shared.table_panel import save_table
from workbench.state.session import WorkbenchState

__all__ = ["buttons", "counts", "switched", "switches", "table"]

_HEIGHT = 500


def table(context: EditContext, subgraph: Subgraph, *, key: str) -> pd.DataFrame:
    """Return every triple as a row with a switch; returns the table as it stands now."""
    frame = tables.triple_frame(subgraph, mark="true" if subgraph is context.subgraph_before else "new")
    columns = {
        "on": st.column_config.CheckboxColumn(
            "on", help="Off: this triple takes no part when you recompute.", width=70
        ),
        "state": st.column_config.TextColumn("", help="new: the edited fact; true: what it replaces", width=60),
        "hop": st.column_config.NumberColumn("hop", help="Edges between the subject and the nearer end", width=45),
        "source": st.column_config.TextColumn("source", help="Where the triple was read"),
        "ids": st.column_config.TextColumn("ids", help="Ids of subject, relation and object"),
    }
    edited = st.data_editor(
        frame,
        key=key,
        hide_index=True,
        column_config=columns,
        disabled=[name for name in frame.columns if name != "on"],
        height=_HEIGHT,
        alt=f"{len(frame)} triples around {context.edit.subject}",
    )
    save_table("triples", lambda: tables.table_files(edited))
    return edited


def switches(frame: pd.DataFrame, subgraph: Subgraph) -> tuple[Switch, ...]:
    """Return the keys of the triples that are switched off in the table; the edited one cannot be."""
    triples = tables.listed_triples(subgraph)
    off = zip(triples, frame["on"], strict=True)
    return tuple(sorted(triple.key for triple, is_on in off if not is_on and triple != subgraph.edited))


def switched(state: WorkbenchState, off: tuple[Switch, ...], subgraph: Subgraph) -> None:
    """Take the switches over into the typed fact: the next preparation leaves these triples out.

    What was switched off elsewhere (a relation, a triple of the other world) stays so.
    """
    listed = {triple.key for triple in tables.listed_triples(subgraph)}
    others = tuple(item for item in state.draft.exclude if item not in listed)
    state.set_draft(replace(state.draft, exclude=(*others, *off)))


def buttons(state: WorkbenchState, subgraph: Subgraph, off: tuple[Switch, ...]) -> None:
    """Take the switches over, or put all of them back."""
    is_changed = set(off) != {triple.key for triple in subgraph.switched_off}
    with st.container(horizontal=True):
        if st.button(
            "Use these triples",
            type="primary" if is_changed else "secondary",
            disabled=not is_changed,
            icon=":material/refresh:",
            help="Find the subgraph again without those switched off. The next edit uses it; earlier ones stay.",
        ):
            switched(state, off, subgraph)
            st.rerun()
        if state.draft.exclude and st.button("Switch all on again", icon=":material/restart_alt:"):
            state.set_draft(replace(state.draft, exclude=()))
            st.rerun()


def counts(subgraph: Subgraph) -> str:
    """Return what takes part, in one line."""
    parts = [
        wording.count(subgraph.n_node, "entity", "entities"),
        wording.count(subgraph.n_edge, "triple"),
        wording.count(len(subgraph.relations), "relation"),
    ]
    if subgraph.switched_off:
        parts.append(f"{len(subgraph.switched_off)} switched off")
    if subgraph.replaced:
        parts.append(f"{len(subgraph.replaced)} no longer true")
    if subgraph.n_left_out:
        parts.append(f"at least {subgraph.n_left_out} more in the graph")
    return wording.safe(" · ".join(parts))
