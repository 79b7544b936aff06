"""Small Streamlit blocks shared by several pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import streamlit as st
from streamlit.errors import StreamlitAPIException, StreamlitPageNotFoundError

from kgmet.base.fingerprint import fingerprint_value
from kgmet.fact import FactEdit
from workbench import wording
from workbench.running import jobs
from workbench.running.jobs import Job, JobState
from workbench.running.resources import ModelHolder, Resident, model_holder
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = [
    "Job",
    "choose_edit",
    "choose_entry",
    "downloads",
    "follow",
    "go_to",
    "job_panel",
    "job_result",
    "message",
    "page_link",
    "require_model",
    "require_stack",
    "stale_note",
    "theme",
    "title",
]

_POLL_SECONDS = 0.4
"""Seconds between looks at a running job."""
_WATCH_SECONDS = 0.35
"""Seconds of these in which a look watches for news, so that a job's end is shown when it comes."""
_GLANCE_SECONDS = 0.03
"""Seconds between glances while it watches."""


def title(text: str, about: str) -> None:
    """Show the page's heading and one sentence on its purpose."""
    st.title(text, anchor=False)
    st.caption(about)


def follow(key: str, value: str) -> None:
    """Make a text widget show `value` if that changed elsewhere, without overwriting what is being typed.

    Writing a widget's state on every run would delete text typed into one field while a run caused by another field is
    still active.
    """
    state, last = st.session_state, f"{key}~"
    if key not in state or (state.get(last) != value and state[key] != value):
        state[key] = value
    state[last] = value


def page_link(name: str, label: str, *, icon: str) -> None:
    """Show a link to `pages/{name}.py`; nothing if that page does not exist or runs on its own."""
    try:
        st.page_link(f"../pages/{name}.py", label=label, icon=f":material/{icon}:")
    except StreamlitPageNotFoundError:
        return


def go_to(name: str) -> None:
    """Open `pages/{name}.py` at once; nothing if that page does not exist or runs on its own."""
    try:
        st.switch_page(f"../pages/{name}.py")
    except (StreamlitAPIException, StreamlitPageNotFoundError):
        return


def theme() -> str:
    """Return the browser's theme, ``light`` or ``dark``."""
    return "dark" if st.context.theme.type == "dark" else "light"


def message(text: str | None, *, kind: str = "error") -> None:
    """Show a message as literal text (labels in it may contain Markdown or HTML); nothing for ``None``."""
    if text:
        box = {"error": st.error, "warning": st.warning, "info": st.info, "success": st.success}[kind]
        icons = {"error": "error", "warning": "warning", "info": "info", "success": "check_circle"}
        box(wording.safe(text), icon=f":material/{icons[kind]}:")


_KINDS = {"csv": ("CSV", "text/csv"), "json": ("JSON", "application/json"), "md": ("Markdown", "text/markdown")}
"""Ending of a file → the name of its kind, and its MIME type."""


def downloads(stem: str, files: Mapping[str, str | Callable[[], str]], *, key: str) -> None:
    """Show a button that saves each file, by its ending (csv, json, md), under the same stem.

    A file that is given as a function is made when it is asked for.
    """
    for ending, data in files.items():
        name, mime = _KINDS[ending]
        st.download_button(
            name,
            data,
            f"{stem}.{ending}",
            mime,
            icon=":material/download:",
            on_click="ignore",
            key=f"{key}-{ending}",
        )


def require_model() -> Resident:
    """Return the resident model; if there is none, load it as a job, show progress and stop the page."""
    holder = model_holder()
    if holder.resident is not None:
        return holder.resident
    job = jobs.latest(jobs.SERVER, "load")
    if job is None or (job.is_finished and job.state is not JobState.FAILED):
        _load(holder)
        job = jobs.latest(jobs.SERVER, "load")
    if job is not None and job.state is JobState.FAILED:
        message(job.error)
        if st.button("Try again", icon=":material/refresh:"):
            _load(holder)
            st.rerun()
    elif job is not None:
        st.info(
            "The model is being loaded. The first time this takes about half a minute.", icon=":material/hourglass:"
        )
        job_panel(job, can_cancel=False)
    st.stop()
    raise AssertionError("st.stop does not return")


def _load(holder: ModelHolder) -> None:
    """Start loading the default model; if another visitor has just done so, or the server is full, say so."""
    why = jobs.start("load", lambda progress: holder.load(progress=progress), jobs.SERVER, title="Load the model")
    if jobs.latest(jobs.SERVER, "load") is None:
        message(why, kind="warning")


def require_stack(state: WorkbenchState) -> None:
    """Stop the page with a hint if there is no edit yet."""
    if state.focus is None:
        st.info(wording.PLAN_FIRST, icon=":material/edit:")
        page_link("edit", "Go to Edit", icon="edit")
        st.stop()


