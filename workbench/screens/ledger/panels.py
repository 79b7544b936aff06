"""Blocks of the Ledger page."""

from __future__ import annotations

import html
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.drawing.tables import table_files
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.screens.ledger import actions as ledger_actions
from workbench.screens.ledger import recompute
from workbench.screens.ledger.actions import EXPORTS, Export, Standing
from workbench.shared.panels import follow, job_panel, job_result, message
from workbench.shared.table_panel import save_table
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["entry_row", "export_panel", "import_panel", "ledger_head", "order_panel", "standing_panel"]


_COLUMNS = (3, 5, 10, 5, 2)
"""Widths of switch, name, fact, note and menu."""


def ledger_head() -> None:
    """Show the names of the columns; a phone, which stacks them, does without."""
    with st.container(key="ledger-head"):
        for column, name in zip(st.columns(_COLUMNS), ("On", "Name", "Edit and result", "Note", ""), strict=True):
            column.caption(name)


def entry_row(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, number: int) -> None:
    """Show one edit in a row: its switch, name, fact and result, note, and a menu to move or remove it."""
    key = entry.id
    st.session_state[f"on-{key}"] = entry.is_on
    follow(f"name-{key}", entry.name)
    follow(f"note-{key}", entry.note)

    def changed() -> None:
        wanted = ledger_actions.renamed(
            entry,
            name=st.session_state[f"name-{key}"],
            note=st.session_state[f"note-{key}"],
            is_on=st.session_state[f"on-{key}"],
        )
        said = ledger_actions.change_entries(state, [wanted])
        if said:
            st.session_state["ledger-said"] = said

    with st.container(key=f"entry-{number}"):
        switch, name, fact, note, menu = st.columns(_COLUMNS)
        switch.toggle(f"{number}. {'on' if entry.is_on else 'off'}", key=f"on-{key}", on_change=changed)
        name.text_input(
            f"Name of edit {number}",
            key=f"name-{key}",
            on_change=changed,
            max_chars=200,
            label_visibility="collapsed",
        )
        fact.html(_facts(entry))
        note.text_input(
            f"Note on edit {number}",
            key=f"note-{key}",
            on_change=changed,
            max_chars=2000,
            placeholder="Note: why, for whom, …",
            label_visibility="collapsed",
        )
        with menu.popover("More", type="tertiary", help=f"Move or remove edit {number}"):
            _place_buttons(state, entry, number)
        _warnings(state, lm, entry)


def _place_buttons(state: WorkbenchState, entry: StackEntry, number: int) -> None:
    """Show buttons to move the edit earlier or later, or to remove it."""

    def moved(by: int) -> None:
        st.session_state["ledger-said"] = recompute.move(state, entry.id, by=by)

    def taken_out() -> None:
        st.session_state["ledger-said"] = ledger_actions.remove(state, entry.id)

    if len(state.stack) > 1:
        ways = (
            ("Move up", -1, "arrow_upward", number == 1),
            ("Move down", 1, "arrow_downward", number == len(state.stack)),
        )
        for label, by, icon, is_end in ways:
            st.button(
                label,
                key=f"move{by}-{entry.id}",
                on_click=moved,
                args=(by,),
                icon=f":material/{icon}:",
                disabled=is_end,
                type="tertiary",
            )
    st.button("Remove", key=f"out-{entry.id}", on_click=taken_out, icon=":material/delete:", type="tertiary")


def order_panel(state: WorkbenchState, resident: Resident) -> None:
    """Explain the order, and offer to recompute edits that were searched with other edits below them."""
    if len(state.stack) > 1:
        st.caption(wording.ORDER_HELP)
    job = state.job("recompute")
    if job is not None and not job.is_finished:
        job_panel(job)
        return
    job_result(job)
    count = len(recompute.outdated(state, resident.lm))
    if count and st.button(
        f"Apply {wording.count(count, 'edit')} again in this order",
        icon=":material/autorenew:",
        help="Searches and writes them again, each with the edits above it on. Names and notes stay.",
        key="recompute",
    ):
        message(recompute.recompute(state, resident), kind="warning")
        st.rerun()


def _facts(entry: StackEntry) -> str:
    edit, report = entry.edit, entry.report
    rows = []
    if edit is not None:
        rows.append(f"{html.escape(edit.prompt)} → <b>{html.escape(edit.new_object)}</b>")
    if report is not None:
        new = html.escape(report.edit.new_object)
        rows.append(
            f"{html.escape(wording.OUTCOMES[report.verdict.outcome.value])} {new}: "
            f"{wording.percent(report.before.p_expected)} → {wording.percent(report.after.p_expected)} when it was made"
        )
    layers = ", ".join(str(update.layer) for update in entry.patch.updates)
    made = entry.patch.created.replace("T", " ").replace("+00:00", " UTC") or "unknown time"
    about = f"layers {layers} · {entry.patch.n_bytes / 1e6:.2f} MB · {made} · {entry.id}"
    rows.append(f"<small>{html.escape(entry.patch.editor)} · {html.escape(about)}</small>")
    return '<div class="kg-entry">' + "<br>".join(rows) + "</div>"


