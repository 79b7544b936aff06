"""Accuracy of guessing an edit's relation from its wording, per data set.

Our own wordings are in four files. `relation_wordings.json`, `relation_wordings_2.json` and `relation_wordings_3.json`
were used to choose weights and words of the catalogue; what they give now is no measure of other wordings.
`relation_wordings_4.json` has at least four wordings of every relation with subject and new object. It was written
before the last change of rules and catalogue and is scored once per version; nothing was chosen with it. The public
data sets are read from ``../shared/data`` if present and not copied. *Strict* counts the exact relation, *family* also
a relation of the same family (`RelationSpec.family`). *With graph* links the whole edit against the sample graph, which
knows types of entities; *wording alone* uses the prompt only. *Limit* is the share that the wording alone can decide at
best: some wordings stand for several relations. The last column leaves out the half of the wordings whose wrong guesses
were read.

    OMP_NUM_THREADS=1 python benchmarks/relations.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    held: bool = False
    """Our catalogue or a former own set had the same wording when this one was written."""


def own_wordings(path: Path) -> Iterator[Asked]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        yield Asked(**row)


def new_wordings(path: Path) -> Iterator[Asked]:
    """Yield the own wordings that neither the catalogue nor a former set had."""
    yield from (row for row in own_wordings(path) if not row.held)


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


_CATEGORY = re.compile(r"^Category:(?:.*(?=\bThe )|.*)")
"""A line that names a category of an encyclopedia, which stands before some paraphrases; no sentence."""


def paraphrases(path: Path) -> Iterator[Asked]:
    """Yield the last sentence of CounterFact's paraphrases, worded as in ParaRel; foreign text stands before."""
    for case in json.loads(path.read_text(encoding="utf-8")):
        row = case["requested_rewrite"]
        ends = {"subject": row["subject"], "relation": row["relation_id"]}
        ends |= {"new_object": row["target_new"]["str"], "old_object": row["target_true"]["str"]}
        for text in case["paraphrase_prompts"]:
            before, found, after = text.rpartition(row["subject"])
            if found:
                lead = _CATEGORY.sub("", before.rpartition("\n")[2].rpartition(". ")[2])
                yield Asked(template=f"{lead}{{}}{after}", **ends)


_SAID = {
    r"father(?!-in)|\bdad\b|male parent": "P22",
    r"mother(?!-in)|\bmom\b": "P25",
    r"spouse|\bwife\b|husband": "P26",
    r"\bsister\b|\bbrother\b": "P3373",
    r"constellation": "P59",
    r"voice type|vocal range": "P412",
    r"record label": "P264",
    r"publisher|published": "P123",
    r"date of birth|birth date|date of .* birth": "P569",
    r"place of birth|birthplace|city was .* born": "P19",
    r"cause of death|cause of the death": "P509",
    r"medical condition": "P1050",
    r"\bwar\b": "P607",
    r"original channel|network": "P449",
    r"\bdirector\b|directed": "P57",
    r"licen[cs]e": "P275",
    r"conservation|endangered": "P141",
    r"inception|founding year": "P571",
    r"cease|dissolve": "P576",
    r"architect": "P84",
    r"fictional universe": "P1080",
    r"named after|named for": "P138",
    r"university|college": "P69",
    r"\bteam\b": "P54",
    r"citizenship": "P27",
    r"manufactur": "P176",
    r"continent": "P30",
    r"\bgene\b": "P703",
    r"\bseries\b": "P179",
    r"stars of|acted": "P161",
    r"developed": "P178",
    r"inventor": "P61",
    r"nominated": "P1411",
}
"""Words that leave no doubt which relation a question of zsRE is about; the set names none."""


def zsre(path: Path) -> Iterator[Asked]:
    """Yield zsRE's questions that contain the words of exactly one relation."""
    for case in json.loads(path.read_text(encoding="utf-8")):
        for text in (case["prompt"], case["rephrase_prompt"]):
            template = text.replace(case["subject"], "{}", 1)
            said = {relation for words, relation in _SAID.items() if re.search(words, template, re.IGNORECASE)}
            if template.count("{}") == 1 and len(said) == 1:
                ends = {"subject": case["subject"], "new_object": case["target_new"]}
                yield Asked(template=template, relation=min(said), **ends)


