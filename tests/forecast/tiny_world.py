"""A graph of which a tiny random model knows some facts: their objects are called what the model says."""

from __future__ import annotations

import functools

from kgmet.fact import FactEdit
from kgmet.forecast.facts import prompts_of
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Relation, Triple
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import generate, score_answers

CATALOGUE = RelationCatalogue.load()
RELATIONS = ("P36", "P38", "P17")
NAMES = ("France", "Germany", "Italy", "London", "Rome", "Berlin", "Paris", "Tower", "River", "Guide", "News", "Book")
TO_TOKYO = FactEdit(
    subject="The Eiffel Tower",
    subject_id="E-eiffel-tower",
    relation="P131",
    template="{} is located in the city of",
    new_object="Tokyo",
    new_object_id="E-tokyo",
)
"""An edit of `tests.graph.small_world`."""
PROMPTS = (("The Eiffel Tower is located in the city of", "Paris"), ("The capital of Germany is", "Berlin"))


def entity(label: str) -> Entity:
    return Entity(id=f"E-{label}", label=label)


@functools.cache
def known_world(lm: LoadedLM) -> tuple[MemoryStore, set[tuple[str, str]]]:
    """The graph, and (subject id, relation) of the facts the model knows in their first wording."""
    triples, known = [], set()
    for relation in RELATIONS:
        spec = CATALOGUE.spec(relation)
        for number, name in enumerate(NAMES):
            probe = prompts_of(spec, entity(name), [entity("Zyx")])[0].text
            said = generate(lm, [probe], max_new_tokens=1)[0].strip()
            usable = said.isalpha() and said.casefold() not in probe.casefold()
            usable = usable and score_answers(lm, [(probe, said)])[0].is_first
            label = said if usable and number % 3 else "Zyx"
            if label != "Zyx":
                known.add((f"E-{name}", relation))
            triples.append(
                Triple(subject=entity(name), relation=Relation(id=relation, label=spec.label), object=entity(label))
            )
    return MemoryStore(triples), known
