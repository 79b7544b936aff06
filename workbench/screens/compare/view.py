"""Tables of the Compare page: candidates as typed, and measures beside the answers; without Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.editors import EDITORS, IN_CONTEXT, Editor
from kgmet.inspect.comparison import Candidate, ComparisonRow, EditorComparison
from workbench import wording

__all__ = [
    "DEFAULT_ROWS",
    "comparison_alt",
    "errors",
    "measures_table",
    "plain_rows",
    "candidates_from_rows",
    "shown_value",
]

DEFAULT_ROWS: tuple[Mapping[str, Any], ...] = tuple(
    {"editor": name, "layers": "", "ridge": None, "cutoff": None, "steps": None}
    for name in ("KGMET", "AlphaEdit", "MEMIT", "random")
    if name in EDITORS
)
"""Initial rows of the form."""


def candidates_from_rows(
    rows: Sequence[Mapping[str, Any]], *, config_of: Callable[[Editor], EditConfig] = lambda editor: editor.config
) -> list[Candidate]:
    """Return the candidates from the rows of the form; an empty cell means the editor's setting by `config_of`.

    Raises:
        ConfigError: if a row has no editor or a value out of range, or there is no row; says which.
    """
    found: list[Candidate] = []
    known = {**EDITORS, **IN_CONTEXT}
    for number, row in enumerate(rows, start=1):
        name = row.get("editor")
        if name is None or name not in known:
            if not any(_given(value) for value in row.values()):
                continue
            raise ConfigError(f"Row {number} names no editor. Choose one, or delete the row.")
        try:
            config = config_from_mapping(_settings(row), base=config_of(known[name]))
        except ConfigError as error:
            raise ConfigError(f"Row {number}: {error}") from error
        found.append(Candidate(label=_label(row, found), editor=known[name], config=config))
    if not found:
        raise ConfigError("There is nothing to compare. Choose at least one editor.")
    return found


def plain_rows(rows: Sequence[Mapping[Any, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the rows of the form as plain values, an empty cell as ``None``, to store with the result."""
    kinds = {"editor": str, "layers": str, "ridge": float, "cutoff": float, "steps": int}
    return tuple(
        {
            name: kind(row[name]) if _given(row.get(name)) else "" if kind is str else None
            for name, kind in kinds.items()
        }
        for row in rows
    )


def measures_table(comparison: EditorComparison) -> pd.DataFrame:
    """Return the measures that are no counts of answers: one per row, one candidate per column."""
    rows = [row for row in comparison.rows() if row.unit != "share"]
    labels = [outcome.candidate.label for outcome in comparison.results]
    data = {label: [shown_value(row, column) for row in rows] for column, label in enumerate(labels)}
    names = [f"{row.label} {'↑' if row.better == 'higher' else '↓'}" for row in rows]
    return pd.DataFrame(data, index=pd.Index(names, name="measure"))


def errors(comparison: EditorComparison) -> list[str]:
    """Return a line for each candidate that failed."""
    return [f"{outcome.candidate.label}: {outcome.error}" for outcome in comparison.results if outcome.error]


def shown_value(row: ComparisonRow, column: int) -> str:
    """Format one cell: the value, with n and interval if there are any; ★ if its interval lies apart."""
    item = row.values[column]
    if item is None or item.value is None:
        return wording.NOT_MEASURED
    mark = " ★" if column == row.best else ""
    if row.unit == "probability":
        return wording.percent(item.value) + mark
    if row.unit == "s":
        return f"{item.value:.1f} s{mark}"
    if row.unit == "share":
        return f"{wording.percent(item.value)} ({round(item.value * item.n)} of {item.n}){mark}"
    around = "" if item.interval is None else f" ({item.interval[0]:.3f}–{item.interval[1]:.3f}; n {item.n})"
    return f"{item.value:.3f} {row.unit}{around}{mark}"


def comparison_alt(comparison: EditorComparison) -> str:
    """Describe in a sentence which candidate is apart from the others in which row."""
    parts = [
        f"{comparison.results[row.best].candidate.label} is apart from the others in {row.label.lower()}"
        for row in comparison.rows()
        if row.best is not None
    ]
    return "; ".join(parts) + "." if parts else "All intervals overlap: no column is better than the others."


def _given(value: Any) -> bool:
    return value is not None and value == value and str(value).strip() != ""


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if _given(row.get("layers")):
        try:
            layers = [int(part) for part in str(row["layers"]).replace(";", ",").split(",") if part.strip()]
        except ValueError:
            raise ConfigError(f"layers must be numbers with commas between them, got {row['layers']!r}") from None
        settings.setdefault("write", {})["layers"] = layers
    if _given(row.get("ridge")):
        settings.setdefault("write", {})["ridge"] = float(row["ridge"])
    if _given(row.get("cutoff")):
        settings["cutoff"] = {"kind": "absolute", "value": float(row["cutoff"])}
    if _given(row.get("steps")):
        settings["target"] = {"max_steps": int(row["steps"])}
    return settings


def _label(row: Mapping[str, Any], taken: Sequence[Candidate]) -> str:
    names = {"layers": "layers", "ridge": "λ", "cutoff": "cutoff", "steps": "steps"}
    own = ", ".join(
        f"{name} {row[key]:g}" if isinstance(row[key], (int, float)) else f"{name} {row[key]}"
        for key, name in names.items()
        if _given(row.get(key))
    )
    label = f"{row['editor']} ({own})" if own else str(row["editor"])
    count = sum(candidate.label == label or candidate.label.startswith(f"{label} #") for candidate in taken)
    return f"{label} #{count + 1}" if count else label
