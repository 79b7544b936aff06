"""KGMET Workbench: edit a fact in a language model, infer what else must change, and compare before and after.

Every public name is here and is loaded on first use::

    import kgmet

    lm = kgmet.load_lm()
    fact = kgmet.FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
    edited = kgmet.edit(lm, fact)

Importing the package itself loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kgmet.base.errors import KgmetError
    from kgmet.editing.config import EditConfig, load_config
    from kgmet.editing.context import EditContext, prepare_edit
    from kgmet.editing.editors import DEFAULT_EDITOR, EDITORS, Editor, editor_named
    from kgmet.editing.plan import EditPlan, plan_edits
    from kgmet.editing.report import EditReport, report_edit
    from kgmet.editing.session import Edited, EditSession, edit
    from kgmet.fact import FactEdit, load_edits, save_edits
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.graph.sparql.store import SparqlStore
    from kgmet.graph.stores.readers import load_graph
    from kgmet.graph.stores.sample import sample_store as sample_graph
    from kgmet.inspect.causal_trace import CausalTrace, causal_trace
    from kgmet.inspect.traced_prompt import TracedPrompt
    from kgmet.lm.load.loaded import LoadedLM, load_lm
    from kgmet.lm.run.spans import Phrase
    from kgmet.lm.say.score import generate
    from kgmet.measure.answer import Answer
    from kgmet.measure.ask import Decoding
    from kgmet.measure.ask import ask as probe
    from kgmet.measure.compare import compare_answers
    from kgmet.measure.question import Form, Question, QuestionKind
    from kgmet.measure.verdict import Verdict
    from kgmet.write.adapter import import_lora
    from kgmet.write.export import export_lora, export_merged
    from kgmet.write.patch import EditPatch, attached, load_patch, save_patch
    from kgmet.write.so_far import EditsSoFar
    from kgmet.write.statistics import KeyStatistics

__version__ = "0.2.0"

_PLACES = {
    "DEFAULT_EDITOR": "editing.editors",
    "EDITORS": "editing.editors",
    "Answer": "measure.answer",
    "CausalTrace": "inspect.causal_trace",
    "Decoding": "measure.ask",
    "EditConfig": "editing.config",
    "EditContext": "editing.context",
    "EditPatch": "write.patch",
    "EditPlan": "editing.plan",
    "EditReport": "editing.report",
    "EditSession": "editing.session",
    "Edited": "editing.session",
    "Editor": "editing.editors",
    "EditsSoFar": "write.so_far",
    "FactEdit": "fact",
    "Form": "measure.question",
    "KeyStatistics": "write.statistics",
    "KgmetError": "base.errors",
    "LoadedLM": "lm.load.loaded",
    "Phrase": "lm.run.spans",
    "Question": "measure.question",
    "QuestionKind": "measure.question",
    "RelationCatalogue": "graph.relations",
    "SparqlStore": "graph.sparql.store",
    "TracedPrompt": "inspect.traced_prompt",
    "Verdict": "measure.verdict",
    "attached": "write.patch",
    "causal_trace": "inspect.causal_trace",
    "compare_answers": "measure.compare",
    "edit": "editing.session",
    "editor_named": "editing.editors",
    "export_lora": "write.export",
    "export_merged": "write.export",
    "generate": "lm.say.score",
    "import_lora": "write.adapter",
    "load_config": "editing.config",
    "load_edits": "fact",
    "load_graph": "graph.stores.readers",
    "load_lm": "lm.load.loaded",
    "load_patch": "write.patch",
    "plan_edits": "editing.plan",
    "prepare_edit": "editing.context",
    "probe": "measure.ask:ask",
    "report_edit": "editing.report",
    "sample_graph": "graph.stores.sample:sample_store",
    "save_edits": "fact",
    "save_patch": "write.patch",
}
"""Public name → module under `kgmet`, with its name there if that differs."""

__all__ = [
    "DEFAULT_EDITOR",
    "EDITORS",
    "Answer",
    "CausalTrace",
    "Decoding",
    "EditConfig",
    "EditContext",
    "EditPatch",
    "EditPlan",
    "EditReport",
    "EditSession",
    "Edited",
    "Editor",
    "EditsSoFar",
    "FactEdit",
    "Form",
    "KeyStatistics",
    "KgmetError",
    "LoadedLM",
    "Phrase",
    "Question",
    "QuestionKind",
    "RelationCatalogue",
    "SparqlStore",
    "TracedPrompt",
    "Verdict",
    "attached",
    "causal_trace",
    "compare_answers",
    "edit",
    "editor_named",
    "export_lora",
    "export_merged",
    "generate",
    "import_lora",
    "load_config",
    "load_edits",
    "load_graph",
    "load_lm",
    "load_patch",
    "plan_edits",
    "prepare_edit",
    "probe",
    "report_edit",
    "sample_graph",
    "save_edits",
    "save_patch",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'kgmet' has no attribute {name!r}")
    place, _, own_name = _PLACES[name].partition(":")
    value = getattr(importlib.import_module(f"kgmet.{place}"), own_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
