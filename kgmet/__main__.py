"""``python -m kgmet``: the command line, with the same steps as the app."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from kgmet.base.errors import KgmetError
from kgmet.base.waiting import wait_politely
from kgmet.cli.output import PIPE_CLOSED, printable_errors, printable_output, shortened

COMMANDS = (
    *("edit", "calibrate", "forecast", "probe", "report-card", "graph", "inspect-edit"),
    *("models", "cache", "evaluate", "summarize", "app"),
)


class _CommandParser(argparse.ArgumentParser):
    """Parser that takes only whole names of options: ``--data`` would be taken for ``--dataset_size_limit``."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named, allow_abbrev=False)


def module_of(command: str) -> str:
    """Return the module that declares a command."""
    return f"kgmet.cli.{command.replace('-', '_')}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a `KgmetError` ends it with one line on stderr and status 2."""
    wait_politely()  # before a command imports torch
    parser = argparse.ArgumentParser(prog="python -m kgmet", description="Knowledge-graph directed model editing.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_CommandParser)
    for name in COMMANDS:
        importlib.import_module(module_of(name)).add_parser(subparsers)
    options = parser.parse_args(arguments)
    with printable_errors():
        try:
            with printable_output():
                return int(options.run(options))
        except BrokenPipeError:
            return PIPE_CLOSED
        except KgmetError as error:
            print(f"\n{type(error).__name__}: {shortened(str(error))}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nStopped. Nothing was applied.", file=sys.stderr)
            return 130


if __name__ == "__main__":
    sys.exit(main())
