"""What the pages that look inside an edit ask for: work in its own lane, kept with what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgmet.config import EditConfig, config_from_mapping
from kgmet.context import EditContext
from kgmet.errors import KgmetError
from kgmet.fingerprint import fingerprint_value
from kgmet.inspect.lens import LensReading, read_lens
from kgmet.inspect.shift import ShiftTrace, trace_shifts
from kgmet.inspect.texts import InspectedText, shift_texts
from kgmet.progress import Progress
from workbench import jobs
from workbench.actions import context_of
from workbench.jobs import Job
from workbench.resources import Resident
from workbench.session import WorkbenchState
from workbench.values import StackEntry

__all__ = ["config_of", "lane", "lens_at", "look_job", "seen_from", "start_look", "trace_shift_of"]


def lane(state: WorkbenchState) -> str:
    """The queue's name for looks of this session: they wait for the worker, and never keep an edit from starting."""
    return f"{state.session_id}/look"


def seen_from(state: WorkbenchState, resident: Resident, entry: StackEntry, *parts: Any) -> str:
    """Fingerprint of what a look at an edit depends on: the model, the edit, those under it, and what else is given."""
    under = [item.id for item in state.live(resident.lm, before=entry.id)]
    return fingerprint_value([resident.lm.fingerprint, entry.id, under, *parts])


def look_job(state: WorkbenchState, name: str, made_from: str) -> Job | None:
    """The job that makes this very result, if it was started."""
    return jobs.latest(lane(state), f"{name} {made_from}")


def start_look(
    state: WorkbenchState, name: str, work: Callable[[Progress], Any], *, made_from: str, title: str
) -> str | None:
    """Start a job whose value is kept under `name`. A message where that is not possible."""

    def kept(progress: Progress) -> None:
        state.keep(name, work(progress), made_from=made_from)

    try:
        jobs.submit(f"{name} {made_from}", kept, lane(state), title=title)
    except KgmetError as error:
        return str(error)
    return None


def config_of(entry: StackEntry) -> EditConfig:
    """The settings an applied edit was made with."""
    return config_from_mapping(entry.patch.config)


def texts_of(entry: StackEntry) -> tuple[InspectedText, ...]:
    """What an edit is looked at through."""
    context: EditContext = context_of(entry, config_of(entry))
    return shift_texts(context, config_of(entry))


def trace_shift_of(
    state: WorkbenchState, resident: Resident, entry: StackEntry
) -> Callable[[Progress], list[ShiftTrace]]:
    """The work behind the Shift page: every text with the edit off and on, edits under it on in both."""
    earlier = state.live_patches(resident.lm, before=entry.id)

    def work(progress: Progress) -> list[ShiftTrace]:
        return trace_shifts(resident.lm, entry.patch, texts_of(entry), earlier=earlier, progress=progress)

    return work


def lens_at(
    state: WorkbenchState, resident: Resident, entry: StackEntry, text: InspectedText, position: int
) -> LensReading:
    """The logit lens at one token; remembered until another is asked for."""
    made_from = seen_from(state, resident, entry, text, position)
    known = state.result("lens")
    if known is None or known.is_stale(made_from):
        earlier = state.live_patches(resident.lm, before=entry.id)
        reading = read_lens(resident.lm, entry.patch, text, position=position, earlier=earlier)
        state.keep("lens", reading, made_from=made_from)
        return reading
    found: LensReading = known.value
    return found
