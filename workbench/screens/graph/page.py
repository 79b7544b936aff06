"""The story of the edit as a picture, one name of it, its triples with switches, and the graph they come from."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kgmet.editing.context import EditContext
from workbench import wording
from workbench.drawing.graph_story import Move
from workbench.running.resources import catalogue, model_holder
from workbench.screens.graph import own, triples
from workbench.screens.graph.node import choose, node_panel
from workbench.shared import actions, consequence_panels, graph_panels, panels
from workbench.shared.foreseen import moves_of
from workbench.state import session
from workbench.state.session import WorkbenchState

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Graph", "What the knowledge graph says around the edit, and which of it takes part.")
    _around_the_edit(state)
    own.panel(state)


def _around_the_edit(state: WorkbenchState) -> None:
    if state.draft.is_blank:
        st.info(wording.NO_CONTEXT, icon=":material/edit:")
        panels.page_link("edit", "Go to Edit", icon="edit")
        return
    panels.message(actions.prepare(state))
    context = state.context
    if context is None:
        panels.page_link("edit", "Mend it on the Edit page", icon="edit")
        return
    if not context.has_graph:
        st.info(wording.NO_GRAPH, icon=":material/link_off:")
        return
    moves = moves_of(state, model_holder().resident, context.edit, catalogue())
    said = graph_panels.story_panel(
        state, context, chosen=st.session_state.get("graph-node"), reports=True, moves=moves
    )
    _about_moves(moves)
    choose(said.node)
    left, right = st.columns([5, 6], gap="large")
    with left:
        node_panel(state, context)
        consequence_panels.changes(state, context)
    with right:
        _triples(state, context)


def _about_moves(moves: Sequence[Move]) -> None:
    """Say what the figures of other facts are, or where a forecast is made."""
    if not moves:
        panels.page_link("foresee", "Which other facts will move? Forecast them on Foresee", icon="query_stats")
    elif all(move.is_measured for move in moves):
        st.caption(f"The {len(moves)} facts with figures moved most: the right answer's probability, measured.")
    else:
        st.caption(
            f"The {len(moves)} facts with figures are forecast to move most: the right answer's probability now and "
            "with the edit. Foresee shows all of them, and protects those you tick."
        )


def _triples(state: WorkbenchState, context: EditContext) -> None:
    """Show the triples that take part in the edit, in the world that is drawn, with a switch for each."""
    world = graph_panels.WORLDS[str(st.session_state.get("graph-world", next(iter(graph_panels.WORLDS))))]
    subgraph = context.subgraph_before if world == "before" else context.subgraph
    assert subgraph is not None
    st.markdown("**Triples** that take part" + (", before the edit" if world == "before" else ""))
    st.caption(triples.counts(subgraph))
    made_from = actions.context_fingerprint(state)
    frame = triples.table(context, subgraph, key=f"triples-{made_from}-{world}-{subgraph.n_edge}")
    triples.buttons(state, subgraph, triples.switches(frame, subgraph))
