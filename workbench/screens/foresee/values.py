"""Names under which a session keeps what only the Foresee page reads; see `shared.foreseen` for the others."""

from __future__ import annotations

from kgmet.editing.foresee import Foreseen, KeptForecast

__all__ = ["PROTECTED", "TICKED", "Shown"]

PROTECTED, TICKED = "foresee-protected", "foresee-ticked"
Shown = Foreseen | KeptForecast
"""A forecast that can be applied, or one that was read back after a restart."""
