"""Readers of triple files.

===================  =================================================================================================
``.tsv``, ``.csv``   one triple per line under a header with ``subject_id, subject, relation_id, relation, object_id,
                     object, source``; of each id/label pair one is enough, the source may be missing; also ``.tsv.gz``
``.json``            KGMET's ``[{"case_id": …, "triples": [{"subject": …, "relation": …, "target": …}]}]``
``.nt``, ``.ttl``    RDF, also ``.nq`` and ``.trig``, each also with ``.gz``; labels from ``rdfs:label``, aliases from
                     ``skos:altLabel``
===================  =================================================================================================

A separate file of entities (``id, label, type, description, aliases, article``; aliases separated by ``|``) names
entities that the triples only number. A label without an id means the one entity of that file with this label;
otherwise its id is ``K-`` + the folded label, so the same name is the same node in every file. Nothing is repaired
silently: an invalid line is refused with its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kgmet.base.errors import GraphFileError
from kgmet.base.files import Limits, read_json
from kgmet.graph.names import fold
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.columns import GraphBuilder
from kgmet.graph.stores.rdf import RDF_FORMATS, RdfStore, read_rdf
from kgmet.graph.stores.rows import check_text, read_rows
from kgmet.graph.triple import Entity

__all__ = ["entity_id_for", "load_graph"]

_CASES = Limits(n_bytes=1 << 30)
_PARTS = ("subject", "relation", "object")
_ENTITY_COLUMNS = frozenset({"id", "label", "type", "description", "aliases", "article"})
_TRIPLE_COLUMNS = frozenset({*_PARTS, *(f"{part}_id" for part in _PARTS), "source", "sources"})


def entity_id_for(label: str) -> str:
    """Return the id of an entity known only by its label: ``K-`` and the folded label."""
    return "K-" + fold(label).replace(" ", "-")


def load_graph(
    path: Path | Sequence[Path],
    *,
    entities: Path | None = None,
    relation_labels: Mapping[str, str] | None = None,
    name: str | None = None,
) -> RdfStore:
    """Read one or several files into one store.

    `entities` names a file of entities. `relation_labels` (id → label) supplies missing labels and ids of relations; by
    default the bundled catalogue is used.

    Raises:
        GraphFileError: if a file is missing, malformed or of an unknown format; gives the line and what was expected.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    if not paths:
        raise GraphFileError("No file of triples was given. Name at least one.")
    loader = _Loader(_catalogue_labels() if relation_labels is None else relation_labels)
    if entities is not None:
        loader.entities(entities)
    for each in paths:
        loader.file(each)
    if not len(loader.builder):
        raise GraphFileError(f"{', '.join(str(p) for p in paths)} holds no triple.")
    return RdfStore.from_columns(loader.builder.build(), name=name or " + ".join(p.name for p in paths))


