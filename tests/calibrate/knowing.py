"""A graph of which a tiny random model knows facts that can be edited, and the calibration of one editor on it.

Places lie in cities, cities in countries.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.calibrate.calibrate import Calibration, CalibrationConfig, calibrate
from kgmet.calibrate.halving import Budget
from kgmet.editing.editors import EDITORS
from kgmet.forecast.facts import prompts_of
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.triple import Entity, Relation, Triple
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import generate
from tests.tiny_models import tiny_lm

CATALOGUE = RelationCatalogue.load()
LM = tiny_lm("llama", seed=1)
EDITOR = EDITORS["MEMIT"]
CONFIG = CalibrationConfig(budget=Budget(settings=3), facts=10, per_relation=48)
_WHAT = ("Tower", "River", "Guide", "News", "Book", "Text", "City", "Notebook")
PLACES = tuple(f"{what} {name}" for what in _WHAT for name in ("Berlin", "Rome", "Paris", "London", "Italy", "France"))


def entity(label: str) -> Entity:
    return Entity(id=f"E-{label}", label=label)


def triple(subject: str, relation: str, thing: str) -> Triple:
    spec = CATALOGUE.spec(relation)
    return Triple(subject=entity(subject), relation=Relation(id=relation, label=spec.label), object=entity(thing))


@functools.cache
def knowing_store(lm: LoadedLM, *, knows: bool = True) -> MemoryStore:
    """Each place lies in the city that the model names; without `knows` in one that it never names."""
    triples = []
    for number, place in enumerate(PLACES):
        prompts = prompts_of(CATALOGUE.spec("P131"), entity(place), [entity("Zyx")])
        said = [generate(lm, [prompt.text], max_new_tokens=1)[0].strip() for prompt in prompts]
        word = next((text for text in said if text.isalpha() and text not in place), "Zyx")
        triples.append(triple(place, "P131", word if knows else f"Zyx{number % 5}"))
    cities = sorted({item.object.label for item in triples})
    for number, city in enumerate(cities):
        triples += [triple(city, "P17", f"Land{number}"), triple(f"Land{number}", "P38", f"coin{number}")]
    return MemoryStore(triples)


def run(**options: Any) -> Calibration:
    """Calibrate the editor for the model."""
    return calibrate(LM, knowing_store(LM), CATALOGUE, [EDITOR], **{"config": CONFIG} | options)


@dataclass(frozen=True)
class Undisturbed:
    """A calibration that was not disturbed: what it found, and the cache folder that it left."""

    found: Calibration
    cache: Path
