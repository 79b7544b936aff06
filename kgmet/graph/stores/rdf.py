"""`RdfStore`: a local store that also answers SPARQL 1.1, and the reader of RDF files.

The `TripleStore` protocol is answered by the sorted columns of `MemoryStore`, SPARQL by pyoxigraph, in this process,
over the same triples. The RDF copy is made at the first SPARQL query, because most sessions need none and it is larger
than the graph itself. The source of a triple is its named graph; names and descriptions are in the default graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

import pyoxigraph as ox

from kgmet.base.errors import GraphError, GraphFileError
from kgmet.base.files import open_text_bytes
from kgmet.base.fingerprint import digest
from kgmet.graph.stores import terms
from kgmet.graph.stores.columns import GraphBuilder
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.stores.rows import GRAPH_FILE, MAX_FIELD
from kgmet.graph.triple import Entity, Relation

__all__ = ["RDF_FORMATS", "RdfStore", "read_rdf"]

RDF_FORMATS = {
    ".nt": ox.RdfFormat.N_TRIPLES,
    ".ttl": ox.RdfFormat.TURTLE,
    ".nq": ox.RdfFormat.N_QUADS,
    ".trig": ox.RdfFormat.TRIG,
}
"""Suffix → format; ``.gz`` may follow."""

_SOURCE = "urn:kgmet:source:"
_TYPE = ox.NamedNode("http://schema.org/additionalType")
_ARTICLE = ox.NamedNode("urn:kgmet:article")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")


class RdfStore(MemoryStore):
    """A `MemoryStore` with SPARQL."""

    def sparql(
        self, query: str, bindings: Mapping[str, Entity | Relation | str] | None = None, *, limit: int = 10_000
    ) -> tuple[dict[str, str], ...]:
        """Answer a SELECT or ASK query: one dict per row, variable → id (``Q90``, ``P36``, ``lit:33``).

        `bindings` puts an entity, a relation or a text (as plain literal) in the place of a variable, which a SELECT
        must also project. An ASK query gives one row, ``{"answer": "true"}`` or ``{"answer": "false"}``. The default
        graph is the union of all graphs. Rows beyond `limit` are left out.

        Raises:
            GraphError: if the query is invalid, calls another server (``SERVICE``), or is neither SELECT nor ASK.
        """
        if re.search(r"\bservice\b", _ESCAPE.sub(_unescape, query), re.IGNORECASE):
            raise GraphError(
                "The query holds the word SERVICE. A query of the embedded graph may not call another server."
            )
        substitutions: dict[ox.Variable, ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple] = {
            ox.Variable(name): _bound(value) for name, value in (bindings or {}).items()
        }
        with self._lock:
            store = self._rdf
        try:
            answer = store.query(query, substitutions=substitutions, use_default_graph_as_union=True)
            if isinstance(answer, ox.QueryBoolean):
                return ({"answer": "true" if answer else "false"},)
            if not isinstance(answer, ox.QuerySolutions):
                raise GraphError("The query is neither SELECT nor ASK. Ask for rows with SELECT.")
            names = [variable.value for variable in answer.variables]
            rows: list[dict[str, str]] = []
            for solution in answer:
                if len(rows) >= limit:
                    break
                rows.append({name: _id(solution[name]) for name in names if solution[name] is not None})
        except (SyntaxError, ValueError, OSError, RuntimeError) as error:
            raise GraphError(f"The query cannot be answered: {error}") from error
        return tuple(rows)

    def write(self, path: Path) -> None:
        """Write all triples, labels and aliases as N-Quads or, without the sources, N-Triples; the suffix decides.

        Raises:
            GraphFileError: for another suffix.
        """
        kind = RDF_FORMATS.get(path.suffix.lower())
        if kind not in (ox.RdfFormat.N_QUADS, ox.RdfFormat.N_TRIPLES):
            raise GraphFileError(f"{path} must end in .nq or .nt to be written.")
        if kind == ox.RdfFormat.N_TRIPLES:
            ox.serialize((quad.triple for quad in self._quads()), str(path), format=kind)
        else:
            ox.serialize(self._quads(), str(path), format=kind)

    @cached_property
    def _rdf(self) -> ox.Store:
        store = ox.Store()
        store.bulk_extend(self._quads())
        return store

    def _quads(self) -> Iterator[ox.Quad]:
        columns = self.columns
        entities = [terms.entity_term(entity_id) for entity_id in columns.entity_ids]
        relations = [terms.relation_term(relation.id) for relation in columns.relations]
        graphs = [
            ox.NamedNode(_SOURCE + quote(source, safe="")) if source else ox.DefaultGraph()
            for source in columns.sources
        ]
        rows = zip(columns.subject, columns.relation, columns.object, columns.source, strict=True)
        for subject, relation, obj, source in rows:
            term = entities[subject]
            # A value cannot be the subject of an RDF triple; such rows are not facts about a thing.
            if not isinstance(term, ox.Literal):
                yield ox.Quad(term, relations[relation], entities[obj], graphs[source])
        yield from self._descriptions(entities)

    def _descriptions(self, entities: list[terms.Term]) -> Iterator[ox.Quad]:
        for number, term in enumerate(entities):
            if isinstance(term, ox.Literal):
                continue
            yield ox.Quad(term, terms.LABEL, ox.Literal(self.columns.labels[number]))
            known = self.columns.details.get(number)
            if known is None:
                continue
            texts = [(terms.DESCRIPTION, known.description), (_TYPE, known.type), (_ARTICLE, known.article)]
            for predicate, text in [*texts, *((terms.ALIAS, alias) for alias in known.aliases)]:
                if text:
                    yield ox.Quad(term, predicate, ox.Literal(text))
        for relation in self.columns.relations:
            yield ox.Quad(terms.relation_term(relation.id), terms.LABEL, ox.Literal(relation.label))


_LABELS = frozenset({terms.LABEL.value, "http://www.w3.org/2004/02/skos/core#prefLabel", "http://schema.org/name"})
_DESCRIPTIONS = frozenset({terms.DESCRIPTION.value, "https://schema.org/description"})
_TEXTS = {
    **dict.fromkeys(_LABELS, "label"),
    **dict.fromkeys(_DESCRIPTIONS, "description"),
    terms.ALIAS.value: "alias",
    _TYPE.value: "type",
    _ARTICLE.value: "article",
}


def read_rdf(path: Path, builder: GraphBuilder, *, relation_labels: Mapping[str, str]) -> None:
    """Add every triple of an RDF file; the English (or plain, or first) label is the name, the others become aliases.

    Raises:
        GraphFileError: at the first invalid statement, with its line.
    """
    texts: dict[str, dict[str, list[tuple[str, str]]]] = {}
    relations: dict[str, int] = {}
    entities: dict[object, int] = {}
    named = _Subjects(path)
    for quad in _parsed(path):
        predicate, obj = quad.predicate.value, quad.object
        kind = _TEXTS.get(predicate)
        if kind is not None and isinstance(obj, ox.Literal):
            text = terms.literal_text(obj.value, longest=MAX_FIELD)
            if text:
                found = texts.setdefault(named.id(quad.subject), {})
                found.setdefault(kind, []).append((obj.language or "", text))
            continue
        if predicate not in relations:
            relation = terms.relation_id(quad.predicate)
            relations[predicate] = builder.relation(relation)
        ends = []
        for term in (quad.subject, obj):
            number = entities.get(term)
            if number is None:
                number = entities[term] = _entity(builder, term, named)
            ends.append(number)
        builder.triple(ends[0], relations[predicate], ends[1], _source(quad.graph_name, path))
    _name(builder, texts, relations)
    for relation in map(terms.relation_id, map(ox.NamedNode, relations)):
        # Only if the file had no name for it.
        builder.relation(relation, relation_labels.get(relation, ""))


def _parsed(path: Path) -> Iterator[ox.Quad]:
    """Yield the file's triples in file order; the suffix, without ``.gz``, gives the format."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    with open_text_bytes(path, limits=GRAPH_FILE, error=GraphFileError) as stream:
        try:
            yield from ox.parse(stream, format=RDF_FORMATS[suffix], base_iri="urn:kgmet:base:")
        except SyntaxError as error:
            raise GraphFileError(f"{path}, line {error.lineno}: invalid {suffix} ({error.msg}).") from error
        except MemoryError as error:
            raise GraphFileError(f"{path} holds one name or text of more than 16 MB. That is no {suffix}.") from error
        except (OSError, ValueError) as error:
            if isinstance(error, GraphFileError):
                raise
            raise GraphFileError(f"{path} cannot be read: {error}") from error