def choose_entry(state: WorkbenchState) -> StackEntry:
    """Let the user choose one of the session's edits and return it; needs at least one (`require_stack`)."""
    entries = {entry.id: entry for entry in state.stack if entry.edit is not None}
    focus = state.focus
    assert focus is not None
    if len(entries) == 1:
        st.caption(f"Edit: {wording.safe(focus.name)}{'' if focus.is_on else ' (off)'}")
        return focus
    key = f"entry-{fingerprint_value([list(entries), focus.id])}"

    def chosen() -> None:
        state.set_focus(st.session_state[key])

    st.selectbox(
        "Edit",
        list(entries),
        index=list(entries).index(focus.id),
        format_func=lambda entry_id: entries[entry_id].name + ("" if entries[entry_id].is_on else " (off)"),
        key=key,
        on_change=chosen,
    )
    return focus


def choose_edit(state: WorkbenchState, entry: StackEntry) -> FactEdit:
    """Let the user choose an edit of a patch if there are several, and return it. The patch must have one."""
    edits = entry.patch.edits
    chosen = state.edit_of(entry) or edits[0]
    if len(edits) == 1:
        return chosen
    labels = [f"{number}. {edit.subject} → {edit.new_object}" for number, edit in enumerate(edits, start=1)]
    place = next(number for number, edit in enumerate(edits) if edit.id == chosen.id)
    number = st.selectbox(
        f"Edit of this patch, 1 to {len(edits)}",
        range(len(edits)),
        index=place,
        format_func=lambda index: labels[index],
        key=f"edit-of-{entry.id}-{place}",
        help="They were searched and written together, and are on or off together; this chooses whose texts are read.",
    )
    if number != place:
        state.set_focus(entry.id, edits[number].id)
    return edits[number]


def stale_note(is_stale: bool) -> None:
    """Show that the following result has outdated inputs; its container's key ``stale`` makes it grey."""
    if is_stale:
        st.caption(f":material/history: {wording.STALE}")


def job_panel(
    job: Job,
    *,
    draw: Callable[[Job], None] | None = None,
    news: Callable[[], object] = lambda: None,
    can_cancel: bool = True,
    n_remark: int = 3,
) -> None:
    """Show a job's progress, redrawn while it runs; then rerun the whole page.

    Args:
        job: an unfinished job.
        draw: shows more of it, for example its curve.
        news: returns another value as soon as something is known that must be drawn at once; called often.
        can_cancel: whether to offer Stop.
        n_remark: how many of its last remarks are shown.
    """
    drawn: list[object] = []  # the news that the last look drew

    def look() -> None:
        if drawn:  # the first look is part of the page, which must not wait
            _watch(job, lambda: news() is not drawn[-1])
        drawn[:] = [news()]
        if job.is_finished:
            st.rerun()
        _progress(job, n_remark)
        if draw is not None:
            draw(job)

    if can_cancel and st.button("Stop", icon=":material/stop_circle:", key=f"stop-{job.id}", disabled=job.flag.is_set):
        jobs.cancel(job.id)
        st.toast("Stopping at the next step.")
    st.fragment(look, run_every=_POLL_SECONDS)()


def _watch(job: Job, has_news: Callable[[], bool]) -> None:
    """Wait until the job ends or there is news of it, at most about as long as until the next look."""
    end = time.monotonic() + _WATCH_SECONDS
    while not (job.is_finished or has_news()) and time.monotonic() < end:
        time.sleep(_GLANCE_SECONDS)
        st.session_state.get(job.id)  # reading the page's values is where a click, as on Stop, ends this look


def job_result(job: Job | None, *, stopped: str = "") -> None:
    """Show how a finished job of this session ended, if it failed or was stopped; `stopped` says what that left."""
    if job is None or not job.is_finished or job.state is JobState.DONE:
        return
    is_stopped = job.state is JobState.CANCELLED
    message(stopped if is_stopped and stopped else job.error, kind="warning" if is_stopped else "error")


def _progress(job: Job, n_remark: int) -> None:
    event = job.latest
    if event is None:
        st.progress(0.0, text=wording.safe(_waiting(job)))
        return
    line = wording.progress_line(event.stage, event.done, event.total)
    share = min(event.done / event.total, 1.0) if event.total else 0.0
    st.progress(share, text=f"{wording.safe(line)} · {job.seconds:.0f} s")
    for remark in job.remarks[-n_remark:]:
        st.caption(wording.safe(remark))
    if jobs.is_benchmark_running(but=job):
        st.caption("A benchmark is running on this server as well, so this takes longer than usual.")


def _waiting(job: Job) -> str:
    """Say what a waiting job waits for: how many, and what is running; never whose, or about what."""
    ahead = job.ahead
    if not ahead:
        return "Starting"
    first = ahead[0]
    what = wording.JOB_KINDS.get(first.kind, "another job")
    return f"Waiting behind {wording.count(len(ahead), 'other job')}; {what} has been running for {first.seconds:.0f} s"
