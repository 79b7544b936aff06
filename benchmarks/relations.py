"""Accuracy of guessing an edit's relation from its wording, per data set.

`relation_wordings.json` holds our own wordings, written after the catalogue and never used to change it. The public
data sets are read from ``../shared/data`` if present and not copied. *Strict* counts the exact relation, *family* also
a relation of the same family (`RelationSpec.family`). *With graph* links the whole edit against the sample graph, which
knows types of entities; *wording alone* uses the prompt only.

    OMP_NUM_THREADS=1 python benchmarks/relations.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.base.errors import KgmetError
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.wording.guess_relation import SURE, guess_relation
from kgmet.graph.wording.linking import link_edit

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One prompt with its true relation; `subject` is empty for a prompt without an edit."""

    template: str
    relation: str
    subject: str = ""
    new_object: str = ""
    old_object: str = ""


def own_wordings(path: Path) -> Iterator[Asked]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        yield Asked(**row)


def rewrites(path: Path) -> Iterator[Asked]:
    """Yield the edits of CounterFact or MQuAKE, MQuAKE's questions too."""
    for case in json.loads(path.read_text(encoding="utf-8")):
        found = case["requested_rewrite"]
        for row in found if isinstance(found, list) else [found]:
            ends = {"subject": row["subject"], "relation": row["relation_id"]}
            ends |= {"new_object": row["target_new"]["str"], "old_object": row["target_true"]["str"]}
            yield Asked(template=row["prompt"], **ends)
            if row["subject"] in row.get("question", ""):
                yield Asked(template=row["question"].replace(row["subject"], "{}", 1), **ends)


def templates(path: Path) -> Iterator[Asked]:
    for relation, text in json.loads(path.read_text(encoding="utf-8")).items():
        yield Asked(template=text.replace("[X]", "{}").replace("__", "").strip(), relation=relation)


def facts(path: Path) -> Iterator[Asked]:
    """Yield true facts in the wordings of several sets, with a relation that is unique between the two names."""
    between: dict[tuple[str, str], set[str]] = {}
    for line in (path.parent / "kg" / "wikidata_triples.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        row = line.split("\t")
        between.setdefault((row[1].casefold(), row[5].casefold()), set()).add(row[2])
    for row in json.loads(path.read_text(encoding="utf-8")):
        held = between.get((row["subject"].casefold(), row["target"].casefold()), set())
        if len(held) == 1:
            yield Asked(template=row["prompt"], relation=min(held), subject=row["subject"], new_object=row["target"])


SETS: tuple[tuple[str, str, Callable[[Path], Iterator[Asked]]], ...] = (
    ("CounterFact", "counterfact_dev.json", rewrites),
    ("MQuAKE, edits and their questions", "mquake_dev.json", rewrites),
    ("MQuAKE, cloze templates", "mquake_cloze_templates.json", templates),
    ("MQuAKE, question templates", "mquake_question_templates.json", templates),
    ("True facts, several wordings", "facts_11k_dev.json", facts),
)


class Guesser:
    """Guesser with one cached guess per prompt."""

    def __init__(self, catalogue: RelationCatalogue, store: TripleStore) -> None:
        self._catalogue, self._store = catalogue, store
        self._kept: dict[Asked | str, str | None] = {}

    def alone(self, template: str) -> str | None:
        """Guess from the wording alone; a guess below `SURE` counts as none."""
        if template not in self._kept:
            found = guess_relation(self._catalogue, template)
            self._kept[template] = found[0][0].id if found and found[0][1] >= SURE else None
        return self._kept[template]

    def linked(self, asked: Asked) -> str | None:
        """Guess as the linking of an edit does."""
        if asked not in self._kept:
            old = asked.old_object if asked.old_object != asked.new_object else ""
            try:
                edit = FactEdit(
                    subject=asked.subject,
                    template=asked.template,
                    new_object=asked.new_object,
                    old_object=old or None,
                )
                self._kept[asked] = link_edit(self._store, edit, self._catalogue).edit.relation
            except KgmetError:
                self._kept[asked] = None
        return self._kept[asked]

    def family(self, relation: str | None) -> str | None:
        """Return the key that equivalent relations share."""
        return (self._catalogue.spec(relation).family or relation) if relation in self._catalogue else relation


def line(name: str, rows: list[Asked], guesser: Guesser) -> dict[str, Any]:
    """Return the share of right guesses over all prompts; a relation missing in the catalogue counts as wrong."""

    def shares(found: list[str | None]) -> list[float]:
        pairs = list(zip(found, rows, strict=True))
        strict = sum(got == row.relation for got, row in pairs)
        family = sum(guesser.family(got) == guesser.family(row.relation) for got, row in pairs)
        return [strict / len(rows), family / len(rows)]

    has_ends = all(row.subject for row in rows)
    return {
        "set": name,
        "n": len(rows),
        "alone": shares([guesser.alone(row.template) for row in rows]),
        "with_graph": shares([guesser.linked(row) for row in rows]) if has_ends else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    guesser = Guesser(RelationCatalogue.load(), sample_store())
    sets = [("Own wordings, never tuned on", HERE / "relation_wordings.json", own_wordings)]
    sets += [(name, options.data / file, read) for name, file, read in SETS]
    print("| Set | n | wording alone: strict | family | with graph: strict | family |")
    print("|---|---|---|---|---|---|")
    for name, path, read in sets:
        if not path.exists():
            print(f"| {name} | missing: {path} | | | | |")
            continue
        found = line(name, list(read(path)), guesser)
        shares = [*found["alone"], *(found["with_graph"] or (None, None))]
        cells = ["–" if share is None else f"{100 * share:.1f} %" for share in shares]
        print(f"| {name} | {found['n']} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
