"""The pages that are made from the code leave nothing out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import EDITORS, IN_CONTEXT
from scripts.docs.commands import commands, commands_page, options_of
from scripts.docs.modules import front_page, module_pages
from scripts.docs.settings import accepted_range, editors_page, field_docs, settings_of, settings_page

ROOT = Path(__file__).resolve().parents[2]


def configs(value: Any) -> Iterator[Any]:
    """A configuration and all it holds."""
    yield value
    for field in dataclasses.fields(value):
        if dataclasses.is_dataclass(inner := getattr(value, field.name)):
            yield from configs(inner)


@pytest.mark.parametrize("kind", sorted({type(part) for part in configs(EditConfig())}, key=str))
def test_every_setting_says_what_it_means(kind: type) -> None:
    docs, own = field_docs(kind), kind()
    silent = [
        field.name
        for field in dataclasses.fields(kind)
        if not docs.get(field.name) and not dataclasses.is_dataclass(getattr(own, field.name))
    ]
    assert silent == []


def test_the_page_of_settings_holds_every_field_of_every_configuration() -> None:
    page = settings_page()
    n_field = 0
    for part in configs(EditConfig()):
        for field in dataclasses.fields(part):
            if not dataclasses.is_dataclass(getattr(part, field.name)):
                n_field += 1
                assert f"| `{field.name}` | `" in page, (type(part).__name__, field.name)
    assert n_field == len(list(settings_of(EditConfig()))) == page.count("\n| `")


def test_every_number_has_a_range_that_the_program_holds() -> None:
    """A range that stands only in the text is none: the value is accepted and fails later, or does nonsense."""
    open_ended = [item.name for item in settings_of(EditConfig()) if item.range.startswith("any")]
    assert open_ended == ["seed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounded:
    """A configuration whose bounds are known."""

    share: float = 0.25
    count: int = 3
    free: float = 1.0
    base: float = 2.0
    mode: Literal["one", "two"] = "one"
    maybe: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not 2 <= self.count <= 7 or not self.base > 1:
            raise ConfigError("out of range")


@pytest.mark.parametrize(
    ("name", "hint", "expected"),
    [
        ("share", float, "number, above 0, at most 1"),
        ("count", int, "whole number, at least 2, at most 7"),
        ("free", float, "any number"),
        ("base", float, "number, above 1"),
        ("mode", Literal["one", "two"], "`one`, `two`"),
        ("maybe", int | None, "any whole number, or nothing"),
    ],
)
def test_ranges_are_found_by_trying(name: str, hint: Any, expected: str) -> None:
    assert accepted_range(Bounded(), name, hint) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("moment_weight", 0.0), ("kept_share", 0.0), ("kept_share", 1.5), ("log_base", 1.0), ("neuron_share", 2.0)],
)
def test_settings_of_single_writers_are_checked_when_they_are_set(key: str, value: float) -> None:
    write = EditConfig().write
    with pytest.raises(ConfigError, match=rf"write\.{key}"):
        dataclasses.replace(write, **{key: value})


def test_the_page_of_editors_says_what_each_changes() -> None:
    page, plain_settings = editors_page(), list(settings_of(EditConfig()))
    for name, editor in EDITORS.items():
        section = page.split(f"\n## {name} ")[1].split("\n## ")[0]
        changed = [
            item.name
            for item, plain in zip(settings_of(editor.config), plain_settings, strict=True)
            if item.default != plain.default
        ]
        assert section.count("\n| `") == len(changed)
        assert all(f"| `{setting}` |" in section for setting in changed)


def test_the_page_of_commands_holds_every_option() -> None:
    page = commands_page()
    for name, (parser, text) in commands().items():
        assert text, f"{name} has no help"
        section = page.split(f"\n## {name} ")[1].split("\n## ")[0]
        for option in options_of(parser):
            assert option.help, f"{name} {option.dest} has no help"
            assert all(f"`{flag}" in section for flag in option.option_strings), (name, option.dest)


def test_the_pages_of_modules_hold_every_module_that_exports() -> None:
    pages = module_pages()
    assert "::: kgmet.write.patch\n" in pages["write.md"]
    assert "::: kgmet.fact\n" in pages["fact.md"]
    assert not any("::: kgmet.cli" in text for text in pages.values())
    assert front_page().startswith("# Python\n")


def test_the_table_of_editors_lists_every_one() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = text.partition("## The editors\n")[2].partition("\n## ")[0]
    cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(named) == sorted([*EDITORS, *IN_CONTEXT])