def _warnings(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> None:
    if entry.patch.model_fingerprint != lm.fingerprint:
        st.caption(":material/link_off: Made for another model; it is off while this one is loaded.")
        return
    before = tuple(item.id for item in state.live(lm, before=entry.id))
    if entry.is_on and before != entry.based_on:
        names = {item.id: item.name for item in (*state.stack, *state.redo)}
        missing = [names.get(key, key) for key in entry.based_on if key not in before]
        added = [names.get(key, key) for key in before if key not in entry.based_on]
        parts = [f"without {', '.join(missing)}" if missing else "", f"with {', '.join(added)}" if added else ""]
        said = " and ".join(part for part in parts if part) or "in another order"
        st.caption(f":material/info: Searched with other edits below it: it is now {wording.safe(said)}.")


def standing_panel(state: WorkbenchState, resident: Resident) -> None:
    """Show the panel that asks every edit's own prompt with all live edits."""
    if st.button("Measure all edits as they stand now", icon=":material/monitoring:", key="measure"):
        message(ledger_actions.measure(state, resident), kind="warning")
    job = state.job("standing")
    if job is not None and not job.is_finished:
        job_panel(job)
        return
    job_result(job)
    kept = state.result("standing")
    if kept is None:
        return
    ids = [entry.id for entry in state.stack if entry.edit is not None]
    is_stale = kept.is_stale(state.fingerprint(resident.lm.fingerprint, ids))
    with st.container(key="stale-standing" if is_stale else "standing"):
        if is_stale:
            st.caption(f":material/history: {wording.STALE}")
        st.html(_standing_table(state, kept.value))
        save_table("standing", lambda: table_files(_standing_frame(state, kept.value)))


def _standing_frame(state: WorkbenchState, found: Mapping[str, Standing]) -> pd.DataFrame:
    """Return the table with numbers, for files."""
    return pd.DataFrame(
        [
            {
                "edit": entry.name,
                "is on": entry.is_on,
                "the model says now": found[entry.id].now.said.strip(),
                "p new when made": entry.report.after.p_expected if entry.report else None,
                "p new now": found[entry.id].now.p_expected,
                "p old now": found[entry.id].now.p_rejected,
                "verdict": None if (verdict := found[entry.id].now.verdict) is None else verdict.value,
            }
            for entry in state.stack
            if entry.id in found and entry.edit is not None
        ]
    )


def _standing_table(state: WorkbenchState, found: Mapping[str, Standing]) -> str:
    rows = []
    for number, entry in enumerate(state.stack, start=1):
        standing = found.get(entry.id)
        if standing is None or entry.edit is None:
            continue
        was = wording.percent(entry.report.after.p_expected if entry.report else None)
        now = standing.now
        word, kind = wording.VERDICTS[None if now.verdict is None else now.verdict.value]
        verdict = (
            f'<span class="kg-chip {kind}">{word}</span>' if entry.is_on else '<span class="kg-chip none">off</span>'
        )
        rows.append(
            f"<tr><td>{number}. {html.escape(entry.name)}</td><td>{html.escape(now.said.strip())}</td>"
            f'<td class="num">{was}</td><td class="num">{wording.percent(now.p_expected)}</td>'
            f'<td class="num">{wording.percent(now.p_rejected)}</td><td>{verdict}</td></tr>'
        )
    names = ("edit", "the model says now", "p new when made", "p new now", "p old now", "verdict")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="kg-table-wrap"><table class="kg-table"><tr>{head}</tr>{"".join(rows)}</table></div>'


def export_panel(state: WorkbenchState, resident: Resident) -> None:
    """Show the export panel: choose edits and a format; a job makes the file, which is then offered."""
    live = state.live(resident.lm)
    names = {entry.id: entry for entry in live}
    chosen = st.pills(
        "Edits",
        list(names),
        selection_mode="multi",
        default=list(names),
        format_func=lambda key: wording.safe(names[key].name) if key in names else key,
        key=f"export-which-{'-'.join(key[:6] for key in names)}",
    )
    way = st.segmented_control(
        "Form", list(EXPORTS), default="patch", required=True, format_func=lambda key: EXPORTS[key][0], key="export-way"
    )
    if st.button("Export", icon=":material/ios_share:", disabled=not chosen, key="export"):
        wanted = [entry for entry in live if entry.id in chosen]
        message(ledger_actions.export(state, resident, wanted, way), kind="warning")
    job = state.job("export")
    if job is not None and not job.is_finished:
        job_panel(job)
        return
    job_result(job)
    if job is not None and job.state is JobState.DONE:
        _made(job)


def _made(job: jobs.Job) -> None:
    made: Export = job.value
    if made.note:
        st.caption(wording.safe(made.note))
    if made.data is None:
        st.success("Written to this folder on the machine the workbench runs on:", icon=":material/folder:")
        st.code(made.folder, language=None, wrap_lines=True)
    else:
        st.download_button(
            f"Download {made.name} ({len(made.data) / 1e6:.2f} MB)",
            made.data,
            made.name,
            icon=":material/download:",
            on_click="ignore",
            key=f"download-{job.id}",
        )


def import_panel(state: WorkbenchState, resident: Resident) -> None:
    """Show the import panel for a zip file made by Export."""
    given = st.file_uploader(
        "A zip with a patch or a PEFT adapter", type=["zip"], key="import-file", max_upload_size=64
    )
    if given is not None and st.button("Import", icon=":material/upload:", key="import"):
        said = ledger_actions.import_file(state, resident.lm, given.getvalue(), name=given.name)
        if said:
            message(said)
        else:
            st.toast("Imported; it is on top of the ledger and switched on.", icon=":material/check:")
            st.rerun()
