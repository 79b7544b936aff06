"""The picture of an edit on a page: what is drawn of it, saving it, and the nodes a person opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import streamlit as st

from kgmet.base.shipped import shipped
from kgmet.editing.context import EditContext
from kgmet.graph.names import fold
from kgmet.graph.reading.retrieve import facts_around
from kgmet.graph.triple import Triple
from workbench.drawing.graph_layout import Picture, place
from workbench.drawing.graph_narrow import place_narrow
from workbench.drawing.graph_story import Move, tell
from workbench.drawing.graph_svg import World, story_svg
from workbench.drawing.graph_view import graph_html
from workbench.running.resources import store
from workbench.shared import actions
from workbench.shared.panels import theme
from workbench.state.session import WorkbenchState

__all__ = ["WORLDS", "file_name", "open_node", "opened_triples", "story_panel"]

WORLDS: dict[str, World] = {"old against new": "both", "before": "before", "after": "after"}
"""What is drawn, in the words of the page."""
_HTML = """<div class="kg-story"><div class="bar"><span class="hint"></span>
<button type="button" class="full">Full screen</button><button type="button" class="svg">SVG</button>
<button type="button" class="png">PNG</button></div>
<div class="view" tabindex="0" role="group"></div></div>"""
_OPENED = "graph-opened"


@st.cache_resource(show_spinner=False)
def _drawn() -> Any:
    """Return the component that draws a story; registered once, or its elements on the pages would be made again."""
    folder = shipped("assets")
    script, style = ((folder / f"graph.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    return st.components.v2.component("kgmet_story", html=_HTML, css=style, js=script)


def story_panel(
    state: WorkbenchState,
    context: EditContext,
    *,
    chosen: str | None = None,
    reports: bool = False,
    moves: Sequence[Move] = (),
) -> Any:
    """Draw the story of an edit with its controls.

    Args:
        state: the session; what a double click opens is kept there.
        context: with a subgraph; see `EditContext.has_graph`.
        chosen: id of the entity that is marked.
        reports: whether a click runs the page again, with the entity's id in the result's `node`.
        moves: other facts that move with the edit; with any, a switch shows or hides them.

    Returns:
        What the browser says: `node`, and `open` in the run that a double click caused.
    """
    made_from = actions.context_fingerprint(state)
    with st.container(horizontal=True, vertical_alignment="center", key="story-controls"):
        words = st.segmented_control(
            "World", list(WORLDS), default=next(iter(WORLDS)), required=True, key="graph-world",
            label_visibility="collapsed", help="The places stay the same, so that the two can be compared.",
        )  # fmt: skip
        with_rest = st.toggle("Show the rest", key="graph-rest", help="What must stay, and neighbours in the graph.")
        if moves and not st.toggle(_moves_label(moves), value=True, key="graph-moves", help=_MOVES_HELP):
            moves = ()
        world = WORLDS[str(words)]
        triples = opened_triples(state, made_from)
        story = tell(context, opened=triples, with_rest=with_rest, moves=moves)
        picture = place(story)
        shown = theme()

        def page() -> str:
            return graph_html(picture, theme=shown, world=world)

        st.download_button(
            "HTML",
            page,
            file_name=f"{file_name(context)}.html",
            mime="text/html",
            icon=":material/download:",
            key="graph-html",
            on_click="ignore",
            help="The picture as a page of its own, to move about in; it opens without a network connection.",
        )
        if triples and st.button("Close what was opened", type="tertiary", key="graph-close"):
            state.keep(_OPENED, (), made_from=made_from)
            st.rerun()
    said = _drawn()(
        key="story",
        data={
            "svg": story_svg(picture, theme=shown, world=world),
            "narrow": story_svg(place_narrow(story), theme=shown, world=world),
            "name": file_name(context),
            "chosen": chosen,
            "reports": reports,
            "about": _about(picture),
            "hint": "A path lights up under the pointer. Click a name to choose it, double click to open it.",
        },
        on_node_change=lambda: None,
        on_open_change=lambda: None,
    )
    if said.open:
        open_node(state, str(said.open))
        st.rerun()
    return said


_MOVES_HELP = "Known facts that the edit should leave alone, those that move most. More of them on Foresee."


def _moves_label(moves: Sequence[Move]) -> str:
    return "Measured side effects" if all(move.is_measured for move in moves) else "Forecast side effects"


def _about(picture: Picture) -> str:
    story = picture.story
    old = f", until now {story.old}" if story.old else ""
    return (
        f"Graph: {story.sentence} {story.new}{old}. {len(story.spots)} names; "
        "arrow keys choose one, Enter opens it. The list below says the same in words."
    )


def file_name(context: EditContext) -> str:
    """Return a name for files of an edit's picture, of letters and digits."""
    words = fold(f"{context.edit.subject} {context.edit.new_object}")
    return re.sub(r"[^a-z0-9]+", "-", words.casefold()).strip("-")[:60] or "graph"


def open_node(state: WorkbenchState, entity_id: str) -> None:
    """Remember that a node was opened, and choose it."""
    made_from = actions.context_fingerprint(state)
    opened = _opened(state, made_from)
    if entity_id not in opened:
        state.keep(_OPENED, (*opened, entity_id), made_from=made_from)


def opened_triples(state: WorkbenchState, made_from: str) -> Sequence[Triple]:
    """Return the triples at the nodes a person opened; none once the fact or the graph is another one."""
    found: dict[tuple[str, str, str], Triple] = {}
    for entity_id in _opened(state, made_from):
        found |= {triple.key: triple for triple in facts_around(store(), entity_id, away=found.keys())}
    return tuple(found.values())


def _opened(state: WorkbenchState, made_from: str) -> tuple[str, ...]:
    kept = state.fresh(_OPENED, made_from)
    return () if kept is None else kept.value