def _name(
    builder: GraphBuilder, texts: Mapping[str, Mapping[str, list[tuple[str, str]]]], relations: Mapping[str, int]
) -> None:
    """Set the names of entities and relations from the file."""
    predicates = {terms.relation_id(ox.NamedNode(iri)) for iri in relations}
    for named, found in texts.items():
        labels = sorted(found.get("label", []), key=_by_language)
        # Wikidata labels the property's page (…/entity/P36), not the predicate (…/prop/direct/P36).
        as_relation = terms.relation_id(ox.NamedNode(named)) if "://" in named or named.startswith("urn:") else named
        if as_relation in predicates:
            builder.relation(as_relation, labels[0][1] if labels else "")
            continue
        label = labels[0][1] if labels else named
        aliases = [
            text for _, text in [*sorted(found.get("alias", []), key=_by_language), *labels[1:]] if text != label
        ]
        one = {
            kind: min(found.get(kind, [("", "")]), key=_by_language)[1] for kind in ("description", "type", "article")
        }
        builder.describe(Entity(id=named, label=label, aliases=tuple(dict.fromkeys(aliases)), **one))


def _by_language(text: tuple[str, str]) -> tuple[int, str, str]:
    language = text[0].lower()
    rank = 0 if language == "en" else 1 if language in ("", "mul") else 2 if language.startswith("en") else 3
    return rank, language, text[1]


