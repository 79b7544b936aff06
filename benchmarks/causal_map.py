"""Processor time of a causal trace with every layer or only some, and that of contributions and ranks beside it.

    OMP_NUM_THREADS=1 python benchmarks/causal_map.py [--repeats 5]

All variants take turns on three prompts of the default model. Printed are medians of processor time with one thread,
their ratio to the trace of every layer, and the work: tokens × layers that the sweep multiplies through the model.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

import torch
from measure import Table, machine

from kgmet.inspect.attribution import attribute
from kgmet.inspect.causal_trace import causal_trace
from kgmet.inspect.recall import read_recall
from kgmet.inspect.sweep import every_nth_layer
from kgmet.inspect.traced_prompt import TracedPrompt
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.lm.run.spans import Phrase
from kgmet.lm.run.tracing import hooked

PROMPTS = (
    ("{} is located in the city of", "The Eiffel Tower", "Paris"),
    ("The capital of {} is", "Germany", "Berlin"),
    ("The official language of {} is", "Brazil", "Portuguese"),
)
STEPS = (1, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lm = load_lm()
    table = Table(("prompt", "what", "processor time, s", "of every layer", "tokens × layers"))
    for template, subject, answer in PROMPTS:
        prompt = TracedPrompt(phrase=Phrase(template=template, subject=subject), answer=answer)
        works = variants(lm, prompt)
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.repeats):
            for name, work in works.items():
                start = time.process_time()
                work()
                seconds[name].append(time.process_time() - start)
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        whole = next(iter(medians.values()))
        for name, value in medians.items():
            table.add(prompt.text, name, f"{value:.2f}", f"{value / whole:.2f}", f"{multiplied(lm, works[name]):,}")
    print(table)
    print(f"\n{machine(1)}; n = {options.repeats} in turn.")


def variants(lm: LoadedLM, prompt: TracedPrompt) -> dict[str, Callable[[], Any]]:
    """Return the work of each row, by name; the trace of every layer first."""
    works: dict[str, Callable[[], Any]] = {}
    for step in STEPS:
        layers = every_nth_layer(lm.n_layer, step)
        works[f"map, 1 layer in {step}"] = lambda layers=layers: causal_trace(lm, prompt, layers=layers)
    works["contributions"] = lambda: attribute(lm, prompt)
    works["ranks"] = lambda: read_recall(lm, prompt)
    return works


def multiplied(lm: LoadedLM, work: Callable[[], Any]) -> int:
    """Count the tokens that pass through each layer, over all rows."""
    count = 0

    def add(_inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal count
        hidden = output[0] if isinstance(output, tuple) else output
        count += hidden.shape[0] * hidden.shape[1]

    with ExitStack() as stack:
        for layer in lm.layers:
            stack.enter_context(hooked(layer, add))
        work()
    return count


if __name__ == "__main__":
    main()
