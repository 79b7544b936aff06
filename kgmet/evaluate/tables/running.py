"""`running_shares`: a run's shares as a function of the number of scored cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.evaluate.datasets.cases import AskKind
from kgmet.measure.metrics import wilson_interval

__all__ = ["RunningShare", "running_shares"]


@dataclass(frozen=True, kw_only=True)
class RunningShare:
    """Share of `n_ask` prompts of one kind that prefer the expected answer after `n_case` cases, with 95 % interval."""

    n_case: int
    share: float
    n_ask: int
    interval: tuple[float, float]


def running_shares(
    rows: Sequence[Mapping[str, Any]], *, state: str = "after", most: int = 200
) -> dict[AskKind, tuple[RunningShare, ...]]:
    """Return, by kind of prompt, one point per case in editing order; kinds without prompts are left out.

    Args:
        rows: cases of a run, as in ``cases.jsonl``.
        state: ``after`` or ``before``.
        most: most points of a curve; evenly thinned above that, the last one kept.
    """
    ordered = sorted(rows, key=lambda row: int(row["position"]))
    found: dict[AskKind, tuple[RunningShare, ...]] = {}
    for kind in AskKind:
        points: list[RunningShare] = []
        hits = n = 0
        for number, row in enumerate(ordered, start=1):
            verdicts = list(_verdicts(row["asks"], kind, state))
            hits, n = hits + sum(verdicts), n + len(verdicts)
            if n and verdicts:
                points.append(RunningShare(n_case=number, share=hits / n, n_ask=n, interval=wilson_interval(hits, n)))
        if points:
            step = -(-len(points) // most)
            found[kind] = tuple(points[::-step][::-1])
    return found


def _verdicts(asks: Iterable[Mapping[str, Any]], kind: AskKind, state: str) -> Iterable[bool]:
    for ask in asks:
        if ask["kind"] == kind.value and ask[state]["preferred"] is not None:
            yield bool(ask[state]["preferred"])
