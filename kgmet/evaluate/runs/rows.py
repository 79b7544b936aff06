"""One line of ``cases.jsonl``, and the progress that keeps the stages of an edit out of a run's."""

from __future__ import annotations

from typing import Any

from kgmet.base.progress import Progress, ProgressEvent
from kgmet.evaluate.datasets.cases import EvalCase
from kgmet.evaluate.runs.score import CaseScore

__all__ = ["Quiet", "case_row"]


def case_row(case: EvalCase, before: CaseScore, after: CaseScore, *, position: int, batch: int) -> dict[str, Any]:
    """One line of ``cases.jsonl``."""
    asks = [
        {
            "kind": ask.kind.value,
            "prompt": ask.prompt,
            "expected": ask.expected,
            "rejected": ask.rejected,
            "hop": ask.hop,
            "before": was.to_json(),
            "after": now.to_json(),
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


class Quiet:
    """Lets the stages of an edit be cancelled but not drawn: the run's own progress is what is shown."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def report(self, event: ProgressEvent) -> None:
        """Keep it to itself."""

    def check(self) -> None:
        """Ask the run's."""
        self._outer.check()
