"""Names under which a session keeps what the Foresee page found."""

from __future__ import annotations

from kgmet.editing.foresee import Foreseen, KeptForecast
from workbench.shared.foreseen import CHECKED, FORESEEN

__all__ = ["CHECKED", "FORESEEN", "PROTECTED", "TICKED", "Shown"]

PROTECTED, TICKED = "foresee-protected", "foresee-ticked"
Shown = Foreseen | KeptForecast
"""A forecast that can be applied, or one that was read back after a restart."""
