"""Share: one result as one file that needs nothing else, as a talk, as tables, and as a link to its fact."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pandas as pd
import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.fact import FactEdit
from workbench import wording
from workbench.drawing.answer_files import answer_markdown, answer_values
from workbench.drawing.card_table import RESULT as CARD
from workbench.drawing.graph_layout import place
from workbench.drawing.graph_story import tell
from workbench.drawing.graph_svg import story_svg
from workbench.drawing.handout import handout_html
from workbench.drawing.probe_story import RESULT
from workbench.drawing.protection import PROTECTION
from workbench.drawing.tables import csv_text
from workbench.drawing.traced import READING, Map, map_name
from workbench.running.resources import Resident
from workbench.screens.share.view import Shared, answer_rows, handout_of, parts
from workbench.shared import actions, inspect_actions, link_panels, panels, publishing
from workbench.shared.fact_link import edit_page, link_to
from workbench.shared.foreseen import CHECKED, FORESEEN
from workbench.shared.inspect_panels import is_dark
from workbench.shared.told import told_of
from workbench.state import session
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, StackEntry

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Share", "One result as one file: it opens without a server and can be shown page by page in a talk.")
    resident = panels.require_model()
    if state.focus is None:
        link_panels.all_links(state)
    panels.require_stack(state)
    entry = panels.choose_entry(state)
    if entry.report is None or entry.edit is None:
        st.info("This edit was imported; nothing was measured when it was made.", icon=":material/info:")
        return
    link_panels.made_elsewhere_note(state, resident.lm, entry)
    shared = _shared(state, resident, entry, entry.edit)
    page = handout_html(handout_of(shared))
    left, right = st.columns([2, 3], gap="large")
    with left:
        _file(page, shared)
        _tables(shared)
        st.markdown("**A link that restores this result**")
        link_panels.publish_panel(state, resident.lm, entry, place="share")
        link_panels.all_links(state)
        _link(shared)
    with right:
        st.caption("The file, as it opens in a browser. Present fills the screen; the arrow keys turn the pages.")
        st.iframe(_preview(state, entry, shared), height=720, alt="Preview of the file")


def _preview(state: WorkbenchState, entry: StackEntry, shared: Shared) -> str:
    """Return the file as it is shown on a page of this theme; the one that is saved has light pictures."""
    if not is_dark():
        return handout_html(handout_of(shared), theme="light")
    dark = replace(shared, is_dark=True, graph=_graph(state, entry, theme="dark"))
    return handout_html(handout_of(dark), theme="dark")


def _file(page: str, shared: Shared) -> None:
    name = re.sub(r"[^A-Za-z0-9]+", "-", shared.sentence).strip("-")[:60] or "edit"
    st.download_button(
        f"HTML, {len(page.encode()) / 1000:.0f} kB",
        page,
        f"{name}.html",
        "text/html",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
        key="get-html",
    )
    st.caption("Opened with ?present after its name, the file starts as a talk.")
    st.markdown("**In it**")
    for what, is_there in parts(shared).items():
        icon = "check_circle" if is_there else "radio_button_unchecked"
        st.markdown(f":material/{icon}: {wording.safe(what)}" + ("" if is_there else ": not yet"))


def _tables(shared: Shared) -> None:
    st.markdown("**The answers as a table**")
    frame = pd.DataFrame([answer_values(row) for row in answer_rows(shared)])
    report = json.dumps(shared.report.to_json(), ensure_ascii=False, indent=1)
    files = {"csv": csv_text(frame), "json": report, "md": answer_markdown(frame)}
    with st.container(horizontal=True):
        panels.downloads("answers", files, key="get-answers")


def _link(shared: Shared) -> None:
    st.markdown("**A link to the fact**")
    st.code(shared.link, language=None, wrap_lines=True)
    st.caption("It fills the form of the Edit page, and nothing is applied by opening it. Your session is not in it.")


def _shared(state: WorkbenchState, resident: Resident, entry: StackEntry, edit: FactEdit) -> Shared:
    assert entry.report is not None
    lm = resident.lm
    told = told_of(state, lm, entry)
    figures = {name: result.value for name, result in publishing.figures_of(state, lm, entry).items()}
    shift = figures.get(inspect_actions.SHIFT)
    return Shared(
        report=entry.report,
        model=lm.name,
        told=None if told is None else told.told,
        telling="" if told is None else told.telling.value,
        graph=_graph(state, entry),
        story=figures.get(RESULT),
        trace=None if shift is None else shift[0],
        protection=figures.get(PROTECTION),
        reading=figures.get(READING),
        maps=[figures[name] for name in map(map_name, Map) if name in figures],
        forecast=figures.get(FORESEEN),
        checked=figures.get(CHECKED),
        card=figures.get(CARD),
        layers=[update.layer for update in entry.patch.updates],
        link=link_to(edit_page(st.context.url or ""), _draft(edit)),
        footer=f"{wording.APP_TITLE} · {edit.sentence}",
    )


def _draft(edit: FactEdit) -> FactDraft:
    return replace(FactDraft.of(edit), relation=edit.relation)


def _graph(state: WorkbenchState, entry: StackEntry, *, theme: str = "light") -> str | None:
    """Return the picture of the graph; ``None`` where there is none."""
    try:
        context = actions.context_of(entry, state.config)
    except KgmetError:
        return None
    return story_svg(place(tell(context)), theme=theme) if context.has_graph else None
