"""Python reference pages: the public names of `kgmet`, and every module by package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import kgmet

__all__ = ["front_page", "module_pages", "packages"]

_LEFT_OUT = ("kgmet.cli", "kgmet.__main__")
"""Packages documented on the command-line page."""


def packages() -> dict[str, list[str]]:
    """Return the modules that name what they export, by package below `kgmet`, in the order of their names."""
    found: dict[str, list[str]] = {}
    for name in _modules():
        if getattr(importlib.import_module(name), "__all__", ()):
            found.setdefault(name.split(".")[1], []).append(name)
    return found


def front_page() -> str:
    """Return the page of the names that ``import kgmet`` gives, as Markdown."""
    lines = ["# Python", "", *(kgmet.__doc__ or "").replace("::\n", ":\n").split("\n"), ""]
    for name in kgmet.__all__:
        if not name.startswith("__"):
            lines += [
                f"::: {_home(name)}",
                "    options:",
                f'      heading: "kgmet.{name}"',
                f'      toc_label: "{name}"',
                "",
            ]
    return "\n".join(lines)


def module_pages() -> dict[str, str]:
    """Return one page of Markdown per package, by its file name."""
    pages = {}
    for package, modules in packages().items():
        summary = (importlib.import_module(f"kgmet.{package}").__doc__ or "").strip()
        blocks = [f"::: {name}\n    options: {{show_root_full_path: true, heading_level: 2}}\n" for name in modules]
        pages[f"{package}.md"] = "\n".join([f"# kgmet.{package}", "", summary, "", *blocks])
    return pages


def _modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(kgmet.__path__, "kgmet."):
        if not module.name.startswith(_LEFT_OUT):
            yield module.name


def _home(name: str) -> str:
    """Return where a public name is defined, as a dotted path."""
    place, _, own = kgmet._PLACES[name].partition(":")
    return f"kgmet.{place}.{own or name}"
