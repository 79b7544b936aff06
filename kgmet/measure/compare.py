"""`compare_probes`: the same prompts before and after, and what that says per kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgmet.measure.prompts import ProbeKind
from kgmet.measure.run import ProbeResult

__all__ = ["KindSummary", "ProbeComparison", "ProbePair", "compare_probes", "wilson_interval"]


@dataclass(frozen=True, kw_only=True)
class ProbePair:
    """One prompt's results with the patch off and on."""

    before: ProbeResult
    after: ProbeResult

    @property
    def holds(self) -> bool | None:
        """Whether the model does after the edit what it should.

        A fact that is to change: the new answer is preferred. One that is not: its true answer keeps at least 95 % of
        the probability it had, or is still the greedy answer. ``None`` where there is no expectation.
        """
        if self.after.expected is None:
            return None
        if self.after.prompt.kind.should_change:
            return self.after.prefers_expected if self.after.rejected is not None else self.after.matches
        before = self.before.expected
        assert before is not None
        return self.after.expected.probability >= 0.95 * before.probability or self.after.expected.is_first

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"before": self.before.to_json(), "after": self.after.to_json(), "holds": self.holds}


@dataclass(frozen=True, kw_only=True)
class KindSummary:
    """Counts for one kind of prompt: of `n`, how many prefer the expected answer, say it first, and hold."""

    kind: ProbeKind
    n: int
    preferred_before: int
    preferred_after: int
    first_before: int
    first_after: int
    holds: int


@dataclass(frozen=True, kw_only=True)
class ProbeComparison:
    """All pairs, in order."""

    pairs: tuple[ProbePair, ...]

    def of(self, kind: ProbeKind) -> tuple[ProbePair, ...]:
        """The pairs of one kind."""
        return tuple(pair for pair in self.pairs if pair.after.prompt.kind is kind)

    def summaries(self) -> tuple[KindSummary, ...]:
        """One per kind that occurs with an expectation, in the order of `ProbeKind`."""
        found = []
        for kind in ProbeKind:
            pairs = [pair for pair in self.of(kind) if pair.after.expected is not None]
            if pairs:
                found.append(
                    KindSummary(
                        kind=kind,
                        n=len(pairs),
                        preferred_before=sum(pair.before.prefers_expected is True for pair in pairs),
                        preferred_after=sum(pair.after.prefers_expected is True for pair in pairs),
                        first_before=sum(_is_first(pair.before) for pair in pairs),
                        first_after=sum(_is_first(pair.after) for pair in pairs),
                        holds=sum(pair.holds is True for pair in pairs),
                    )
                )
        return tuple(found)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain JSON values."""
        return [pair.to_json() for pair in self.pairs]


def compare_probes(before: Sequence[ProbeResult], after: Sequence[ProbeResult]) -> ProbeComparison:
    """Pair results by prompt.

    Raises:
        ValueError: if the two do not hold the same prompts in the same order.
    """
    if [result.prompt for result in before] != [result.prompt for result in after]:
        raise ValueError("before and after must hold the same prompts in the same order")
    return ProbeComparison(pairs=tuple(ProbePair(before=b, after=a) for b, a in zip(before, after, strict=True)))


def wilson_interval(hits: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927), in [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _is_first(result: ProbeResult) -> bool:
    return bool(result.matches) if result.prompt.is_question else bool(result.expected and result.expected.is_first)
