"""`FactDraft`, `StackEntry`, `Result`: what a session holds, as values. No Streamlit, no disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgmet.editing.context import EditContext
from kgmet.editing.plan import EditPlan
from kgmet.editing.report import EditReport
from kgmet.fact import FactEdit
from kgmet.write.patch import EditPatch

__all__ = ["FactDraft", "Result", "StackEntry"]


@dataclass(frozen=True, kw_only=True)
class FactDraft:
    """A fact as it stands in the form; may be half typed. Ids are what a person chose from the graph's candidates."""

    subject: str = ""
    prompt: str = ""
    new_object: str = ""
    old_object: str = ""
    relation: str | None = None
    subject_id: str | None = None
    new_object_id: str | None = None
    old_object_id: str | None = None
    exclude: tuple[Any, ...] = ()
    """Triples (keys) and relations (ids) switched off on the Graph page."""
    leave: frozenset[str] = frozenset()
    """Ids of consequences and kept facts that are not held."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing was typed."""
        return not (self.subject or self.prompt or self.new_object)

    @property
    def is_incomplete(self) -> bool:
        """Whether one of the three fields that an edit needs is empty."""
        return not all(text.strip() for text in (self.subject, self.prompt, self.new_object))


@dataclass(frozen=True, eq=False, kw_only=True)
class StackEntry:
    """One applied edit. `plan` and `context` are only there in the process that made it; the rest survives a restart.

    `based_on` are the ids of the entries that were on when it was made. `curve` is its search, one mapping per step.
    """

    id: str
    patch: EditPatch
    name: str
    note: str = ""
    is_on: bool = True
    based_on: tuple[str, ...] = ()
    report: EditReport | None = None
    curve: tuple[Mapping[str, float], ...] = ()
    exclude: tuple[Any, ...] = ()
    leave: frozenset[str] = frozenset()
    plan: EditPlan | None = None
    context: EditContext | None = None

    @property
    def edit(self) -> FactEdit | None:
        """The fact it changes; ``None`` for an adapter from elsewhere that does not say."""
        return self.patch.edits[0] if self.patch.edits else None


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A value with the fingerprint of what it was made from; it is stale once that is no longer what is there now."""

    value: Any
    made_from: str

    def is_stale(self, now: str) -> bool:
        """Whether its inputs have changed since."""
        return self.made_from != now
