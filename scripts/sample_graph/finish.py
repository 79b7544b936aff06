"""From a draft to files: derived facts, ids, descriptions, a final check, and writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kgmet.graph.relations import RelationCatalogue
from scripts.sample_graph.draft import Draft, Node

CLOSED_UNDER = (("P131", "P17"), ("P931", "P17"), ("P115", "P17"), ("P159", "P17"), ("P118", "P641"), ("P118", "P17"),
                ("P131", "P30"), ("P17", "P30"), ("P4552", "P30"))  # fmt: skip
"""Pairs (first, second) whose composition is written out, in this order."""
WANTS = {"P30": {"landmark", "airport", "university", "mountain", "lake", "waterfall", "desert", "park", "volcano"}}
"""Kinds of subject for which a composed relation is worth a triple of its own; others have it in two steps."""
NOTABLE = frozenset({"book", "film", "painting", "sculpture", "composition", "programming_language"})
MAX_NOTABLE = 3
"""Facts files list a person's best-known works first; so many count as notable."""
STRADDLING = frozenset(
    {"Russia", "Turkey", "Egypt", "Kazakhstan", "Indonesia", "Chile", "Spain", "France", "United States"}
)
"""Countries on two continents: their continent is not passed on to what lies in them; a city's own is."""


def add_inverses(draft: Draft, catalogue: RelationCatalogue) -> None:
    """Add (o inverse s) for every (s r o) whose relation has an inverse."""
    for (subject, relation, object_), _ in list(draft.triples.items()):
        inverse = catalogue.spec(relation).inverse
        if inverse is not None:
            draft.add(object_, inverse, subject, "derived")


def add_makers(draft: Draft) -> None:
    """Add what authorship and origin imply.

    A person's first-listed works are notable, a character appears in its first work, and who grew up with a language
    speaks it.
    """
    for made_by in ("P50", "P57", "P86", "P170", "P287"):
        works: dict[Node, list[Node]] = {}
        for work, makers in draft.index(made_by).items():
            for maker in makers:
                works.setdefault(maker, []).append(work)
        for maker, made in works.items():
            for work in made[:MAX_NOTABLE]:
                if work.type in NOTABLE and maker.type == "person":
                    draft.add(maker, "P800", work, "derived")
    for person, languages in draft.index("P103").items():
        for language in languages:
            draft.add(person, "P1412", language, "derived")
    seen: set[Node] = set(draft.index("P1441"))
    for work, characters in draft.index("P674").items():
        for character in characters:
            if character not in seen:
                draft.add(character, "P1441", work, "derived")
                seen.add(character)


def add_closure(draft: Draft, catalogue: RelationCatalogue) -> None:
    """Add what follows from two stated triples, if the subject has no value yet."""
    for first, second in CLOSED_UNDER:
        result = "P17" if second == "P17" else second
        spec = catalogue.spec(result)
        has, step, onward = draft.index(result), draft.index(first), draft.index(second)
        for subject, middles in step.items():
            if (
                subject in has
                or subject.type not in spec.subject_types
                or subject.type not in WANTS.get(result, {subject.type})
            ):
                continue
            ends = {end for middle in middles for end in onward.get(middle, ())}
            straddles = second == "P30" and first == "P17" and middles[0].label in STRADDLING
            if len(ends) == 1 and not straddles:
                draft.add(subject, result, ends.pop(), "derived")


def load_ids(path: Path) -> dict[tuple[str, str, str], str]:
    """Return (kind, label, country code of a city) → Wikidata id."""
    if not path.exists():
        return {}
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return {(kind, label, place): qid for kind, label, place, qid in rows}


