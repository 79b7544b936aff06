"""Read `scripts/facts/*.tsv`: hand-written facts, one subject per line and one relation per column.

The header names the kind of the subject and, for each further column, ``relation>kind`` of the object, as in ``landmark
P131>city  P31>kind``; where a column allows several kinds, each value says its own: ``book:Dracula``. A cell holds
values separated by ``;``. ``the `` before a label is kept as its article; ``|`` separates the first column's aliases;
``@CC`` after a city says its country, ``@US-TX`` its division too. Lines that start with ``#`` are comments; after a
line ``#!`` another header follows.
"""

from __future__ import annotations

from pathlib import Path

from scripts.sample_graph.draft import Draft, Node, clean
from scripts.sample_graph.world import CLOSED, World

SOURCE = "hand"


class FactError(ValueError):
    """An invalid line of a facts file; the message says which."""


def read_facts(draft: Draft, world: World, path: Path) -> int:
    """Add all facts of one file; returns how many triples it stated.

    Raises:
        FactError: for an unknown country, city or language and for malformed lines, all of the file's at once.
    """
    header: list[str] = []
    problems: list[str] = []
    before = len(draft.triples)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            header = [] if line.startswith("#!") else header
            continue
        cells = [clean(cell) for cell in line.split("\t")]
        if not header:
            header = cells
            continue
        if len(cells) > len(header):
            problems.append(f"{path.name}:{number}: {len(cells)} cells under {len(header)} columns")
            continue
        try:
            _row(draft, world, header, cells)
        except (FactError, ValueError) as error:
            problems.append(f"{path.name}:{number}: {error}")
    if problems:
        raise FactError("\n".join(problems))
    return len(draft.triples) - before


def _row(draft: Draft, world: World, header: list[str], cells: list[str]) -> None:
    first, *aliases = cells[0].split("|")
    subject = resolve(draft, world, header[0], first)
    subject.aliases.update(clean(alias) for alias in aliases)
    for column, cell in zip(header[1:], cells[1:], strict=False):
        relation, _, kind = column.partition(">")
        for value in filter(None, (v.strip() for v in cell.split(";"))):
            draft.add(subject, relation, resolve(draft, world, kind, value), SOURCE)


def resolve(draft: Draft, world: World, kind: str, value: str) -> Node:
    """Return the node a cell means."""
    if "|" in kind:
        kind_of_value, colon, label = value.partition(":")
        if not colon or kind_of_value not in kind.split("|"):
            raise FactError(f"{value!r} must start with one of {kind} and a colon")
        kind, value = kind_of_value, label
    if kind == "city":
        return world.city(value)
    if kind in CLOSED:
        found = world.closed(kind, value)
        if found is None:
            raise FactError(f"there is no {kind} {value!r}")
        return found
    if kind == "water":
        # A sea, unless a line above has made it a river or a lake.
        return draft.find("river", value) or draft.find("lake", value) or draft.node("water", value)
    return draft.node(kind, value)
