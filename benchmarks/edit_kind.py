"""`Kind`: one relation's edits and the words they are measured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Kind"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One relation's edits: `template` is optimised, `paraphrases` and `consequences` are only measured."""

    template: str
    paraphrases: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]
    """Subject, old object, new object."""
    consequences: Mapping[str, tuple[str, ...]]
    """Test wordings by the relation that names what follows."""

    @property
    def wordings(self) -> tuple[str, ...]:
        """Every wording that is only measured."""
        return (*self.paraphrases, *(text for texts in self.consequences.values() for text in texts))
