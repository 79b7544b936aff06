"""How the answers to probes, the chains hop by hop and what of them is told on are kept over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.graph.codec import graph_json
from kgmet.graph.reading.consequences import Consequence
from kgmet.graph.triple import Triple
from kgmet.measure.ask import Decoding
from kgmet.measure.question import Question
from kgmet.measure.told import Told
from workbench.drawing.probe_story import RESULT as STORY
from workbench.drawing.probe_story import ProbeStory
from workbench.screens.probe.values import RESULT, Chain, ProbeRun
from workbench.state.answers_json import comparison_from_json, comparison_to_json
from workbench.state.kept import ResultCodec

__all__ = ["CODECS", "run_from_json", "run_to_json"]


@dataclass(frozen=True, kw_only=True)
class _SavedChain:
    consequence: Consequence
    triples: tuple[Triple, ...]
    questions: tuple[Question, ...]
    whole: Question | None


@dataclass(frozen=True, kw_only=True)
class _SavedRun:
    """A run as it is saved, with its comparisons still as pairs."""

    entry: str
    comparison: list[Any]
    divergence: tuple[float, ...]
    chains: tuple[_SavedChain, ...]
    hops: list[Any]
    decoding: Decoding
    told: Told | None
    seconds: float


def run_to_json(run: ProbeRun) -> dict[str, Any]:
    """Return a run as plain JSON values."""
    chains = [
        {
            "consequence": graph_json(chain.consequence),
            "triples": graph_json([triple for triple, _ in chain.hops]),
            "questions": plain([question for _, question in chain.hops]),
            "whole": plain(chain.whole),
        }
        for chain in run.chains
    ]
    return {
        "entry": run.entry_id,
        "comparison": comparison_to_json(run.comparison),
        "divergence": list(run.divergence),
        "chains": chains,
        "hops": comparison_to_json(run.hops),
        "decoding": plain(run.decoding),
        "told": plain(run.told),
        "seconds": run.seconds,
    }


def run_from_json(data: Mapping[str, Any]) -> ProbeRun:
    """Read what `run_to_json` made.

    Raises:
        ValueError: if it is something else.
    """
    saved = value_from(_SavedRun, data, "These are no answers to probes")
    chains = [
        Chain(
            consequence=chain.consequence,
            hops=tuple(zip(chain.triples, chain.questions, strict=True)),
            whole=chain.whole,
        )
        for chain in saved.chains
    ]
    comparison, hops = comparison_from_json(saved.comparison), comparison_from_json(saved.hops)
    n = len(comparison.pairs)
    if len(saved.divergence) != n or (saved.told is not None and len(saved.told.answers) != n):
        raise ValueError("not every prompt has its divergence and its told answer")
    return ProbeRun(
        entry_id=saved.entry,
        comparison=comparison,
        divergence=saved.divergence,
        chains=tuple(chains),
        hops=hops,
        decoding=saved.decoding,
        told=saved.told,
        seconds=saved.seconds,
    )


CODECS = (
    ResultCodec(name=RESULT, what="The answers to the probes", to_json=run_to_json, from_json=run_from_json),
    ResultCodec.of(STORY, "What Share tells of the probes", ProbeStory),
)
