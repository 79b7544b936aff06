"""How the answers to probes, the chains hop by hop and what of them is told on are kept over a restart."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from kgmet.graph.codec import triple_to_json, triples_from_json
from kgmet.graph.reading.consequences import Consequence
from kgmet.measure.question import Question
from workbench.drawing.probe_story import RESULT as STORY
from workbench.drawing.probe_story import ProbeStory
from workbench.screens.probe.values import RESULT, Chain, ProbeRun
from workbench.state.answers_json import (
    comparison_from_json,
    comparison_to_json,
    decoding_from_json,
    told_from_json,
    told_to_json,
)
from workbench.state.kept import ResultCodec

__all__ = ["CODECS", "run_from_json", "run_to_json"]


def run_to_json(run: ProbeRun) -> dict[str, Any]:
    """Return a run as plain JSON values."""
    return {
        "entry": run.entry_id,
        "comparison": comparison_to_json(run.comparison),
        "divergence": list(run.divergence),
        "chains": [_chain_to_json(chain) for chain in run.chains],
        "hops": comparison_to_json(run.hops),
        "decoding": asdict(run.decoding),
        "told": told_to_json(run.told),
        "seconds": run.seconds,
    }


def run_from_json(data: Any) -> ProbeRun:
    """Read what `run_to_json` made.

    Raises:
        KeyError, ValueError: if it is something else.
    """
    run = ProbeRun(
        entry_id=msgspec.convert(data["entry"], str),
        comparison=comparison_from_json(data["comparison"]),
        divergence=msgspec.convert(data["divergence"], tuple[float, ...]),
        chains=tuple(_chain_from_json(chain) for chain in data["chains"]),
        hops=comparison_from_json(data["hops"]),
        decoding=decoding_from_json(data["decoding"]),
        told=told_from_json(data["told"]),
        seconds=msgspec.convert(data["seconds"], float),
    )
    n = len(run.comparison.pairs)
    if len(run.divergence) != n or (run.told is not None and len(run.told.answers) != n):
        raise ValueError("not every prompt has its divergence and its told answer")
    return run


def _chain_to_json(chain: Chain) -> dict[str, Any]:
    return {
        "consequence": chain.consequence.to_json(),
        "triples": [triple_to_json(triple) for triple, _ in chain.hops],
        "questions": [question.to_json() for _, question in chain.hops],
        "whole": None if chain.whole is None else chain.whole.to_json(),
    }


def _chain_from_json(data: Any) -> Chain:
    questions = [Question.from_json(row) for row in data["questions"]]
    return Chain(
        consequence=Consequence.from_json(data["consequence"]),
        hops=tuple(zip(triples_from_json(data["triples"]), questions, strict=True)),
        whole=None if data["whole"] is None else Question.from_json(data["whole"]),
    )


CODECS = (
    ResultCodec(name=RESULT, what="The answers to the probes", to_json=run_to_json, from_json=run_from_json),
    ResultCodec(
        name=STORY,
        what="What Share tells of the probes",
        to_json=msgspec.to_builtins,
        from_json=lambda data: msgspec.convert(data, ProbeStory),
    ),
)
