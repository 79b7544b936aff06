"""Method page: the pipeline as a picture and in five lines, its symbols, and the definition of every number."""

from __future__ import annotations

import streamlit as st

from workbench.drawing.pipeline import pipeline_svg
from workbench.screens.method import text as method_text
from workbench.shared import panels
from workbench.shared.inspect_panels import is_dark
from workbench.shared.table_panel import set_table

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    panels.title("Method", "How a typed fact changes the model's answers, and what each number means.")
    with st.container(key="pipeline"):
        st.image(pipeline_svg(dark=is_dark()), width="stretch", alt=method_text.PICTURE_ALT)
    st.markdown("\n".join(f"{number}. {line}" for number, line in enumerate(method_text.FIVE_LINES, start=1)))
    links = st.container(horizontal=True)
    with links:
        for name, label, icon in method_text.LINKS:
            panels.page_link(name, label, icon=icon)

    shown = st.segmented_control(
        "More", ("Symbols", "Editors", "Glossary"), default="Symbols", required=True, label_visibility="collapsed"
    )
    tables = {
        "Symbols": method_text.symbols_table,
        "Editors": method_text.editors_table,
        "Glossary": method_text.glossary_table,
    }
    frame = tables[shown]()
    set_table(frame.set_index(frame.columns[0]), stem=shown.lower())
    st.caption(
        "Sources: KGMET (2025.findings-emnlp.261), AlphaEdit (arXiv:2410.02355), MEMIT (arXiv:2210.07229), ROME "
        "(arXiv:2202.05262), MQuAKE (arXiv:2305.14795). docs/method.md has the formulas with their shapes."
    )
