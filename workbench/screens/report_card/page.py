"""Report card: what reviewers ask of an edit, row by row, beside telling the model the fact."""

from __future__ import annotations

import json

import streamlit as st

from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.html import card_html
from kgmet.evaluate.card.render import SCALE, card_latex, card_markdown
from kgmet.evaluate.card.value import ReportCard
from workbench import wording
from workbench.screens.report_card import actions, view
from workbench.shared import panels
from workbench.state import session

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title(
        "Report card", "What reviewers ask of an edit: negation, choices, chains, running text, and telling it instead."
    )
    resident = panels.require_model()
    panels.require_stack(state)
    entry = panels.choose_entry(state)
    if entry.patch.model_fingerprint != resident.lm.fingerprint:
        st.warning("This edit was made for another model. Load that model to score it.", icon=":material/memory:")
        return
    config = _choose()
    made_from = actions.card_fingerprint(state, resident.lm, entry, config)

    job = state.job("card")
    if st.button("Score this edit", type="primary", icon=":material/fact_check:", key="score"):
        panels.message(actions.score(state, resident, entry, config), kind="warning")
        job = state.job("card")
    if job is not None and not job.is_finished:
        panels.job_panel(job)
        return
    panels.job_result(job)

    kept = state.result("card")
    if kept is None:
        st.info("Nothing scored yet. Press the button above.", icon=":material/fact_check:")
        return
    is_stale = kept.is_stale(made_from)
    panels.stale_note(is_stale)
    with st.container(key="stale-card" if is_stale else "card-result"):
        _card(kept.value)


def _choose() -> CardConfig:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        in_context = st.toggle(
            "Compare with telling it the fact",
            value=True,
            key="card-context",
            help="Two more columns: the unedited model with the fact before every prompt, alone or with what the "
            "graph retrieves. Scoring takes about twice as long.",
        )
        tokens = st.select_slider(
            "Tokens of running text",
            [300, 600, 2000, 5000, 20000],
            value=300,
            key="card-tokens",
            help="For divergence and perplexity. 300 tokens take a second or two, 20,000 about two minutes.",
        )
    return CardConfig(in_context=in_context, text_tokens=int(tokens))


def _card(card: ReportCard) -> None:
    st.subheader(wording.safe("; ".join(card.edits)), anchor=False)
    for note in card.notes:
        st.caption(wording.safe(note))
    st.table(view.card_table(card), border="horizontal")
    st.caption(wording.safe(SCALE.replace("*", "")))
    if card.texts:
        st.caption(wording.safe(f"Divergence and perplexity: {card.texts}. Scored in {card.seconds:.1f} s."))
    labels = view.row_labels(card)
    failing = next((place for place, row in enumerate(card.rows) if row.worst), 0)
    chosen = st.selectbox(
        "A row in detail", list(labels), index=failing, format_func=lambda key: labels[key], key="card-row"
    )
    row = card.row(chosen or card.rows[0].key)
    st.markdown(wording.safe(row.spec.definition))
    if row.spec.condition:
        st.caption(wording.safe(f"Counted are only {row.spec.condition}."))
    for column in card.columns:
        if row.cells[column.key].note:
            st.caption(wording.safe(f"{column.label}: {row.cells[column.key].note}"))
    st.markdown("\n".join(view.worst_lines(row)) or "No wrong answer of the edited model was kept for this row.")
    with st.expander("What is said before the prompts in context", icon=":material/menu_book:"):
        for facts in card.facts:
            st.markdown(wording.safe(" ".join(facts)))
    made = {
        "JSON": (json.dumps(card.to_json(), ensure_ascii=False, indent=1), "json"),
        "Markdown": (card_markdown(card), "md"),
        "LaTeX": (card_latex(card), "tex"),
        "HTML": (card_html(card), "html"),
    }
    buttons = st.container(horizontal=True)
    for label, (text, ending) in made.items():
        buttons.download_button(label, text, f"report_card.{ending}", icon=":material/download:", key=f"card-{ending}")
