"""Table of edits: each fact of a pasted table becomes one edit, and each row shows its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from kgmet.base.errors import Cancelled, KgmetError
from kgmet.base.files import decode_text
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.fact import FactEdit
from kgmet.fact_table import ParsedFacts, parse_facts
from kgmet.graph.wording.sentence import read_sentence
from workbench import wording
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.shared import actions
from workbench.shared.panels import job_panel, job_result, message
from workbench.shared.table_panel import table
from workbench.state.session import WorkbenchState

__all__ = ["RowResult", "apply_many", "panel", "result_frame"]

_KIND, _READ = "edits", "edits-read"
_EXAMPLE = (
    "subject,template,new_object\nThe Eiffel Tower,{} is located in the city of,Rome\nJapan,The capital of {} is,Osaka"
)


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """Result of one fact of the table."""

    fact: FactEdit
    outcome: str
    before: str = ""
    after: str = ""
    note: str = ""


def panel(state: WorkbenchState, resident: Resident) -> None:
    """Show the panel to paste or upload facts, apply them one after the other, and see their results."""
    job = state.job(_KIND)
    is_running = job is not None and not job.is_finished
    known = state.result(_KIND)
    with st.expander("Many edits at once", icon=":material/playlist_add:", expanded=is_running or known is not None):
        left, right = st.columns([3, 2], gap="large")
        text = left.text_area(
            "Facts: a table (columns subject, template, new_object, old_object), a JSON list, or a sentence a line",
            key="many-text",
            placeholder=_EXAMPLE,
            height=140,
            max_chars=200_000,
        )
        upload = right.file_uploader("Or a file", type=["csv", "tsv", "json", "txt"], key="many-file")
        parsed = _parsed(state, upload.getvalue() if upload is not None else text.encode())
        if isinstance(parsed, str):
            message(parsed)
            parsed = None
        n = 0 if parsed is None else len(parsed.facts)
        if (upload is not None and not upload.size) or (parsed is not None and not n and not parsed.refused):
            st.caption(
                ":material/block: No fact is in it. A table has a row for each fact, below the names of the columns."
            )
        if parsed is not None:
            for line in parsed.refused[:10]:
                st.caption(f":material/block: {wording.safe(line)}")
            if len(parsed.refused) > 10:
                st.caption(f"{len(parsed.refused) - 10} more rows are left out.")
        if right.button(
            f"Apply {wording.count(n, 'edit')}" if n else "Apply the edits",
            icon=":material/play_arrow:",
            disabled=not n or state.is_busy,
            key="many-apply",
        ):
            assert parsed is not None
            problem = apply_many(state, resident, parsed.facts)
            message(problem, kind="warning")
            if problem is None:
                st.rerun()
        if job is not None and is_running:
            job_panel(job, draw=lambda _job: _table(state))
            return
        job_result(job)
        if known is not None:
            _table(state)


def _parsed(state: WorkbenchState, data: bytes) -> ParsedFacts | str | None:
    """Return the parsed facts of a text, or the error; cached between runs of the page."""
    if not data.strip():
        return None

    def read() -> ParsedFacts | str:
        try:
            text = decode_text(data, where="The file")
            return parse_facts(text, read_sentence=lambda one: read_sentence(one, catalogue=catalogue(), store=store()))
        except KgmetError as error:
            return str(error)

    return state.remembered(_READ, read, made_from=digest(data))


def apply_many(state: WorkbenchState, resident: Resident, facts: Sequence[FactEdit]) -> str | None:
    """Start the job that edits each fact in turn; finished edits stay when it is stopped or a row fails."""
    session, record = actions.session_of(state, resident), state.record
    made_from = state.fingerprint([fact.id for fact in facts])

    def work(progress: Progress) -> int:
        rows: list[RowResult] = []
        for number, fact in enumerate(facts):
            progress.report(ProgressEvent(stage=Stage.EDITS, done=number, total=len(facts)))
            progress.check()
            based_on = tuple(patch.id for patch in session.patches)
            try:
                edited = session.edit(fact, progress=progress)
            except Cancelled:
                raise
            except KgmetError as error:
                rows.append(RowResult(fact=fact, outcome="failed", note=str(error)))
            else:
                report = edited.report
                record.push(actions.entry_of(edited, based_on=based_on))
                rows.append(
                    RowResult(
                        fact=fact,
                        outcome=report.verdict.outcome.value,
                        before=report.before.said.strip(),
                        after=report.after.said.strip(),
                        note=" ".join(reason.value for reason in report.verdict.reasons),
                    )
                )
            state.keep(_KIND, tuple(rows), made_from=made_from)
        progress.report(ProgressEvent(stage=Stage.EDITS, done=len(facts), total=len(facts)))
        return len(rows)

    return jobs.start(_KIND, work, state.session_id, title=wording.count(len(facts), "edit"))


def result_frame(rows: Sequence[RowResult]) -> pd.DataFrame:
    """Return one row per fact: the request, the result, and the answers before and after."""
    return pd.DataFrame(
        [
            {
                "fact": row.fact.sentence,
                "result": row.outcome,
                "before": row.before,
                "after": row.after,
                "why": row.note,
            }
            for row in rows
        ]
    )


def _table(state: WorkbenchState) -> None:
    known = state.result(_KIND)
    if known is None:
        return
    frame = result_frame(known.value)
    took = int((frame["result"] == "took").sum())
    st.caption(f"{took} of {len(frame)} took")
    table(frame, stem="edits", alt="One row for each fact: the result, and the answers before and after")
