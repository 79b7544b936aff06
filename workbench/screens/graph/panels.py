"""The blocks of the Graph page: the picture, the clickable graph, the table of triples with switches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.editing.context import EditContext
from kgmet.graph.reading.retrieve import Subgraph, Switch, expand
from workbench import wording
from workbench.drawing import tables
from workbench.drawing.graph_click import echarts_option
from workbench.drawing.graph_view import drawing, graph_html, legend_html
from workbench.running.resources import store
from workbench.shared.panels import message, theme
from workbench.state.session import WorkbenchState

__all__ = [
    "clickable",
    "counts",
    "expanded",
    "node_panel",
    "picture",
    "selected_node",
    "switched",
    "switches",
    "triple_table",
]

_HEIGHT = 620


def expanded(state: WorkbenchState, subgraph: Subgraph, made_from: str) -> Subgraph:
    """The subgraph with the nodes a person opened; opened nodes are forgotten when the subgraph is another one."""
    kept = state.result("graph-opened")
    opened: tuple[str, ...] = () if kept is None or kept.is_stale(made_from) else kept.value
    for entity_id in opened:
        try:
            subgraph = expand(subgraph, store(), entity_id)
        except KgmetError as error:
            message(str(error), kind="warning")
    return subgraph


def open_node(state: WorkbenchState, entity_id: str, made_from: str) -> None:
    """Remember that a node was opened."""
    kept = state.result("graph-opened")
    opened: tuple[str, ...] = () if kept is None or kept.is_stale(made_from) else kept.value
    if entity_id not in opened:
        state.keep("graph-opened", (*opened, entity_id), made_from=made_from)


def picture(subgraph: Subgraph, *, about: str) -> None:
    """The pyvis page."""
    st.iframe(graph_html(subgraph, theme=theme(), height=_HEIGHT), height=_HEIGHT, alt=about)


def clickable(subgraph: Subgraph, *, key: str, about: str) -> str | None:
    """The same graph with nodes to click; returns the id of the chosen one."""
    option, ids = echarts_option(subgraph, theme=theme())
    chosen = st.echarts_chart(option, height=_HEIGHT, key=key, on_select="rerun", alt=about)
    st.html(f'<div class="kg-legend">{legend_html(drawing(subgraph), theme=theme(), star="◆")}</div>')
    return selected_node(chosen, ids)


def selected_node(event: Any, ids: Any) -> str | None:
    """The entity id of the selected node in what `st.echarts_chart` returns; ``None`` without one."""
    try:
        for group in event["selection"]["selected"]:
            for index in group["data_indices"]:
                if 0 <= index < len(ids):
                    return str(ids[index])
    except (KeyError, TypeError):
        return None
    return None


def triple_table(context: EditContext, subgraph: Subgraph, *, key: str) -> pd.DataFrame:
    """Every triple as a row with a switch; returns the table as it stands now."""
    frame = tables.triple_frame(subgraph)
    columns = {
        "on": st.column_config.CheckboxColumn(
            "on", help="Off: this triple takes no part when you recompute.", width=70
        ),
        "state": st.column_config.TextColumn("", help="new: the edited fact, always on", width=50),
        "hop": st.column_config.NumberColumn("hop", help="Edges between the subject and the nearer end", width=45),
        "source": st.column_config.TextColumn("source", help="Where the triple was read"),
        "ids": st.column_config.TextColumn("ids", help="Ids of subject, relation and object"),
    }
    return st.data_editor(
        frame,
        key=key,
        hide_index=True,
        column_config=columns,
        disabled=[name for name in frame.columns if name != "on"],
        height=_HEIGHT - 120,
        alt=f"{len(frame)} triples around {context.edit.subject}",
    )


def switches(frame: pd.DataFrame, subgraph: Subgraph) -> tuple[Switch, ...]:
    """Keys of the triples that are switched off in the table; the edited one cannot be."""
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


def counts(subgraph: Subgraph) -> str:
    """What the picture holds, in one line."""
    parts = [f"{subgraph.n_node} entities", f"{subgraph.n_edge} triples", f"{len(subgraph.relations)} relations"]
    if subgraph.switched_off:
        parts.append(f"{len(subgraph.switched_off)} switched off")
    if subgraph.replaced:
        parts.append(f"{len(subgraph.replaced)} no longer true")
    if subgraph.n_left_out:
        parts.append(f"at least {subgraph.n_left_out} more not drawn")
    return wording.safe(" · ".join(parts))


def node_panel(state: WorkbenchState, subgraph: Subgraph, clicked: str | None, made_from: str) -> None:
    """What is known about one node, chosen by click or from the list, and a button to open it."""
    entities = {entity.id: entity for entity in subgraph.entities}
    ids = sorted(entities, key=lambda key: entities[key].label.casefold())
    if clicked in entities and st.session_state.get("graph-clicked") != clicked:
        st.session_state["graph-clicked"] = clicked
        st.session_state["graph-node"] = clicked
    chosen = st.selectbox(
        "Node",
        ids,
        index=None,
        format_func=lambda key: f"{entities[key].label} · {key}" if key in entities else key,
        placeholder="Choose a node, or click one in the clickable view",
        key="graph-node",
    )
    if chosen is None or chosen not in entities:
        return
    entity = entities[chosen]
    hop = dict(zip((item.id for item in subgraph.entities), subgraph.hop, strict=True))[chosen]
    about = [entity.description, f"kind: {entity.type}" if entity.type else "", f"{hop} hop(s) from the subject"]
    if entity.aliases:
        about.append("also called " + ", ".join(entity.aliases[:6]))
    st.caption(wording.safe(" · ".join(part for part in about if part)))
    if st.button("Open: show more of its triples", icon=":material/open_in_full:", key="graph-open"):
        before = subgraph.n_edge
        open_node(state, chosen, made_from)
        if expand(subgraph, store(), chosen).n_edge == before:
            st.toast("The graph has nothing more at this node.")
        else:
            st.rerun()
