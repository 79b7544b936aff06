"""Results of a Probe run as values, without Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.graph.reading.consequences import Consequence
from kgmet.graph.triple import Triple
from kgmet.measure.ask import Decoding
from kgmet.measure.compare import AnswerPair, Comparison, compare_answers
from kgmet.measure.question import Question
from kgmet.measure.told import Told
from workbench.drawing.probe_story import RUN

__all__ = ["RESULT", "Chain", "ProbeRun"]

RESULT = RUN
"""Name under which a session keeps the last run."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A consequence asked hop by hop: `hops` pairs each triple of its path with the prompt for its object.

    `whole` is the question over all of them; ``None`` without a wording.
    """

    consequence: Consequence
    hops: tuple[tuple[Triple, Question], ...]
    whole: Question | None = None

    @property
    def questions(self) -> tuple[Question, ...]:
        """All questions of the chain."""
        return (*(question for _, question in self.hops), *(() if self.whole is None else (self.whole,)))


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeRun:
    """Results of one run: the comparison, KL(before ‖ after) in nats by pair, the answers along the chains.

    `told` holds the unedited model's answers to the same prompts with the facts told first; ``None`` if not asked.
    """

    entry_id: str
    comparison: Comparison
    divergence: tuple[float, ...]
    chains: tuple[Chain, ...]
    hops: Comparison
    decoding: Decoding
    told: Told | None = None
    seconds: float = 0.0

    @property
    def told_comparison(self) -> Comparison | None:
        """Comparison of the unedited and the told model on the same prompts."""
        if self.told is None:
            return None
        return compare_answers([pair.before for pair in self.comparison.pairs], self.told.answers)

    def hop(self, prompt: Question) -> AnswerPair | None:
        """Return the answers to one hop's prompt."""
        return next((pair for pair in self.hops.pairs if pair.after.question == prompt), None)
