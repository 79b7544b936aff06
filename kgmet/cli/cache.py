"""``python -m kgmet cache``: list the cache folder, and clear what can be computed again."""

from __future__ import annotations

import argparse
from typing import Any

from kgmet.cli.common import print_json

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    from kgmet.base.kept import KINDS

    parser = subparsers.add_parser("cache", help="list the cache folder, or clear it")
    kinds = ", ".join(kind.name for kind in KINDS if kind.is_clearable)
    parser.add_argument(
        "--clear",
        action="append",
        metavar="KIND",
        help=f"remove one kind ({kinds}), or all: everything that can be computed again",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Clear the requested kinds, then print what is left."""
    from kgmet.base.cache import cache_dir
    from kgmet.base.kept import KINDS, clear_kept, kept

    asked = options.clear or []
    names = [kind.name for kind in KINDS if kind.is_derived] if "all" in asked else asked
    freed = {name: clear_kept(name) for name in dict.fromkeys(names)}
    rows = kept()
    if options.json:
        listed = [
            {"kind": row.name, "what": row.what, "is_derived": row.is_derived, "files": row.n_file, "bytes": row.n_byte}
            for row in rows
        ]
        print_json({"folder": str(cache_dir()), "freed": freed, "kept": listed})
        return 0
    for name, n_byte in freed.items():
        print(f"Cleared {name}: {n_byte / 1e6:,.1f} MB.")
    print(cache_dir())
    for row in rows:
        note = "" if row.is_derived else " (only by its name)" if row.is_copy else " (yours: not cleared)"
        print(f"  {row.name:9} {row.n_byte / 1e6:10,.1f} MB  {row.n_file:5} files  {row.what}{note}")
    return 0
