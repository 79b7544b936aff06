"""``python -m kgmet inspect-edit``: what a patch, an adapter or a checkpoint changed, and about whom."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kgmet.cli.common import (
    StderrProgress,
    add_graph_options,
    add_model_options,
    load_model,
    open_store,
    positive,
    print_json,
)

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("inspect-edit", help="find out what was edited in a model, adapter or patch")
    parser.add_argument(
        "--edited", type=Path, required=True, metavar="DIR", help="a model folder, a LoRA adapter, or a patch"
    )
    parser.add_argument("--base", metavar="MODEL", help="the model it was made from (default: --model)")
    parser.add_argument("--first", type=positive, default=20, metavar="N", help="subjects listed")
    parser.add_argument(
        "--ranked", type=positive, default=20_000, metavar="N", help="entities ranked, best known first"
    )
    parser.add_argument("--no-answers", action="store_true", help="do not ask what the subjects gave before and now")
    parser.add_argument("--undo", type=Path, metavar="DIR", help="write the patch that undoes the change")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_graph_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Inspect, print, and write the undo patch if asked to."""
    import kgmet
    from kgmet.base.cache import check_writable
    from kgmet.base.errors import ConfigError
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.inspect.forensics.inspection import inspect_edit
    from kgmet.inspect.forensics.subjects import subjects_of

    if options.undo:
        check_writable(options.undo, advice="Give --undo another folder.")
    if options.undo and options.no_answers:
        raise ConfigError("--undo needs the edited model, which --no-answers does not load. Leave one of them out.")
    options.model = options.base or options.model
    store, progress = open_store(options), StderrProgress()
    if store is None:
        raise ConfigError("The subjects to rank come from a graph. Leave --no-graph out.")
    lm = load_model(options, progress)
    found = inspect_edit(
        lm,
        options.edited,
        store=store,
        entities=subjects_of(store, RelationCatalogue.load(), limit=options.ranked),
        with_answers=not options.no_answers,
        progress=progress,
    )
    if options.undo:
        if found.undo is None:
            raise ConfigError(found.no_undo)
        kgmet.save_patch(found.undo, options.undo)
    if options.json:
        print_json(found.to_json())
    else:
        _print(found, options)
    return 0


def _print(found: Any, options: argparse.Namespace) -> None:
    changed = found.changed
    print(f"\n{found.verdict}\n")
    print(f"{changed.kind.value} {changed.source}, against {found.base}: {len(changed.changes)} weights changed.")
    for change in changed.changes[:40]:
        rank = "" if change.rank is None else f"  rank {change.rank}{'+' if change.is_rank_bound else ''}"
        print(f"  {change.name:48} ‖ΔW‖/‖W‖ {change.relative:.2e}{rank}")
    if len(changed.changes) > 40:
        print(f"  {len(changed.changes) - 40} more")
    print("\nSigns:")
    for sign in found.origin.signs:
        print(f"  {'yes' if sign.holds else 'no ':3} {sign.name}: {sign.figure}. {sign.means}")
    claimed = {score.entity.id for score in found.claimed}
    print(f"\nSubjects, of {len(found.scan.scores)} ranked by how far their key is moved (times the median):")
    for place, score in enumerate(found.scan.scores[: options.first], start=1):
        print(f"  {place:4}  {score.times:7.1f}  {'*' if score.entity.id in claimed else ' '} {score.entity.label}")
    print("  * stands out from all others")
    for answer in found.answers:
        if answer.before != answer.now:
            print(f"  {answer.prompt} … before: {answer.before!r}, now: {answer.now!r}")
    if options.undo:
        print(f"\nThe patch that undoes it is in {options.undo}.")
    elif found.no_undo:
        print(f"\n{found.no_undo}")
