"""One name of the picture: chosen by a click or from the list, described, opened."""

from __future__ import annotations

import streamlit as st

from kgmet.editing.context import EditContext
from kgmet.graph.reading.retrieve import facts_around
from kgmet.graph.triple import Entity
from workbench import wording
from workbench.drawing.graph_story import tell
from workbench.running.resources import store
from workbench.shared import actions
from workbench.shared.graph_panels import open_node, opened_triples
from workbench.state.session import WorkbenchState

__all__ = ["choose", "drawn_entities", "node_panel"]

_NODE, _CLICKED = "graph-node", "graph-clicked"


def choose(clicked: str | None) -> None:
    """Take a click over into the list of names; what was chosen in the list since then stays."""
    if clicked and st.session_state.get(_CLICKED) != clicked:
        st.session_state[_CLICKED] = st.session_state[_NODE] = clicked


def drawn_entities(state: WorkbenchState, context: EditContext) -> dict[str, Entity]:
    """Return every entity that the picture shows or can show, by its id."""
    triples = opened_triples(state, actions.context_fingerprint(state))
    story = tell(context, opened=triples, with_rest=True)
    return {spot.entity.id: spot.entity for spot in story.spots}


def node_panel(state: WorkbenchState, context: EditContext) -> None:
    """Show what is known about the chosen entity, and a button that shows more of its triples. It stays chosen."""
    entities = drawn_entities(state, context)
    if st.session_state.get(_NODE) not in entities:
        st.session_state[_NODE] = None
    chosen = st.selectbox(
        "Name",
        sorted(entities, key=lambda key: (entities[key].label.casefold(), key)),
        index=None,
        format_func=lambda key: f"{entities[key].label} · {key}" if key in entities else str(key),
        placeholder="Click a name in the picture, or choose one here",
        key=_NODE,
    )
    if chosen is None:
        return
    entity = entities[chosen]
    about = [entity.description, f"kind: {entity.type}" if entity.type else ""]
    if entity.aliases:
        about.append("also called " + ", ".join(entity.aliases[:6]))
    st.caption(wording.safe(" · ".join(part for part in about if part)))
    if st.button("Open: show more of its triples", icon=":material/open_in_full:", key="graph-open"):
        known = {triple.key for triple in opened_triples(state, actions.context_fingerprint(state))}
        if facts_around(store(), chosen, away=known):
            open_node(state, chosen)
            st.rerun()
        st.toast("The graph has nothing more at this name.")
