from __future__ import annotations

import random

import pytest

from kgmet.base.errors import UnknownEntityError, UnknownRelationError
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Relation, Triple
from kgmet.graph.wording.linking import link_entity


def entity(entity_id: str, label: str = "", **more: object) -> Entity:
    return Entity(id=entity_id, label=label or entity_id, **more)  # type: ignore[arg-type]


def triple(subject: str, relation: str, obj: str, source: str = "") -> Triple:
    return Triple(
        subject=entity(subject), relation=Relation(id=relation, label=relation), object=entity(obj), source=source
    )


def some_triples(count: int = 400, *, seed: int = 3) -> list[Triple]:
    draw = random.Random(seed)
    return [triple(f"Q{draw.randrange(30)}", f"P{draw.randrange(6)}", f"Q{draw.randrange(30)}") for _ in range(count)]


GEOGRAPHY = [
    Triple(
        subject=entity("Q243", "Eiffel Tower", aliases=("Tour Eiffel", "the Iron Lady")),
        relation=Relation(id="P131", label="located in city"),
        object=entity("Q90", "Paris"),
    ),
    Triple(
        subject=entity("Q90", "Paris"),
        relation=Relation(id="P17", label="country"),
        object=entity("Q142", "France"),
    ),
    Triple(
        subject=entity("Q142", "France"),
        relation=Relation(id="P36", label="capital"),
        object=entity("Q90", "Paris"),
    ),
    Triple(
        subject=entity("Q830149", "Paris", description="city in Texas"),
        relation=Relation(id="P17", label="country"),
        object=entity("Q30", "United States"),
    ),
]


def as_protocol(store: TripleStore) -> TripleStore:
    return store


def test_answers_are_the_filtered_and_sorted_triples():
    triples = some_triples()
    store = as_protocol(MemoryStore(triples))
    merged = sorted(set(triples))
    assert len(store) == len(merged) < len(triples)
    for number in range(30):
        node = f"Q{number}"
        assert list(store.outgoing(node)) == [t for t in merged if t.subject.id == node]
        by_object = sorted(merged, key=lambda t: (t.object.id, t.relation.id, t.subject.id))
        assert list(store.incoming(node)) == [t for t in by_object if t.object.id == node]
        some = store.incoming(node, relations={"P3", "P1", "unheard of"})
        assert list(some) == [t for t in by_object if t.object.id == node and t.relation.id in {"P1", "P3"}]
    by_relation = sorted(merged, key=lambda t: (t.relation.id, t.subject.id, t.object.id))
    assert list(store.with_relation("P2")) == [t for t in by_relation if t.relation.id == "P2"]


def test_a_limit_cuts_the_same_list():
    store = MemoryStore(some_triples())
    for limit in (0, 1, 5, 1000):
        assert store.outgoing("Q1", limit=limit) == store.outgoing("Q1")[:limit]
        assert (
            store.incoming("Q1", relations=["P4", "P0"], limit=limit)
            == store.incoming("Q1", relations=["P0", "P4"])[:limit]
        )
        assert store.with_relation("P1", limit=limit) == store.with_relation("P1")[:limit]


def test_order_of_triples_does_not_matter():
    triples = some_triples()
    shuffled = random.Random(1).sample(triples, len(triples))
    store, other = MemoryStore(triples), MemoryStore(shuffled)
    assert store.fingerprint == other.fingerprint
    assert list(store) == list(other)
    assert store.relations() == other.relations()
    assert MemoryStore(triples[:-40]).fingerprint != store.fingerprint


def test_counts_agree_with_answers():
    store = MemoryStore(some_triples())
    for number in range(30):
        node = f"Q{number}"
        assert store.count(node) == len(store.outgoing(node))
        assert store.count(node, direction="in", relation="P2") == len(store.incoming(node, relations=["P2"]))
        assert store.degree(node) == store.count(node) + store.count(node, direction="in")
    assert store.count("Q1", relation="P99") == 0


def test_repeated_triples_keep_every_source():
    store = MemoryStore([triple("Q1", "P1", "Q2", "b"), triple("Q1", "P1", "Q2", "a"), triple("Q1", "P1", "Q2", "a")])
    (only,) = store.outgoing("Q1")
    assert only.source == "a; b"


def test_self_loops_and_cycles_are_facts():
    store = MemoryStore([triple("Q1", "P1", "Q1"), triple("Q1", "P1", "Q2"), triple("Q2", "P1", "Q1")])
    assert [t.object.id for t in store.outgoing("Q1")] == ["Q1", "Q2"]
    assert [t.subject.id for t in store.incoming("Q1")] == ["Q1", "Q2"]


def test_unknown_things():
    store = MemoryStore(GEOGRAPHY)
    assert store.outgoing("Q0") == store.incoming("Q0") == store.with_relation("P0") == ()
    assert "Q0" not in store and "Q90" in store
    with pytest.raises(UnknownEntityError, match=r"Q0.*Search"):
        store.entity("Q0")
    with pytest.raises(UnknownRelationError, match=r"P0.*P131 \(located in city\)"):
        store.relation("P0")


def test_an_empty_store_answers():
    store = MemoryStore()
    assert len(store) == 0 and store.relations() == () and store.search("Paris") == () and store.outgoing("Q1") == ()