class _Subjects:
    """Ids of terms; blank nodes are numbered, because two files may both have a ``_:b0`` and parsers invent names."""

    def __init__(self, path: Path) -> None:
        self._file = digest("blank", path.name)[:8]
        self._blank: dict[str, str] = {}

    def id(self, term: object) -> str:
        if isinstance(term, ox.BlankNode):
            return self._blank.setdefault(term.value, f"_:{self._file}-{len(self._blank)}")
        return terms.entity_id(term)


def _entity(builder: GraphBuilder, term: object, named: _Subjects) -> int:
    if isinstance(term, ox.Literal):
        return builder.entity(terms.entity_id(term), terms.literal_text(term.value, longest=MAX_FIELD))
    return builder.entity(named.id(term))


def _source(graph: object, path: Path) -> str:
    if not isinstance(graph, ox.NamedNode):
        return path.name
    return unquote(graph.value[len(_SOURCE) :]) if graph.value.startswith(_SOURCE) else graph.value


def _bound(value: Entity | Relation | str) -> terms.Term:
    if isinstance(value, Entity):
        return terms.entity_term(value.id)
    return terms.relation_term(value.id) if isinstance(value, Relation) else ox.Literal(value)


def _id(term: object) -> str:
    """Return the relation id if the IRI is a predicate, else the entity id."""
    if isinstance(term, ox.NamedNode):
        relation = terms.relation_id(term)
        return relation if relation != term.value else terms.entity_id(term)
    return terms.entity_id(term)


def _unescape(escape: re.Match[str]) -> str:
    return chr(int(escape[1] or escape[2], 16) % 0x110000)
