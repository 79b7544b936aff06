"""`BeforeScores`: the unedited model's scores, shared by all runs over the same data and model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kgmet.base.fingerprint import digest, fingerprint_value, plain
from kgmet.base.values import converted
from kgmet.evaluate.datasets.cases import Dataset, EvalCase
from kgmet.evaluate.runs.folder import Table
from kgmet.evaluate.runs.score import CaseScore, ScoreConfig
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["BeforeScores"]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """One line of the file."""

    case_id: str
    score: CaseScore


class BeforeScores:
    """Scores by case; without a file they are kept in memory only."""

    def __init__(self, table: Table | None) -> None:
        self._table = table
        self._known: dict[str, CaseScore] = {}
        self._take_over()

    @classmethod
    def for_run(
        cls, folder: Path | None, *, lm: LoadedLM, dataset: Dataset, config: ScoreConfig, graph: str = ""
    ) -> BeforeScores:
        """Return the scores for this model, data, scoring and graph."""
        if folder is None:
            return cls(None)
        key = digest(lm.fingerprint, dataset.fingerprint, fingerprint_value(config), graph)[:16]
        return cls(Table(folder / f"{key}.jsonl", is_shared=True))

    def of(self, cases: Sequence[EvalCase], measure: Callable[[], Sequence[CaseScore]]) -> list[CaseScore]:
        """Return the scores of these cases; if one is missing, `measure` computes all of them."""
        missing = self._missing(cases)
        if missing and self._table is not None:
            # Another run over the same data may be a few cases ahead.
            self._table.reload()
            self._take_over()
            missing = self._missing(cases)
        if missing:
            fresh = dict(zip((case.case_id for case in cases), measure(), strict=True))
            new = {case_id: fresh[case_id] for case_id in missing}
            if self._table is not None:
                self._table.append({"case_id": case_id, "score": plain(score)} for case_id, score in new.items())
            self._known |= new
        return [self._known[case.case_id] for case in cases]

    def _missing(self, cases: Sequence[EvalCase]) -> list[str]:
        return [case.case_id for case in cases if case.case_id not in self._known]

    def _take_over(self) -> None:
        for row in self._table.rows if self._table is not None else ():
            try:
                kept = converted(row, _Kept)
            except msgspec.ValidationError:  # written by another version: measured again
                continue
            self._known.setdefault(kept.case_id, kept.score)
