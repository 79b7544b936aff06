"""Properties of what a deep write uses, leaves alone and is measured with: three sets that do not meet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kgmet.base.errors import ConfigError
from kgmet.fact import FactEdit
from kgmet.graph.reading.consequences import ConsequenceConfig, EditConsequences, find_consequences
from tests.graph.small_world import CATALOGUE, edit, fact, names, world

CAPITAL = edit("Spain", "P36", "Barcelona")
STORE = world(
    fact("Lisbon", "P17", "Portugal"),
    fact("Porto", "P17", "Portugal"),
    fact("Portugal", "P36", "Lisbon"),
    fact("Osaka", "P17", "Japan"),
    fact("Seville", "P17", "Spain"),
    fact("Granada", "P17", "Spain"),
    fact("Salvador Dali", "P27", "Spain"),
)


def look(what: FactEdit = CAPITAL, **config: Any) -> EditConsequences:
    settings = {"max_later_hops": 40, "max_kept_later": 40} | config
    return find_consequences(STORE, CATALOGUE, what, config=ConsequenceConfig(**settings))


def test_no_starting_point_is_both_written_and_measured() -> None:
    found = look()
    written = {item.subject.id for item in found.written_later}
    probed = {item.subject.id for item in found.probed_later}
    assert written and probed
    assert not written & probed


def test_every_leading_relation_is_written_and_measured() -> None:
    found = look()
    for relation in ("P17", "P27"):
        assert any(item.path_new[0].relation.id == relation for item in found.written_later)
        assert any(item.path_new[0].relation.id == relation for item in found.probed_later)


def test_written_chains_have_two_hops_and_end_with_the_edited_fact() -> None:
    for item in look().written_later:
        assert names(item.path_new[1:]) == {"Spain P36 Barcelona"}
        assert item.new is not None and item.new.label == "Barcelona"
        assert not any("Spain" in text for text in item.templates)


def test_what_must_stay_never_rests_on_the_edited_relation_of_the_subject() -> None:
    found = look()
    for kept in (*found.kept_later, *found.probed_kept_later):
        assert len(kept.path) == 2
        assert kept.path[0].object == kept.path[1].subject
        assert (kept.triple.subject, kept.triple.object) == (kept.path[0].subject, kept.path[1].object)
        assert not any((t.subject.label, t.relation.id) == ("Spain", "P36") for t in kept.path)


def test_both_kinds_stay_the_same_chain_elsewhere_and_other_facts_from_the_same_start() -> None:
    found = look()
    elsewhere = [kept for kept in found.kept_later if kept.kind == "neighbour"]
    beside = [kept for kept in found.kept_later if kept.kind == "own"]
    assert elsewhere and beside
    assert {kept.path[1].relation.id for kept in elsewhere} == {"P36"}
    assert {kept.path[1].subject.label for kept in beside} == {"Spain"}
    starts = {item.subject.id for item in found.written_later}
    assert {kept.triple.subject.id for kept in beside} <= starts


def test_no_other_subject_is_both_protected_and_measured() -> None:
    found = look()

    def through(facts: Any) -> set[str]:
        return {kept.path[1].subject.id for kept in facts if kept.kind == "neighbour"}

    assert through(found.kept_later) and through(found.probed_kept_later)
    assert not through(found.kept_later) & through(found.probed_kept_later)


def test_nothing_is_looked_for_unless_asked() -> None:
    found = find_consequences(STORE, CATALOGUE, CAPITAL, config=ConsequenceConfig())
    assert (found.written_later, found.kept_later, found.probed_kept_later) == ((), (), ())
    assert found.probed_later == found.later_hops


def test_at_most_as_many_as_asked_for() -> None:
    assert len(look(max_kept_later=3).kept_later) == 3
    with pytest.raises(ConfigError, match="max_kept_later must be at least 0, got -1"):
        look(max_kept_later=-1)


def test_values_survive_json() -> None:
    found = look()
    assert EditConsequences.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_each_fact_once_and_the_same_every_time() -> None:
    found = look()
    for facts in (found.kept_later, found.probed_kept_later):
        assert len({kept.id for kept in facts}) == len(facts)
    assert look() == found
