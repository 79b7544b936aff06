"""`Compared`: a comparison with its inputs, and how it is kept in the session's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.editing.config import config_from_mapping, config_to_mapping
from kgmet.editing.editors import editor_named
from kgmet.fact import FactEdit
from kgmet.inspect.comparison import Candidate, CandidateResult, EditorComparison
from kgmet.measure.answer import Answer
from kgmet.measure.compare import compare_answers
from workbench.state.kept import EarlierFile, ResultCodec
from workbench.state.sealed import is_sealed

__all__ = ["CODEC", "EARLIER", "Compared", "editors_from_json", "editors_to_json"]

EARLIER = "compare.json"
"""The file's name up to version 0.2, in formats 2 and 3."""
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
    """What is kept of a `Compared`."""

    chosen: str
    rows: tuple[_ChosenRow, ...]
    comparison: dict[str, Any]


def _to_json(compared: Compared) -> dict[str, Any]:
    return {
        "chosen": compared.chosen,
        "rows": plain(compared.rows),
        "comparison": editors_to_json(compared.comparison),
    }


def _from_json(data: Mapping[str, Any]) -> Compared:
    saved = value_from(_Saved, data, "This is no comparison", advice="Compare again.")
    comparison = editors_from_json(saved.comparison)
    # Invalid numbers show up when the table is made; detect them here, not on the page.
    comparison.rows()
    return Compared(comparison=comparison, chosen=saved.chosen, rows=tuple(asdict(row) for row in saved.rows))


def _upgraded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the contents of a file of an earlier version as `save_result` would have written them."""
    if data["format"] == 2:
        data = {_OLD_NAMES.get(name, name): value for name, value in data.items()}
        inner = {_OLD_NAMES.get(name, name): value for name, value in data["comparison"].items()}
        data = {**data, "comparison": inner}
    elif data["format"] != 3:
        raise BrokenArtifactError(f"{EARLIER} is of format {str(data['format'])[:20]}; this version reads 2 and 3.")
    elif not is_sealed(data):
        raise BrokenArtifactError(f"{EARLIER} was changed after it was saved.")
    return {"made_from": data["made_from"], "value": {name: data[name] for name in ("chosen", "rows", "comparison")}}


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


CODEC = ResultCodec(
    name="compare",
    what="The last comparison",
    to_json=_to_json,
    from_json=_from_json,
    earlier=EarlierFile(name=EARLIER, upgraded=_upgraded),
)
"""How the comparison survives a restart."""
