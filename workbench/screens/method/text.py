"""Texts and tables of the Method page, without Streamlit."""

from __future__ import annotations

import pandas as pd

from kgmet.editing.defaults import listed_layers
from kgmet.editing.editors import DEFAULT_EDITOR, EDITORS
from kgmet.inspect.comparison import KINDS
from kgmet.inspect.shift import Quantity
from kgmet.measure.metrics import METRICS

__all__ = ["FIVE_LINES", "LINKS", "PICTURE_ALT", "SYMBOLS", "editors_table", "glossary_table", "symbols_table"]

PICTURE_ALT = (
    "The pipeline: the fact and the graph give a subgraph; from it come the consequences to optimise, the "
    "neighbours whose keys are protected, and in some editors the direction. The shift is searched, written "
    "layer by layer and kept as a patch, and its effect is measured."
)
_LIMIT = EDITORS[DEFAULT_EDITOR].config.target.max_norm_ratio
FIVE_LINES = (
    "**Read the graph** around the subject with the new fact in place of the old one. Every path on from the new "
    "object whose end differs from before is a *consequence*; the same relation of other subjects must *stay*.",
    "**Find the place**: the subject's last token, and its hidden state h after layer L\\*.",
    "**Search the shift** δ by gradient: the new object and its consequences become likely, kept facts stay, and "
    f"‖δ‖ stays below c·‖h‖ (c is {_LIMIT:g} for {DEFAULT_EDITOR}). Some editors take "
    "its direction from a graph encoder.",
    "**Write it**, layer by layer, only into the directions of the key space that ordinary text uses least, "
    "protecting the keys of earlier edits and of the graph's neighbours.",
    "**Keep it beside the weights** as a low-rank patch. No weight of the model is ever changed, so undo is "
    "bit-exact, and before and after are the same model with the patch off and on.",
)
LINKS = (
    ("edit", "Edit a fact", "edit"),
    ("graph", "See the subgraph", "hub"),
    ("shift", "See the shift", "moving"),
    ("trace", "See why", "timeline"),
    ("orthogonality", "See what is protected", "grid_on"),
    ("probe", "Ask before and after", "quiz"),
    ("compare", "Compare editors", "compare"),
)
SYMBOLS: tuple[tuple[str, str, str, str], ...] = (
    ("s, r, o → o*", "subject, relation, old and new object", "FactEdit", "fact.py"),
    ("G", "the subgraph, n_edge triples over n_node entities", "Subgraph", "graph/reading/retrieve.py"),
    (
        "s –r→ o* –r′→ o′*",
        "a consequence of the new fact",
        "Consequence",
        "graph/reading/consequences.py",
    ),
    (
        "L*",
        "the layer after whose output the state is shifted, the last of write.layers",
        "WriteConfig",
        "write/layers.py",
    ),
    ("h", "hidden state at the subject's last token after L*, (d_model)", "TargetShift.before", "search/search.py"),
    (
        "E(G), g",
        "the graph encoder and its vector for the subject, (d_model)",
        "RelationalEncoder",
        "search/directions/encoder.py",
    ),
    ("d", "unit direction of the shift, ‖d‖ = 1", "Direction.unit", "search/directions/source.py"),
    (
        "δ",
        "the shift, (d_model); its length is at most c · ‖h‖, c = target.max_norm_ratio",
        "TargetShift.delta",
        "search/search.py",
    ),
    ("v* = h + δ", "the wanted state", "TargetShift.after", "search/search.py"),
    ("k, K", "keys: inputs of the MLP's down-projection, (n_key, d_key)", "KeyBatch", "write/keys.py"),
    ("E[kkᵀ]", "second moment of ordinary keys, (d_key, d_key)", "KeyMoment", "write/moments.py"),
    (
        "P",
        "projector on the eigenvectors of E[kkᵀ] below the cutoff: the free directions",
        "NullSpace",
        "write/nullspace.py",
    ),
    (
        "K_p",
        "keys of earlier edits and of protected neighbours, which must not move",
        "EditLedger",
        "write/ledger.py",
    ),
    ("R", "residuals: wanted change of each key's output, (n_key, d_model)", "residuals", "write/solve.py"),
    ("λ", "ridge of the solve; smaller: stronger edit, larger: fewer side effects", "write.ridge", "write/solve.py"),
    (
        "μ",
        "weight of ordinary keys within the free directions; 0: none",
        "write.ordinary_weight",
        "write/nullspace.py",
    ),
    ("ΔW", "the update of one down-projection, kept as factors", "LayerUpdate", "write/solve.py"),
)
"""(symbol, meaning, name in the code, file under kgmet/)."""


def symbols_table() -> pd.DataFrame:
    """Return the symbols with their names in the code."""
    return pd.DataFrame(SYMBOLS, columns=["symbol", "meaning", "name", "file"])


def editors_table() -> pd.DataFrame:
    """Return every editor as a composition of parts."""
    return pd.DataFrame(
        [
            {
                "editor": editor.name,
                "what it does": editor.summary,
                "direction": editor.config.direction.source.value,
                "layers": listed_layers(editor.config.write.layers),
                "writer": editor.writer.value,
                "graph": "yes" if editor.uses_graph else "no",
                "source": editor.source or "control",
            }
            for editor in EDITORS.values()
        ]
    )


def glossary_table() -> pd.DataFrame:
    """Return the definition of every number in the workbench."""
    rows = [
        {"number": spec.label, "definition": spec.definition, "better": spec.better, "seen on": "Benchmark"}
        for spec in METRICS.values()
    ]
    rows += [
        {"number": label, "definition": definition, "better": "higher", "seen on": "Probe, Compare"}
        for label, definition in KINDS.values()
    ]
    rows += [
        {"number": quantity.value.capitalize(), "definition": _SHIFT[quantity], "better": "", "seen on": "Shift"}
        for quantity in Quantity
    ]
    rows += [{"number": n, "definition": d, "better": b, "seen on": "Orthogonality"} for n, d, b in _PROTECTION]
    return pd.DataFrame(rows)


_SHIFT = {
    Quantity.LENGTH: "‖h′ − h‖ / ‖h‖ of a state before (h) and after (h′)",
    Quantity.ANGLE: "angle between h and h′, degrees: direction alone",
    Quantity.COSINE: "cosine of that angle",
    Quantity.MAGNITUDE: "‖h′‖ / ‖h‖ − 1: length alone",
    Quantity.ALONG: "part of the shift in the direction of h, × ‖h‖, signed",
    Quantity.ACROSS: "part of the shift at right angles to h, × ‖h‖",
}
_PROTECTION = (
    ("Update in protected space", "share of ‖ΔW‖² along the eigenvectors of E[kkᵀ] above the cutoff", "lower"),
    ("Wanted change that arrives", "how much of the residual the edit's own key receives at one layer", "higher"),
    ("Disturbance of ordinary text", "root mean square ‖ΔW k‖ / ‖W k‖ over ordinary keys k", "lower"),
    ("Drift", "‖after − before‖ / ‖before‖ of a layer's MLP output at a text's subject", "lower"),
    ("Crosstalk", "‖ΔW_a k_b‖ / ‖ΔW_b k_b‖: what edit a does to the key of edit b", "lower"),
)
