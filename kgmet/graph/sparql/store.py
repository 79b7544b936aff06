"""`SparqlStore`: any SPARQL 1.1 endpoint behind the `TripleStore` protocol.

Use it for graphs larger than the machine: only the neighbourhoods that an edit needs are transferred. Every term in a
query is written by pyoxigraph's serialiser.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from math import log1p
from pathlib import Path
from typing import Literal

import httpx
import pyoxigraph as ox

from kgmet.base.cache import cache_dir as user_cache_dir
from kgmet.base.errors import EndpointError, UnknownEntityError, UnknownRelationError
from kgmet.base.fingerprint import digest
from kgmet.graph.names import without_article
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.sparql import queries
from kgmet.graph.sparql.endpoint import EndpointClient, EndpointReply, EndpointSettings, EndpointStatus
from kgmet.graph.store import Match
from kgmet.graph.stores import terms
from kgmet.graph.stores.rows import MAX_FIELD
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = ["WIKIDATA", "SparqlStore"]

WIKIDATA = "https://query.wikidata.org/sparql"
"""Wikidata's own query service."""

Term = terms.Term

_MANY_SITELINKS = 400


class SparqlStore:
    """A remote graph; only the requested parts are fetched and cached on disk.

    With `wikidata` only direct statements between entities count, not the thousands of identifiers; by default it is
    inferred from the address. Search matches whole labels and aliases, not prefixes, because a public endpoint cannot
    search its literals in reasonable time. When a result is cut at `limit`, `outgoing` keeps the first by IRI.
    `incoming` and `with_relation` keep whichever the server returns, because sorting millions would exceed its time
    limit; the reply is cached, so it does not change between runs. Blank nodes cannot be queried and are left out.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        cache_dir: Path | None = None,
        settings: EndpointSettings | None = None,
        wikidata: bool | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare the client of `endpoint`; nothing is sent yet. `cache_dir` defaults to the user's cache folder.

        Raises:
            EndpointError: if `endpoint` is not an http(s) address.
        """
        folder = cache_dir or user_cache_dir() / "sparql"
        self._client = EndpointClient(
            endpoint, settings=settings or EndpointSettings(), cache_dir=folder, transport=transport
        )
        self._name = endpoint.strip()
        self._is_wikidata = "wikidata" in self._name.lower() if wikidata is None else wikidata
        self._opened = datetime.now(UTC).date().isoformat()
        self._known = {spec.id: spec.relation for spec in RelationCatalogue.load()}
        self._asked_for: dict[str, Entity] = {}
        self._seen: dict[str, Entity] = {}

    @property
    def name(self) -> str:
        """The endpoint's address."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Address and date, because a remote graph may change from one day to the next."""
        return digest("endpoint", self._name, self._opened)[:16]

    @property
    def finds_prefixes(self) -> bool:
        """False: the endpoint is asked for whole names only."""
        return False

    @property
    def status(self) -> EndpointStatus:
        """Origin of the replies so far, and the last error."""
        return self._client.status

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __len__(self) -> int:
        """Return 0: the number of triples of an endpoint is unknown."""
        return 0

    def __bool__(self) -> bool:
        """Return true: the size of a remote store is unknown."""
        return True

    def entity(self, entity_id: str) -> Entity:
        """Return the entity with this id.

        Raises:
            UnknownEntityError: if the endpoint has no triple with it.
            EndpointError: if the endpoint fails.
        """
        if entity_id.startswith("lit:"):
            return _entity(terms.entity_term(entity_id), {})
        if entity_id not in self._asked_for:
            term = terms.entity_term(entity_id)
            found = self._describe([term]).get(entity_id) if isinstance(term, ox.NamedNode) else None
            if found is None and not self._is_mentioned(term):
                raise UnknownEntityError(f"{self._name} has no entity {entity_id!r}. Search for it by its name.")
            self._asked_for[entity_id] = found or Entity(id=entity_id, label=entity_id)
        return self._asked_for[entity_id]

    def relation(self, relation_id: str) -> Relation:
        """Return the relation with this id.

        Raises:
            UnknownRelationError: if no triple has it.
            EndpointError: if the endpoint fails.
        """
        found = self._named([relation_id])[relation_id]
        if found.label == relation_id and not self.with_relation(relation_id, limit=1):
            raise UnknownRelationError(f"{self._name} has no triple with the relation {relation_id!r}.")
        return found

    def relations(self) -> Sequence[Relation]:
        """Return all relations that occur, sorted by id; for Wikidata those in the catalogue."""
        if self._is_wikidata:
            return tuple(sorted(relation for relation in self._known.values() if relation.id[1:].isdigit()))
        reply = self._client.select(queries.all_relations())
        ids = sorted({terms.relation_id(_predicate(row, self._name)) for row in reply.rows})
        return tuple(self._named(ids).values())

    def outgoing(
        self, entity_id: str, *, relations: Collection[str] | None = None, limit: int = 1000
    ) -> Sequence[Triple]:
        """Return triples whose subject is this entity, sorted by (relation, object); empty for an unknown entity."""
        return self._around(entity_id, "out", relations=relations, limit=limit)

    def incoming(
        self, entity_id: str, *, relations: Collection[str] | None = None, limit: int = 1000
    ) -> Sequence[Triple]:
        """Return triples whose object is this entity, sorted by (relation, subject); empty for an unknown entity."""
        return self._around(entity_id, "in", relations=relations, limit=limit)

    def with_relation(self, relation_id: str, *, limit: int = 1000) -> Sequence[Triple]:
        """Return triples of this relation, sorted by (subject, object)."""
        if limit < 1:
            return ()
        reply = self._client.select(queries.with_relation(terms.relation_term(relation_id), limit=limit))
        relation = self._named([relation_id])[relation_id]
        subjects, objects = _by_term(reply, "s", "sl"), _by_term(reply, "o", "ol")
        pairs = {(row["s"], row["o"]) for row in reply.rows if row.get("s") in subjects and row.get("o") in objects}
        source = self._source(reply)
        found = [Triple(subject=subjects[s], relation=relation, object=objects[o], source=source) for s, o in pairs]
        return tuple(sorted(found, key=lambda triple: (triple.subject.id, triple.object.id)))

    def search(self, text: str, *, limit: int = 10) -> Sequence[Match]:
        """Return entities with the label or alias `text` in one of its usual spellings, best first."""
        names = queries.spellings(text)
        if not names or limit < 1:
            return ()
        reply = self._client.select(queries.bearing(names, limit=max(4 * limit, 40)))
        scores: dict[Term, tuple[float, str]] = {}
        for row in reply.rows:
            if isinstance(row.get("e"), ox.NamedNode) and isinstance(name := row.get("m"), ox.Literal):
                rated = (_score(row, text), name.value)
                scores[row["e"]] = max(scores.get(row["e"], rated), rated)
        described = self._describe(list(scores))
        found = []
        for term, (score, name_found) in scores.items():
            entity = described.get(terms.entity_id(term)) or _entity(term, {})
            found.append(Match(entity=entity, matched=terms.literal_text(name_found, longest=MAX_FIELD), score=score))
        found.sort(key=lambda match: (-match.score, len(match.entity.id), match.entity.id))
        return tuple(found[:limit])

    def _around(
        self, entity_id: str, way: Literal["out", "in"], *, relations: Collection[str] | None, limit: int
    ) -> tuple[Triple, ...]:
        here = terms.entity_term(entity_id)
        askable = isinstance(here, ox.NamedNode) or (way == "in" and isinstance(here, ox.Literal))
        if limit < 1 or not askable or (relations is not None and not relations):
            return ()
        chosen = None if relations is None else [terms.relation_term(relation) for relation in sorted(set(relations))]
        query = queries.around(here, way=way, relations=chosen, limit=limit, wikidata=self._is_wikidata)
        reply = self._client.select(query)
        others = _by_term(reply, "e", "l")
        pairs = {
            (terms.relation_id(_predicate(row, self._name)), row["e"]) for row in reply.rows if row.get("e") in others
        }
        if relations is not None:
            pairs = {pair for pair in pairs if pair[0] in relations}
        named = self._named(sorted({relation for relation, _ in pairs}))
        # A node met before has its label already; fetching descriptions would double the number of queries.
        self._seen |= {entity.id: entity for entity in others.values()}
        centre = self._asked_for.get(entity_id) or self._seen.get(entity_id)
        if pairs and centre is None:
            centre = self.entity(entity_id)
        source = self._source(reply)
        found = []
        for relation, other in pairs:
            assert centre is not None  # because there are pairs
            ends = (centre, others[other]) if way == "out" else (others[other], centre)
            found.append(Triple(subject=ends[0], relation=named[relation], object=ends[1], source=source))
        found.sort(key=lambda t: (t.relation.id, t.object.id if way == "out" else t.subject.id))
        return tuple(found[:limit])

    def _named(self, ids: Sequence[str]) -> dict[str, Relation]:
        """Return the relations with these ids, in their order; labels not in the catalogue come from the endpoint."""
        unknown = [relation for relation in ids if relation not in self._known]
        if unknown:
            # Wikidata labels the property's page (…/entity/P36), not the predicate (…/prop/direct/P36).
            pages: dict[Term, str] = {}
            for relation in unknown:
                pages[terms.relation_term(relation)] = pages[terms.entity_term(relation)] = relation
            reply = self._client.select(queries.labels([page for page in pages if isinstance(page, ox.NamedNode)]))
            found = {
                pages[term]: entity
                for term, entity in _by_term(reply, "e", "l").items()
                if term in pages and entity.label != entity.id
            }
            labels = {relation: entity.label for relation, entity in found.items()}
            self._known |= {r: Relation(id=r, label=labels.get(r, r)) for r in unknown}
        return {relation: self._known[relation] for relation in ids}

    def _describe(self, wanted: Sequence[Term]) -> dict[str, Entity]:
        """Fetch labels, descriptions and aliases of these terms, by id; terms without any are left out."""
        if not wanted:
            return {}
        reply = self._client.select(queries.describe(wanted))
        texts: dict[Term, dict[Term, list[ox.Literal]]] = {}
        for row in reply.rows:
            if isinstance(text := row.get("t"), ox.Literal) and row.get("e") in wanted and "p" in row:
                texts.setdefault(row["e"], {}).setdefault(row["p"], []).append(text)
        return {terms.entity_id(term): _entity(term, found) for term, found in texts.items()}

    def _is_mentioned(self, term: Term) -> bool:
        if not isinstance(term, ox.NamedNode):
            return False
        return bool(self._client.select(queries.mention(term)).rows)

    def _source(self, reply: EndpointReply) -> str:
        return f"{self._name}, {reply.fetched.date().isoformat()}"


