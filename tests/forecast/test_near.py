"""An index near an edit: its relation first, no fact twice, kept on disk part by part, told before it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kgmet.base.errors import Cancelled
from kgmet.fact import FactEdit
from kgmet.forecast import index as index_module
from kgmet.forecast.index import EVERYTHING, FactScope, build_index, facts_on_disk, index_folder
from kgmet.forecast.near import index_seconds, near_facts_on_disk, near_index, scopes_near
from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
from kgmet.lm.load.loaded import LoadedLM
from tests.forecast.tiny_world import CATALOGUE, TO_TOKYO, known_world
from tests.graph.small_world import world
from tests.progress import Recorded

LAYERS = (1, 2)
EDIT = FactEdit(
    subject="France",
    subject_id="E-France",
    relation="P36",
    template="The capital of {} is",
    new_object="Rome",
    new_object_id="E-Rome",
)


def test_the_edits_own_relation_comes_first_and_no_fact_comes_twice(lm: LoadedLM) -> None:
    store, known = known_world(lm)
    index = near_index(lm, store, CATALOGUE, LAYERS, edits=[(EDIT, None)], limit=100)
    keys = [fact.prompt.fact for fact in index.facts]
    own = [key for key in known if key[1] == "P36"]
    assert own
    assert {relation for _, relation in keys[: len(own)]} == {"P36"}
    assert len(keys) == len(set(keys))
    assert set(keys) == known


def test_the_limit_holds_and_half_is_of_the_edits_relation(lm: LoadedLM) -> None:
    store, known = known_world(lm)
    n_own = sum(relation == "P36" for _, relation in known)
    index = near_index(lm, store, CATALOGUE, LAYERS, edits=[(EDIT, None)], limit=4)
    assert len(index) == 4
    assert sum(fact.prompt.relation == "P36" for fact in index.facts) >= min(2, n_own)


def test_an_edit_without_a_relation_is_near_everything(lm: LoadedLM) -> None:
    store, known = known_world(lm)
    typed = FactEdit(subject="Zorblax", template="{} is in", new_object="Berlin")
    assert len(scopes_near([(typed, None)], 50)) == 1
    index = near_index(lm, store, CATALOGUE, LAYERS, edits=[(typed, None)], limit=100)
    assert {fact.prompt.fact for fact in index.facts} == known


def test_what_follows_from_the_edit_has_a_part_of_its_own() -> None:
    edit = TO_TOKYO
    found = find_consequences(world(), CATALOGUE, edit, config=ConsequenceConfig())
    shares = scopes_near([(edit, found)], 100)
    assert [share.scope.relations for share in shares[:2]] == [("P131",), ()]
    assert shares[1].scope.subjects == ("E-eiffel-tower", "E-tokyo")
    following = shares[2].scope.relations
    assert "P17" in following and "P131" not in following
    assert (shares[0].limit, shares[-1].limit) == (50, 100)
    assert not shares[-1].scope.relations and not shares[-1].scope.subjects


def test_what_is_on_disk_is_counted_before_and_after(lm: LoadedLM) -> None:
    store, _ = known_world(lm)
    edits = [(EDIT, None)]
    asked = {"edits": edits, "limit": 4}
    assert near_facts_on_disk(lm, store, CATALOGUE, LAYERS, **asked) == 0  # type: ignore[arg-type]
    index = near_index(lm, store, CATALOGUE, LAYERS, **asked)  # type: ignore[arg-type]
    assert near_facts_on_disk(lm, store, CATALOGUE, LAYERS, **asked) == len(index) == 4  # type: ignore[arg-type]
    for path in (index_module.cache_dir() / "forecast").rglob("*.safetensors"):
        path.write_bytes(b"no tensors")
    assert near_facts_on_disk(lm, store, CATALOGUE, LAYERS, **asked) == 0  # type: ignore[arg-type]


def test_another_edit_of_the_same_relation_asks_only_what_is_new(lm: LoadedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = known_world(lm)
    near_index(lm, store, CATALOGUE, LAYERS, edits=[(EDIT, None)], limit=4)
    scope = FactScope(relations=("P36",))
    folder = index_folder(lm, store, CATALOGUE, LAYERS, per_fact=48, scope=scope)
    assert facts_on_disk(folder)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(index_module, "answers_of", refuse)
    build_index(lm, store, CATALOGUE, LAYERS, limit=2, per_fact=48, scope=scope)


def test_progress_rises_to_its_end_and_a_stop_keeps_what_is_done(lm: LoadedLM) -> None:
    store, _ = known_world(lm)
    with pytest.raises(Cancelled):
        near_index(
            lm,
            store,
            CATALOGUE,
            LAYERS,
            edits=[(EDIT, None)],
            limit=8,
            progress=Recorded(lambda so_far: len(so_far.events) >= 2),
        )
    kept = near_facts_on_disk(lm, store, CATALOGUE, LAYERS, edits=[(EDIT, None)], limit=8)
    assert kept > 0
    told = Recorded()
    near_index(lm, store, CATALOGUE, LAYERS, edits=[(EDIT, None)], limit=8, progress=told)
    events = [event for event in told.events if event.stage == "fact index"]
    assert {event.total for event in events} == {8}
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == 8 and all(event.done < 8 for event in events[:-1])


def test_a_scope_has_a_folder_of_its_own_and_everything_has_the_one_of_before(lm: LoadedLM) -> None:
    store, _ = known_world(lm)
    plain = index_folder(lm, store, CATALOGUE, LAYERS, per_fact=48)
    assert index_folder(lm, store, CATALOGUE, LAYERS, per_fact=48, scope=EVERYTHING) == plain
    scopes = [FactScope(relations=("P36",)), FactScope(subjects=("P36",)), FactScope(per_round=2)]
    folders = {index_folder(lm, store, CATALOGUE, LAYERS, per_fact=48, scope=scope) for scope in scopes}
    assert len({plain, *folders}) == 4
    assert FactScope(relations=("P36",), subjects=("E-Rome",)).takes("P36", "E-Rome")
    assert not FactScope(relations=("P36",), subjects=("E-Rome",)).takes("P36", "E-Paris")


def test_the_estimate_grows_with_the_facts_and_with_the_model(lm: LoadedLM) -> None:
    assert index_seconds(lm, 0) == 0
    assert index_seconds(lm, 200) == pytest.approx(2 * index_seconds(lm, 100))
    assert index_seconds(replace(lm), 100) == index_seconds(lm, 100)
