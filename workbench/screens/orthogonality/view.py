"""Texts, tables and scales of the Orthogonality page, without Streamlit."""

from __future__ import annotations

import pandas as pd

from kgmet.inspect.overlap import Drift, KeyOverlap, OverlapKind
from kgmet.inspect.spectrum import CutoffCost
from workbench import wording
from workbench.drawing.heatmaps import Scale
from workbench.drawing.protection import drift_table, headline, share, write_table

__all__ = [
    "DRIFT_SCALE",
    "OVERLAP_SCALES",
    "cost_table",
    "drift_labels",
    "drift_table",
    "edit_labels",
    "headline",
    "overlap_sentence",
    "share",
    "together",
    "trade_sentence",
    "write_table",
]

DRIFT_SCALE = Scale(label="drift", low=0, high=0.2, unit="× ‖output‖")
OVERLAP_SCALES: dict[OverlapKind, Scale] = {
    OverlapKind.COSINE: Scale(label="cosine", low=-1, high=1),
    OverlapKind.FREE_COSINE: Scale(label="cosine", low=-1, high=1),
    OverlapKind.CROSSTALK: Scale(label="crosstalk", low=0, high=0.5, unit="× own change"),
}
READ_SPECTRUM = (
    "How to read it: ordinary text mostly uses the right (large eigenvalues). This edit was allowed to write in "
    "the green part. Moving the cutoff to the right gives more of the wanted change and more disturbance of "
    "ordinary text."
)
READ_ENERGY = (
    "How to read it: blue bars stay inside the green part, orange ones show the same write without the projection: "
    "it also uses directions that ordinary text uses."
)
READ_OVERLAP: dict[OverlapKind, str] = {
    OverlapKind.COSINE: "How to read it: edits whose keys point the same way (blue) share what they write on; near the "
    "background's colour they cannot disturb each other.",
    OverlapKind.FREE_COSINE: "How to read it: the same after the projection, for the part of the keys that is "
    "written to.",
    OverlapKind.CROSSTALK: "How to read it: row on column: how much the row's update moves the output at the column's "
    "subject, relative to the column's own update. Later edits protect the keys of earlier ones, so below the "
    "diagonal it should be darker or lighter by orders of magnitude than above: near 0.",
}
READ_DRIFT = (
    "How to read it: how much each edited layer's output changed at the subject of each text. The edit's own row is "
    "meant to change; protected neighbours should stay near 0, other neighbours and unrelated text as well. The "
    "subject's other facts share its key and move with it: whether their answers stay is asked on Probe."
)


def together(n_edit: int) -> str:
    """Explain, for a patch of several edits, which values belong to one edit and which to all."""
    return (
        f"The {n_edit} edits of this patch were written together: spectrum and energy are the whole patch's, drift is "
        "measured at the texts of the chosen edit, and edit × edit has a row for each."
    )


def cost_table(actual: CutoffCost, moved: CutoffCost) -> pd.DataFrame:
    """Return effect and cost of the edit's own cutoff and another one, side by side."""
    rows = [
        ("free directions", f"{actual.rank}", f"{moved.rank}"),
        ("eigenvalue at the cutoff", f"{actual.eigenvalue:.3g}", f"{moved.eigenvalue:.3g}"),
        ("wanted change that arrives", wording.percent(actual.reached), wording.percent(moved.reached)),
        ("part of the key that can be written", wording.percent(actual.writable), wording.percent(moved.writable)),
        ("ordinary text's energy in free directions", *(wording.percent(c.text_energy) for c in (actual, moved))),
        ("disturbance of ordinary text", *(wording.percent(c.disturbance) for c in (actual, moved))),
        ("protected keys moved", *(wording.percent(c.kept_moved) for c in (actual, moved))),
    ]
    return pd.DataFrame(rows, columns=["", "as written", "here"]).set_index("")


def trade_sentence(actual: CutoffCost, moved: CutoffCost) -> str:
    """Describe the effect of moving the cutoff."""
    if actual.rank == moved.rank:
        return "This is the cutoff the edit was written with. Move it to see what another one would cost."
    more = moved.rank > actual.rank
    arrives = 100 * (moved.reached - actual.reached)
    disturbed = 100 * (moved.disturbance / actual.disturbance - 1) if actual.disturbance > 0 else 0.0
    compared = f"{abs(disturbed):.0f}\u00a0% {'more' if disturbed > 0 else 'less'}"
    return (
        f"With {abs(moved.rank - actual.rank)} {'more' if more else 'fewer'} free directions {arrives:+.1f} points "
        f"of the wanted change arrive at this layer, and ordinary text is disturbed {compared}."
    )


def edit_labels(overlap: KeyOverlap) -> list[str]:
    """Return one short, numbered label per edit."""
    return [
        f"{number}. {wording.short(edit.subject, 22)} → {wording.short(edit.new_object, 14)}"
        for number, edit in enumerate(overlap.edits, start=1)
    ]


def overlap_sentence(overlap: KeyOverlap, kind: OverlapKind, *, layer: int, row: int, column: int) -> str:
    """Describe one cell in a sentence."""
    value = float(overlap.of(kind)[overlap.layers.index(layer), row, column])
    first, second = (f"“{overlap.edits[n].subject}”" for n in (row, column))
    if value != value:
        return f"{first} and {second} were written together: not measured apart."
    if kind is OverlapKind.CROSSTALK:
        return (
            f"Layer {layer}: the edit of {first} moves {second} by {wording.percent(value)} of what its own edit does."
        )
    return f"Layer {layer}: the {kind.value.replace('keys', f'the keys of {first} and {second}')} is {value:.4f}."


def drift_labels(drift: Drift) -> list[str]:
    """Return one label per text: kind and subject, or the beginning of the text."""
    return [
        f"{text.kind.value}: {wording.short(text.phrase.subject if text.has_subject else text.text, 34)}"
        for text in drift.texts
    ]