def test_details_are_kept_whichever_triple_brings_them():
    known = entity("Q90", "Paris", description="capital of France")
    for triples in ([GEOGRAPHY[0], GEOGRAPHY[1]], [GEOGRAPHY[1], GEOGRAPHY[0]]):
        store = MemoryStore(triples, entities=[known])
        assert store.entity("Q90").description == "capital of France"
        assert store.entity("Q243").aliases == ("Tour Eiffel", "the Iron Lady")


def test_a_hub_answers_from_its_edges_wanted():
    hub = [triple("Q0", "P1", f"Q{n}") for n in range(1, 5000)] + [triple("Q0", "P2", "Q1")]
    store = MemoryStore(hub)
    assert [t.object.id for t in store.outgoing("Q0", limit=2)] == ["Q1", "Q10"]
    assert [t.relation.id for t in store.outgoing("Q0", relations=["P2"], limit=1)] == ["P2"]


@pytest.mark.parametrize("typed", ["Eiffel Tower", "The Eiffel Tower", "eiffel tower", "EIFFEL  TOWER", "eiffel-tower"])
def test_one_node_under_all_its_spellings(typed: str):
    best = MemoryStore(GEOGRAPHY).search(typed)[0]
    assert best.entity.id == "Q243" and best.matched == "Eiffel Tower" and best.score > 0.85


def test_exact_before_alias_before_prefix_before_word():
    store = MemoryStore(
        entities=[
            entity("Q1", "Apple"),
            entity("Q2", "Malus domestica", aliases=("apple",)),
            entity("Q3", "Apple Records"),
            entity("Q4", "Big Apple"),
            entity("Q5", "Pineapple"),
        ]
    )
    found = store.search("apple")
    assert [match.entity.id for match in found] == ["Q1", "Q2", "Q3", "Q4"]
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)
    assert found[1].matched == "apple"


def test_same_name_both_returned_better_known_first():
    found = MemoryStore(GEOGRAPHY).search("paris")
    assert [(match.entity.id, match.entity.description) for match in found] == [
        ("Q90", ""),
        ("Q830149", "city in Texas"),
    ]


def test_an_entity_is_found_once():
    store = MemoryStore(entities=[entity("Q60", "New York City", aliases=("New York", "NYC", "New York, New York"))])
    assert [match.entity.id for match in store.search("new york")] == ["Q60"]


@pytest.mark.parametrize(
    ("label", "typed"),
    [
        ("São Paulo", "sao paulo"),
        ("Łódź", "lodz"),
        ("Ærøskøbing", "aeroskobing"),
        ("日本", "日本"),
        ("القاهرة", "القاهرة"),
        ("القَاهِرَة", "القاهرة"),
        ("‏ירושלים", "ירושלים"),
        ("हिन्दी", "हिन्दी"),
        ("🗼", "🗼"),
        ("❤️ heart", "❤ heart"),
        ("!!!", "!!!"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("AC/DC", "ac dc"),
        ("U.S. Bank", "us bank"),
        ("O’Brien", "obrien"),
        ("The The", "the the"),
        ("Straße", "strasse"),
    ],
)
def test_names_of_every_script(label: str, typed: str):
    store = MemoryStore(entities=[entity("Q1", label), entity("Q2", "something else")])
    assert [match.entity.id for match in store.search(typed)] == ["Q1"]


@pytest.mark.parametrize("typed", ["", "   ", "\u200f", "nowhere to be found", '"; DROP', "\x00"])
def test_nothing_fits(typed: str):
    assert MemoryStore(GEOGRAPHY).search(typed) == ()


def test_letters_that_only_look_accented_stay_apart():
    store = MemoryStore(entities=[entity("Q1", "か"), entity("Q2", "が"), entity("Q3", "हाल"), entity("Q4", "हल")])
    assert store.search("が")[0].entity.id == "Q2"
    assert store.search("हल")[0].entity.id == "Q4"


def test_limit_of_search():
    store = MemoryStore(entities=[entity(f"Q{n:03}", f"Saint number {n}") for n in range(200)])
    assert len(store.search("saint", limit=7)) == 7
    assert store.search("saint", limit=0) == ()


@pytest.mark.parametrize("typed", ["Eifel Tower", "eiffel towr", "The Eiffle Tower"])
def test_a_slip_is_a_proposal_of_little_weight(typed: str):
    (match,) = MemoryStore(GEOGRAPHY).search(typed)
    assert match.entity.id == "Q243" and match.score < 0.3


def test_an_extended_store_is_the_store_of_all_triples():
    triples = some_triples()
    first, rest = MemoryStore(triples[:150], entities=[entity("Q77", "alone", description="kept")]), triples[150:]
    whole = first.extended(rest, name="both")
    assert list(whole) == list(MemoryStore(triples)) and whole.name == "both"
    assert whole.entity("Q77").description == "kept" and len(first) == len(set(triples[:150]))


def test_a_thing_comes_before_a_value_of_its_name():
    code = entity("lit:code:USA", "USA", type="code")
    store = MemoryStore(
        [triple("Q1", "P1", "lit:code:FR")], entities=[code, entity("Q30", "United States", aliases=("USA",))]
    )
    assert [match.entity.id for match in store.search("usa")] == ["Q30", "lit:code:USA"]
    assert [match.entity.id for match in link_entity(store, "usa", expected_types={"code"})] == ["lit:code:USA", "Q30"]
