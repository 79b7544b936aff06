"""The SPARQL queries of `SparqlStore`.

Terms are passed as terms and written by pyoxigraph's serialiser, so none of them can inject query text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import pyoxigraph as ox

from kgmet.graph.names import without_article
from kgmet.graph.stores import terms
from kgmet.graph.stores.rows import MAX_FIELD
from kgmet.graph.stores.terms import Term

__all__ = [
    "LANGUAGES",
    "all_relations",
    "around",
    "bearing",
    "describe",
    "labels",
    "mention",
    "spellings",
    "with_relation",
]

LANGUAGES = ("en", "mul", "")
"""Languages of labels, best first; Wikidata uses ``mul`` for names that are the same in all languages."""

_SITELINKS = ox.NamedNode("http://wikiba.se/ontology#sitelinks")
_NO_NAMES = f"FILTER(?p NOT IN ({terms.LABEL}, {terms.ALIAS}, {terms.DESCRIPTION}))"
_DIRECT = f"FILTER(STRSTARTS(STR(?p), {ox.Literal(terms.WIKIDATA_DIRECT)}) && ISIRI(?e))"
_SPOKEN = ", ".join(str(ox.Literal(language)) for language in LANGUAGES)


def spellings(text: str) -> list[str]:
    """Return usual spellings of `text` as a label: as typed, without article, with capitals."""
    line = terms.literal_text(text, longest=MAX_FIELD)
    bare = without_article(line)
    if not bare:
        return []
    title = " ".join(word[:1].upper() + word[1:] for word in bare.split())
    return list(dict.fromkeys([line, bare, bare[:1].upper() + bare[1:], title, f"The {title}", bare.lower()]))


def all_relations() -> str:
    """Return a query for ?p: the predicates of facts."""
    return f"SELECT DISTINCT ?p WHERE {{ ?s ?p ?o . {_NO_NAMES} }} LIMIT 2000"


def around(
    here: Term, *, way: Literal["out", "in"], relations: Sequence[Term] | None, limit: int, wikidata: bool
) -> str:
    """Return a query for ?p, ?e, ?l: predicate, other end and its labels; at most `limit` triples.

    Names do not count as facts; in Wikidata only direct statements between entities do.
    """
    chosen = "" if relations is None else f"VALUES ?p {{ {_list(relations)} }} "
    pattern = f"{here} ?p ?e" if way == "out" else f"?e ?p {here}"
    order = "ORDER BY ?p ?e " if way == "out" else ""
    facts = f"SELECT DISTINCT ?p ?e WHERE {{ {chosen}{pattern} . {_DIRECT if wikidata else _NO_NAMES} }}"
    return f"SELECT ?p ?e ?l WHERE {{ {{ {facts} {order}LIMIT {limit} }} {_label('e', 'l')} }}"


def with_relation(relation: Term, *, limit: int) -> str:
    """Return a query for ?s, ?o, ?sl, ?ol: both ends and their labels; at most `limit` triples."""
    facts = f"SELECT DISTINCT ?s ?o WHERE {{ ?s {relation} ?o }} LIMIT {limit}"
    return f"SELECT ?s ?o ?sl ?ol WHERE {{ {{ {facts} }} {_label('s', 'sl')} {_label('o', 'ol')} }}"


def bearing(names: Sequence[str], *, limit: int) -> str:
    """Return a query for ?e, ?p, ?m, ?n: entity, label or alias, matched name, number of Wikipedia articles."""
    written = _list(
        ox.Literal(name, language=language) if language else ox.Literal(name)
        for name in names
        for language in LANGUAGES
    )
    values = f"VALUES ?m {{ {written} }} VALUES ?p {{ {terms.LABEL} {terms.ALIAS} }}"
    return (
        f"SELECT DISTINCT ?e ?p ?m ?n WHERE {{ {values} ?e ?p ?m . OPTIONAL {{ ?e {_SITELINKS} ?n }} }} "
        f"ORDER BY DESC(?n) ?e LIMIT {limit}"
    )


def describe(wanted: Sequence[Term]) -> str:
    """Return a query for ?e, ?p, ?t: labels, aliases and descriptions of these entities."""
    kinds = _list([terms.LABEL, terms.ALIAS, terms.DESCRIPTION])
    return (
        f"SELECT ?e ?p ?t WHERE {{ VALUES ?e {{ {_list(wanted)} }} VALUES ?p {{ {kinds} }} ?e ?p ?t . "
        f"FILTER(LANG(?t) IN ({_SPOKEN})) }} LIMIT {100 * len(wanted)}"
    )


def labels(wanted: Sequence[Term]) -> str:
    """Return a query for ?e, ?l: these terms with their labels."""
    return f"SELECT ?e ?l WHERE {{ VALUES ?e {{ {_list(wanted)} }} {_label('e', 'l')} }}"


def mention(term: Term) -> str:
    """Return a query with one row if any triple has this term as subject or object."""
    return f"SELECT ?p WHERE {{ {{ {term} ?p ?o }} UNION {{ ?s ?p {term} }} }} LIMIT 1"


def _label(variable: str, label: str) -> str:
    return f"OPTIONAL {{ ?{variable} {terms.LABEL} ?{label} . FILTER(LANG(?{label}) IN ({_SPOKEN})) }}"


def _list(written: Iterable[Term]) -> str:
    return " ".join(str(term) for term in written)
