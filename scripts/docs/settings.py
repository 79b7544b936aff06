"""Reference page of all settings of an edit with default, range and meaning, read from the dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import EDITORS

__all__ = ["Setting", "accepted_range", "editors_page", "field_docs", "settings_of", "settings_page"]

_LARGE = 10**6


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: its dotted name, default, range and meaning."""

    name: str
    default: str
    range: str
    meaning: str


def field_docs(kind: type) -> dict[str, str]:
    """Return the string under each field of a dataclass, by field name; fields without one are missing."""
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]).body
    docs = {}
    for node, following in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(following, ast.Expr):
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[node.target.id] = " ".join(inspect.cleandoc(value.value).split())
    return docs


def settings_of(config: Any, *, path: str = "") -> Iterator[Setting]:
    """Yield every setting of a configuration and its nested ones, in source order."""
    hints, docs = typing.get_type_hints(type(config)), field_docs(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, path=f"{path}{field.name}.")
        else:
            yield Setting(
                name=path + field.name,
                default=_written(value),
                range=accepted_range(config, field.name, hints[field.name]),
                meaning=docs.get(field.name, ""),
            )


def accepted_range(config: Any, name: str, hint: Any) -> str:
    """Describe the accepted values of a setting, found by trying them with the others unchanged."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = next(option for option in typing.get_args(hint) if option is not type(None))
        return f"{accepted_range(config, name, inner)}, or nothing"
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{_written(option)}`" for option in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{_written(option)}`" for option in hint)
    if hint is bool:
        return "`true`, `false`"
    if hint in (int, float):
        return _number_range(lambda value: _takes(config, name, hint(value)), whole=hint is int)
    if typing.get_origin(hint) is tuple:
        return "list of " + {int: "whole numbers", float: "numbers", str: "texts"}[typing.get_args(hint)[0]]
    return "text"


def settings_page() -> str:
    """Return the page of all settings, as Markdown."""
    lines = [
        "# Settings",
        "",
        "Every setting of an edit. Put those that you change into a TOML file and pass it with `--config FILE` to",
        "`kgmet edit`, or to [`kgmet.load_config`](python.md#kgmet.editing.config.load_config) in Python. A heading",
        "here is a table there, so `steps` under `target` is `target.steps`. What a file leaves out stays as",
        "[the editor sets it](editors.md).",
        "",
        "```toml",
        "[hold]",
        "consequences = 8",
        "",
        "[write]",
        "layers = [4, 5, 6, 7, 8]",
        "ridge = 2.0",
        "```",
        "",
        "*Default* is the value of a setting that no editor changes. *Range* is what the program accepts while the",
        "other settings have their defaults; other values are refused with a message.",
        "",
    ]
    table = ""
    for setting in settings_of(EditConfig()):
        head, _, last = setting.name.rpartition(".")
        if head != table or not lines[-1]:
            table = head
            lines += ["", f"## {head or 'General'}", ""] + [_summary(head), ""] * bool(_summary(head))
            lines += ["| Setting | Default | Range | Meaning |", "|---|---|---|---|"]
        lines.append(f"| `{last}` | `{setting.default}` | {setting.range} | {_cell(setting.meaning)} |")
    return "\n".join(lines) + "\n"


def editors_page() -> str:
    """Return the page of all editors and of the settings each of them changes, as Markdown."""
    lines = [
        "# Editors",
        "",
        "An editor is a method by name: a composition of the same parts with its own settings. `--editor NAME` on the",
        'command line, `editor="NAME"` in Python. What they reach: [Results](../results.md).',
        "",
        "| Editor | What it does | Write | Source |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [`{editor.name}`](#{editor.name.lower()}) | {_cell(editor.summary)} | {editor.writer.value} "
        f"| {_cell(editor.source)} |"
        for editor in EDITORS.values()
    ]
    plain = {setting.name: setting.default for setting in settings_of(EditConfig())}
    for editor in EDITORS.values():
        lines += ["", f"## {editor.name} {{ #{editor.name.lower()} }}", "", editor.summary, ""]
        own = [item for item in settings_of(editor.config) if plain[item.name] != item.default]
        if own:
            lines += ["| Setting | Here | Default |", "|---|---|---|"]
            lines += [f"| `{item.name}` | `{item.default}` | `{plain[item.name]}` |" for item in own]
        else:
            lines.append("All settings at their defaults.")
    return "\n".join(lines) + "\n"


def _summary(path: str) -> str:
    """Return the first paragraph of the docstring of the dataclass behind a table."""
    value: Any = EditConfig()
    for part in path.split(".") if path else ():
        value = getattr(value, part)
    return " ".join((inspect.getdoc(type(value)) or "").split("\n\n")[0].split())


def _written(value: Any) -> str:
    """Return a value as a settings file holds it."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    if value == "":
        return '""'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def _takes(config: Any, name: str, value: float) -> bool:
    try:
        dataclasses.replace(config, **{name: value})
    except ConfigError:
        return False
    return True


def _number_range(takes: Callable[[float], bool], *, whole: bool) -> str:
    """Return the interval of values that `takes` accepts; it contains or borders on 0, 1 or 2."""
    inside = next(value for value in (1, 0.5, 1.5, 2, 4) if takes(value) and (not whole or value == int(value)))
    low = -math.inf if takes(-_LARGE) else _bound(takes, inside, -_LARGE, whole=whole)
    high = math.inf if takes(_LARGE) else _bound(takes, inside, _LARGE, whole=whole)
    parts = []
    if low > -math.inf:
        parts.append(f"at least {low:g}" if takes(low) else f"above {low:g}")
    if high < math.inf:
        parts.append(f"at most {high:g}" if takes(high) else f"below {high:g}")
    kind = "whole number" if whole else "number"
    return f"{kind}, {', '.join(parts)}" if parts else f"any {kind}"


def _bound(takes: Callable[[float], bool], inside: float, outside: float, *, whole: bool) -> float:
    """Return the boundary between an accepted and a refused value, by bisection."""
    for _ in range(80):
        middle = (inside + outside) / 2
        if whole:
            middle = math.floor(middle) if outside < inside else math.ceil(middle)
        if middle in (inside, outside):
            break
        inside, outside = (middle, outside) if takes(middle) else (inside, middle)
    return float(inside) if whole else round(outside, 6) + 0.0
