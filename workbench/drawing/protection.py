"""What the Orthogonality page measures of an edit, and its words: for the page and for the file that is shared.

No Streamlit here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from kgmet.inspect.overlap import Drift, KeyOverlap
from kgmet.inspect.spectrum import LayerWrite
from kgmet.inspect.texts import TextKind
from workbench import wording

__all__ = ["PROTECTION", "Protection", "drift_table", "headline", "share", "write_table"]

PROTECTION = "orthogonality"
"""Name of the result."""
_COMPARED = ("cosine", "free_cosine", "crosstalk")
ROUNDING = 1e-10
"""Shares of energy below this are rounding noise of the float32 factors."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Protection:
    """Values of the Orthogonality page. `overlap` is ``None`` without two edits to compare."""

    writes: tuple[LayerWrite, ...]
    drift: Drift
    overlap: KeyOverlap | None

    @property
    def n_number(self) -> int:
        """How many numbers it holds."""
        of_writes = sum(
            tensor.numel()
            for write in self.writes
            for tensor in (write.eigenvalues, write.keys, write.kept, write.wanted, write.update)
        )
        return of_writes + (0 if self.overlap is None else 3 * self.overlap.cosine.numel())

    def only_of(self, edits: Collection[str]) -> Protection:
        """Return it with the overlap of these edits alone, by their ids, and with none if that leaves less than two."""
        if self.overlap is None:
            return self
        rows = [row for row, edit in enumerate(self.overlap.edits) if edit.id in edits]
        if len(rows) < 2:
            return replace(self, overlap=None)
        values = {name: getattr(self.overlap, name)[:, rows][:, :, rows] for name in _COMPARED}
        left = tuple(self.overlap.edits[row] for row in rows)
        return replace(self, overlap=replace(self.overlap, edits=left, **values))


def share(value: float) -> str:
    """Format a share; rounding noise is shown as 0."""
    return wording.percent(0) if value < ROUNDING else wording.percent(value)


def headline(writes: Sequence[LayerWrite], drift: Drift) -> list[tuple[str, str, str]]:
    """Return (label, value, help) of the page's first row."""
    written = max(write.protected_share for write in writes)
    without = [write.protected_share_unprojected for write in writes if len(write.keys)]
    means = {summary.kind: summary for summary in drift.by_kind()}
    found = [
        (
            "Update in protected space",
            share(written),
            f"Share of the update's energy, largest of all layers: {written:.0e}. Ideally 0; below 1e-10 it is "
            "rounding.",
        ),
        (
            "Without the projection",
            f"{100 * min(without):.0f}–{100 * max(without):.0f} %" if without else wording.NOT_MEASURED,
            "The same write without the null-space projection, lowest and highest layer.",
        ),
    ]
    for kind in (TextKind.PROTECTED, TextKind.NEIGHBOUR):
        if kind in means:
            about = (
                f"Mean of {means[kind].n} texts and all edited layers; largest {wording.percent(means[kind].largest)}"
            )
            found.append((f"Drift, {kind.value}s", wording.percent(means[kind].mean), about))
    return found


def write_table(writes: Sequence[LayerWrite]) -> pd.DataFrame:
    """Return one row per edited layer."""
    return pd.DataFrame(
        [
            {
                "layer": write.layer,
                "free directions": f"{write.rank} of {len(write.eigenvalues)}",
                "in protected space": share(write.protected_share),
                "without projection": wording.percent(write.protected_share_unprojected if len(write.keys) else None),
                "keys kept": len(write.kept),
                "wanted change that arrives": wording.percent(
                    write.cost(write.rank).reached if len(write.keys) else None
                ),
            }
            for write in writes
        ]
    )


def drift_table(drift: Drift) -> pd.DataFrame:
    """Return mean and largest drift of each kind of text."""
    return pd.DataFrame(
        [
            {
                "kind of text": summary.kind.value,
                "n": summary.n,
                "mean drift": wording.percent(summary.mean),
                "largest": wording.percent(summary.largest),
            }
            for summary in drift.by_kind()
        ]
    )
