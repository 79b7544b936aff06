"""Time and memory of models at their real size, on shapes with random weights and a real tokenizer.

    python benchmarks/big_model.py [--shape llama3-8b] [--part edit …] [--scale 1] [--folder DIR] [--seconds 60]

Makes the shape, saves it, and runs what a person does with a model: load, key statistics, eigenvectors, calibrate, one
edit and 32 at once, a long sequence of edits, undo, a probe, a LoRA export and a run of `evaluate` with the published
settings file. Everything runs where the model is: the fastest device by default. --scale divides the shape's widths and
depth, for a CPU; --seconds bounds a part that repeats something, such as the sequence, and --part runs single pieces on
the saved model. Prints one table, with the time aimed at for Llama 3 8B on one H100 or H200 where there is one; the
aims hold for --scale 1 alone.

    python benchmarks/big_model.py --part counts --scale 16

counts passes, waits for the device and bytes moved instead, on a device that is not there (`big_counts`): the same on
any machine. The weights are random, so what is measured is time and memory, never quality: a search is run for all of
its steps, and calibration finds no fact that the model knows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from kgmet.base.waiting import wait_politely

wait_politely()

import torch
from big_counts import Counts, counted_stages
from big_shapes import SHAPES, Shape, make_model
from measure import Table, machine
from transformers import AutoTokenizer

from kgmet.__main__ import main as kgmet_command
from kgmet.base.memory import gigabytes
from kgmet.calibrate.calibrate import CalibrationConfig, calibrate
from kgmet.calibrate.halving import Budget
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.defaults import default_config
from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.editing.problem import build_problem
from kgmet.evaluate.datasets.load import OWN_CASES, FaultyRecords, load_dataset
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.bundled import ensure_bundled
from kgmet.lm.load.loaded import LoadedLM, best_device, checked_device, load_lm
from kgmet.lm.run.placement import write_device
from kgmet.lm.say.packed import ask_packed
from kgmet.search.rows import ProblemRows
from kgmet.write.corpus import Corpus, bundled_corpus
from kgmet.write.export import export_lora
from kgmet.write.moments import load_key_moment, make_key_moments
from kgmet.write.patch import attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.spectrum import spectrum_of
from kgmet.write.statistics import KeyStatistics

MANY = 32
"""Edits at once."""
NEVER = 1e-9
"""Negative log-likelihood at which a search would stop early; none of these does."""
PARTS = ("load", "statistics", "eigenvectors", "calibrate", "edit", "sequence", "probe", "export", "evaluate", "counts")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts and print the table."""
    options = parsed(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = checked_device(options.device) if options.device else best_device()
    shape = SHAPES[options.shape]
    tokenizer = options.tokenizer or ensure_bundled("smollm2")
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(fresh_cache(place / "cache"))
        folder = options.folder or place / "model"
        table = Table(["part", "measured", f"aim, {shape.name} at scale 1"])
        bench = Bench(shape, folder, device, options, table)
        if not (folder / "config.json").is_file():
            bench.timed("make and save", lambda: bench.make(tokenizer))
        for part in options.part:
            bench.run(part)
        print(f"\n{shape.name}, scale {options.scale}: {bench.said}\n\n{table}")
        if options.json:
            options.json.write_text(json.dumps(bench.found, indent=1))
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="llama3-8b", choices=sorted(SHAPES))
    parser.add_argument("--part", nargs="+", default=list(PARTS[:-1]), choices=PARTS)
    parser.add_argument("--scale", type=int, default=1, help="divide the shape by this")
    parser.add_argument("--folder", type=Path, help="keep the model here, or use the one that is there")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer (default: the bundled model's)")
    parser.add_argument("--corpus", type=Path, help="text of the key statistics (default: the bundled one)")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=60.0, help="most seconds of a part that repeats something")
    parser.add_argument("--edits", type=int, default=1000, help="edits of the sequence, if the seconds allow")
    parser.add_argument("--cases", type=int, default=200, help="cases of evaluate")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


