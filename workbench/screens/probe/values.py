"""What a run of the Probe page found, as values that know no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.graph.reading.consequences import Consequence
from kgmet.graph.triple import Triple
from kgmet.measure.ask import Decoding
from kgmet.measure.compare import AnswerPair, Comparison
from kgmet.measure.question import Question

__all__ = ["Chain", "ProbeRun"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A consequence asked hop by hop: `hops` pairs each triple of its path with the prompt for its object."""

    consequence: Consequence
    hops: tuple[tuple[Triple, Question], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeRun:
    """All that one run found: the comparison, KL(before ‖ after) in nats by pair, the answers along the chains."""

    entry_id: str
    comparison: Comparison
    divergence: tuple[float, ...]
    chains: tuple[Chain, ...]
    hops: Comparison
    decoding: Decoding
    seconds: float = 0.0

    def hop(self, prompt: Question) -> AnswerPair | None:
        """The answers to one hop's prompt."""
        return next((pair for pair in self.hops.pairs if pair.after.question == prompt), None)
