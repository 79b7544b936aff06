"""``python -m kgmet edit``: one edit, before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kgmet.cli.common import (
    StderrProgress,
    add_corpus_option,
    add_fact_options,
    add_graph_options,
    add_model_options,
    load_model,
    open_store,
    print_json,
    read_corpus,
    typed_fact,
)
from kgmet.cli.known_facts import add_own_fact_options, own_facts_of, say_index_cost

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("edit", help="change one fact and show what that does")
    add_fact_options(parser, required=("subject", "template", "new_object"))
    parser.add_argument("--editor", default="KGMET", help="one of the editors `python -m kgmet models` lists")
    parser.add_argument("--config", type=Path, help="TOML file with settings that replace the editor's")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="settings calibrated for this model (default: what `calibrate` kept)",
    )
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the patch in this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_own_fact_options(parser)
    add_graph_options(parser)
    add_model_options(parser)
    add_corpus_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the edit and print its report."""
    import kgmet
    from kgmet.base.cache import check_writable
    from kgmet.base.errors import ConfigError
    from kgmet.editing.profile import load_profile

    if options.save:
        check_writable(options.save, advice="Give --save another folder.")
    graph, progress = open_store(options), StderrProgress()
    fact = typed_fact(options, store=graph)
    editor = kgmet.editor_named(options.editor)
    config = editor.config
    if options.config:  # what is wrong with it is said before a model is loaded
        config = kgmet.load_config(options.config, base=config)
    profile = load_profile(options.profile) if options.profile else None
    corpus, own = read_corpus(options), own_facts_of(options)
    if own and not config.prices_facts:
        raise ConfigError(
            f"{editor.name} has no price on known facts, so it cannot keep yours. Give --editor KGMET-priced, or "
            "settings with write.price.weight or target.price above 0."
        )
    lm = load_model(options, progress)
    statistics = kgmet.KeyStatistics(lm, corpus)
    session = kgmet.EditSession(lm, editor=editor, profile=profile, graph=graph, statistics=statistics)
    if options.config:
        config, words = kgmet.load_config(options.config, base=session.config), f"from {options.config}"
        session = kgmet.EditSession(
            lm, editor=editor, config=config, settings=words, graph=graph, statistics=statistics
        )
    session.index = _priced_facts(
        lm, session.config, store=graph if options.graph else None, own=own, progress=progress
    )
    edited = session.edit(fact, progress=progress)
    report = edited.report
    if options.save:
        kgmet.save_patch(edited.patch, options.save)
    if options.json:
        print_json(report.to_json())
    else:
        print(f"\n{report}")
        if options.save:
            ask = f'python -m kgmet probe --patch {options.save} --prompt "…"'
            print(f"Patch kept in {options.save}. Ask it anything: {ask}")
    return 0


def _priced_facts(lm: Any, config: Any, *, store: Any, own: tuple[Any, ...], progress: StderrProgress) -> Any:
    """Return the known facts that the edit prices: those of the store or the sample graph, and the user's own.

    ``None`` without a price.
    """
    from kgmet.forecast.index import build_index
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.graph.stores.sample import sample_store

    if not config.prices_facts:
        return None
    limit, layers = config.write.price.facts, config.write.layers
    store, catalogue = store or sample_store(), RelationCatalogue.load()
    say_index_cost(lm, store, catalogue, layers, limit=limit)
    return build_index(lm, store, catalogue, layers, limit=limit, own=own, progress=progress)
