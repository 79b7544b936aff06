"""`EditsSoFar`: the earlier patches of a new edit, with the keys they wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.ledger import EditLedger
from kgmet.write.patch import EditPatch, merged_patch

__all__ = ["EditsSoFar"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EditsSoFar:
    """Earlier edits, oldest first. Appending returns a new value; the old one stays valid.

    `ledger` holds the keys of `patches`. Keep one value along a sequence: then the ledger's systems are extended, not
    solved from scratch.
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
        """Append the edits of one more patch."""
        ledger = self.ledger.appended(patch.id, patch.keys).asking(patch.keys, patch.asked, patch.updates)
        ledger = ledger.seeing(patch.features)
        return EditsSoFar(patches=(*self.patches, patch), ledger=ledger)

    def then_merged(self, patch: EditPatch, lm: LoadedLM) -> EditsSoFar:
        """Append one more patch and keep all as a single one: attaching a patch per edit would cost more each time."""
        return replace(self.then(patch), patches=(merged_patch([*self.patches, patch], lm),))
