"""``python -m kgmet models``: the available models and editors."""

from __future__ import annotations

import argparse
from typing import Any

from kgmet.cli.common import print_json

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("models", help="list bundled models, supported families and editors")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print both lists."""
    from kgmet.editing.editors import EDITORS
    from kgmet.lm.load.bundled import BUNDLED
    from kgmet.lm.load.family import FAMILIES

    families = {family.name: list(family.model_types) for family in FAMILIES}
    editors = {editor.name: editor.summary for editor in EDITORS.values()}
    if options.json:
        print_json({"bundled": sorted(BUNDLED), "families": families, "editors": editors})
        return 0
    print("Bundled models:   " + ", ".join(BUNDLED))
    print("Families:         " + ", ".join(f"{name} ({', '.join(kinds)})" for name, kinds in families.items()))
    print("Editors:")
    for name, summary in editors.items():
        print(f"  {name:14} {summary}")
    return 0
