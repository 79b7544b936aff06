"""Conversion between ids and RDF terms; the only place that maps a graph's ids to IRIs.

===============  ==============================================
``Q90``          ``http://www.wikidata.org/entity/Q90``
``P36``          ``http://www.wikidata.org/prop/direct/P36`` as a relation
``lit:33``       the literal ``"33"``; other datatypes and languages keep their N-Triples form, ``lit:"chat"@fr``
``lit:code:US``  the literal ``"US"`` of the datatype ``urn:kgmet:t:code``
``http://…``     itself: ids of foreign files are their IRIs
anything else    encoded under ``urn:kgmet:e:`` or, as a relation, ``urn:kgmet:r:``; ``=3E`` stands for ``>``
===============  ==============================================

Terms are built by pyoxigraph, which refuses invalid IRIs and escapes text, so user input is never pasted into a query.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import pyoxigraph as ox

__all__ = [
    "ALIAS",
    "DESCRIPTION",
    "LABEL",
    "WIKIDATA_DIRECT",
    "WIKIDATA_ENTITY",
    "Term",
    "entity_id",
    "entity_term",
    "literal_text",
    "relation_id",
    "relation_term",
]

Term = ox.NamedNode | ox.BlankNode | ox.Literal

WIKIDATA_ENTITY = "http://www.wikidata.org/entity/"
WIKIDATA_DIRECT = "http://www.wikidata.org/prop/direct/"
LABEL = ox.NamedNode("http://www.w3.org/2000/01/rdf-schema#label")
ALIAS = ox.NamedNode("http://www.w3.org/2004/02/skos/core#altLabel")
DESCRIPTION = ox.NamedNode("http://schema.org/description")

_OWN_ENTITY = "urn:kgmet:e:"
_OWN_RELATION = "urn:kgmet:r:"
_OWN_TYPE = "urn:kgmet:t:"
_OF_TYPE = re.compile(r"([a-z_]+):(?!//)(.+)")
_XSD_STRING = "http://www.w3.org/2001/XMLSchema#string"
_ITEM = re.compile(r"[QPL][1-9][0-9]*")
_PROPERTY = re.compile(r"P[1-9][0-9]*")
_IRI = re.compile(r"(?:https?://|urn:|tag:|mailto:)[^\s<>\"{}|\\^`]+")
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def entity_term(entity: str) -> Term:
    """Return the RDF term of an entity's id."""
    if entity.startswith("lit:"):
        return _literal(entity[4:])
    if _ITEM.fullmatch(entity):
        return ox.NamedNode(WIKIDATA_ENTITY + entity)
    return _named(entity, own=_OWN_ENTITY)


def relation_term(relation: str) -> ox.NamedNode:
    """Return the RDF predicate of a relation's id."""
    if _PROPERTY.fullmatch(relation):
        return ox.NamedNode(WIKIDATA_DIRECT + relation)
    return _named(relation, own=_OWN_RELATION)


def entity_id(term: object) -> str:
    """Return the id of an entity's term; inverse of `entity_term`.

    Raises:
        ValueError: for a term that cannot be an entity, such as a quoted triple.
    """
    if isinstance(term, ox.NamedNode):
        iri = term.value
        if iri.startswith(WIKIDATA_ENTITY) and _ITEM.fullmatch(iri, len(WIKIDATA_ENTITY)):
            return iri[len(WIKIDATA_ENTITY) :]
        return _decoded(iri[len(_OWN_ENTITY) :]) if iri.startswith(_OWN_ENTITY) else iri
    if isinstance(term, ox.BlankNode):
        return f"_:{term.value}"
    if isinstance(term, ox.Literal):
        typed = f"{term.datatype.value[len(_OWN_TYPE) :]}:{term.value}"
        if term.datatype.value.startswith(_OWN_TYPE) and _OF_TYPE.fullmatch(typed):
            return f"lit:{typed}"
        is_plain = term.datatype.value == _XSD_STRING and not term.language
        looks_otherwise = term.value.startswith('"') or _OF_TYPE.fullmatch(term.value)
        awkward = looks_otherwise or _UNSHOWN.search(term.value) or not term.value
        return f"lit:{term.value}" if is_plain and not awkward else f"lit:{term}"
    raise ValueError(f"{term!r} is no entity.")


def relation_id(term: ox.NamedNode) -> str:
    """Return the id of a predicate; inverse of `relation_term`."""
    iri = term.value
    if iri.startswith(WIKIDATA_DIRECT) and _PROPERTY.fullmatch(iri, len(WIKIDATA_DIRECT)):
        return iri[len(WIKIDATA_DIRECT) :]
    return _decoded(iri[len(_OWN_RELATION) :]) if iri.startswith(_OWN_RELATION) else iri


def literal_text(text: str, *, longest: int) -> str:
    """Return a literal's text as one display line: control characters become blanks, long text is cut."""
    line = _UNSHOWN.sub(" ", text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _named(text: str, *, own: str) -> ox.NamedNode:
    if not text.startswith((_OWN_ENTITY, _OWN_RELATION)) and _IRI.fullmatch(text):
        try:
            return ox.NamedNode(text)
        except ValueError:
            pass
    return ox.NamedNode(own + _encoded(text))


def _encoded(text: str) -> str:
    # Not percent-encoded: some servers decode a query twice, and a decoded ">" would end the IRI.
    return quote(text, safe="").replace("%", "=")


def _decoded(text: str) -> str:
    return unquote(text.replace("=", "%"))


def _literal(text: str) -> ox.Literal:
    if not text.startswith('"'):
        typed = _OF_TYPE.fullmatch(text)
        return ox.Literal(typed[2], datatype=ox.NamedNode(_OWN_TYPE + typed[1])) if typed else ox.Literal(text)
    try:
        (quad,) = ox.parse(f"<urn:a> <urn:a> {text} .", ox.RdfFormat.N_TRIPLES)
    except (SyntaxError, ValueError):
        return ox.Literal(text)
    return quad.object if isinstance(quad.object, ox.Literal) else ox.Literal(text)
