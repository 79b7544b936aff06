"""Result of an edit in words and side by side, undo, redo, and the check after an undo."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kgmet.editing.report import ConsequenceReport, EditReport
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.edit_verdict import EditVerdict, Outcome, judge_edit
from workbench import wording
from workbench.drawing import curves, tables
from workbench.drawing.answer_files import answer_table_files
from workbench.drawing.answers import AnswerRow, answer_table, marked_names, told_card
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.shared import actions, link_panels, remedy_panels
from workbench.shared.panels import job_panel, job_result, message
from workbench.shared.table_panel import save_table
from workbench.shared.told import Telling, ToldEdit, choose_telling, form_caption, tell, told_of
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["details", "first_answers", "history", "result", "undo_buttons", "undone"]


def undo_buttons(state: WorkbenchState, place: DeltaGenerator) -> None:
    """Show Undo and Redo, with the edits they act on, in a horizontal container."""

    def take_off() -> None:
        st.session_state["undo-said"] = actions.undo(state)
        st.session_state["undo-shown"] = True

    def put_back() -> None:
        st.session_state["undo-said"] = actions.redo(state)
        st.session_state["undo-shown"] = False

    place.button(
        "Undo",
        icon=":material/undo:",
        on_click=take_off,
        disabled=not state.stack,
        help=wording.safe(f"Takes off: {state.stack[-1].name}") if state.stack else "Nothing to undo",
        key="undo",
    )
    place.button(
        "Redo",
        icon=":material/redo:",
        on_click=put_back,
        disabled=not state.redo,
        help=wording.safe(f"Puts back: {state.redo[-1].name}") if state.redo else "Nothing to redo",
        key="redo",
    )
    message(st.session_state.pop("undo-said", None), kind="warning")


def history(state: WorkbenchState, lm: LoadedLM) -> None:
    """Show the newest edit's result or, after an undo, the check that every answer is unchanged."""
    if st.session_state.get("undo-shown") and state.redo:
        undone(state, lm)
        return
    entry = state.stack[-1] if state.stack else None
    if entry is None:
        return
    is_other = state.context is None or entry.edit is None or state.context.edit.id != entry.edit.id
    with st.container(border=True, key="stale-result" if is_other else "result"):
        st.subheader("Result" if not is_other else "Result of the newest edit, not of the fact above", anchor=False)
        result(state, lm, entry)


