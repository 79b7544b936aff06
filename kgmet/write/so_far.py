"""`EditsSoFar`: the patches that a new edit comes after, with the keys they have written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kgmet.write.ledger import EditLedger
from kgmet.write.patch import EditPatch

__all__ = ["EditsSoFar"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EditsSoFar:
    """Earlier edits, oldest first. Appending returns a new value; the old one stays valid.

    `ledger` holds the keys of `patches`. Keep one value along a sequence instead of making it again: the systems that
    the ledger has solved are extended, not solved from the start.
    """

    patches: tuple[EditPatch, ...] = ()
    ledger: EditLedger = field(default_factory=EditLedger)

    @classmethod
    def of(cls, patches: Iterable[EditPatch]) -> EditsSoFar:
        """Return the edits of these patches, oldest first."""
        found = cls()
        for patch in patches:
            found = found.then(patch)
        return found

    def then(self, patch: EditPatch) -> EditsSoFar:
        """These edits and those of one more patch."""
        return EditsSoFar(patches=(*self.patches, patch), ledger=self.ledger.appended(patch.id, patch.keys))