class _Loader:
    """A graph builder with the names that lines refer to."""

    def __init__(self, relation_labels: Mapping[str, str]) -> None:
        self.builder = GraphBuilder()
        self._label_of = relation_labels
        self._id_of = {fold(label): relation_id for relation_id, label in relation_labels.items()}
        self._ids: dict[str, str] = {}
        self._named: dict[str, str | None] = {}

    def file(self, path: Path) -> None:
        """Add every triple of `path`."""
        readers: dict[str, Callable[[Path], None]] = {
            ".tsv": self._table,
            ".csv": self._table,
            ".json": self._cases,
            **dict.fromkeys(RDF_FORMATS, self._rdf),
        }
        suffix = Path(path.name.lower().removesuffix(".gz")).suffix
        if suffix not in readers:
            raise GraphFileError(
                f"{path} ends in {suffix or 'nothing'!r}, which is not a known format. Known are "
                f"{', '.join(readers)}, and all but .json also compressed (.gz)."
            )
        if suffix == ".json" and path.name.lower().endswith(".gz"):
            raise GraphFileError(f"{path} is a compressed JSON file. Unpack it first.")
        readers[suffix](path)

    def entities(self, path: Path) -> None:
        """Add every entity of `path`."""
        for line, row in read_rows(path, known=_ENTITY_COLUMNS, required=("id", "label")):
            if not row["id"] or not row["label"]:
                raise GraphFileError(f"{path}, line {line}: an entity needs an id and a label, found {row!r}.")
            # A name that two entities share does not identify either.
            folded = fold(row["label"])
            self._named[folded] = row["id"] if self._named.get(folded, row["id"]) == row["id"] else None
            self.builder.describe(
                Entity(
                    id=row["id"],
                    label=row["label"],
                    description=row.get("description", ""),
                    aliases=tuple(a for a in (alias.strip() for alias in row.get("aliases", "").split("|")) if a),
                    article=row.get("article", ""),
                    type=row.get("type", ""),
                )
            )

    def _table(self, path: Path) -> None:
        rows = read_rows(path, known=_TRIPLE_COLUMNS, required=())
        builder = self.builder
        for line, row in rows:
            ends: list[int] = []
            for part in ("subject", "object"):
                label, given = row.get(part, ""), row.get(f"{part}_id", "")
                if not label and not given:
                    raise GraphFileError(
                        f"{path}, line {line}: the {part} is empty. Expected its id or its label, or both."
                    )
                ends.append(builder.entity(given or self._id(label), label))
            relation = self._relation(row.get("relation_id", ""), row.get("relation", ""))
            if relation is None:
                raise GraphFileError(
                    f"{path}, line {line}: the relation is empty. Expected its id or its label, or both."
                )
            builder.triple(ends[0], relation, ends[1], row.get("source") or row.get("sources") or path.name)

    def _cases(self, path: Path) -> None:
        for case in _read_cases(path):
            for row in case["triples"]:
                subject = self.builder.entity(self._id(row["subject"]), row["subject"])
                obj = self.builder.entity(self._id(row["target"]), row["target"])
                relation = self._relation("", row["relation"])
                assert relation is not None  # _read_cases refuses empty relations
                self.builder.triple(subject, relation, obj, path.name)

    def _rdf(self, path: Path) -> None:
        read_rdf(path, self.builder, relation_labels=self._label_of)

    def _id(self, label: str) -> str:
        known = self._ids.get(label)
        if known is None:
            known = self._ids[label] = self._named.get(fold(label)) or entity_id_for(label)
        return known

    def _relation(self, relation_id: str, label: str) -> int | None:
        if not relation_id and not label:
            return None
        relation_id = relation_id or self._id_of.get(fold(label)) or entity_id_for(label)
        return self.builder.relation(relation_id, label or self._label_of.get(relation_id, ""))


def _catalogue_labels() -> dict[str, str]:
    """Return relation id → label, of the bundled catalogue."""
    return {spec.id: spec.label for spec in RelationCatalogue.load()}


def _read_cases(path: Path) -> list[dict[str, Any]]:
    """Return the cases of a KGMET JSON file, each checked to have an id and triples of three texts."""
    cases = read_json(path, limits=_CASES, error=GraphFileError)
    expected = 'Expected [{"case_id": 1, "triples": [{"subject": "…", "relation": "…", "target": "…"}]}].'
    if not isinstance(cases, list):
        raise GraphFileError(f"{path} holds a {type(cases).__name__}, not a list of cases. {expected}")
    for number, case in enumerate(cases, start=1):
        where = f"{path}, case {number}"
        if not isinstance(case, dict) or "case_id" not in case or not isinstance(case.get("triples"), list):
            raise GraphFileError(f"{where}: no object with 'case_id' and 'triples'. {expected}")
        for place, row in enumerate(case["triples"], start=1):
            for key in ("subject", "relation", "target"):
                value = row.get(key) if isinstance(row, dict) else None
                if not isinstance(value, str) or not value.strip():
                    raise GraphFileError(f"{where}, triple {place}: {key!r} is {value!r}, not text. {expected}")
                row[key] = check_text(value.strip(), where=f"{where}, triple {place}", what=key)
    return cases
