"""Seconds to score one CounterFact case on the default model: 2 + 2 + 10 prompts, two answers each.

    OMP_NUM_THREADS=2 python -m benchmarks.scoring

The limit is half a second with two threads for the probabilities of both answers of all 14 prompts. The time of free
continuations is shown separately.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace

import torch

from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.datasets.load import load_dataset
from kgmet.evaluate.runs.score import ScoreConfig, score_cases
from kgmet.lm.load.loaded import load_lm

N_CASE = 16


def counterfact_shape(case: EvalCase) -> EvalCase:
    """Return 2 rewriting, 2 paraphrase and 10 neighbourhood prompts of a case, whatever else it has."""
    (rewrite,) = case.of(AskKind.EFFICACY)
    again = replace(rewrite, prompt=f"It is a fact: {rewrite.prompt}")
    asks: tuple[Ask, ...] = (rewrite, again, *case.of(AskKind.PARAPHRASE)[:2], *case.of(AskKind.NEIGHBORHOOD)[:10])
    return replace(case, asks=asks)


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    lm = load_lm()
    cases = [counterfact_shape(case) for case in load_dataset("own", limit=N_CASE).cases]
    plain = ScoreConfig(free_tokens=0, n_generation=0)
    free = ScoreConfig(n_generation=0)
    full = ScoreConfig()
    score_cases(lm, cases[:1], config=plain)
    print(f"{torch.get_num_threads()} threads, {N_CASE} cases of 14 prompts × 2 answers, seconds per case")
    print("| what is asked | each case alone, median (worst) | all cases together |\n| --- | ---: | ---: |")
    for name, config in (("probabilities", plain), ("+ 12 free tokens", free), ("+ 2 texts of 100 tokens", full)):
        alone = [timed(lambda case=case, config=config: score_cases(lm, [case], config=config)) for case in cases[:6]]
        together = timed(lambda config=config: score_cases(lm, cases, config=config)) / len(cases)
        print(f"| {name} | {statistics.median(alone):.2f} ({max(alone):.2f}) | {together:.2f} |")


def timed(work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
