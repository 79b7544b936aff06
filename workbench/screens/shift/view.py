"""Texts, scales and the chosen cell of the Shift page, without Streamlit."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from kgmet.inspect.shift import Quantity, ShiftTrace
from kgmet.inspect.texts import InspectedText
from workbench import wording
from workbench.drawing.heatmaps import Cell, Scale, token_label

__all__ = [
    "READING",
    "SCALES",
    "cell",
    "cell_figures",
    "layer_labels",
    "settle",
    "take_cell",
    "text_label",
    "token_choice",
]

SCALES: dict[Quantity, Scale] = {
    Quantity.LENGTH: Scale(label="relative length", low=0, high=1, unit="× ‖h‖"),
    Quantity.ANGLE: Scale(label="angle", low=0, high=60, unit="degrees", digits=1),
    Quantity.COSINE: Scale(label="cosine", low=-1, high=1),
    Quantity.MAGNITUDE: Scale(label="magnitude", low=-0.5, high=0.5, unit="× ‖h‖"),
    Quantity.ALONG: Scale(label="along", low=-0.5, high=0.5, unit="× ‖h‖"),
    Quantity.ACROSS: Scale(label="across", low=0, high=1, unit="× ‖h‖"),
}
"""Fixed scales, the same for every text and edit, so that pictures can be compared."""

READING: dict[Quantity, str] = {
    Quantity.LENGTH: "How to read it: 0 is untouched, 1 is a shift as long as the state was (‖h‖). It should begin at "
    "the edited token (dotted column) in the edited layers (orange bars) and reach the last token further up.",
    Quantity.ANGLE: "How to read it: how far the state's direction turned. 0 is unchanged, 90 degrees a right angle.",
    Quantity.COSINE: "How to read it: 1 is the same direction as before, 0 at right angles, −1 the opposite.",
    Quantity.MAGNITUDE: "How to read it: blue states became longer, orange ones shorter; near the background's "
    "colour at most the direction changed.",
    Quantity.ALONG: "How to read it: the part of the shift along the state (blue) or against it (orange): it only "
    "changes the length.",
    Quantity.ACROSS: "How to read it: the part of the shift at right angles to the state: it turns. Together with the "
    "part along the state it gives the whole: along² + across² is length².",
}
READ_LENS = (
    "How to read it: each layer's state is put through the model's last norm and vocabulary as if it were the last. "
    "Where solid and dotted lines separate, the edit affects the answer."
)
READ_PROFILE = (
    "How to read it: at the subject's last token (last token where there is no subject). Edit and paraphrases should "
    "rise together; neighbours and unrelated text should stay near 0."
)
READ_SEARCH = (
    "How to read it: the parts of the loss while the shift was searched, unweighted; the search stops as soon as the "
    "new fact and its consequences hold."
)


def text_label(source: InspectedText) -> str:
    """Return kind and text for a selector."""
    return f"{source.kind.value.capitalize()}: {wording.short(source.text, 90)}"


def layer_labels(trace: ShiftTrace) -> list[str]:
    """Return one label per layer."""
    return [str(layer) for layer in range(trace.n_layer)]


def token_choice(trace: ShiftTrace, position: int) -> str:
    """Format a token for a selector: its position, its text, and whether it is the edited one."""
    mark = " (edited)" if position == trace.lookup else ""
    return f"{position}: {trace.tokens[position].strip() or token_label(trace.tokens[position])}{mark}"


def settle(store: MutableMapping[str | int, Any], trace: ShiftTrace, *, layer_key: str, position_key: str) -> None:
    """Keep the chosen cell if it exists in this text; else choose the last token after the last layer.

    Both are written every time: a slider that was away for a run shows its lowest value else.
    """
    for key, count in ((position_key, len(trace.tokens)), (layer_key, trace.n_layer)):
        value = store.get(key, -1)
        store[key] = value if 0 <= value < count else count - 1


def take_cell(store: MutableMapping[str | int, Any], chosen: Cell | None, *, layer_key: str, position_key: str) -> None:
    """Choose the clicked cell; an empty selection changes nothing."""
    if chosen is not None:
        store[layer_key], store[position_key] = chosen.row, chosen.column


def cell(store: MutableMapping[str | int, Any], *, layer_key: str, position_key: str) -> Cell:
    """Return the chosen cell."""
    return Cell(row=store[layer_key], column=store[position_key])


def cell_figures(trace: ShiftTrace, layer: int, position: int) -> dict[str, str]:
    """Return the values at the chosen cell by name: length, angle, magnitude, and the shift's two components."""

    def at(quantity: Quantity) -> float:
        return float(trace.of(quantity)[layer, position])

    before, after = float(trace.before[layer, position]), float(trace.after[layer, position])
    return {
        "relative length of the shift": f"{at(Quantity.LENGTH):.3f} × ‖h‖",
        "angle between before and after": f"{at(Quantity.ANGLE):.1f}° (cosine {at(Quantity.COSINE):.4f})",
        "magnitude of the state": f"{before:.1f} → {after:.1f} ({100 * at(Quantity.MAGNITUDE):+.1f}\u00a0%)",
        "shift along the state": f"{at(Quantity.ALONG):+.3f} × ‖h‖",
        "shift across the state": f"{at(Quantity.ACROSS):.3f} × ‖h‖",
    }