def result(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> None:
    """Show an applied edit: a summary, answers before and after, and the answers of the told model."""
    report = entry.report
    if report is None:
        st.info("This edit was imported; nothing was measured when it was made. Ask it on the Probe page.")
        return
    st.markdown(_in_words(report))
    told = told_of(state, lm, entry)
    _side_by_side(report.before, report.after, told)
    remedy_panels.panel(state, lm, entry)
    for reason in report.verdict.reasons:
        st.caption(f":material/info: {wording.safe(reason.value)}")
    link_panels.made_elsewhere_note(state, lm, entry)
    with st.container(horizontal=True, key="result-actions"):
        _tell(state, lm, entry, told)
        if entry.patch.model_fingerprint == lm.fingerprint:
            with st.popover(
                "Link", icon=":material/add_link:", type="tertiary", help="A link that opens this result elsewhere"
            ):
                link_panels.publish_panel(state, lm, entry, place="edit")


def first_answers(pair: AnswerPair) -> None:
    """Show the answers to an edit's own prompt while its other questions are being asked."""
    # Reasons are given with the result, which knows the search.
    verdict = replace(judge_edit(pair.before, pair.after), reasons=())
    st.markdown(_headline(verdict, pair.before, pair.after))
    _side_by_side(pair.before, pair.after)
    st.caption(":material/hourglass: Consequences and questions over several facts are still being asked.")


def _side_by_side(before: Answer, after: Answer, told: ToldEdit | None = None) -> None:
    sides = [
        tables.answer_side("before", marked_names(before), before),
        tables.answer_side("after", marked_names(after), after),
        *([] if told is None else [told_card(told.told.answers[0], telling=told.telling.value)]),
    ]
    st.html(f'<div class="kg-sides">{"".join(sides)}</div>')


def _tell(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, told: ToldEdit | None) -> None:
    """Show the third column: the model without this edit, told the fact."""
    job = state.job("told")
    if job is not None and not job.is_finished:
        job_panel(job)
        return
    job_result(job)
    with st.popover(
        "Tell it instead", icon=":material/chat:", type="tertiary", help="Ask the unedited model, told the fact"
    ):
        telling = choose_telling(f"tell-{entry.id}", offers=(Telling.FACT, Telling.GRAPH, Telling.FOLLOWS))
        if st.button("Ask", key=f"tell-now-{entry.id}", disabled=state.is_busy, type="primary"):
            said = tell(state, lm, entry, telling)
            message(said, kind="warning")
            if said is None:
                st.rerun()
        if told is not None:
            form_caption(told.told.sentences)


def details(state: WorkbenchState, lm: LoadedLM) -> None:
    """Show the newest edit's consequences and its search."""
    entry = state.stack[-1] if state.stack else None
    if entry is None or entry.report is None or (st.session_state.get("undo-shown") and state.redo):
        return
    with st.expander(f"More about {wording.safe(entry.name)}", icon=":material/fact_check:", expanded=True):
        _details(state, lm, entry, entry.report)


def _details(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, report: EditReport) -> None:
    told = told_of(state, lm, entry)
    # In the order in which `EditReport.before_answers` has them, which is the order of what was told.
    n = 1 + len(report.consequences)
    answers: Sequence[Answer | None] = [None] * len(report.before_answers) if told is None else told.told.answers
    if report.multi_hop:
        st.caption("Questions over several facts, asked in chat.", help=wording.VERDICT_HELP)
        _answer_table(_rows(report.multi_hop, answers[n : n + len(report.multi_hop)]), stem="multi-hop")
    if report.consequences:
        st.caption("Consequences as texts to continue, in wordings that were not optimised.", help=wording.VERDICT_HELP)
        _answer_table(_rows(report.consequences, answers[1:n]), stem="consequences")
    seconds = ", ".join(f"{html.escape(name)} {value:.1f} s" for name, value in report.seconds.items())
    st.caption(f"Editor {wording.safe(report.editor)} · {seconds}")
    if entry.curve:
        st.caption("How the search went")
        st.plotly_chart(
            curves.search_curve(entry.curve),
            key=f"curve-{entry.id}",
            config=SAVED_AS_SVG,
            alt="The terms of the loss by step of the search",
        )


def _answer_table(rows: Sequence[AnswerRow], *, stem: str) -> None:
    st.html(answer_table(rows))
    save_table(stem, lambda: answer_table_files(rows))


def _rows(items: Sequence[ConsequenceReport], told: Sequence[Answer | None]) -> list[AnswerRow]:
    return [
        AnswerRow(pair=item.pair, told=answer, about=item.pair.after.question.path or item.reason)
        for item, answer in zip(items, told, strict=True)
    ]


def _in_words(report: EditReport) -> str:
    counts = [
        f"{sum(item.pair.holds is True for item in items)} of {len(items)} {name} "
        f"({sum(item.pair.before.says for item in items)} before)"
        for items, name in ((report.multi_hop, "multi-hop questions"), (report.consequences, "consequences"))
        if items
    ]
    text = _headline(report.verdict, report.before, report.after)
    return f"{text} Expected answers said: {', '.join(counts)}." if counts else text


def _headline(verdict: EditVerdict, before: Answer, after: Answer) -> str:
    new, said, prompt = (wording.safe(text) for text in (verdict.new, verdict.says, verdict.prompt))
    goes_on = f"goes on with “{said}”" if said else "ends at once"
    now = "now " if verdict.outcome is Outcome.TOOK else ""
    why = f" {wording.safe(verdict.why)}" if verdict.why else ""
    return (
        f"**{wording.OUTCOMES[verdict.outcome.value]}{why}** “{prompt}” {now}{goes_on}. "
        f"{new}: from {percent_of(before.p_expected)} to {percent_of(after.p_expected)}."
    )


def percent_of(value: float | None) -> str:
    """Format a probability for Markdown."""
    return wording.safe(wording.percent(value))


def undone(state: WorkbenchState, lm: LoadedLM) -> None:
    """Show, after an undo, the same questions again and whether each number is identical."""
    if not state.redo:
        return
    entry = state.redo[-1]
    check = actions.undo_check(state, lm, entry)
    if check is None or entry.report is None:
        st.info(f"Undone: {wording.safe(entry.name)}", icon=":material/undo:")
        return
    now, is_same = check
    report = entry.report
    if is_same:
        st.success("Undone. Every probability is bit for bit the same as before the edit.", icon=":material/verified:")
    else:
        st.warning("Undone, but some probabilities differ from before.", icon=":material/warning:")
    sides = [("before the edit", report.before), ("now, after the undo", now)]
    cards = [tables.answer_side(name, html.escape(answer.said.strip()), answer, exact=True) for name, answer in sides]
    st.html(f'<div class="kg-sides">{"".join(cards)}</div>')
