"""`EditsSoFar`: the earlier patches of a new edit, with the keys they wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.ledger import EditLedger
from kgmet.write.patch import EditPatch, merged_patch
from kgmet.write.stated import MeasuredStatement, StatedFact, still_stated

__all__ = ["EditsSoFar"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EditsSoFar:
    """Earlier edits, oldest first. Appending returns a new value; the old one stays valid.

    `ledger` holds the keys of `patches`. Keep one value along a sequence: then the ledger's systems are extended, not
    solved from scratch, and what an edit made true is measured once.
    """

    patches: tuple[EditPatch, ...] = ()
    ledger: EditLedger = field(default_factory=EditLedger)
    measured: dict[StatedFact, MeasuredStatement] = field(default_factory=dict, repr=False)
    """What was measured of `stated` so far, each on the model as it was then; shared along a sequence."""

    @property
    def stated(self) -> tuple[StatedFact, ...]:
        """The facts that these edits made true, oldest first, without those that a later edit replaced."""
        return still_stated(patch.statements for patch in self.patches)

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
        return EditsSoFar(patches=(*self.patches, patch), ledger=ledger, measured=self.measured)

    def then_merged(self, patch: EditPatch, lm: LoadedLM) -> EditsSoFar:
        """Append one more patch and keep all as a single one: attaching a patch per edit would cost more each time."""
        return replace(self.then(patch), patches=(merged_patch([*self.patches, patch], lm),))
