"""A session on disk: `session.json` and one folder per patch. Read back without executing anything in it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgmet.base.cache import written_whole
from kgmet.base.errors import KgmetError
from kgmet.base.fingerprint import plain
from kgmet.editing.editors import DEFAULT_EDITOR, EDITORS
from kgmet.editing.report import EditReport
from kgmet.write.patch import load_patch, save_patch
from workbench.state.values import FactDraft, StackEntry

if TYPE_CHECKING:
    from workbench.state.vault import SessionRecord

__all__ = ["load_record", "report_from_json", "save_record", "switch_from_json"]

LOG = logging.getLogger(__name__)


def save_record(record: SessionRecord) -> None:
    """Write what a restart must not lose; patches that are no longer named are removed."""
    entries = (*record.stack, *record.redo)
    if not entries and record.draft.is_blank and not record.folder.is_dir():
        return
    record.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    record.folder.mkdir(mode=0o700, exist_ok=True)
    for entry in entries:
        if not (record.folder / entry.id / "patch.json").is_file():
            save_patch(entry.patch, record.folder / entry.id)
    data = {
        "format": 1,
        "draft": plain(asdict(record.draft)),
        "editor": record.editor,
        "settings": record.settings,
        "focus": record.focus,
        "focus_edit": record.focus_edit,
        "is_guide_seen": record.is_guide_seen,
        "stack": [_entry_to_json(entry) for entry in record.stack],
        "redo": [_entry_to_json(entry) for entry in record.redo],
    }
    with written_whole(record.folder / "session.json") as temporary:
        temporary.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    named = {entry.id for entry in entries}
    for folder in record.folder.iterdir():
        if folder.is_dir() and folder.name not in named:
            shutil.rmtree(folder, ignore_errors=True)


def load_record(folder: Path) -> dict[str, Any]:
    """The saved fields of a session; an edit whose files are damaged is left out and logged, the others stay."""
    try:
        data = json.loads((folder / "session.json").read_text(encoding="utf-8"))
        draft = dict(data["draft"])
        draft["exclude"] = tuple(switch_from_json(item) for item in draft["exclude"])
        draft["leave"] = frozenset(draft["leave"])
        return {
            "draft": FactDraft(**draft),
            "editor": data["editor"] if data["editor"] in EDITORS else DEFAULT_EDITOR,
            "settings": dict(data["settings"]),
            "focus": data["focus"],
            "focus_edit": data.get("focus_edit"),
            "is_guide_seen": bool(data["is_guide_seen"]),
            "stack": _entries(data["stack"], folder),
            "redo": _entries(data["redo"], folder),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOG.warning("session %s cannot be read and starts empty: %r", folder.name, error)
        return {}


def _entries(rows: list[Any], folder: Path) -> tuple[StackEntry, ...]:
    found = []
    for row in rows:
        try:
            found.append(_entry_from_json(row, folder))
        except (KgmetError, KeyError, TypeError, ValueError) as error:
            LOG.warning("an edit of session %s cannot be read and is left out: %r", folder.name, error)
    return tuple(found)


def _entry_to_json(entry: StackEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": entry.name,
        "note": entry.note,
        "is_on": entry.is_on,
        "based_on": list(entry.based_on),
        "report": None if entry.report is None else entry.report.to_json(),
        "curve": [dict(step) for step in entry.curve],
        "exclude": plain(entry.exclude),
        "leave": sorted(entry.leave),
    }


def _entry_from_json(row: Mapping[str, Any], folder: Path) -> StackEntry:
    patch = load_patch(folder / Path(str(row["id"])).name)
    return StackEntry(
        id=patch.id,
        patch=patch,
        name=str(row["name"]),
        note=str(row["note"]),
        is_on=bool(row["is_on"]),
        based_on=tuple(str(item) for item in row["based_on"]),
        report=report_from_json(row["report"]),
        curve=tuple(dict(step) for step in row["curve"]),
        exclude=tuple(switch_from_json(item) for item in row["exclude"]),
        leave=frozenset(str(item) for item in row["leave"]),
    )


def switch_from_json(item: Any) -> Any:
    """A triple's key comes back from JSON as a list; it is compared as a tuple."""
    return tuple(item) if isinstance(item, list) else item


def report_from_json(data: Mapping[str, Any] | None) -> EditReport | None:
    """A saved report; ``None`` where there is none, or where an earlier version wrote it and it cannot be read."""
    try:
        return None if data is None else EditReport.from_json(data)
    except KgmetError as error:
        LOG.warning("the report of an edit was written by another version and is left out: %s", error)
        return None
