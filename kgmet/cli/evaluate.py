"""``python -m kgmet evaluate``: many edits from a data set, scored, saved and resumable."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgmet.base.progress import ProgressEvent
from kgmet.cli.common import (
    MOST_SEED,
    MOST_TOKENS,
    add_corpus_option,
    positive,
    print_json,
    print_left_out,
    stopped,
    whole,
)

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("evaluate", help="many edits from a data set, scored and resumable")
    parser.add_argument("--alg_name", default="KGMET", help="an editor, or several separated by commas, or 'all'")
    parser.add_argument(
        "--model_name", "--model", dest="model", default="bundled:smollm2", help="as in `edit`; or several"
    )
    parser.add_argument("--hparams_fname", help="Llama3-8B.json and the like, or your own .json or .toml")
    parser.add_argument("--ds_name", default="own", help="cf, mcf, zsre, mquake, own; or several, separated by commas")
    parser.add_argument("--ds_path", help="the data file, one per data set; own data are bundled")
    parser.add_argument("--dataset_size_limit", type=positive, help="use this many records")
    parser.add_argument("--num_edits", type=positive, default=1, help="cases edited together")
    parser.add_argument("--alone", action="store_true", help="every batch on the unedited model, scored at once")
    parser.add_argument(
        "--downstream_eval_steps", type=whole(0), default=0, help="batches between measurements of general ability"
    )
    parser.add_argument("--downstream_path", type=Path, help="folder with cola.json, mrpc.json, …")
    parser.add_argument("--downstream_limit", type=positive, default=100, help="most examples of a task")
    _add_scoring(parser)
    _add_data(parser)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where runs are kept (default: %(default)s)")
    parser.add_argument("--continue_from_run", metavar="RUN", help="continue this run, with the same settings: run_000")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="engine of the runs")
    parser.add_argument("--address", help="address of a Ray cluster; by default a local one is started")
    parser.add_argument("--workers", type=positive, default=2, help="Ray workers, each with a model of its own")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; by default the best available")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="dtype of the weights")
    parser.add_argument("--threads", type=positive, help="CPU threads torch may use")
    add_corpus_option(parser)
    parser.set_defaults(run=run)


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip_generation_tests", action="store_true", help="no fluency, no consistency")
    parser.add_argument(
        "--generation_test_interval", type=positive, default=1, help="generate text for every N-th case only"
    )
    parser.add_argument("--n_generation", type=whole(0), default=2, help="generation prompts per case (ROME code: 10)")
    parser.add_argument(
        "--free_tokens", type=whole(0, MOST_TOKENS), default=12, help="length of free answers; 0 leaves them out"
    )
    parser.add_argument("--no_chain_of_thought", action="store_true", help="ask MQuAKE's questions plainly only")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), default=0, help="random seed")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--graph_source", default="auto", choices=("auto", "case", "store", "none"), help="of the cases"
    )
    parser.add_argument("--graph_path", type=Path, help="triples by case; by default a *graph* file beside the data")
    parser.add_argument(
        "--graph", type=Path, action="append", help="file of triples for the store; default: the sample"
    )
    parser.add_argument("--no-graph", action="store_true", help="no store; the cases' own triples stay")
    parser.add_argument("--references_path", type=Path, help="CounterFact's attribute_snippets.json, for consistency")
    parser.add_argument("--keep_faulty", action="store_true", help="keep MQuAKE records known to be wrong")


def run(options: argparse.Namespace) -> int:
    """Evaluate every named editor on every named model and data set, and print the table."""
    from kgmet.evaluate.runs.engine import run_jobs
    from kgmet.evaluate.tables.render import graph_lines, markdown_table
    from kgmet.evaluate.tables.summary import summarize_run

    jobs, progress = _jobs(options), RunProgress()
    try:
        if options.engine == "ray":
            from kgmet.evaluate.runs.ray_engine import run_on_ray

            folders = run_on_ray(jobs, address=options.address, n_worker=options.workers, progress=progress)
        else:
            folders = run_jobs(jobs, progress=progress)
    except KeyboardInterrupt:
        editor, _, run_name = progress.doing.partition("/")
        left = ",".join(_from_on(editor, [job.editor for job in jobs]))
        more = f" Go on with the same options and --alg_name {left} --continue_from_run {run_name}." if editor else ""
        return stopped(f"What was finished is kept in {options.out}.{more}")
    summaries = [summarize_run(folder) for folder in folders]
    for folder in folders:
        print(f"Results are in {folder}", file=sys.stderr)
    print_left_out(summaries)
    if options.json:
        print_json({"rows": [summary.to_json() for summary in summaries]})
    else:
        print(markdown_table(summaries))
        for line in graph_lines(summaries):
            print(line)
    return 0


def _jobs(options: argparse.Namespace) -> list[Any]:
    """Return the jobs of the sweep: editors × models × data sets."""
    from kgmet.base.errors import ConfigError
    from kgmet.editing.editors import EDITORS, IN_CONTEXT, editor_named
    from kgmet.evaluate.runs.engine import Job, JobOptions, continued
    from kgmet.evaluate.runs.graphs import GraphSource
    from kgmet.evaluate.runs.hparams import load_hparams
    from kgmet.evaluate.runs.score import ScoreConfig

    score = ScoreConfig(
        free_tokens=options.free_tokens,
        n_generation=0 if options.skip_generation_tests else options.n_generation,
        generation_interval=options.generation_test_interval,
        chain_of_thought=not options.no_chain_of_thought,
        seed=options.seed,
    )
    every = [*EDITORS, *IN_CONTEXT]
    names = every if options.alg_name == "all" else [editor_named(n).name for n in _split(options.alg_name)]
    if options.hparams_fname:
        for key, why in load_hparams(options.hparams_fname, base=editor_named(names[0]).config).without_effect.items():
            print(f"{options.hparams_fname}: {key} has no effect; {why}.", file=sys.stderr)
    sets = _split(options.ds_name)
    paths: list[Path | None] = [Path(path) for path in _split(options.ds_path or "")]
    paths = paths or [None] * len(sets)
    if len(paths) != len(sets):
        raise ConfigError(f"There are {len(sets)} data sets and {len(paths)} files for them. Give one file for each.")
    same = {
        key: getattr(options, key)
        for key in (
            *("hparams_fname", "dataset_size_limit", "num_edits", "alone", "downstream_eval_steps", "downstream_path"),
            *("downstream_limit", "graph_path", "no_graph", "references_path", "keep_faulty", "out"),
            *("continue_from_run", "device", "dtype", "threads", "corpus"),
        )
    }
    same |= {"score": score, "graph": tuple(options.graph or ()), "graph_source": GraphSource(options.graph_source)}
    jobs = [
        Job(editor=name, options=JobOptions(model=model, ds_name=data, ds_path=path, **same))
        for model in _split(options.model)
        for data, path in zip(sets, paths, strict=True)
        for name in names
    ]
    return continued(jobs)


def _from_on(editor: str, editors: Sequence[str]) -> list[str]:
    """Return the editors from this one on, each once."""
    return list(dict.fromkeys(editors[editors.index(editor) :] if editor in editors else [editor]))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class RunProgress:
    """Progress line on stderr: work done and time left. `doing` is the run at work, ``KGMET/run_000``."""

    def __init__(self) -> None:
        self._last = 0.0
        self.doing = ""

    def report(self, event: ProgressEvent) -> None:
        """Show the event: on a terminal over the last one, else at most every ten seconds."""
        self.doing = str(event.detail.get("run", self.doing))
        is_live = sys.stderr.isatty()
        now = time.monotonic()
        if event.stage != "evaluate" or (now - self._last < (0.2 if is_live else 10.0) and event.done != event.total):
            return
        self._last = now
        left = event.detail.get("seconds_left")
        rest = f", {_duration(left)} left" if isinstance(left, float) else ""
        name = event.detail.get("run", "")
        again = "\r" if is_live else ""
        print(
            f"{again}{name} {event.detail.get('doing', '')} {event.done}/{event.total}{rest}      ",
            end="" if is_live and event.done != event.total else "\n",
            file=sys.stderr,
            flush=True,
        )

    def check(self) -> None:
        """Do nothing: Ctrl-C raises by itself."""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
