"""The subgraph around the edit: picture, table, which triples take part."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from workbench import wording
from workbench.screens.graph import panels as graph_panels
from workbench.shared import actions, panels
from workbench.state import session

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Graph", "The knowledge graph around the edit, and the triples in use.")
    if state.draft.is_blank:
        st.info(wording.NO_CONTEXT, icon=":material/edit:")
        panels.page_link("edit", "Go to Edit", icon="edit")
        return
    panels.message(actions.prepare(state))
    context = state.context
    if context is None:
        panels.page_link("edit", "Mend it on the Edit page", icon="edit")
        return
    if context.subgraph is None or context.subgraph_before is None or not context.has_graph:
        st.info(wording.NO_GRAPH, icon=":material/link_off:")
        return

    st.markdown(f"**{wording.safe(context.edit.prompt)} → {wording.safe(context.edit.new_object)}**")
    made_from = actions.context_fingerprint(state)
    left, right = st.columns([3, 2], gap="large")
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            world = st.segmented_control(
                "World", ["after the edit", "before"], default="after the edit", required=True, key="graph-world"
            )
            way = st.segmented_control(
                "View",
                ["picture", "clickable"],
                default="picture",
                required=True,
                key="graph-view",
                help=wording.VIEW_HELP,
            )
        base = context.subgraph if world == "after the edit" else context.subgraph_before
        subgraph = graph_panels.expanded(state, base, made_from)
        about = (
            f"Knowledge graph around {context.edit.subject}: {subgraph.n_edge} triples; the table beside it lists them"
        )
        clicked = None
        if way == "picture":
            graph_panels.picture(subgraph, about=about)
        else:
            clicked = graph_panels.clickable(subgraph, key=f"graph-click-{world}", about=about)
        st.caption(graph_panels.counts(subgraph))
    with right:
        graph_panels.node_panel(state, subgraph, clicked, made_from)
        st.markdown("**Triples**")
        frame = graph_panels.triple_table(context, subgraph, key=f"triples-{made_from}-{world}-{subgraph.n_edge}")
        off = graph_panels.switches(frame, subgraph)
        is_changed = set(off) != {triple.key for triple in subgraph.switched_off}
        if st.button(
            "Use these triples",
            type="primary" if is_changed else "secondary",
            disabled=not is_changed,
            icon=":material/refresh:",
            help="Find the subgraph again without those switched off. The next edit uses it; earlier ones stay.",
        ):
            graph_panels.switched(state, off, subgraph)
            st.rerun()
        if state.draft.exclude and st.button("Switch all on again", icon=":material/restart_alt:"):
            state.set_draft(replace(state.draft, exclude=()))
            st.rerun()
