"""Reference page of all commands and options, read from the parsers."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from kgmet.__main__ import COMMANDS, module_of

__all__ = ["commands", "commands_page", "options_of"]


def commands() -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Return each command's parser and its one-line help, by name."""
    parser = argparse.ArgumentParser(prog="kgmet")
    subparsers = parser.add_subparsers()
    for name in COMMANDS:
        importlib.import_module(module_of(name)).add_parser(subparsers)
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    return {name: (command, helps.get(name, "")) for name, command in subparsers.choices.items()}


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every option and argument of a parser, except ``--help`` and sets of further commands."""
    for action in parser._actions:
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            yield action


def commands_page() -> str:
    """Return the page of all commands, as Markdown."""
    lines = [
        "# Command line",
        "",
        "`kgmet COMMAND`, or `python -m kgmet COMMAND` where the package is not installed. `--help` after a command",
        "shows its options. Foreseen errors end with one line on stderr and status 2.",
        "",
        "| Command | What it does |",
        "|---|---|",
    ]
    found = commands()
    lines += [f"| [`{name}`](#{name}) | {help_} |" for name, (_, help_) in found.items()]
    for name, (parser, help_) in found.items():
        lines += ["", f"## {name} {{ #{name} }}", "", f"{help_[:1].upper()}{help_[1:]}.", "", *_section(parser)]
        for further, inner in _further(parser).items():
            lines += ["", f"### {name} {further}", "", *_section(inner)]
    return "\n".join(lines) + "\n"


def _further(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands below a command."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: inner for group in groups for name, inner in group.choices.items()}


def _section(parser: argparse.ArgumentParser) -> list[str]:
    rows = [f"| {_names(action)} | {_default(action)} | {_meaning(parser, action)} |" for action in options_of(parser)]
    return ["| Option | Default | Meaning |", "|---|---|---|", *rows] if rows else []


def _names(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else metavar
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{name} {value}`".replace(" `", "`") for name in action.option_strings)


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    if action.nargs == 0 or action.default in (None, (), [], argparse.SUPPRESS):
        return ""
    return f"`{action.default}`" if isinstance(action.default, (str, int, float, Path)) else ""


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return re.sub(r"\s*\(default: [^)]*\)", "", text).replace("|", "\\|")
