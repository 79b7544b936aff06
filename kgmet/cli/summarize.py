"""``python -m kgmet summarize``: tables, figures and paired tests of `evaluate` runs."""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

from kgmet.cli.common import print_json, print_left_out

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("summarize", help="tables, figures and paired tests of evaluation runs")
    parser.add_argument("--dir_name", required=True, help="an editor's folder under --out, or several: KGMET,AlphaEdit")
    parser.add_argument("--runs", help="run_000,run_001; by default every run")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where runs are kept (default: %(default)s)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write the figures here (default: OUT/figures)")
    parser.add_argument("--latex", action="store_true", help="the table as LaTeX instead of Markdown")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables and write the figures."""
    from kgmet.evaluate.tables.figures import has_plotly, write_figures
    from kgmet.evaluate.tables.render import compare_runs, graph_lines, latex_table, markdown_table, unfinished_lines
    from kgmet.evaluate.tables.summary import summarize_run

    summaries = [summarize_run(folder) for folder in _folders(options)]
    tests = [
        test
        for first, second in combinations(summaries, 2)
        if first.fingerprints["dataset"] == second.fingerprints["dataset"]
        for test in compare_runs(first, second)
    ]
    print_left_out(summaries)
    figures = write_figures(summaries, options.figures or options.out / "figures") if has_plotly() else []
    if options.json:
        print_json(
            {
                "rows": [summary.to_json() for summary in summaries],
                "tests": [test.to_json() for test in tests],
                "markdown": markdown_table(summaries),
                "latex": latex_table(summaries),
                "figures": [str(path) for path in figures],
            }
        )
        return 0
    print(latex_table(summaries) if options.latex else markdown_table(summaries))
    for line in (*graph_lines(summaries), *unfinished_lines(summaries)):
        print(line)
    for test in tests:
        low, high = test.interval
        print(
            f"{test.metric}: {test.second} − {test.first} = {100 * test.difference:+.1f} points "
            f"({100 * low:+.1f} to {100 * high:+.1f}), n {test.n}, McNemar p {test.p:.3g}"
        )
    for path in figures:
        print(f"Figure: {path}", file=sys.stderr)
    if not figures:
        print("No figures: they need plotly (pip install 'kgmet-workbench[app]').", file=sys.stderr)
    return 0


def _folders(options: argparse.Namespace) -> list[Path]:
    from kgmet.base.errors import ConfigError
    from kgmet.base.files import is_file, is_folder

    names = [name.strip() for name in options.runs.split(",")] if options.runs else []
    found: list[Path] = []
    for directory in (options.out / name.strip() for name in options.dir_name.split(",")):
        runs = [directory / name for name in names] or (sorted(directory.glob("run_*")) if is_folder(directory) else [])
        found += [run for run in runs if names or is_file(run / "settings.json")]
    if not found:
        raise ConfigError(f"There is no run in {options.out / options.dir_name}. Make one with `evaluate`.")
    return found
