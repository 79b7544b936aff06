"""``python -m kgmet train-encoder``: train the graph encoder of a model, once."""

from __future__ import annotations

import argparse
from typing import Any

from kgmet.cli.common import StderrProgress, add_graph_options, add_model_options, load_model, open_store, print_json

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("train-encoder", help="train a graph encoder for a model across the graph's facts")
    parser.add_argument("--task", choices=("shift", "state"), default="shift", help="what it learns to say")
    parser.add_argument("--layer", type=int, help="decoder layer after which shifts are added (default: 8)")
    parser.add_argument("--edits", type=int, help="edits drawn from the graph (default: 1000)")
    parser.add_argument("--steps", type=int, help="gradient steps (default: 100)")
    parser.add_argument("--seed", type=int, help="of what is drawn (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_graph_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, or find what was trained, and say how to use it."""
    from kgmet.base.errors import ConfigError
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.search.directions.config import EncoderTask, EncoderTrainingConfig
    from kgmet.search.directions.trained import encoder_path
    from kgmet.training.train import train_encoder

    given = {"layer": options.layer, "n_edit": options.edits, "steps": options.steps, "seed": options.seed}
    if options.layer is not None:
        given["feature_layer"] = options.layer
    settings = {name: value for name, value in given.items() if value is not None}
    config = EncoderTrainingConfig(task=EncoderTask(options.task), **settings)
    progress = StderrProgress()
    store = open_store(options)
    if store is None:
        raise ConfigError("An encoder is trained on a graph; leave out --no-graph.")
    lm = load_model(options, progress)
    encoder = train_encoder(lm, store, RelationCatalogue.load(), config=config, progress=progress)
    first, last = encoder.checked
    if options.json:
        print_json({"id": encoder.id, "checked_before": first, "checked_after": last, "curve": list(encoder.curve)})
        return 0
    print(f"\nEncoder {encoder.id}, kept in {encoder_path(lm.fingerprint, encoder.id)}")
    print(f"Loss on {config.n_checked} edits it was not trained on: {first:.3f} before, {last:.3f} after.")
    print('Use it: direction.source = "trained encoder" in the settings of an edit.')
    return 0