def describe(draft: Draft) -> None:
    """Add short descriptions that distinguish equal names: ``city in France``, ``novel by Bram Stoker``."""
    index = {
        r: draft.index(r)
        for r in ("P17", "P30", "P131", "P31", "P50", "P57", "P170", "P175", "P86", "P106", "P27", "P452")
    }

    def first(relation: str, node: Node) -> Node | None:
        found = index[relation].get(node)
        return found[0] if found else None

    for node in draft.nodes.values():
        kind = node.type.replace("_", " ")
        if node.is_literal or node.description:
            continue
        if what := first("P31", node):
            kind = what.label
        if node.type == "person":
            job, home = first("P106", node), first("P27", node)
            kind = job.label if job else "person"
            node.description = f"{kind} from {_in_text(home)}" if home else kind
        elif maker := next((m for r in ("P50", "P57", "P170", "P175", "P86") if (m := first(r, node))), None):
            node.description = f"{kind} by {_in_text(maker)}"
        elif node.type == "company" and (industry := first("P452", node)):
            home = first("P17", node)
            node.description = f"company in {industry.label}" + (f", {home.label}" if home else "")
        elif place := next((p for r in ("P131", "P17", "P30") if (p := first(r, node))), None):
            node.description = f"{kind} in {_in_text(place)}"
            if place.type == "city" and (land := first("P17", node)):
                node.description += f", {land.label}"
        else:
            node.description = kind


def _in_text(node: Node) -> str:
    return f"{node.article} {node.label}".strip()


def check(draft: Draft, catalogue: RelationCatalogue) -> None:
    """Stop before anything wrong is written.

    Raises:
        SystemExit: with all contradictions found.
    """
    problems = [*_wrong_kinds(draft, catalogue), *_wrong_counts(draft, catalogue), *_contradictions(draft, catalogue)]
    if problems:
        raise SystemExit("\n".join(problems))


def _wrong_kinds(draft: Draft, catalogue: RelationCatalogue) -> Iterator[str]:
    for subject, relation, object_ in draft.triples:
        spec = catalogue.spec(relation)
        if subject.type not in spec.subject_types or object_.type not in spec.object_types:
            yield f"kinds: {subject.type} {subject.label} –{spec.label}→ {object_.type} {object_.label}"


def _wrong_counts(draft: Draft, catalogue: RelationCatalogue) -> Iterator[str]:
    for spec in catalogue:
        ends = draft.index(spec.id)
        starts: dict[Node, list[Node]] = {}
        for subject, objects in ends.items():
            for object_ in objects:
                starts.setdefault(object_, []).append(subject)
        for is_one, found in ((spec.is_functional, ends), (spec.is_inverse_functional, starts)):
            for node, others in found.items():
                if is_one and len(others) > 1:
                    yield f"several: {node.label} – {spec.id} {spec.label} – {sorted(other.label for other in others)}"


def _contradictions(draft: Draft, catalogue: RelationCatalogue) -> Iterator[str]:
    for spec in catalogue:
        for second, result in spec.composes.items():
            if result is None or not catalogue.spec(result).is_functional:
                continue
            onward, has = draft.index(second), draft.index(result)
            for subject, middles in draft.index(spec.id).items():
                ends = {end for middle in middles for end in onward.get(middle, ())}
                if ends and subject in has and not set(has[subject]) <= ends:
                    said = [end.label for end in has[subject]]
                    yield f"{subject.label}: {spec.id}∘{second} gives {[e.label for e in ends]}, {result} says {said}"


def write(draft: Draft, folder: Path) -> None:
    """Write `triples.tsv` and `entities.tsv`, sorted by id."""
    folder.mkdir(exist_ok=True)
    rows = sorted((s.id, r, o.id, source) for (s, r, o), source in draft.triples.items())
    _table(folder / "triples.tsv", ("subject_id", "relation_id", "object_id", "source"), rows)
    nodes = sorted(draft.nodes.values(), key=lambda n: n.id)
    _table(
        folder / "entities.tsv",
        ("id", "label", "type", "description", "aliases", "article"),
        [(n.id, n.label, n.type, n.description, "|".join(sorted(n.aliases - {n.label, ""})), n.article) for n in nodes],
    )
    relations = Counter(r for _, r, _, _ in rows)
    print(f"{len(rows)} triples, {len(nodes)} entities, {len(relations)} relations")
    print(Counter(n.type for n in nodes if not n.is_literal).most_common())
    print(sorted(relations.items(), key=lambda item: -item[1]))


def _table(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    lines = ["\t".join(row) for row in [header, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
