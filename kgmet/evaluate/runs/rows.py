"""Lines of ``cases.jsonl``, and a progress that hides the stages of single edits in a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.values import converted
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.runs.score import AskScore, CaseScore
from kgmet.measure.compare import is_unchanged

__all__ = ["case_row", "check_case_row"]


class _Ask(TypedDict):
    kind: AskKind
    prompt: str
    expected: str
    rejected: str | None
    hop: int | None
    before: AskScore
    after: AskScore


class _Texts(TypedDict):
    texts: list[str]
    fluency: float | None
    consistency: float | None


class _CaseRow(TypedDict):
    case_id: str
    position: int
    batch: int
    relation: str
    n_hop: int | None
    n_edits: int
    asks: list[_Ask]
    before: _Texts
    after: _Texts


def check_case_row(row: Mapping[str, Any], *, where: str) -> None:
    """Check that a line of ``cases.jsonl`` has the form that `case_row` writes.

    Raises:
        BrokenArtifactError: if a key is missing or has the wrong type, or a score is not finite; says which.
    """
    try:
        read = converted(row, _CaseRow)
    except msgspec.ValidationError as error:
        raise BrokenArtifactError(f"{where}: {error}.") from error
    for number, ask in enumerate(read["asks"], start=1):
        for score in (ask["before"], ask["after"]):
            if not math.isfinite(score.accuracy) or not math.isfinite(score.logprob):
                raise BrokenArtifactError(f"{where}: the score of prompt {number} is not a finite number.")


def case_row(case: EvalCase, before: CaseScore, after: CaseScore, *, position: int, batch: int) -> dict[str, Any]:
    """Make one line of ``cases.jsonl``."""
    asks = [
        {
            "kind": ask.kind.value,
            "prompt": ask.prompt,
            "expected": ask.expected,
            "rejected": ask.rejected,
            "hop": ask.hop,
            "before": was.to_json(),
            "after": now.to_json(),
            "unchanged": _unchanged(ask, was, now),
        }
        for ask, was, now in zip(case.asks, before.asks, after.asks, strict=True)
    ]
    return {
        "case_id": case.case_id,
        "position": position,
        "batch": batch,
        "relation": case.relation,
        "n_hop": case.n_hop,
        "n_edits": len(case.edits),
        "asks": asks,
        **{
            name: {"texts": list(score.texts), "fluency": score.fluency, "consistency": score.consistency}
            for name, score in (("before", before), ("after", after))
        },
    }


def _unchanged(ask: Ask, was: AskScore, now: AskScore) -> bool | None:
    """Return whether a kept fact's answer is unchanged or true; ``None`` if no text was generated."""
    if not ask.kind.should_stay or was.text is None or now.text is None:
        return None
    return bool(now.said) or is_unchanged(was.text, now.text)
