"""Inspect an edit: what a patch, an adapter or a checkpoint changed, by what method, and about whom."""

from __future__ import annotations

import json

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.inspect.forensics.inspection import EditInspection
from workbench import wording
from workbench.running.access import access
from workbench.running.resources import Resident
from workbench.screens.forensics import actions, view
from workbench.shared import panels
from workbench.shared.table_panel import table
from workbench.state import session
from workbench.state.session import WorkbenchState

__all__ = ["show"]

_UPLOAD, _FOLDER, _MINE = "Upload", "Folder on this machine", "An edit of mine"
_LIMITS = {"1,000": 1_000, "5,000": 5_000, "all": 20_000}


def show() -> None:
    """Draw the page."""
    state = session.current()
    panels.title("Inspect an edit", "What was changed in a model, whose work it looks like, and about whom.")
    resident = panels.require_model()
    name, source = _choose(state, resident)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        limit = st.segmented_control(
            "Names to rank",
            list(_LIMITS),
            default="5,000",
            required=True,
            key="forensics-limit",
            help="The graph's subjects, the best known first. 5,000 take about a minute on two cores.",
        )
        start = st.button(
            "Inspect", type="primary", icon=":material/policy:", key="forensics-start", disabled=source is None
        )
    if start and source is not None:
        why = actions.inspect(state, resident, source, name=name, limit=_LIMITS[str(limit)])
        panels.message(why, kind="warning")
    job = state.job(actions.RESULT)
    if job is not None and not job.is_finished:
        panels.job_panel(job)
        return
    if job is not None and (not name or job.title == actions.title_of(name)):
        panels.job_result(job)  # not of another file than the one that is chosen now
    kept = state.result(actions.RESULT)
    if kept is None:
        st.info(
            "Nothing inspected yet. Choose a patch, a LoRA adapter or a model folder that was made from the loaded "
            "model.",
            icon=":material/policy:",
        )
        return
    is_stale = kept.is_stale(resident.lm.fingerprint)
    panels.stale_note(is_stale)
    with st.container(key="stale-forensics" if is_stale else "forensics-result"):
        _result(state, resident, kept.value)


def _choose(state: WorkbenchState, resident: Resident) -> tuple[str, actions.Source | None]:
    """Let the person choose what to inspect; returns its name, and ``None`` while nothing is chosen."""
    ways = [_UPLOAD, *([] if access().is_shared else [_FOLDER]), *([_MINE] if state.stack else [])]
    way = st.segmented_control("Edited model from", ways, default=ways[-1], required=True, key="forensics-from")
    if way == _MINE:
        entry = panels.choose_entry(state) if state.focus is not None else state.stack[-1]
        if entry.patch.model_fingerprint != resident.lm.fingerprint:
            st.warning("This edit was made for another model. Load that model first.", icon=":material/memory:")
            return entry.name, None
        st.caption("Its facts are left out before it is inspected, so this shows what a stranger could find.")
        return entry.name, actions.from_entry(entry.patch)
    if way == _FOLDER:
        path = st.text_input(
            "Folder", key="forensics-folder", max_chars=400, placeholder="~/models/edited or ~/adapters/mine"
        ).strip()
        st.caption("A model folder with safetensors files, a LoRA adapter, or a patch. Nothing in it is executed.")
        try:
            return path, actions.from_folder(path) if path else None
        except KgmetError as error:
            panels.message(str(error))
            return path, None
    upload = st.file_uploader("Zip file with a patch or an adapter", type=["zip"], key="forensics-upload")
    return ("", None) if upload is None else (upload.name, actions.from_archive(upload.getvalue()))


def _result(state: WorkbenchState, resident: Resident, found: EditInspection) -> None:
    with st.container(border=True):
        st.subheader(wording.safe(found.verdict), anchor=False)
        st.caption(wording.safe(f"{found.changed.kind.value} {found.changed.source}, against {found.base}."))
        with st.grid(min_column_width=120):
            for name, value in view.facts(found):
                st.metric(name, value)
    if not found.changed.changes:
        return
    _subjects(found)
    _answers(found)
    with st.container(border=True):
        st.subheader("Whose work it looks like", anchor=False)
        for line in view.sign_lines(found):
            st.markdown(line)
    with st.expander("Changed weights", icon=":material/grid_on:"):
        table(view.change_table(found), stem="changes", width="stretch", key="forensics-changes")
        if len(found.changed.changes) > 100:
            st.caption(f"The first 100 of {len(found.changed.changes)}.")
    _undo(state, resident, found)


def _subjects(found: EditInspection) -> None:
    st.subheader("Who was edited", anchor=False)
    if not found.scan.scores:
        st.caption("No down-projection changed, so no key of a subject was moved.")
        return
    if not found.claimed:
        st.caption("No name stands out from the others. The ranking below is then no evidence of an edit.")
    top = max(2.0, found.scan.scores[0].times)
    table(
        view.subject_table(found),
        stem="subjects",
        width="stretch",
        height=320,
        key="forensics-subjects",
        column_config={
            "Times the median": st.column_config.ProgressColumn(
                "Times the median",
                format="%.1f",
                min_value=0,
                max_value=top,
                help="How far ΔW moves the key of this name, for its length and against ordinary text.",
            )
        },
    )


def _answers(found: EditInspection) -> None:
    if not found.answers:
        return
    st.subheader("What they said before, and say now", anchor=False)
    only = st.toggle("Only what differs", value=True, key="forensics-differs")
    answers = view.answer_table(found, only_changed=bool(only))
    if answers.empty:
        st.caption("No answer differs.")
        return
    table(answers, stem="answers", width="stretch", height=320, key="forensics-answers")


def _undo(state: WorkbenchState, resident: Resident, found: EditInspection) -> None:
    st.subheader("Undo", anchor=False)
    if found.undo is None:
        st.caption(wording.safe(found.no_undo))
    else:
        st.caption("The patch of −ΔW. Attached to the edited model it gives the base model's answers, up to rounding.")
    report = json.dumps(found.to_json(), ensure_ascii=False, indent=1)
    with st.container(horizontal=True):
        if found.undo is not None:
            st.download_button(
                "Undo patch",
                lambda: actions.undo_archive(found),
                "undo-patch.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key="forensics-undo",
            )
            if st.button("Put it on my edits", icon=":material/undo:", key="forensics-put"):
                why = actions.put_undo(state, resident.lm, found)
                panels.message(
                    why or "The undo is the newest edit in the Ledger.", kind="warning" if why else "success"
                )
        st.download_button(
            "Report as JSON",
            report,
            "inspection.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            key="forensics-json",
        )
