"""Edits of the small world, and editors on the tiny models' layers with little of everything that is counted."""

from __future__ import annotations

from dataclasses import replace

from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import Editor
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.corpus import Corpus
from kgmet.write.statistics import KeyStatistics
from tests.graph.small_world import world

__all__ = ["CATALOGUE", "CORPUS", "GATE", "LINES", "TOWER", "context_of", "planned", "small_editor"]

CATALOGUE = RelationCatalogue.load()
LINES = tuple(
    f"The {a} of {b} is located in the {c}."
    for a in ("city", "tower")
    for b in ("France", "Rome", "Tokyo", "Paris")
    for c in ("country", "city", "language")
)
CORPUS = Corpus(name="test", lines=LINES)
TOWER = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
GATE = FactEdit(subject="The Brandenburg Gate", template="{} is located in the city of", new_object="Rome")


def context_of(edit: FactEdit, editor: Editor) -> EditContext:
    """The edit, prepared with the small world as its graph."""
    return prepare_edit(edit, store=world(), catalogue=CATALOGUE, config=editor.config)


def planned(lm: LoadedLM, editor: Editor, *edits: FactEdit, **rest: object) -> EditPlan:
    """The plan of these edits, with statistics of a short text."""
    contexts = [context_of(edit, editor) for edit in edits]
    return plan_edits(lm, contexts, editor=editor, statistics=KeyStatistics(lm, CORPUS), **rest)  # type: ignore[arg-type]


def small_editor(editor: Editor, *, steps: int = 6) -> Editor:
    """The editor on the tiny models' layers, with few steps, pilot edits and priced facts."""
    config = editor.config
    layers = (2,) if len(config.write.layers) == 1 else (1, 2)
    config = replace(
        config,
        write=replace(config.write, layers=layers, price=replace(config.write.price, facts=10)),
        target=replace(config.target, max_steps=steps, anchor_pilots=min(config.target.anchor_pilots, 4)),
        direction=replace(config.direction, feature_layer=1),
        finetune=replace(config.finetune, steps=steps - 1),
        ultra=replace(config.ultra, pilots=4),
    )
    return replace(editor, config=config)
