"""``python -m kgmet forecast``: known facts that a patch will change, or the facts a model knows."""

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
    stopped,
)
from kgmet.cli.known_facts import add_own_fact_options, own_facts_of, say_index_cost

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("forecast", help="forecast which known facts an edit will change")
    parser.add_argument("--patch", type=Path, action="append", metavar="DIR", help="what `edit --save` wrote")
    parser.add_argument("--known", action="store_true", help="count which facts of the graph the model knows, and stop")
    parser.add_argument("--per-relation", type=positive, default=40, help="with --known: facts asked of each relation")
    parser.add_argument("--facts", type=positive, help="known facts in the index (default: what KGMET-priced uses)")
    add_own_fact_options(parser)
    parser.add_argument("--worst", type=positive, default=20, help="facts listed, the largest loss first")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_graph_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load or build the index of known facts and rank them by the forecast."""
    from kgmet.base.errors import ConfigError
    from kgmet.graph.relations import RelationCatalogue

    if not options.patch and not options.known:
        raise ConfigError("Give the patch to forecast with --patch DIR, or --known to count what the model knows.")
    own = own_facts_of(options)
    store, catalogue, progress = open_store(options), RelationCatalogue.load(), StderrProgress()
    if store is None:
        raise ConfigError("A forecast needs a graph for the facts to ask. Leave --no-graph out.")
    lm = load_model(options, progress)
    if options.known:
        from kgmet.forecast.known import known_facts

        return _print_known(
            known_facts(lm, store, catalogue, per_relation=options.per_relation, progress=progress), options
        )
    try:
        found = _forecast(lm, store, catalogue, own, options, progress)
    except KeyboardInterrupt:
        return stopped("The facts measured so far are kept; the same command goes on from there.")
    return _print_forecast(found, options)


def _forecast(
    lm: Any, store: Any, catalogue: Any, own: Any, options: argparse.Namespace, progress: StderrProgress
) -> Any:
    from kgmet.forecast.forecast import forecast
    from kgmet.forecast.index import build_index
    from kgmet.forecast.leave_out import unpriced
    from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
    from kgmet.write.patch import check_patch, load_patch
    from kgmet.write.priced import PriceConfig

    patches = [load_patch(folder) for folder in options.patch]
    for patch in patches:
        check_patch(patch, lm)
    layers = sorted({update.layer for patch in patches for update in patch.updates})
    limit = options.facts or PriceConfig().facts
    say_index_cost(lm, store, catalogue, layers, limit=limit)
    index = build_index(lm, store, catalogue, layers, limit=limit, own=own, progress=progress)
    edits = [edit for patch in patches for edit in patch.edits]
    found = [find_consequences(store, catalogue, edit, config=ConsequenceConfig(max_neighbours=0)) for edit in edits]
    return forecast(patches, unpriced(index, [(edit, what, ()) for edit, what in zip(edits, found, strict=True)]))


def _print_forecast(found: Any, options: argparse.Namespace) -> int:
    worst = found.worst(options.worst)
    if options.json:
        rows = [item.to_json() for item in worst]
        print_json({"facts": len(found.index), "losing": {"0.5": found.losing(0.5)}, "worst": rows})
        return 0
    if not len(found.index):
        print(
            "\nThe model knows none of the facts that it was asked, so there is nothing to forecast. Give a graph of "
            "what it knows with --graph FILE, or your own facts with --own FILE."
        )
        return 0
    print(f"\n{len(found.index)} known facts that the edit should not change; forecast, the largest loss first.")
    print(f"{found.losing(0.5)} of them lose more than 0.5 nats.")
    for item in worst:
        print(f"  {item.change:+.2f}  {item}   ({item.fact.prompt.text} …)")
    return 0


def _print_known(found: Any, options: argparse.Namespace) -> int:
    if options.json:
        print_json(found.to_json())
        return 0
    print(f"\n{found.model} knows {found.known} of the {found.asked} facts it was asked.")
    for row in found.relations:
        print(f"  {row.known:4} of {row.asked:4}  {row.label}")
    return 0
