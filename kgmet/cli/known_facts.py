"""Options for the user's own facts, and what the index of known facts costs, for `forecast` and `edit`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgmet.cli.common import positive

__all__ = ["add_own_fact_options", "own_facts_of", "say_index_cost"]


def add_own_fact_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--own``, ``--ds_name``, ``--ds_path`` and ``--dataset_size_limit``."""
    parser.add_argument("--own", type=Path, metavar="CSV", help="your facts that must stay: columns prompt and answer")
    parser.add_argument("--ds_name", help="what must stay by a data set joins your facts: cf, mcf, zsre, own")
    parser.add_argument("--ds_path", type=Path, help="the data file; own data come with the program")
    parser.add_argument("--dataset_size_limit", type=positive, default=100, help="records used (default: %(default)s)")


def own_facts_of(options: argparse.Namespace) -> tuple[Any, ...]:
    """Return the facts that must stay, from the options of `add_own_fact_options`.

    Raises:
        ConfigError: if a file cannot be read, or holds no such fact.
    """
    from kgmet.forecast.facts import read_own_facts

    return (*(read_own_facts(options.own) if options.own else ()), *_facts_of_data(options))


def _facts_of_data(options: argparse.Namespace) -> tuple[Any, ...]:
    """Return the neighbours and other facts that must stay of the data set that the options name.

    Raises:
        ConfigError: if there is no such data set, or it has no fact of this kind.
    """
    from kgmet.base.errors import ConfigError
    from kgmet.evaluate.datasets.load import FaultyRecords, load_dataset
    from kgmet.forecast.facts import own_facts

    if not options.ds_name:
        if options.ds_path:
            raise ConfigError(
                "--ds_path is the file of a data set. Say which kind with --ds_name: cf, mcf, zsre or own."
            )
        return ()
    data = load_dataset(
        options.ds_name,
        options.ds_path,
        limit=options.dataset_size_limit,
        faulty=FaultyRecords(dropped=False, together=False),
    )
    asks = [ask for case in data.cases for ask in case.asks if ask.kind.should_stay]
    if not asks:
        raise ConfigError(
            f"The first {len(data.cases)} records of --ds_name {options.ds_name} hold no fact that must stay. Give "
            "your facts with --own FILE."
        )
    asked = [(f"Q: {ask.prompt}\nA:" if ask.is_question else ask.prompt, ask.expected) for ask in asks]
    return own_facts(dict.fromkeys(asked))


def say_index_cost(lm: Any, store: Any, catalogue: Any, layers: Sequence[int], *, limit: int) -> None:
    """Say on stderr what an index of `limit` known facts takes, before it is built; nothing if it is on disk."""
    from kgmet.forecast.index import facts_on_disk, index_bytes, index_folder, pairs_that_fit
    from kgmet.forecast.near import index_seconds

    folder = index_folder(lm, store, catalogue, tuple(sorted(layers)), per_fact=pairs_that_fit(lm, limit))
    there = min(limit, len(set(facts_on_disk(folder))))
    if there == limit:
        return
    already = f", {there} are on disk already" if there else ""
    minutes, size = index_seconds(lm, limit - there) / 60, index_bytes(lm, limit) / 1e6
    print(
        f"Up to {limit - there} known facts are measured{already}: at most about {minutes:.1f} min on one CPU thread "
        f"and {size:,.0f} MB on disk in all. Ctrl-C stops; what was measured is kept.",
        file=sys.stderr,
        flush=True,
    )
