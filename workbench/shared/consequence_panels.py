"""What follows from an edit as a list with the path in words, and what must stay; ticks say what is held."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kgmet.editing.context import EditContext
from kgmet.editing.problem import held_consequences, protected_facts
from kgmet.graph.phrasing import path_label
from kgmet.graph.reading.consequences import Consequence, KeptFact
from kgmet.graph.triple import Entity, Triple
from workbench import wording
from workbench.running.resources import catalogue
from workbench.state.session import WorkbenchState, retyped

__all__ = ["changes", "kept", "path_in_words"]


def changes(state: WorkbenchState, context: EditContext) -> None:
    """Show what changes with the edit; what is unticked is left out of the search."""
    found = context.consequences
    if found is None or not found.changed:
        st.caption("The graph knows no consequence of this edit.")
        return
    held = {item.id for item in held_consequences(context, state.config)}
    if found.forward:
        st.markdown("**What else becomes true**")
        st.caption(
            "Ticked: the search optimises it. Asked only: the settings optimise fewer, or it has too few wordings."
        )
    for item in found.forward:
        _change(state, item, is_held=item.id in held)
    others = (*found.inverse_gained, *found.inverse_lost, *found.later_hops)
    if others:
        n = wording.count(len(others), "more fact" if found.forward else "fact")
        with st.expander(f"{n} {'follows' if len(others) == 1 else 'follow'}; asked on the Probe page, not optimised"):
            for other in others:
                with st.container(key=f"follow-{other.id}"):
                    st.markdown(wording.safe(other.reason))


def kept(state: WorkbenchState, context: EditContext) -> None:
    """Show what must stay; what is unticked is not protected."""
    found = context.consequences
    if found is None or not found.kept:
        return
    protected = {item.id for item in protected_facts(context, state.config)}
    with st.expander(
        f"{wording.count(len(found.kept), 'fact')} that must stay; {len(protected)} protected in the write"
    ):
        for fact in found.kept:
            _kept(state, fact, is_protected=fact.id in protected)


def path_in_words(path: Sequence[Triple], start: Entity) -> str:
    """Return a chain as one reads it: ``Eiffel Tower → Rome → Italy``; each triple is followed to its other end."""
    names, at = [start.label], start
    for triple in path:
        at = triple.object if triple.subject == at else triple.subject
        names.append(at.label)
    return " → ".join(names)


def _leave(state: WorkbenchState, item_id: str, key: str) -> None:
    leave = state.draft.leave - {item_id} if st.session_state[key] else state.draft.leave | {item_id}
    state.set_draft(retyped(state.draft, leave=leave))


def _change(state: WorkbenchState, item: Consequence, *, is_held: bool) -> None:
    old = item.old.label if item.old else "?"
    new = item.new.label if item.new else "?"
    relations = [triple.relation.id for triple in item.path_new]
    is_worded = all(relation in catalogue() for relation in relations)
    name = path_label(catalogue(), relations) if is_worded else item.path_new[-1].relation.label
    key = f"hold-{item.id}"
    is_ticked = item.id not in state.draft.leave
    st.session_state[key] = is_ticked
    way = path_in_words(item.path_new, item.path_new[0].subject)
    st.checkbox(
        f"**{wording.safe(name)}**: {wording.safe(old)} → {wording.safe(new)}  :gray[:small[{wording.safe(way)}]]"
        + ("" if is_held or not is_ticked else "  :gray-badge[asked only]"),
        key=key,
        help=wording.safe(item.reason),
        on_change=_leave,
        args=(state, item.id, key),
    )


def _kept(state: WorkbenchState, fact: KeptFact, *, is_protected: bool) -> None:
    key = f"hold-{fact.id}"
    st.session_state[key] = fact.id not in state.draft.leave
    st.checkbox(
        wording.safe(str(fact.triple)) + ("  :material/shield:" if is_protected else ""),
        key=key,
        help=wording.safe(fact.reason),
        on_change=_leave,
        args=(state, fact.id, key),
    )
