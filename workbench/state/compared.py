"""`Compared`: a comparison with its inputs, and its JSON file in the session's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kgmet.base.errors import BrokenArtifactError, KgmetError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.editing.config import config_from_mapping, config_to_mapping
from kgmet.editing.editors import editor_named
from kgmet.fact import FactEdit
from kgmet.inspect.comparison import Candidate, CandidateResult, EditorComparison
from kgmet.measure.answer import Answer
from kgmet.measure.compare import compare_answers
from workbench.state.sealed import is_sealed, read_object, write_sealed
from workbench.state.values import Result

__all__ = ["FILE", "Compared", "editors_from_json", "editors_to_json", "load_compared", "save_compared"]

FILE = "compare.json"
_FORMAT = 3
_OLD_NAMES = {"contest": "comparison", "trials": "results"}
"""What format 2 called two of its fields."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compared:
    """A finished or partial comparison. `chosen` is the page's selected edit, `rows` are the candidates as typed."""

    comparison: EditorComparison
    chosen: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class _ChosenRow:
    """One column of the comparison, as typed."""

    editor: str | None = None
    layers: str | None = None
    ridge: float | None = None
    cutoff: float | None = None
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class _SavedResult:
    """One candidate as it is saved, without its patch."""

    label: str
    editor: str
    config: dict[str, Any]
    after: tuple[Answer, ...] | None
    perplexity: float | None
    seconds: dict[str, float]
    error: str


@dataclass(frozen=True, kw_only=True)
class _SavedComparison:
    edit: FactEdit
    before: tuple[Answer, ...]
    perplexity: float
    n_token: int
    results: tuple[_SavedResult, ...]


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """The file."""

    made_from: str
    chosen: str
    rows: tuple[_ChosenRow, ...]
    comparison: dict[str, Any]


def save_compared(folder: Path, result: Result) -> None:
    """Write a `Compared` with the fingerprint of its inputs."""
    compared: Compared = result.value
    data = {
        "format": _FORMAT,
        "made_from": result.made_from,
        "chosen": compared.chosen,
        "rows": plain(compared.rows),
        "comparison": editors_to_json(compared.comparison),
    }
    write_sealed(folder / FILE, data)


def load_compared(folder: Path) -> Result | None:
    """Read what `save_compared` wrote; ``None`` if there is nothing.

    Raises:
        BrokenArtifactError: if the file cannot be read, is of another format or does not hold a comparison.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return None
    try:
        with failures_as(BrokenArtifactError, f"{FILE} holds no comparison"):
            return _result_from(_current(read_object(path, within=folder)))
    except KgmetError as error:
        raise BrokenArtifactError(
            f"The last comparison ({FILE}) cannot be read, and is left out. {error} Compare again."
        ) from error


def _current(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object with the field names of this version."""
    if data["format"] == 2:
        renamed = {_OLD_NAMES.get(name, name): value for name, value in data.items()}
        inner = {_OLD_NAMES.get(name, name): value for name, value in renamed["comparison"].items()}
        return {**renamed, "comparison": inner}
    if data["format"] != _FORMAT:
        raise BrokenArtifactError(
            f"{FILE} is of format {str(data['format'])[:20]}; this version reads 2 and {_FORMAT}."
        )
    if not is_sealed(data):
        raise BrokenArtifactError(f"{FILE} was changed after it was saved.")
    return data


def _result_from(data: Mapping[str, Any]) -> Result:
    saved = value_from(_Saved, data, f"{FILE} holds no comparison")
    comparison = editors_from_json(saved.comparison)
    # Invalid numbers show up when the table is made; detect them here, not on the page.
    comparison.rows()
    rows = tuple(asdict(row) for row in saved.rows)
    return Result(value=Compared(comparison=comparison, chosen=saved.chosen, rows=rows), made_from=saved.made_from)


def editors_to_json(comparison: EditorComparison) -> dict[str, Any]:
    """Return a comparison as plain JSON values, without the candidates' patches."""
    return {
        "edit": plain(comparison.edit),
        "before": plain(comparison.before),
        "perplexity": comparison.perplexity,
        "n_token": comparison.n_token,
        "results": [_result_to_json(outcome) for outcome in comparison.results],
    }


def editors_from_json(data: Mapping[str, Any]) -> EditorComparison:
    """Read what `editors_to_json` made; the results' plans stay ``None``."""
    saved = value_from(_SavedComparison, data, "This is no comparison of editors")
    return EditorComparison(
        edit=saved.edit,
        before=saved.before,
        perplexity=saved.perplexity,
        n_token=saved.n_token,
        results=tuple(_candidate(row, saved.before) for row in saved.results),
    )


def _result_to_json(outcome: CandidateResult) -> dict[str, Any]:
    after = None if outcome.comparison is None else plain([pair.after for pair in outcome.comparison.pairs])
    return {
        "label": outcome.candidate.label,
        "editor": outcome.candidate.editor.name,
        "config": plain(config_to_mapping(outcome.candidate.config)),
        "after": after,
        "perplexity": outcome.perplexity,
        "seconds": dict(outcome.seconds),
        "error": outcome.error,
    }


def _candidate(row: _SavedResult, before: tuple[Answer, ...]) -> CandidateResult:
    editor = editor_named(row.editor)
    return CandidateResult(
        candidate=Candidate(label=row.label, editor=editor, config=config_from_mapping(row.config, base=editor.config)),
        comparison=None if row.after is None else compare_answers(before, row.after),
        perplexity=row.perplexity,
        seconds=row.seconds,
        error=row.error,
    )