def _best(texts: Sequence[ox.Literal]) -> str:
    order = {language: rank for rank, language in enumerate(queries.LANGUAGES)}
    best = min(texts, key=lambda text: (order.get(text.language or "", len(order)), text.value))
    return terms.literal_text(best.value, longest=MAX_FIELD)


def _entity(term: Term, texts: Mapping[Term, Sequence[ox.Literal]]) -> Entity:
    entity_id = terms.entity_id(term)
    if isinstance(term, ox.Literal):
        return Entity(id=entity_id, label=terms.literal_text(term.value, longest=MAX_FIELD) or entity_id)
    label = _best(texts[terms.LABEL]) if texts.get(terms.LABEL) else ""
    aliases = {terms.literal_text(alias.value, longest=MAX_FIELD) for alias in texts.get(terms.ALIAS, ())}
    description = _best(texts[terms.DESCRIPTION]) if texts.get(terms.DESCRIPTION) else ""
    return Entity(
        id=entity_id, label=label or entity_id, aliases=tuple(sorted(aliases - {label, ""})), description=description
    )


def _by_term(reply: EndpointReply, variable: str, label: str) -> dict[Term, Entity]:
    """Return the entities bound to `variable`, each with the best of its labels; blank nodes are left out."""
    labels: dict[Term, list[ox.Literal]] = {}
    for row in reply.rows:
        term, text = row.get(variable), row.get(label)
        if term is not None and not isinstance(term, ox.BlankNode):
            labels.setdefault(term, []).extend([text] if isinstance(text, ox.Literal) else [])
    return {term: _entity(term, {terms.LABEL: found}) for term, found in labels.items()}


def _predicate(row: Mapping[str, Term], name: str) -> ox.NamedNode:
    predicate = row.get("p")
    if not isinstance(predicate, ox.NamedNode):
        raise EndpointError(
            f"{name} answered with {predicate!s:.80} where a predicate was asked for. It cannot be trusted."
        )
    return predicate


def _score(row: Mapping[str, Term], text: str) -> float:
    name, links = row.get("m"), row.get("n")
    is_label = row.get("p") == terms.LABEL
    exact = isinstance(name, ox.Literal) and without_article(name.value).casefold() == without_article(text).casefold()
    count = int(links.value) if isinstance(links, ox.Literal) and links.value.isdecimal() else 0
    popularity = min(1.0, log1p(count) / log1p(_MANY_SITELINKS))
    return round((0.9 if is_label else 0.8) + (0.05 if exact else 0.0) + 0.04 * popularity, 6)
