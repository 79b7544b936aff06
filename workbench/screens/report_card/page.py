"""Report card: what reviewers ask of an edit, row by row, beside telling the model the fact."""

from __future__ import annotations

import json

import streamlit as st

from kgmet.editing.editors import EDITORS, Editor
from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.html import card_html as card_page
from kgmet.evaluate.card.render import card_latex, card_markdown
from kgmet.evaluate.card.value import ReportCard
from workbench import wording
from workbench.drawing.card_table import RESULT as CARD_OF_EDIT
from workbench.drawing.card_table import card_frame, card_html, scale_text
from workbench.drawing.tables import csv_text
from workbench.screens.report_card import actions, view
from workbench.shared import inspect_actions, panels
from workbench.state import session
from workbench.state.values import StackEntry

__all__ = ["show"]

_MOST_OTHERS = 6
_MOST_TOLD = 20
"""Most edits whose sentences are listed."""
_MOST_TITLED = 3
"""Most facts in the headline."""


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title(
        "Report card", "What reviewers ask of an edit: negation, choices, chains, running text, and telling it instead."
    )
    resident = panels.require_model()
    panels.require_stack(state)
    lm = resident.lm
    together = len(state.live(lm)) > 1 and _is_together()
    entry = None if together else panels.choose_entry(state)
    if entry is not None and entry.patch.model_fingerprint != lm.fingerprint:
        st.warning("This edit was made for another model. Load that model to score it.", icon=":material/memory:")
        return
    others = _others(entry) if entry is not None else ()
    config = _choose()
    made_from = actions.card_fingerprint(state, lm, entry, config, others=others)

    job = state.job("card")
    if st.button(_button(len(others), together), type="primary", icon=":material/fact_check:", key="score"):
        started = (
            actions.score_all(state, resident, config)
            if entry is None
            else actions.score(state, resident, entry, config, others=others)
        )
        panels.message(started, kind="warning")
        job = state.job("card")
    if job is not None and not job.is_finished:
        panels.job_panel(job)
        return
    panels.job_result(job)

    kept = state.result(actions.KIND)
    if kept is None and entry is not None:
        kept, made_from = entry.figures.get(CARD_OF_EDIT), inspect_actions.seen_from(state, resident, entry)
    if kept is None:
        st.info("Nothing scored yet. Press the button above.", icon=":material/fact_check:")
        return
    is_stale = kept.is_stale(made_from)
    panels.stale_note(is_stale)
    with st.container(key="stale-card" if is_stale else "card-result"):
        _card(kept.value)


def _is_together() -> bool:
    chosen = st.segmented_control(
        "Score",
        ["One edit", "All edits together"],
        default="One edit",
        required=True,
        key="card-scope",
        help="All edits that are on, in one model: with ten or more also by age.",
    )
    return chosen == "All edits together"


def _others(entry: StackEntry) -> tuple[Editor, ...]:
    """Let the user choose editors that make the same edit beside it."""
    names = [name for name in EDITORS if name != entry.patch.editor]
    chosen = st.multiselect(
        "Beside the same edit by other editors",
        names,
        max_selections=_MOST_OTHERS,
        placeholder="None",
        key="card-others",
        help="Each makes the same edit in the same place, with its own settings for this model, and gets a column. "
        "Nothing is applied.",
    )
    return tuple(EDITORS[name] for name in chosen if name in names)


def _button(n_other: int, together: bool) -> str:
    if together:
        return "Score all edits"
    return f"Score {n_other + 1} editors" if n_other else "Score this edit"


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
    titled = "; ".join(card.edits[:_MOST_TITLED])
    more = len(card.edits) - _MOST_TITLED
    st.subheader(
        wording.safe(f"{titled}; and {wording.count(more, 'more fact')}" if more > 0 else titled), anchor=False
    )
    for note in card.notes:
        st.caption(wording.safe(note))
    st.html(card_html(card))
    st.caption(wording.safe(scale_text(card)))
    if card.texts:
        st.caption(wording.safe(f"Divergence and perplexity: {card.texts}. Scored in {card.seconds:.1f} s."))
    labels = view.row_labels(card)
    failing = next((place for place, row in enumerate(card.shown) if row.worst), 0)
    chosen = st.selectbox(
        "A row in detail", list(labels), index=failing, format_func=lambda key: labels[key], key="card-row"
    )
    row = card.row(chosen or card.shown[0].key)
    st.markdown(wording.safe(row.spec.definition))
    if row.spec.condition:
        st.caption(wording.safe(f"Counted are only {row.spec.condition}."))
    for column in card.columns:
        if row.cells[column.key].note:
            st.caption(wording.safe(f"{column.label}: {row.cells[column.key].note}"))
    st.markdown("\n".join(view.worst_lines(row, card)) or "No wrong answer of the edited model was kept for this row.")
    with st.expander("What is said before the prompts in context", icon=":material/menu_book:"):
        for facts in card.facts[:_MOST_TOLD]:
            st.markdown(wording.safe(" ".join(facts)))
        if len(card.facts) > _MOST_TOLD:
            st.caption(f"And {len(card.facts) - _MOST_TOLD} more, in the files below.")
    made = {
        "CSV": (csv_text(card_frame(card)), "csv"),
        "JSON": (json.dumps(card.to_json(), ensure_ascii=False, indent=1), "json"),
        "Markdown": (card_markdown(card), "md"),
        "LaTeX": (card_latex(card), "tex"),
        "HTML": (card_page(card), "html"),
    }
    buttons = st.container(horizontal=True)
    for label, (text, ending) in made.items():
        buttons.download_button(label, text, f"report_card.{ending}", icon=":material/download:", key=f"card-{ending}")
