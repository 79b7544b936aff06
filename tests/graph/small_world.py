"""A graph of a few landmarks, cities, countries and people in which every answer can be checked by eye."""

from __future__ import annotations

import random
from typing import Any

from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Relation, Triple

CATALOGUE = RelationCatalogue.load()

_WITH_ARTICLE = {"Eiffel Tower", "Louvre", "Tokyo Tower", "Colosseum", "Brandenburg Gate", "Reichstag", "Prado", "yen"}
_LANDMARKS = {"Eiffel Tower", "Louvre", "Tokyo Tower", "Colosseum", "Brandenburg Gate", "Reichstag", "Prado"}

_FACTS = {
    "P131": "Eiffel Tower>Paris, Louvre>Paris, Tokyo Tower>Tokyo, Colosseum>Rome, Brandenburg Gate>Berlin, "
    "Reichstag>Berlin, Prado>Madrid",
    "P17": "Eiffel Tower>France, Louvre>France, Tokyo Tower>Japan, Colosseum>Italy, Brandenburg Gate>Germany, "
    "Reichstag>Germany, Prado>Spain, Paris>France, Lyon>France, Tokyo>Japan, Rome>Italy, Berlin>Germany, "
    "Madrid>Spain, Barcelona>Spain, Malaga>Spain",
    "P84": "Eiffel Tower>Stephen Sauvestre",
    "P36": "France>Paris, Japan>Tokyo, Italy>Rome, Germany>Berlin, Spain>Madrid",
    "P1376": "Paris>France, Tokyo>Japan, Rome>Italy, Berlin>Germany, Madrid>Spain",
    "P30": "France>Europe, Japan>Asia, Italy>Europe, Germany>Europe, Spain>Europe",
    "P38": "France>euro, Japan>yen, Italy>euro, Germany>euro, Spain>euro",
    "P37": "France>French, Japan>Japanese, Italy>Italian, Germany>German, Spain>Spanish, Spain>Catalan",
    "P474": "France>lit:33, Japan>lit:81",
    "P27": "Pablo Picasso>Spain, Joan Miro>Spain, Marie Curie>France, Marie Curie>Poland",
    "P19": "Pablo Picasso>Malaga, Joan Miro>Barcelona",
}


def key(label: str) -> str:
    """The id under which `thing` files a label."""
    return label if label.startswith("lit:") else "E-" + label.casefold().replace(" ", "-")


def thing(label: str) -> Entity:
    return Entity(
        id=key(label),
        label=label.removeprefix("lit:"),
        article="the" if label in _WITH_ARTICLE else "",
        type="landmark" if label in _LANDMARKS else "",
    )


def fact(subject: str, relation: str, obj: str) -> Triple:
    label = CATALOGUE.spec(relation).label if relation in CATALOGUE else relation
    return Triple(subject=thing(subject), relation=Relation(id=relation, label=label), object=thing(obj), source="hand")


def facts() -> list[Triple]:
    rows = [(relation, row.strip().split(">")) for relation, text in _FACTS.items() for row in text.split(",")]
    return [fact(subject, relation, obj) for relation, (subject, obj) in rows]


def world(*extra: Triple, without: tuple[str, str, str] | None = None, seed: int | None = None) -> MemoryStore:
    """The graph, with more facts or one fewer, its triples shuffled if there is a seed."""
    gone = (key(without[0]), without[1], key(without[2])) if without else None
    triples = [triple for triple in [*facts(), *extra] if triple.key != gone]
    if seed is not None:
        random.Random(seed).shuffle(triples)
    return MemoryStore(triples, name="small world")


def edit(subject: str, relation: str, new: str, *, template: str = "", typed: str = "", **rest: Any) -> FactEdit:
    template = template or (CATALOGUE.spec(relation).cloze[0] if relation in CATALOGUE else "{} is")
    ids = {"subject_id": key(subject), "new_object_id": key(new)} | rest
    return FactEdit(subject=typed or subject, template=template, new_object=new, relation=relation, **ids)


def names(triples: Any) -> set[str]:
    """Triples as "subject relation object"."""
    return {f"{t.subject.label} {t.relation.id} {t.object.label}" for t in triples}
