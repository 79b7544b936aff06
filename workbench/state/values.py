"""`FactDraft`, `StackEntry`, `SavedSession`, `Result`: values of a session, without Streamlit or disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kgmet.editing.context import EditContext
from kgmet.editing.editors import DEFAULT_EDITOR
from kgmet.editing.plan import EditPlan, SearchedEdits
from kgmet.editing.report import EditReport
from kgmet.fact import FactEdit
from kgmet.graph.reading.retrieve import Switch
from kgmet.write.patch import EditPatch

__all__ = ["TEXTS", "FactDraft", "Result", "SavedSession", "StackEntry"]

TEXTS = ("subject", "template", "new_object", "old_object")
"""The typed texts of a fact, named as in `FactEdit`; all but the last are required."""


@dataclass(frozen=True, kw_only=True)
class FactDraft:
    """The fact in the form, possibly incomplete. Fields are named as in `FactEdit`; ids are the user's choices.

    `template` may also hold the subject itself instead of ``{}``, as `FactEdit.from_prompt` reads it.
    """

    subject: str = ""
    template: str = ""
    new_object: str = ""
    old_object: str = ""
    relation: str | None = None
    subject_id: str | None = None
    new_object_id: str | None = None
    old_object_id: str | None = None
    exclude: tuple[Switch, ...] = ()
    """Triples (keys) and relations (ids) switched off on the Graph page."""
    leave: frozenset[str] = frozenset()
    """Ids of consequences and kept facts that are left out."""

    @classmethod
    def of(cls, edit: FactEdit) -> FactDraft:
        """Return a fact's texts as if they were typed; relation and ids are found again."""
        return cls(
            subject=edit.subject,
            template=edit.template,
            new_object=edit.new_object,
            old_object=edit.old_object or "",
        )

    @property
    def edit(self) -> FactEdit:
        """The typed fact, checked.

        Raises:
            RequestError: if a field is invalid; says which and how to correct it.
        """
        return FactEdit.from_prompt(
            self.template,
            subject=self.subject,
            new_object=self.new_object,
            old_object=self.old_object or None,
            relation=self.relation,
            subject_id=self.subject_id,
            new_object_id=self.new_object_id,
            old_object_id=self.old_object_id,
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the required fields that are empty."""
        return tuple(name for name in TEXTS[:3] if not getattr(self, name).strip())

    @property
    def is_blank(self) -> bool:
        """Whether nothing was typed."""
        return not (self.subject or self.template or self.new_object)

    @property
    def is_incomplete(self) -> bool:
        """Whether one of the three required fields is empty."""
        return bool(self.missing)


@dataclass(frozen=True, eq=False, kw_only=True)
class StackEntry:
    """One applied edit. `context` and `searched` exist only in the process that made it; the rest survives a restart.

    `based_on` are the ids of the entries that were on when it was made. `curve` is its search curve, one row per step.
    `figures` came with it if it was opened from a link: by name, what was measured of it elsewhere.
    """

    patch: EditPatch
    name: str
    note: str = ""
    is_on: bool = True
    based_on: tuple[str, ...] = ()
    report: EditReport | None = None
    curve: tuple[Mapping[str, float], ...] = ()
    exclude: tuple[Switch, ...] = ()
    leave: frozenset[str] = frozenset()
    figures: Mapping[str, Result] = field(default_factory=dict)
    context: EditContext | None = None
    searched: SearchedEdits | None = None

    @classmethod
    def made(cls, plan: EditPlan, report: EditReport, *, based_on: tuple[str, ...]) -> StackEntry:
        """Return the session's record of a plan's first edit."""
        context = plan.contexts[0]
        return cls(
            patch=plan.patch,
            name=cls.name_of(plan.patch),
            based_on=based_on,
            report=report,
            curve=tuple(plan.shifts[0].curve) if plan.shifts else (),
            exclude=context.excluded,
            leave=context.left,
            context=context,
            searched=plan.searched if len(plan.contexts) == 1 else None,
        )

    @staticmethod
    def name_of(patch: EditPatch, otherwise: str = "an edit without a name") -> str:
        """Return the default name of an edit; an imported patch may have no known fact."""
        return f"{patch.edits[0].subject} → {patch.edits[0].new_object}" if patch.edits else otherwise

    @property
    def id(self) -> str:
        """The patch's id."""
        return self.patch.id

    @property
    def edit(self) -> FactEdit | None:
        """The edited fact; ``None`` for an imported adapter without this information."""
        return self.patch.edits[0] if self.patch.edits else None


@dataclass(frozen=True, eq=False, kw_only=True)
class SavedSession:
    """The part of a session that survives a restart."""

    draft: FactDraft = FactDraft()
    editor: str = DEFAULT_EDITOR
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the editor's own settings, nested as in `config_to_mapping`."""
    stack: tuple[StackEntry, ...] = ()
    """Applied edits, oldest first."""
    redo: tuple[StackEntry, ...] = ()
    """Undone edits; the last one would be redone first."""
    focus: str | None = None
    """Id of the entry that other pages show; the newest if ``None``."""
    focus_edit: str | None = None
    """Id of the shown edit in a patch of several; the first if the patch has no such edit."""
    is_guide_seen: bool = False

    @property
    def entries(self) -> tuple[StackEntry, ...]:
        """All edits, undone ones last."""
        return (*self.stack, *self.redo)

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing worth saving."""
        return not self.entries and self.draft.is_blank

    def pushed(self, entry: StackEntry) -> SavedSession:
        """Return the session with an edit on top and an empty redo list."""
        others = tuple(item for item in self.stack if item.id != entry.id)
        return replace(self, stack=(*others, entry), redo=(), focus=entry.id)

    def added(self, entry: StackEntry) -> SavedSession:
        """Return the session with an edit on top that comes from elsewhere; undone ones can still be redone.

        One with the same id that is there already is kept as it is, and applied again if it was undone.
        """
        own = next((item for item in self.entries if item.id == entry.id), entry)
        stack = self.stack if own in self.stack else (*self.stack, replace(own, is_on=True))
        redo = tuple(item for item in self.redo if item.id != entry.id)
        return replace(self, stack=stack, redo=redo, focus=entry.id, focus_edit=None)

    def changed(self, entry_id: str, **values: Any) -> SavedSession:
        """Return the session with another name, note or switch of one applied edit."""
        return replace(self, stack=tuple(replace(e, **values) if e.id == entry_id else e for e in self.stack))


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A value with the fingerprint of its inputs; it is stale once the inputs change."""

    value: Any
    made_from: str

    def is_stale(self, now: str) -> bool:
        """Return whether its inputs have changed since."""
        return self.made_from != now
