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
from workbench.shared import told
from workbench.shared.inspect_actions import SHIFT, seen_with
from workbench.state.kept import ResultCodec
from workbench.state.published import PublishedResult, published_links
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, Result, StackEntry

__all__ = [
    "CODEC",
    "FIGURES",
    "MOST",
    "OwnLink",
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
    whence = {
        told.RESULT: seen,
        STORY: seen,
        CARD: seen,
        SHIFT: seen if entry.edit is None else seen_with(state, lm, entry, entry.edit.id),
    }
    found = dict(entry.figures)
    for name, made_from in whence.items():
        known = state.fresh(name, made_from)
        if known is not None:
            found[name] = known
    run = state.result(RUN)
    if run is not None and run.value.entry_id == entry.id and found.get(STORY) is state.result(STORY):
        found[RUN] = run
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
        copy = replace(entry, figures=figures_of(state, lm, entry))
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
    return bool(entry.figures) and entry.based_on != tuple(item.id for item in state.live(lm, before=entry.id))