@dataclass
class Bench:
    """The model of one shape, and what was measured with it."""

    shape: Shape
    folder: Path
    device: torch.device
    options: argparse.Namespace
    table: Table

    def __post_init__(self) -> None:
        """Start with nothing loaded."""
        self.found: dict[str, Any] = {}
        self.said = str(self.device)
        self._lm: LoadedLM | None = None
        self._statistics: KeyStatistics | None = None
        self.store, self.catalogue = sample_store(), RelationCatalogue.load()

    @property
    def lm(self) -> LoadedLM:
        """The model; loaded on first use."""
        if self._lm is None:
            self._lm = load_lm(str(self.folder), device=self.device)
            self.said = machine(torch.get_num_threads(), self._lm)
            self.said += f"; {self._lm.n_parameter / 1e6:,.0f} M parameters, d_key {self._lm.d_key:,}"
        return self._lm

    @property
    def statistics(self) -> KeyStatistics:
        """Key statistics of the model."""
        if self._statistics is None:
            self._statistics = KeyStatistics(self.lm, self.corpus)
        return self._statistics

    @property
    def corpus(self) -> Corpus:
        """The text of the key statistics."""
        return Corpus.from_file(self.options.corpus) if self.options.corpus else bundled_corpus()

    @property
    def layers(self) -> tuple[int, ...]:
        """Six layers, as the published settings for these models."""
        return tuple(range(3, 9))

    def make(self, tokenizer: Path) -> None:
        """Make and save the model with the tokenizer of a folder."""
        words = AutoTokenizer.from_pretrained(tokenizer)
        make_model(self.shape, words, self.folder, scale=self.options.scale, device=self.device)

    def run(self, part: str) -> None:
        """Run one part."""
        getattr(self, f"part_{part}")()

    def timed(self, name: str, work: Callable[[], Any], *, aim: str = "", each: int = 1) -> Any:
        """Add a row with the seconds of `work`, divided by `each`, and with the memory beyond what was there."""
        with memory_of(self.device) as memory:
            start = self._now()
            result = work()
            seconds = (self._now() - start) / each
        self.add(name, f"{seconds:.3f} s{memory.text}", aim=aim, value=seconds)
        return result

    def add(self, name: str, text: str, *, aim: str = "", value: Any = None) -> None:
        """Add a row."""
        self.found[name] = text if value is None else value
        self.table.add(name, text, aim)
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    # --- parts ---

    def part_load(self) -> None:
        """Load the model from the folder."""
        self._lm = None
        self.timed("load", lambda: self.lm)

    def part_statistics(self) -> None:
        """Sum the key moments of six layers."""
        lm, corpus = self.lm, self.corpus
        self.timed(
            f"key moments, {len(self.layers)} layers",
            lambda: make_key_moments(lm, self.layers, corpus=corpus),
            aim="≤ 20 s",
        )

    def part_eigenvectors(self) -> None:
        """Compute the eigenvectors of six layers."""
        corpus = self.corpus
        make_key_moments(self.lm, self.layers, corpus=corpus)

        def work() -> None:
            for layer in self.layers:
                moment = load_key_moment(self.lm, layer, corpus)
                spectrum_of(moment, device=write_device(self.lm, layer))

        self.timed(f"eigenvectors, {len(self.layers)} layers", work, aim="≤ 20 s")

    def part_calibrate(self) -> None:
        """Ask the model what it knows, and search for settings for at most so many seconds."""
        config = CalibrationConfig(
            budget=Budget(settings=4, seconds=self.options.seconds), facts=10, per_relation=4, seed=0
        )
        lm, keys = self.lm, self.statistics
        found = self.timed(
            "calibrate, 4 facts of each relation",
            lambda: calibrate(lm, self.store, self.catalogue, [editor_named("KGMET")], config=config, statistics=keys),
        )
        self.add("facts known", f"{found.knows.known} of {found.knows.asked}; {found.reason or 'calibrated'}")

    def part_edit(self) -> None:
        """Make one edit with several editors, and 32 at once; then take them back."""
        before = self._logits()
        for name, aim in (("KGMET", "≤ 0.7 s"), ("KGMET-many", "≤ 1 s"), ("KGMET-paper", "≤ 1.5 s")):
            work = self._planning(name, 1)
            work()  # statistics, and what a device prepares at first use
            self._add_stages(self.timed(f"{name}, one edit", work, aim=aim))
        work = self._planning("KGMET", MANY)
        plan = self.timed(f"KGMET, {MANY} at once, each", work, aim="≤ 0.08 s", each=MANY)
        self._add_stages(plan, each=MANY)
        self._add_step()
        with attached(plan.patch, self.lm):
            is_changed = not torch.equal(self._logits(), before)
        is_back = torch.equal(self._logits(), before)
        self.add("edits change the logits, undo restores them to the bit", f"{is_changed}, {is_back}", aim="True, True")

    def part_sequence(self) -> None:
        """Make edits one after the other, each with all earlier ones attached."""
        so_far, seconds, memory = EditsSoFar(), [], []
        editor, start = self._editor("KGMET"), self._now()
        contexts = self._contexts(editor, self.options.edits)
        for context in contexts:
            began = self._now()
            plan = plan_edits(self.lm, [context], editor=editor, statistics=self.statistics, earlier=so_far)
            so_far = so_far.then_merged(plan.patch, self.lm)
            seconds.append(self._now() - began)
            memory.append(bytes_in_use(self.device))
            if self._now() - start > self.options.seconds:
                break
        n, tenth = len(seconds), max(1, len(seconds) // 10)
        first, last = (statistics.median(part) for part in (seconds[tenth : 2 * tenth], seconds[-tenth:]))
        self.add(
            f"{n} edits in sequence: an early and the last edit",
            f"{first:.3f} s, {last:.3f} s",
            aim="the same",
            value=[first, last],
        )
        grown = memory[-1] - memory[min(2 * tenth, n - 1)]
        self.add("memory that the last four fifths of them added", gigabytes(max(grown, 0)), aim="0")

    def part_probe(self) -> None:
        """Ask 64 prompts for their next token."""
        prompts = [edit.prompt for edit in facts(64)]
        ask_packed(self.lm, prompts)
        self.timed("probe, 64 prompts", lambda: ask_packed(self.lm, prompts))

    def part_export(self) -> None:
        """Export 32 edits as a LoRA adapter."""
        plan = self._planning("KGMET", MANY)()
        with tempfile.TemporaryDirectory() as place:
            folder = self.timed(f"LoRA of {MANY} edits", lambda: export_lora(plan.patch, self.lm, Path(place) / "lora"))
            size = sum(path.stat().st_size for path in folder.iterdir())
        self.add("its size", gigabytes(size))

    def part_evaluate(self) -> None:
        """Run `evaluate` as published work does, on own cases in CounterFact's schema."""
        self._lm = self._statistics = None
        limit = self.options.cases
        with tempfile.TemporaryDirectory() as out:
            asked = ["evaluate", f"--model_name={self.folder}", "--ds_name=mcf", f"--ds_path={OWN_CASES}"]
            asked += [f"--num_edits={min(100, limit)}", "--downstream_eval_steps=5", f"--dataset_size_limit={limit}"]
            asked += [f"--hparams_fname={self.shape.hparams}"] if self.shape.hparams else []
            asked += ["--skip_generation_tests", "--free_tokens=0", f"--device={self.device}", f"--out={out}"]
            with contextlib.redirect_stdout(io.StringIO()) as said:
                code = self.timed(f"evaluate, {limit} cases, {min(100, limit)} at once", lambda: kgmet_command(asked))
        if code:
            raise SystemExit(f"evaluate ended with {code}: {said.getvalue()}")

    def part_counts(self) -> None:
        """Count instead of timing."""
        editor = self._editor("KGMET", steps=4)
        many, sequence = min(MANY, 8), 6
        counts = counted_stages(
            self.lm,
            self._contexts(editor, many),
            editor=editor,
            corpus=self.corpus,
            layers=self.layers,
            many=many,
            sequence=sequence,
        )
        for name, one in counts.items():
            self.add(name, counts_text(one), value=vars(one) | {"detail": dict(one.detail)})
        self._lm = self._statistics = None  # its device was not real

    # --- shared ---

    def _editor(self, name: str, *, steps: int | None = None) -> Editor:
        """Return an editor with its settings for this model that runs all steps of its search."""
        editor = editor_named(name)
        config = default_config(editor, self.lm)
        target = replace(config.target, stop_nll=NEVER, stop_consequence_nll=NEVER, short_norm_ratio=0.0)
        if steps is not None:
            target = replace(target, max_steps=steps)
        return replace(editor, config=replace(config, target=target))

    def _contexts(self, editor: Editor, n: int) -> list[EditContext]:
        return [
            prepare_edit(fact, store=self.store, catalogue=self.catalogue, config=editor.config) for fact in facts(n)
        ]

    def _planning(self, name: str, n: int) -> Callable[[], EditPlan]:
        """Return a function that makes `n` edits at once; what the graph says of them is looked up already."""
        editor = self._editor(name)
        contexts = self._contexts(editor, n)
        return lambda: plan_edits(self.lm, contexts, editor=editor, statistics=self.statistics)

    def _add_stages(self, plan: EditPlan, *, each: int = 1) -> None:
        stages = ", ".join(f"{stage} {seconds / each:.3f} s" for stage, seconds in plan.seconds.items())
        self.add(f"its stages, {len(plan.contexts)} at once", f"{stages}; {plan.shifts[0].steps} steps")

    def _add_step(self) -> None:
        """Compare a step of a search with one bare forward and backward pass above the shifted layer."""
        editor = self._editor("KGMET")
        problems = [build_problem(context, editor.config) for context in self._contexts(editor, 1)]
        rows = ProblemRows(self.lm, problems, editor.config.write.layers[-1])

        def bare() -> None:
            hidden = rows.suffixes.hidden.detach().clone().requires_grad_(True)
            rows.suffixes.resume(hidden).float().sum().backward()  # type: ignore[no-untyped-call]

        def step() -> None:
            deltas = torch.zeros_like(rows.before, requires_grad=True)
            rows.losses(deltas).sum().backward()  # type: ignore[no-untyped-call]

        times = []
        for work in (bare, step):
            work()
            start = self._now()
            for _ in range(5):
                work()
            times.append(self._now() - start)
        self.add("a step / bare passes above L*", f"{times[1] / times[0]:.2f}", aim="≤ 1.1", value=times[1] / times[0])

    def _logits(self) -> torch.Tensor:
        return ask_packed(self.lm, [edit.prompt for edit in facts(4)]).logits


@contextlib.contextmanager
def fresh_cache(folder: Path) -> Iterator[None]:
    """Keep statistics in a folder of their own, so that they are measured and not read."""
    before = os.environ.get("KGMET_CACHE")
    os.environ["KGMET_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["KGMET_CACHE"]
        else:
            os.environ["KGMET_CACHE"] = before


def facts(n: int) -> list[FactEdit]:
    """Return `n` edits from the own cases; past their number, the same subjects get other new objects."""
    cases = load_dataset("own", faulty=FaultyRecords(together=False)).cases
    edits = [edit for case in cases for edit in case.edits]
    objects = list(dict.fromkeys(edit.new_object for edit in edits))
    found = []
    for number in range(n):
        turn, place = divmod(number, len(edits))
        edit = edits[place]
        new = edit.new_object if not turn else objects[(objects.index(edit.new_object) + turn) % len(objects)]
        found.append(replace(edit, new_object=new) if new != edit.old_object else edit)
    return found


def counts_text(counts: Counts) -> str:
    """Return counts in words."""
    steps = f", {counts.detail['steps']:.0f} steps" if "steps" in counts.detail else ""
    up, down = (f"{n / 1e6:.2f} MB" for n in (counts.bytes_up, counts.bytes_down))
    return (
        f"{counts.forward:.2f} forward, {counts.backward} backward{steps}, {counts.waits} waits, {up} to the device, "
        f"{down} back"
    )


@dataclass
class Memory:
    """Peak memory of a piece of work beyond what was in use before."""

    text: str = ""


@contextlib.contextmanager
def memory_of(device: torch.device) -> Iterator[Memory]:
    """Measure the peak of the device's memory beyond the present; nothing on a CPU."""
    memory = Memory()
    if device.type != "cuda":
        yield memory
        return
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield memory
    memory.text = f", {gigabytes(torch.cuda.max_memory_allocated(device) - before)} beyond what was there"


def bytes_in_use(device: torch.device) -> int:
    """Return the bytes of the device's tensors, on a CPU the highest resident size of the process."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
