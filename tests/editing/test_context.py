"""A preparation asks the graph once which nodes and which edge an edit means, and all parts read the same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from kgmet.editing.config import EditConfig
from kgmet.editing.context import prepare_edit, prepared_from
from kgmet.editing.editors import EDITORS
from kgmet.fact import FactEdit
from kgmet.graph.reading.consequences import find_consequences
from kgmet.graph.reading.probe_prompts import QuestionConfig, generate_probes
from kgmet.graph.reading.resolved_edit import find_ends
from kgmet.graph.reading.retrieve import retrieve_subgraph
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store

CATALOGUE = RelationCatalogue.load()
TOWER = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
SPAIN = FactEdit(subject="Spain", template="The capital of {} is", new_object="Barcelona", old_object="Madrid")
UNKNOWN = FactEdit(subject="Zorblax", template="{} qwrtz", new_object="Quuxo")


class Counted:
    """A store that counts what it is asked."""

    def __init__(self, store: TripleStore) -> None:
        self._store, self.calls = store, Counter[tuple[Any, ...]]()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._counting(name, found) if callable(found) else found

    def __len__(self) -> int:
        return len(self._store)

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **rest: Any) -> Any:
            self.calls[name, *given, *(str(item) for item in sorted(rest.items()))] += 1
            return call(*given, **rest)

        return counted

    def number(self, *names: str) -> int:
        return sum(n for (name, *_), n in self.calls.items() if name in names)


def asked(edit: FactEdit) -> Counted:
    """The store after a preparation and the probes made from it."""
    store: Any = Counted(sample_store())
    context = prepare_edit(edit, store=store, catalogue=CATALOGUE, config=EditConfig())
    assert context.consequences is not None
    generate_probes(store, CATALOGUE, context.edit, context.consequences, config=QuestionConfig(), ends=context.ends)
    counted: Counted = store
    return counted


@pytest.mark.parametrize(("edit", "n_node", "n_relation"), [(TOWER, 3, 1), (SPAIN, 3, 1), (UNKNOWN, 0, 0)])
def test_each_node_and_the_relation_are_looked_up_once(edit: FactEdit, n_node: int, n_relation: int) -> None:
    """Subject, old and new object, and the relation; the tower's old object is the graph's."""
    store = asked(edit)
    assert (store.number("entity"), store.number("relation")) == (n_node, n_relation)


def test_the_linker_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from kgmet.editing import context

    calls: list[Sequence[Any]] = []
    link, find = context.link_edit, context.find_ends
    monkeypatch.setattr(context, "link_edit", lambda *given: calls.append(("link", *given)) or link(*given))
    monkeypatch.setattr(context, "find_ends", lambda *given: calls.append(("ends", *given)) or find(*given))
    for module in ("consequences", "retrieve", "probe_prompts", "worlds"):
        monkeypatch.setattr(
            f"kgmet.graph.reading.{module}.find_ends", lambda *_: pytest.fail("resolved again"), raising=False
        )
    asked(TOWER)
    assert [name for name, *_ in calls] == ["link", "ends"]


def test_a_name_is_searched_for_with_one_limit_so_that_an_endpoint_is_asked_once() -> None:
    limits: dict[Any, set[Any]] = {}
    for key in asked(SPAIN).calls:
        if key[0] == "search":
            limits.setdefault(key[1], set()).add(key[2:])
    assert limits and all(len(of_name) == 1 for of_name in limits.values()), limits


@pytest.mark.parametrize("edit", [TOWER, SPAIN, UNKNOWN])
def test_each_part_alone_gives_what_the_preparation_has(edit: FactEdit) -> None:
    store, config = sample_store(), EditConfig()
    context = prepare_edit(edit, store=store, catalogue=CATALOGUE, config=config)
    linked = context.edit
    assert context.ends == find_ends(store, linked, CATALOGUE)
    alone = find_consequences(store, CATALOGUE, linked, config=config.consequences)
    assert context.consequences is not None and context.consequences.to_json() == alone.to_json()
    after = retrieve_subgraph(store, linked, config=config.subgraph, consequences=alone)
    before = retrieve_subgraph(store, linked, config=config.subgraph, state="before")
    assert context.subgraph is not None and context.subgraph.to_json() == after.to_json()
    assert context.subgraph_before is not None and context.subgraph_before.to_json() == before.to_json()
    probes = [
        generate_probes(store, CATALOGUE, linked, alone, config=QuestionConfig(), ends=ends)
        for ends in (None, context.ends)
    ]
    assert probes[0] == probes[1]


def test_settings_that_need_other_names_are_prepared_apart() -> None:
    """The shuffled-facts control needs names of unrelated entities, which a preparation for KGMET does not have."""
    plain, control = EDITORS["KGMET"].config, EDITORS["shuffled-facts"].config
    assert prepared_from(plain) != prepared_from(control)
    assert prepared_from(plain) == prepared_from(replace(plain, seed=7))
