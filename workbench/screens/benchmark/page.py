"""Benchmark: many edits from a data set, with live curves; stopped, resumed, compared with past runs."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.editing.editors import DEFAULT_EDITOR, EDITORS, IN_CONTEXT
from kgmet.evaluate.tables.render import latex_table, markdown_table
from workbench import wording
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.running.resources import Resident
from workbench.screens.benchmark import actions, view
from workbench.shared import panels
from workbench.shared.inspect_panels import is_dark, reading_help
from workbench.shared.table_panel import table
from workbench.state import session
from workbench.state.session import WorkbenchState

__all__ = ["show"]

SCHEMAS = {"cf": "CounterFact", "mcf": "multi-CounterFact", "zsre": "zsRE", "mquake": "MQuAKE"}
PERPLEXITY = "Perplexity"


def curves(runs: list[actions.StoredRun], key: str) -> None:
    """Show curves and table of some runs, one figure at a time."""
    summaries = [run.summary for run in runs if run.summary.n_cases or run.summary.checkpoints]
    if not summaries:
        st.info("No case is scored yet.")
        return
    has_perplexity = any(summary.checkpoints for summary in summaries)
    kinds = {view.KINDS[kind]: kind for kind in view.kinds_asked(summaries)}
    options = [*kinds, *([PERPLEXITY] if has_perplexity else [])]
    if not options:
        st.info("No curve yet.")
        return
    # While a run goes on there are more kinds from time to time, and the choice would be lost with the old ones.
    name = f"{key}-curve"
    if st.session_state.get(name) not in options:
        st.session_state[name] = options[0]
    chosen = st.segmented_control(
        "Curve", options, key=name, required=True, label_visibility="collapsed", persist_state="session"
    )
    shown = kinds.get(str(chosen))
    if shown is None:
        figure = view.checkpoint_chart(summaries, dark=is_dark())
        st.plotly_chart(figure, key=f"{key}-figure", config=SAVED_AS_SVG, alt="Perplexity by number of edits")
        reading_help(
            f"How to read it: a rising curve means that the edits damage ordinary text. {view.READ_PERPLEXITY}"
        )
    else:
        figure = view.curve_chart(summaries, kind=shown, dark=is_dark())
        st.plotly_chart(figure, key=f"{key}-figure", config=SAVED_AS_SVG, alt=f"{view.KINDS[shown]} by cases scored")
        reading_help(f"How to read it: dotted before the edits, solid after. {view.READ_SHARE}")
    table(view.runs_table(summaries), stem=f"{key}-runs", alt="Every metric of each run, before and after")


def unfinished(state: WorkbenchState, resident: Resident, parts: Sequence[actions.RunPart], *, key: str) -> None:
    """Say what is kept of runs that were stopped, and take all of them up again."""
    with st.container(border=True, key=key):
        kept = "; ".join(part.kept for part in parts)
        folder = parts[0].folder.parent.parent
        st.markdown(f"**Not complete.** Kept: {wording.safe(kept)}.")
        st.caption(f"In the folder {wording.safe(str(folder))}. Nothing of it is computed again.")
        with st.container(horizontal=True):
            waiting = [part for part in parts if not part.is_complete]
            label = "Resume" if len(waiting) == 1 else f"Resume all {len(waiting)}"
            if st.button(label, icon=":material/resume:", key=f"{key}-resume", type="primary"):
                panels.message(actions.resume(state, resident, parts))
                st.rerun()
            if any(part.run is None for part in parts) and st.button(
                "Drop what was not begun", icon=":material/delete:", key=f"{key}-drop", type="tertiary"
            ):
                actions.drop_not_begun(parts)
                st.rerun()


def show() -> None:
    """Draw the page."""
    panels.title("Benchmark", "Many edits from a data set: their efficacy, consequences and side effects.")
    state = session.current()
    resident = panels.require_model()
    job = actions.bench_job(state)
    is_running = job is not None and not job.is_finished
    runs = actions.past_runs(state)

    with st.expander("New run", expanded=not is_running and not runs, icon=":material/add:"):
        with st.form("new-run", border=False):
            left, right = st.columns(2, gap="large")
            editors = left.multiselect("Editors", [*EDITORS, *IN_CONTEXT], default=[DEFAULT_EDITOR])
            source = right.selectbox(
                "Data set", ["own", *SCHEMAS], format_func=lambda name: SCHEMAS.get(name, "Own cases")
            )
            upload = right.file_uploader(
                "Data file", type="json", help="A JSON list in the data set's schema; own cases need none."
            )
            limit = left.number_input("Cases", 1, 10_000, 20, help="Number of cases, from the start of the data set.")
            num_edits = left.number_input(
                "Edited together", 1, 1000, 1, help="Cases whose edits are searched and written at once."
            )
            mode = left.radio(
                "Between batches",
                ["Start again from the unedited model", "Keep all edits so far"],
                help="From the unedited model, every batch is scored by itself. With all edits kept, the cases are "
                "scored after the last edit.",
            )
            free = right.toggle("Read free answers too", help="Slower: every prompt is also continued with 12 tokens.")
            seed = right.number_input("Seed", 0, 10_000, 0)
            submitted = st.form_submit_button(
                "Start", type="primary", icon=":material/play_arrow:", disabled=is_running
            )
        if submitted:
            try:
                if not editors:
                    raise KgmetError("Choose at least one editor.")
                if source != "own" and upload is None:
                    raise KgmetError(f"{SCHEMAS[source]} does not come with the program. Give its file.")
                path = None if upload is None else str(actions.keep_upload(state, upload.getvalue()))
                orders = [
                    actions.RunOrder(
                        editor=name,
                        ds_name=source,
                        ds_path=path,
                        ds_label=upload.name if upload is not None else "",
                        limit=int(limit),
                        num_edits=int(num_edits),
                        sequential=mode.startswith("Keep"),
                        free_tokens=12 if free else 0,
                        seed=int(seed),
                    )
                    for name in editors
                ]
                problem = actions.begin(state, resident, orders)
            except KgmetError as error:
                problem = str(error)
            if problem is None:
                st.rerun()
            panels.message(problem)

    if job is not None and is_running:
        st.subheader(wording.safe(job.title), anchor=False)
        if st.button("Stop", icon=":material/stop_circle:", disabled=job.flag.is_set, key="bench-stop"):
            job.flag.set()
            st.toast("Stopping after this step. What is done is kept, and can be resumed.")

        @st.fragment(run_every=2.0)
        def watch() -> None:
            """Redraw until the job ends."""
            if job.is_finished:
                st.rerun()
            event = job.latest
            done, total = (event.done, event.total or 1) if event is not None else (0, 1)
            left = event.detail.get("seconds_left") if event is not None else None
            rest = f" · {wording.time_left(float(left))}" if isinstance(left, (int, float)) else ""
            st.progress(min(done / total, 1.0), text=f"Step {done} of {total} · {job.seconds:.0f} s{rest}")
            so_far = actions.past_runs(state)
            fresh = [run for run in so_far if run.changed >= (job.started or 0.0)]
            curves(fresh or so_far[:1], "live")

        watch()
        return

    panels.job_result(job)
    stopped = actions.unfinished(state, runs)
    for number, parts in enumerate(stopped):
        unfinished(state, resident, parts, key=f"unfinished-{number}")
    if not runs:
        if stopped:
            return
        st.info("No run yet. Start one above; its curves appear here while it runs.", icon=":material/speed:")
        return
    st.subheader("Runs", anchor=False)
    by_label = {run.label: run for run in runs}
    chosen = st.multiselect("Show", list(by_label), default=[runs[0].label], label_visibility="collapsed")
    shown_runs = [by_label[label] for label in chosen]
    if shown_runs:
        curves(shown_runs, "past")
        summaries = [run.summary for run in shown_runs]
        if len(summaries) == 2:
            st.markdown("**The second against the first, on the prompts both asked**")
            table(view.paired_table(summaries[0], summaries[1]), stem="paired", alt="Differences with their intervals")
        buttons = st.container(horizontal=True)
        buttons.download_button("Markdown", markdown_table(summaries), "runs.md", icon=":material/download:")
        buttons.download_button("LaTeX", latex_table(summaries), "runs.tex", icon=":material/download:")
        if len(shown_runs) == 1 and buttons.button("Delete this run", icon=":material/delete:"):
            actions.delete_run(shown_runs[0])
            st.rerun()
    with st.expander("What the metrics mean", icon=":material/menu_book:"):
        table(view.metric_glossary(), stem="metrics", alt="Definition, unit and source of every metric")
