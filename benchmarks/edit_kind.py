"""`Kind`: one relation's edits and their test wordings."""

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
    """Test wordings by the relation of the consequence."""

    @property
    def wordings(self) -> tuple[str, ...]:
        """Every test wording."""
        return (*self.paraphrases, *(text for texts in self.consequences.values() for text in texts))
