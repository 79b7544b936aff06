"""Tables of the Compare page: candidates as typed, and results with the best of each row; without Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from kgmet.base.errors import ConfigError
from kgmet.editing.config import config_from_mapping
from kgmet.editing.editors import EDITORS
from kgmet.inspect.comparison import Candidate, ComparisonRow, EditorComparison
from workbench import wording

__all__ = [
    "DEFAULT_ROWS",
    "answers_table",
    "comparison_alt",
    "comparison_table",
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


def candidates_from_rows(rows: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """Return the candidates from the rows of the form; an empty cell means the editor's own setting.

    Raises:
        ConfigError: if a row has no editor or a value out of range, or there is no row; says which.
    """
    found: list[Candidate] = []
    for number, row in enumerate(rows, start=1):
        name = row.get("editor")
        if name is None or name not in EDITORS:
            if not any(_given(value) for value in row.values()):
                continue
            raise ConfigError(f"Row {number} names no editor. Choose one, or delete the row.")
        try:
            config = config_from_mapping(_settings(row), base=EDITORS[name].config)
        except ConfigError as error:
            raise ConfigError(f"Row {number}: {error}") from error
        found.append(Candidate(label=_label(row, found), editor=EDITORS[name], config=config))
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


def comparison_table(comparison: EditorComparison) -> Styler:
    """Return the display table: one measure per row, one candidate per column, the best of each row highlighted."""
    rows = comparison.rows()
    labels = [outcome.candidate.label for outcome in comparison.results]
    data = {label: [shown_value(row, column) for row in rows] for column, label in enumerate(labels)}
    frame = pd.DataFrame(data, index=pd.Index([_with_arrow(row) for row in rows], name="measure"))
    marks = pd.DataFrame(
        [[_BEST if column in row.best else "" for column in range(len(labels))] for row in rows],
        index=frame.index,
        columns=frame.columns,
    )
    return frame.style.apply(lambda _: marks, axis=None)


def answers_table(comparison: EditorComparison) -> pd.DataFrame:
    """Return the answers to the edit's prompt, unedited and after each candidate, or the error."""
    unedited = comparison.before[0].said.strip() if comparison.before else wording.NOT_MEASURED
    rows = [{"editor": "before this edit", "answer": unedited}]
    rows += [
        {"editor": outcome.candidate.label, "answer": outcome.answer or outcome.error or wording.NOT_MEASURED}
        for outcome in comparison.results
    ]
    return pd.DataFrame(rows)


def shown_value(row: ComparisonRow, column: int) -> str:
    """Format one cell: the value, with its n if informative."""
    item = row.values[column]
    if item is None or item.value is None:
        return wording.NOT_MEASURED
    mark = " ★" if column in row.best else ""
    if row.unit == "share":
        return f"{wording.percent(item.value)} ({round(item.value * item.n)} of {item.n}){mark}"
    if row.unit == "probability":
        return wording.percent(item.value) + mark
    return f"{item.value:.3f} {row.unit}{mark}" if row.unit != "s" else f"{item.value:.1f} s{mark}"


def comparison_alt(comparison: EditorComparison) -> str:
    """Describe in a sentence which candidate is best in which row."""
    wins: dict[str, list[str]] = {}
    for row in comparison.rows():
        for column in row.best:
            wins.setdefault(comparison.results[column].candidate.label, []).append(row.label.lower())
    parts = [f"{label} is best in {', '.join(names)}" for label, names in wins.items()]
    return "; ".join(parts) + "." if parts else "No column is better than the others."


_BEST = "font-weight: 700; background-color: rgba(0, 158, 115, 0.22)"


def _with_arrow(row: ComparisonRow) -> str:
    return f"{row.label} {'↑' if row.better == 'higher' else '↓'}"


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
