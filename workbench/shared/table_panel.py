"""Tables on pages: every one can be saved as CSV, JSON and Markdown.

A page draws its tables with `table` or `set_table`, and puts `save_table` beside one it draws itself (HTML, or one
that can be edited). Only `figures` has nothing to save: a handful of values of what is chosen beside it, which change
with each click. `tests/pages/test_tables.py` holds pages to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from workbench.drawing.tables import table_files
from workbench.shared.panels import downloads

__all__ = ["figures", "save_table", "set_table", "table"]


def table(frame: pd.DataFrame, *, stem: str, **how: Any) -> None:
    """Show a table that scrolls and sorts; `stem` names its files and is unique on the page.

    Other arguments are those of `st.dataframe`.
    """
    st.dataframe(frame, hide_index=True, **how)
    save_table(stem, lambda: table_files(frame))


def set_table(frame: pd.DataFrame, *, stem: str) -> None:
    """Show a table in full, with its index as the first column."""
    st.table(frame, border="horizontal")
    save_table(stem, lambda: table_files(frame))


def figures(values: pd.DataFrame | Mapping[str, str]) -> None:
    """Show a few values of what is chosen beside them."""
    st.table(values, border="horizontal")


def save_table(stem: str, files: Callable[[], Mapping[str, str]]) -> None:
    """Offer a table as CSV, JSON and Markdown, under one small button."""
    with (
        st.popover(
            "Save", type="tertiary", icon=":material/download:", help="This table as a file", key=f"save-{stem}"
        ),
        st.container(horizontal=True),
    ):
        made = {ending: partial(_content, files, ending) for ending in ("csv", "json", "md")}
        downloads(stem, made, key=f"table-{stem}")


def _content(files: Callable[[], Mapping[str, str]], ending: str) -> str:
    return files()[ending]
