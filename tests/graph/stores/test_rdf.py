from __future__ import annotations

import pytest

from kgmet.base.errors import GraphError
from kgmet.graph.stores import terms
from kgmet.graph.stores.rdf import RdfStore
from kgmet.graph.triple import Entity, Relation, Triple

COUNTRY = Relation(id="P17", label="country")
PARIS, FRANCE = Entity(id="Q90", label="Paris"), Entity(id="Q142", label="France")
NASTY = Entity(id='K-"}; DROP ALL', label='x" . <script>alert(1)</script> } # \\')


@pytest.fixture
def store() -> RdfStore:
    return RdfStore(
        [
            Triple(subject=PARIS, relation=COUNTRY, object=FRANCE, source="atlas"),
            Triple(subject=NASTY, relation=COUNTRY, object=FRANCE),
            Triple(
                subject=FRANCE, relation=Relation(id="K-code", label="code"), object=Entity(id="lit:33", label="33")
            ),
        ]
    )


@pytest.mark.parametrize(
    "entity_id",
    [
        "Q90",
        "lit:33",
        "lit:",
        "lit:code:US",
        "lit:http://example.org/",
        'lit:"code:US"',
        'lit:code:"US',
        "lit:Ratio 3:4",
        'lit:"quoted',
        'lit:"5"^^<http://www.w3.org/2001/XMLSchema#integer>',
        'lit:"chat"@fr',
        "lit:line\nbreak",
        "_:b0",
        "_:not a name",
        "K-eiffel-tower",
        "http://example.org/a?b#c",
        "http://not an iri/",
        "urn:kgmet:e:x",
        "日本 🗼",
        '> <x> "; DROP',
        "Q90 ",
        "P36",
    ],
)
def test_every_id_survives_as_a_term(entity_id: str):
    term = terms.entity_term(entity_id)
    assert terms.entity_term(terms.entity_id(term)) == term
    if entity_id not in (
        "lit:",
        "lit:line\nbreak",
        'lit:"quoted',
        "urn:kgmet:e:x",
    ):  # written in N-Triples form, or shortened
        assert terms.entity_id(term) == entity_id


@pytest.mark.parametrize("relation_id", ["P36", "K-code", "http://example.org/p", "Q90", "a b>", "日本"])
def test_every_relation_survives_as_a_term(relation_id: str):
    assert terms.relation_id(terms.relation_term(relation_id)) == relation_id


def test_sparql_answers_in_ids(store: RdfStore):
    rows = store.sparql("SELECT ?s ?r ?o WHERE { ?s ?r ?o . FILTER(?o = ?x) } ORDER BY ?s".replace("?x", '"33"'))
    assert rows == ({"s": "Q142", "r": "K-code", "o": "lit:33"},)


def test_terms_are_bound_not_pasted(store: RdfStore):
    query = "SELECT ?s ?r ?o WHERE { ?s ?r ?o }"
    assert {row["o"] for row in store.sparql(query, {"s": NASTY, "r": COUNTRY})} == {"Q142"}
    assert store.sparql("SELECT ?s ?l WHERE { ?s ?p ?l }", {"l": NASTY.label}) == (
        {"s": NASTY.id, "l": f"lit:{NASTY.label}"},
    )
    assert store.sparql("ASK { ?s ?r ?o }", {"s": NASTY, "o": FRANCE}) == ({"answer": "true"},)
    assert store.sparql("ASK { ?s ?r ?o }", {"s": NASTY, "o": PARIS}) == ({"answer": "false"},)


def test_the_source_is_the_named_graph(store: RdfStore):
    assert store.sparql("SELECT ?g WHERE { GRAPH ?g { ?s ?r ?o } }") == ({"g": "urn:kgmet:source:atlas"},)


def test_rows_are_limited(store: RdfStore):
    assert len(store.sparql("SELECT * WHERE { ?a ?b ?c . ?d ?e ?f }", limit=5)) == 5


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT * WHERE {", "cannot be answered"),
        ("DELETE WHERE { ?s ?p ?o }", "cannot be answered"),
        ("CONSTRUCT WHERE { ?s ?p ?o }", "neither SELECT nor ASK"),
        ("SELECT * WHERE { SERVICE <http://127.0.0.1:8080/> { ?s ?p ?o } }", "SERVICE"),
        ("SELECT * WHERE { \\u0053ERVICE SILENT <http://127.0.0.1:8080/> { ?s ?p ?o } }", "SERVICE"),
        ("SELECT * WHERE { \\U00000073ervice <http://127.0.0.1:8080/> { ?s ?p ?o } }", "SERVICE"),
    ],
)
def test_queries_that_are_refused(store: RdfStore, query: str, says: str):
    with pytest.raises(GraphError, match=says):
        store.sparql(query)
    assert len(store.sparql("SELECT ?s WHERE { ?s ?p ?o }")) > 3
