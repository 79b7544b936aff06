"""Compare: the same edit with several editors or settings; every answer of each, question by question."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kgmet.base.errors import ConfigError, RequestError
from kgmet.editing.editors import EDITORS, IN_CONTEXT
from kgmet.inspect.comparison import EditorComparison
from kgmet.inspect.matrix import AnswerMatrix, answer_matrix
from workbench import wording
from workbench.drawing import charts
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.drawing.matrix import matrix_html
from workbench.drawing.matrix_files import matrix_frame, matrix_json, matrix_markdown
from workbench.drawing.tables import csv_text
from workbench.screens.compare import view as compare_view
from workbench.shared import inspect_actions, panels
from workbench.shared.inspect_panels import is_dark, reading_help
from workbench.shared.table_panel import set_table
from workbench.state import session
from workbench.state.session import WorkbenchState, default_of

__all__ = ["show"]

EDIT, ROWS, OPENING = "compare-edit", "compare-rows", "compare-opening"


def _matrix(state: WorkbenchState) -> None:
    """Show the answers of the finished columns."""
    known = state.result("compare")
    if known is not None and known.value.comparison.results:
        st.html(matrix_html(answer_matrix(known.value.comparison)))


def _result(comparison: EditorComparison) -> None:
    """Show the answers, the measures beside them, and downloads."""
    st.subheader(wording.safe(comparison.edit.sentence), anchor=False)
    for line in compare_view.errors(comparison):
        panels.message(line, kind="warning")
    matrix = answer_matrix(comparison)
    with_figures = st.toggle(
        "Probabilities and ranks", key="compare-figures", help="Of every answer; a click on a question shows its own."
    )
    st.html(matrix_html(matrix, with_figures=with_figures))
    reading_help(
        "How to read it: a group begins with how many answers are as its name says, with a 95 % interval (Wilson). A "
        "click on its name folds it; a click on a question shows probabilities and ranks. ★ stands only where an "
        f"interval lies apart from all the others'. All {matrix.n_question} questions were put to every column."
    )
    _downloads(comparison, matrix)
    st.plotly_chart(
        charts.comparison_chart(comparison, dark=is_dark()),
        key="comparison",
        config=SAVED_AS_SVG,
        alt=compare_view.comparison_alt(comparison),
    )
    st.markdown("**Strength, side effects and time**")
    set_table(compare_view.measures_table(comparison), stem="measures")
    st.caption("↑ higher is better, ↓ lower.")
    with st.expander("What the measures mean", icon=":material/menu_book:"):
        meanings = [(row.label, row.definition, row.unit) for row in comparison.rows()]
        frame = pd.DataFrame(meanings, columns=["measure", "definition", "unit"])
        set_table(frame.set_index("measure"), stem="meanings")


def _downloads(comparison: EditorComparison, matrix: AnswerMatrix) -> None:
    files = {
        "csv": csv_text(matrix_frame(matrix)),
        "json": matrix_json(comparison),
        "md": matrix_markdown(matrix),
    }
    with st.container(horizontal=True):
        panels.downloads("comparison", files, key="get-comparison")


def show() -> None:
    """Draw the page."""
    panels.title(
        "Compare",
        "The same edit with several editors or settings: what the model answers after each, question by question.",
    )
    state = session.current()
    resident = panels.require_model()

    choices = inspect_actions.comparable_edits(state)
    if not choices:
        st.info(wording.NO_CONTEXT, icon=":material/edit:")
        panels.page_link("edit", "Go to Edit", icon="edit")
        return
    kept = state.result("compare")
    if ROWS not in st.session_state:
        # On returning to the page, restore the form of the last comparison.
        st.session_state[OPENING] = compare_view.DEFAULT_ROWS if kept is None else kept.value.rows
        if kept is not None and kept.value.chosen in choices:
            st.session_state[EDIT] = kept.value.chosen
    chosen = st.selectbox(
        "Edit",
        list(choices),
        format_func=lambda key: choices.get(key, key),
        key=EDIT,
        help="An applied edit is made again in its place, on top of the live edits below it.",
    )
    try:
        edit = inspect_actions.edit_to_compare(state, chosen or "")
    except RequestError as error:
        panels.message(str(error))
        return

    with st.expander("Editors and settings", expanded=kept is None, icon=":material/tune:"):
        rows = st.data_editor(
            pd.DataFrame(st.session_state[OPENING]),
            num_rows="dynamic",
            hide_index=True,
            key=ROWS,
            column_config={
                "editor": st.column_config.SelectboxColumn(
                    "editor", options=[*EDITORS, *IN_CONTEXT], required=True, width="medium"
                ),
                "layers": st.column_config.TextColumn("layers", help="For example 2,3,4,5,6; empty: the editor's own"),
                "ridge": st.column_config.NumberColumn("λ", min_value=0.0, help="Ridge of the solve"),
                "cutoff": st.column_config.NumberColumn("cutoff", min_value=0.0, help="Eigenvalues below it are free"),
                "steps": st.column_config.NumberColumn("steps", min_value=1, step=1, help="Most steps of the search"),
            },
        )
        st.caption(
            "One row is one column of the result. Empty cells take the editor's own settings; rows can be added."
        )
    try:
        typed = compare_view.plain_rows(rows.to_dict("records"))
        candidates = compare_view.candidates_from_rows(typed, config_of=lambda editor: default_of(editor).config)
    except ConfigError as error:
        panels.message(str(error))
        return

    job = state.job("compare")
    is_running = job is not None and not job.is_finished
    if st.button(
        f"Compare {len(candidates)} column{'' if len(candidates) == 1 else 's'}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=is_running,
    ):
        panels.message(inspect_actions.compare(state, resident, edit, candidates, chosen=chosen or "", rows=typed))
        job = state.job("compare")
        is_running = job is not None and not job.is_finished
    if job is not None and is_running:
        panels.job_panel(job, draw=lambda _: _matrix(state))
    panels.job_result(job)

    result = state.result("compare")
    if result is None or not result.value.comparison.results:
        if not is_running:
            st.info("Nothing compared yet. Choose editors above and press Compare.")
        return
    if is_running:
        return
    comparison, under = result.value.comparison, (chosen or "").partition("/")[0] or None
    made_from = inspect_actions.comparison_fingerprint(state, resident, edit, candidates, under=under)
    is_stale = result.is_stale(made_from)
    panels.stale_note(is_stale)
    with st.container(key="stale" if is_stale else "fresh"):
        _result(comparison)