SETS: tuple[tuple[str, str, Callable[[Path], Iterator[Asked]]], ...] = (
    ("CounterFact", "counterfact_dev.json", rewrites),
    ("CounterFact's paraphrases (ParaRel)", "counterfact_dev.json", paraphrases),
    ("MQuAKE, edits and their questions", "mquake_dev.json", rewrites),
    ("MQuAKE, cloze templates", "mquake_cloze_templates.json", templates),
    ("MQuAKE, question templates", "mquake_question_templates.json", templates),
    ("zsRE, questions that name their relation", "zsre_dev.json", zsre),
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
        if relation is None or relation not in self._catalogue:
            return relation
        return self._catalogue.spec(relation).family or relation


def is_unread(asked: Asked) -> bool:
    """Return whether the wording is in the half whose wrong guesses were not read."""
    return int(hashlib.sha256(f"{asked.relation} {asked.template}".encode()).hexdigest(), 16) % 2 == 1


def shares(guesses: Sequence[str | None], rows: Sequence[Asked], guesser: Guesser) -> str:
    """Return the percentages of strictly right guesses and of right families."""
    pairs = list(zip(guesses, rows, strict=True))
    strict = sum(got == row.relation for got, row in pairs)
    family = sum(guesser.family(got) == guesser.family(row.relation) for got, row in pairs)
    return f"{100 * strict / len(rows):.1f} / {100 * family / len(rows):.1f}"


def limit(rows: Sequence[Asked], guesser: Guesser) -> str:
    """Return the percentages that the most frequent relation and family of each wording would give."""
    strict: dict[str, Counter[str]] = {}
    family: dict[str, Counter[str | None]] = {}
    for row in rows:
        strict.setdefault(row.template, Counter())[row.relation] += 1
        family.setdefault(row.template, Counter())[guesser.family(row.relation)] += 1
    right = [sum(max(found.values()) for found in counts.values()) for counts in (strict, family)]
    return " / ".join(f"{100 * count / len(rows):.1f}" for count in right)


def line(name: str, rows: list[Asked], guesser: Guesser) -> str:
    """Return a table row: right guesses over all prompts; a relation missing in the catalogue counts as wrong."""
    has_ends = all(row.subject for row in rows)

    def guess(row: Asked) -> str | None:
        return guesser.linked(row) if has_ends else guesser.alone(row.template)

    unread = [row for row in rows if is_unread(row)]
    cells = [
        str(len(rows)),
        limit(rows, guesser),
        shares([guesser.alone(row.template) for row in rows], rows, guesser),
        shares([guesser.linked(row) for row in rows], rows, guesser) if has_ends else "–",
        shares([guess(row) for row in unread], unread, guesser),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    guesser = Guesser(RelationCatalogue.load(), sample_store())
    sets: list[tuple[str, Path, Callable[[Path], Iterator[Asked]]]] = [
        ("Own wordings, first set, tuned on", HERE / "relation_wordings.json", own_wordings),
        ("Own wordings, second set, tuned on", HERE / "relation_wordings_2.json", own_wordings),
        ("Own wordings, third set, tuned on", HERE / "relation_wordings_3.json", own_wordings),
        ("Own wordings, fourth set, never tuned on", HERE / "relation_wordings_4.json", own_wordings),
        ("Own wordings, fourth set, the new ones", HERE / "relation_wordings_4.json", new_wordings),
    ]
    sets += [(name, options.data / file, read) for name, file, read in SETS]
    print("| Set | n | limit by wording | wording alone | with graph | unread half, graph where used |")
    print("|---|---|---|---|---|---|")
    for name, path, read in sets:
        print(line(name, list(read(path)), guesser) if path.exists() else f"| {name} | missing: {path} |", flush=True)


if __name__ == "__main__":
    main()
