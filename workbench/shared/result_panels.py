"""What an edit did, and taking it back: the result in words and side by side, undo, redo, and the proof of an undo."""

from __future__ import annotations

import html
from typing import Any

import streamlit as st

from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.drawing import curves, tables
from workbench.shared import actions
from workbench.shared.panels import message
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["history", "result", "undo_buttons", "undone"]


def undo_buttons(state: WorkbenchState, undo: Any, redo: Any) -> None:
    """Undo and redo, with what they would act on."""

    def take_off() -> None:
        st.session_state["undo-said"] = actions.undo(state)
        st.session_state["undo-shown"] = True

    def put_back() -> None:
        st.session_state["undo-said"] = actions.redo(state)
        st.session_state["undo-shown"] = False

    undo.button(
        "Undo",
        icon=":material/undo:",
        on_click=take_off,
        disabled=not state.stack,
        width="stretch",
        help=wording.safe(f"Takes off: {state.stack[-1].name}") if state.stack else "Nothing to undo",
        key="undo",
    )
    redo.button(
        "Redo",
        icon=":material/redo:",
        on_click=put_back,
        disabled=not state.redo,
        width="stretch",
        help=wording.safe(f"Puts back: {state.redo[-1].name}") if state.redo else "Nothing to redo",
        key="redo",
    )
    message(st.session_state.pop("undo-said", None), kind="warning")


def history(state: WorkbenchState, lm: LoadedLM) -> None:
    """The newest edit's result; after an undo, the proof that everything is as it was."""
    if st.session_state.get("undo-shown") and state.redo:
        undone(state, lm)
        return
    entry = state.stack[-1] if state.stack else None
    if entry is None:
        return
    is_other = state.context is None or entry.edit is None or state.context.edit.id != entry.edit.id
    with st.container(border=True, key="stale-result" if is_other else "result"):
        st.subheader("Result" if not is_other else "Result of the newest edit, not of the fact above", anchor=False)
        result(entry)


def result(entry: StackEntry) -> None:
    """An applied edit in plain words, before and after beside each other, its consequences and its search."""
    report = entry.report
    if report is None:
        st.info("This edit was imported; nothing was measured when it was made. Ask it on the Probe page.")
        return
    new, old = str(report.edit["new_object"]), report.edit["old_object"]
    st.markdown(_in_words(entry))
    before, after = tables.marked_difference(report.before.answer, report.after.answer)
    st.html(
        '<div class="kg-sides">'
        + tables.answer_side("before", before, report.before, new=new, old=old)
        + tables.answer_side("after", after, report.after, new=new, old=old)
        + "</div>"
    )
    if report.consequences:
        st.caption(f"What follows, asked in words that were not optimised. {wording.VERDICT_HELP}")
        st.html(tables.consequence_table(report))
    seconds = ", ".join(f"{html.escape(name)} {value:.1f} s" for name, value in report.seconds.items())
    st.caption(f"Editor {wording.safe(report.editor)} · {seconds}")
    if entry.curve:
        with st.expander("How the search went"):
            st.plotly_chart(
                curves.search_curve(entry.curve),
                key=f"curve-{entry.id}",
                alt="The terms of the loss by step of the search",
            )


def _in_words(entry: StackEntry) -> str:
    report = entry.report
    assert report is not None
    prompt = wording.safe(report.edit["template"].replace("{}", report.edit["subject"]))
    new = wording.safe(report.edit["new_object"])
    is_done = report.after.p_new > (report.after.p_old or 0.0)
    verdict = (
        f"“{prompt}” now goes on with **{new}**"
        if is_done
        else f"“{prompt}”: **{new}** is still not the likelier answer"
    )
    text = f"{verdict}: from {percent_of(report.before.p_new)} to {percent_of(report.after.p_new)}."
    holds = sum(item.holds for item in report.consequences)
    if report.consequences:
        text += f" {holds} of {len(report.consequences)} consequences hold."
    return text


def percent_of(value: float | None) -> str:
    """A probability inside Markdown."""
    return wording.safe(wording.percent(value))


def undone(state: WorkbenchState, lm: LoadedLM) -> None:
    """After an undo: the same questions again, and whether each number is the very one of before."""
    if not state.redo:
        return
    entry = state.redo[-1]
    check = actions.undo_check(state, lm, entry)
    if check is None or entry.report is None:
        st.info(f"Undone: {wording.safe(entry.name)}", icon=":material/undo:")
        return
    now, is_same = check
    report, new, old = entry.report, str(entry.report.edit["new_object"]), entry.report.edit["old_object"]
    if is_same:
        st.success(
            "Undone. Every probability is bit for bit the number it was before the edit.", icon=":material/verified:"
        )
    else:
        st.warning("Undone, but some probabilities differ from before.", icon=":material/warning:")
    sides = [("before the edit", report.before), ("now, after the undo", now)]
    cards = [
        tables.answer_side(name, html.escape(answer.answer), answer, new=new, old=old, exact=True)
        for name, answer in sides
    ]
    st.html(f'<div class="kg-sides">{"".join(cards)}</div>')
