"""`knowledge_of`: which facts a model knows of the relations that edits can be tried on; asked once and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kgmet.base.cache import written_whole
from kgmet.base.errors import BrokenArtifactError, FileError
from kgmet.base.files import failures_as, read_json_object
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.calibrate.cases import usable_relations
from kgmet.calibrate.trials import calibration_folder
from kgmet.forecast.facts import FactPrompt
from kgmet.forecast.known import AskedFact, KnownFacts, KnownRelation, known_facts
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["knowledge_of"]


def knowledge_of(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    per_relation: int,
    progress: Progress | None = None,
) -> KnownFacts:
    """Ask the model the best-known facts of every relation whose edits fill all columns.

    What it said is kept in the cache folder; the same question is not asked again.

    Args:
        lm: the model, with nothing attached.
        store: the graph.
        catalogue: the words.
        per_relation: most facts asked of a relation.
        progress: receives every batch and can cancel.
    """
    asked = fingerprint_value([store.fingerprint, catalogue.fingerprint, per_relation])
    path = calibration_folder(lm) / f"knows-{asked}.json"
    if path.exists():
        try:
            return _from_json(read_json_object(path))
        except FileError:  # damaged: asked again
            pass
    relations = usable_relations(store, catalogue)
    found = known_facts(lm, store, catalogue, per_relation=per_relation, relations=relations, progress=progress)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(_to_json(found), ensure_ascii=False), encoding="utf-8")
    return found


def _to_json(found: KnownFacts) -> dict[str, Any]:
    return {**found.to_json(), "facts": [{**asdict(fact.prompt), "answer": fact.answer} for fact in found.facts]}


def _from_json(data: Mapping[str, Any]) -> KnownFacts:
    with failures_as(BrokenArtifactError, "These are no known facts"):
        return KnownFacts(
            model=data["model"],
            model_fingerprint=data["model_fingerprint"],
            graph=data["graph"],
            relations=tuple(KnownRelation(**row) for row in data["relations"]),
            facts=tuple(_fact(row) for row in data["facts"]),
        )


def _fact(row: Mapping[str, Any]) -> AskedFact:
    fields = {key: value for key, value in row.items() if key != "answer"}
    return AskedFact(prompt=FactPrompt(**fields | {"answers": tuple(row["answers"])}), answer=row["answer"])
