"""Conversion of a session's values to and from plain JSON. Reading is strict: a wrong type is an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.values import value_from
from kgmet.editing.config import config_from_mapping
from kgmet.editing.editors import EDITORS
from kgmet.editing.report import EditReport
from kgmet.graph.reading.retrieve import Switch
from workbench.state.sealed import SOMETHING_ELSE
from workbench.state.values import TEXTS, FactDraft, SavedSession, StackEntry

__all__ = [
    "FORMATS",
    "ID",
    "EntryRow",
    "Made",
    "draft_from_json",
    "editor_from_json",
    "made_from_json",
    "made_to_json",
    "row_from_json",
    "row_to_json",
    "session_to_json",
]

FORMATS = (1, 2)
"""Readable formats of `session.json`. Format 1 contains the reports."""
ID = r"[0-9a-f]{16}"
"""Pattern of an edit's id, which names its folder."""
Made = tuple[EditReport | None, tuple[Mapping[str, float], ...]]
"""Measurements of an edit: its report and search curve."""
_MOST_TEXT = 200_000


@dataclass(frozen=True, kw_only=True)
class EntryRow:
    """One edit in `session.json`: everything the user can change."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{ID}$")]
    name: Annotated[str, msgspec.Meta(max_length=2_000)]
    note: Annotated[str, msgspec.Meta(max_length=20_000)]
    is_on: bool
    based_on: tuple[str, ...]
    exclude: tuple[Switch, ...]
    leave: frozenset[str]


def row_to_json(entry: StackEntry) -> EntryRow:
    """Return an edit without its patch and report."""
    return EntryRow(
        id=entry.id,
        name=entry.name,
        note=entry.note,
        is_on=entry.is_on,
        based_on=entry.based_on,
        exclude=entry.exclude,
        leave=entry.leave,
    )


def row_from_json(raw: Any, known: Collection[str]) -> EntryRow:
    """Read what `row_to_json` made.

    Args:
        raw: the JSON value.
        known: ids that must not occur again.

    Raises:
        ValueError: if it is not such a row.
    """
    row = value_from(EntryRow, raw, SOMETHING_ELSE)
    if row.id in known:
        raise BrokenArtifactError(f"{row.id} is listed twice.")
    return row


def made_to_json(entry: StackEntry) -> dict[str, Any]:
    """Return an edit's report and search curve."""
    report = None if entry.report is None else entry.report.to_json()
    return {"format": 1, "report": report, "curve": [dict(step) for step in entry.curve]}


def made_from_json(data: Mapping[str, Any]) -> Made:
    """Read what `made_to_json` made.

    Raises:
        KeyError, ValueError: if it is something else.
    """
    report = None if data["report"] is None else EditReport.from_json(data["report"])
    return report, value_from(tuple[dict[str, float], ...], data["curve"], "This is no curve of a search")


def session_to_json(saved: SavedSession) -> dict[str, Any]:
    """Return a session without its edits' patches and reports; rows and draft become plain on writing."""
    return {
        "format": FORMATS[-1],
        "draft": saved.draft,
        "editor": saved.editor,
        "settings": saved.settings,
        "focus": saved.focus,
        "focus_edit": saved.focus_edit,
        "is_guide_seen": saved.is_guide_seen,
        "stack": [row_to_json(entry) for entry in saved.stack],
        "redo": [row_to_json(entry) for entry in saved.redo],
    }


def draft_from_json(raw: Any) -> FactDraft:
    """Read the typed fact of `session_to_json`.

    Raises:
        ValueError: if it is something else.
    """
    if isinstance(raw, Mapping) and "prompt" in raw:  # its name up to version 0.2
        raw = {"template" if name == "prompt" else name: value for name, value in raw.items()}
    draft = value_from(FactDraft, raw, SOMETHING_ELSE)
    if any(len(getattr(draft, name)) > _MOST_TEXT for name in TEXTS):
        raise BrokenArtifactError(f"A text has more than {_MOST_TEXT:,} characters.")
    return draft


def editor_from_json(name: Any, settings: Any) -> tuple[str, dict[str, Any]]:
    """Read the editor's name and changed settings of `session_to_json`.

    Raises:
        KeyError, ValueError: if there is no such editor, or a setting is unknown or out of range.
    """
    editor = EDITORS[value_from(str, name, SOMETHING_ELSE)]
    found = value_from(dict[str, Any], settings, SOMETHING_ELSE)
    config_from_mapping(found, base=editor.config)
    return editor.name, found
