"""Links to results: publishing an edit with what was measured of it, withdrawing it, opening one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kgmet.base.errors import KgmetError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import check_patch
from workbench.drawing.card_table import RESULT as CARD
from workbench.drawing.probe_story import RESULT as STORY
from workbench.drawing.probe_story import RUN
from workbench.drawing.protection import PROTECTION
from workbench.drawing.traced import READING, Map, map_name
from workbench.shared import told
from workbench.shared.foreseen import CHECKED, FORESEEN, forecast_of
from workbench.shared.inspect_actions import SHIFT, comparable, protection_from, seen_with
from workbench.state.kept import ResultCodec, can_keep
from workbench.state.published import PublishedResult, published_links
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, Result, StackEntry

__all__ = [
    "CODEC",
    "FIGURES",
    "MOST",
    "OwnLink",
    "figures_of",
    "links_of",
    "measured_elsewhere",
    "open_result",
    "publish",
    "withdraw",
]

KIND = "links"
MOST = 20
"""Most links of one session."""
FIGURES = {
    told.RESULT: "the answers of the told model",
    STORY: "the chains hop by hop",
    RUN: "the answers to the probes",
    SHIFT: "the shift by layer and token",
    PROTECTION: "what the write protects",
    READING: "the contributions of the model's parts",
    **dict.fromkeys(map(map_name, Map), "the maps of Trace by layer and token"),
    FORESEEN: "the forecast",
    CHECKED: "the forecast's facts as measured",
    CARD: "the report card",
}
"""What travels with an edit where it was measured: the name of the result, and its words."""


@dataclass(frozen=True, kw_only=True)
class OwnLink:
    """A link that this session made."""

    token: str
    entry_id: str
    sentence: str
    created: str


CODEC = ResultCodec.of(KIND, "The list of your links", tuple[OwnLink, ...])


def links_of(state: WorkbenchState) -> tuple[OwnLink, ...]:
    """Return the links of this session that still lead somewhere, oldest first."""
    known = state.result(KIND)
    own: tuple[OwnLink, ...] = () if known is None else known.value
    links = published_links()
    return tuple(link for link in own if links.is_there(link.token))


def figures_of(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> dict[str, Result]:
    """Return what was measured of an edit and still holds, or came with it from a link."""
    seen = seen_with(state, lm, entry)
    whence = {told.RESULT: seen, STORY: seen, CARD: seen}
    edit = state.edit_of(entry)
    if entry.edit is not None and edit is not None:
        whence |= {
            SHIFT: seen_with(state, lm, entry, entry.edit.id),
            PROTECTION: protection_from(state, lm, entry, edit),
        }
    for name in (READING, *map(map_name, Map)):
        traced = state.result(name)
        if traced is not None:
            whence[name] = seen_with(state, lm, entry, *traced.value.inputs)
    found = dict(entry.figures)
    for name, made_from in whence.items():
        known = state.fresh(name, made_from)
        if known is not None:
            found[name] = known
    found |= _forecast_of(state, lm, entry)
    run = state.result(RUN)
    if run is not None and run.value.entry_id == entry.id and found.get(STORY) is state.result(STORY):
        found[RUN] = run
    return found


def _forecast_of(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> dict[str, Result]:
    known = forecast_of(state, lm, entry)
    if known is None:
        return {}
    forecast, checked = known
    return {FORESEEN: forecast, **({} if checked is None else {CHECKED: checked})}


def _travelling(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> dict[str, Result]:
    """Return the figures that a link holds: those small enough, and nothing of the maker's other edits.

    What the write protects holds the keys of the edits it was made on top of, and so stays at home if there are any.
    """
    found = {name: known for name, known in figures_of(state, lm, entry).items() if can_keep(name, known.value)}
    edit, here = state.edit_of(entry), found.get(PROTECTION)
    if here is not None and edit is not None and here is not entry.figures.get(PROTECTION):
        if state.live(lm, before=entry.id):
            del found[PROTECTION]
        else:
            alone = [item.id for item in comparable(state, lm, entry) if item.id == entry.id]
            only = here.value.only_of([one.id for one in entry.patch.edits])
            found[PROTECTION] = Result(value=only, made_from=seen_with(state, lm, entry, edit.id, alone))
    return found


def publish(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> str | None:
    """Publish a copy of an edit with its report and figures, and remember its link.

    Returns:
        Why that is not possible, if so; then nothing is published.
    """
    if entry.edit is None or entry.report is None:
        return "This edit was imported; nothing was measured when it was made, so there is no result to link to."
    if entry.patch.model_fingerprint != lm.fingerprint:
        return "This edit was made for another model. Load that model first."
    with state.record.lock:
        own = links_of(state)
        if len(own) >= MOST:
            return f"You have {MOST} links, and more are not kept for one person. Withdraw one on the Share page."
        copy = replace(entry, figures=_travelling(state, lm, entry))
        try:
            token = published_links().publish(copy, model=lm.name, dtype=lm.dtype_name)
        except KgmetError as error:
            return str(error)
        link = OwnLink(
            token=token,
            entry_id=entry.id,
            sentence=entry.edit.sentence,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        state.keep(KIND, (*own, link), made_from="")
    return None


def withdraw(state: WorkbenchState, token: str) -> str | None:
    """Remove a published copy that this session made; who opened it keeps theirs.

    Returns:
        Why that is not possible, if so.
    """
    with state.record.lock:
        own = links_of(state)
        if token not in {link.token for link in own}:
            return None
        try:
            published_links().withdraw(token)
        except KgmetError as error:
            return str(error)
        state.keep(KIND, tuple(link for link in own if link.token != token), made_from="")
    return None


def open_result(state: WorkbenchState, lm: LoadedLM, token: str) -> str | None:
    """Add a published edit to this session's own, and fill the form with its fact if that is empty.

    Returns:
        Why that is not possible, if so; then nothing has changed.
    """
    if state.is_busy:
        return "A job is running; stop it or wait for it, then open the result."
    try:
        entry = published_links().open(token)
        check_patch(entry.patch, lm)
    except KgmetError as error:
        return str(error)
    with state.record.lock:
        state.record.add(entry)
        if state.draft.is_blank and entry.edit is not None:
            state.set_draft(replace(FactDraft.of(entry.edit), relation=entry.edit.relation))
    return None


def fits(about: PublishedResult, lm: LoadedLM) -> bool:
    """Return whether the loaded model is the one that a published result was made for."""
    return about.model_fingerprint == lm.fingerprint


def measured_elsewhere(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> bool:
    """Return whether an edit's figures came from a link and other edits were on when they were measured."""
    return bool(entry.figures) and not state.is_as_made(entry, lm)
