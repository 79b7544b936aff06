"""`EditReport`: one edit, what it did and what it cost, as a value a page can draw and JSON can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kgmet.edit.context import N_PROBE_WORDINGS, EditContext
from kgmet.edit.plan import EditPlan
from kgmet.graph.phrasing import split_templates
from kgmet.graph.reading.consequences import Consequence
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import ask_packed
from kgmet.write.patch import EditPatch, attached

__all__ = ["Answer", "ConsequenceReport", "EditReport", "ask", "report_edit"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says to one prompt: greedy text, and the probabilities of the new and the old object."""

    answer: str
    p_new: float
    p_old: float | None


@dataclass(frozen=True, kw_only=True)
class ConsequenceReport:
    """One consequence, in a wording that was not optimised."""

    prompt: str
    old: str | None
    new: str
    reason: str
    before: Answer
    after: Answer

    @property
    def holds(self) -> bool:
        """Whether the new end is likelier than the old one; where there is no old one, whether it is the answer."""
        if self.after.p_old is None:
            return self.after.answer.strip().casefold().startswith(self.new.casefold())
        return self.after.p_new > self.after.p_old


@dataclass(frozen=True, kw_only=True)
class EditReport:
    """One edit before and after."""

    edit: Mapping[str, Any]
    editor: str
    graph: Mapping[str, Any]
    before: Answer
    after: Answer
    consequences: tuple[ConsequenceReport, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "edit": dict(self.edit),
            "editor": self.editor,
            "graph": dict(self.graph),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "consequences": [{**asdict(item), "holds": item.holds} for item in self.consequences],
            "seconds": dict(self.seconds),
        }


def ask(lm: LoadedLM, questions: Sequence[tuple[str, str, str | None]], *, max_new_tokens: int = 12) -> list[Answer]:
    """Answers to (prompt, new object, old object or ``None``), of the model with whatever is attached."""
    if not questions:
        return []
    pairs = [(prompt, answer) for prompt, new, old in questions for answer in (new, old) if answer is not None]
    asked = ask_packed(lm, [prompt for prompt, _, _ in questions], pairs, max_new_tokens=max_new_tokens)
    scores = iter(asked.scores)
    return [
        Answer(
            answer=text.strip(),
            p_new=next(scores).probability,
            p_old=None if old is None else next(scores).probability,
        )
        for text, (_, _, old) in zip(asked.texts, questions, strict=True)
    ]


def report_edit(lm: LoadedLM, plan: EditPlan, *, earlier: Sequence[EditPatch] = (), position: int = 0) -> EditReport:
    """Ask the edit's prompt and its consequences with the patch off and on.

    Args:
        lm: the model; nothing needs to be attached.
        plan: what was planned.
        earlier: patches that stay attached in both cases.
        position: which of the plan's edits.
    """
    context = plan.contexts[position]
    edit = context.edit
    worded = _worded(context)
    questions: list[tuple[str, str, str | None]] = [(edit.prompt, edit.new_object, edit.old_object)]
    questions += [(prompt, new.label, None if item.old is None else item.old.label) for item, prompt, new in worded]
    with attached(list(earlier), lm):
        before = ask(lm, questions)
    with attached([*earlier, plan.patch], lm):
        after = ask(lm, questions)
    consequences = tuple(
        ConsequenceReport(
            prompt=question[0], old=question[2], new=question[1], reason=item.reason, before=was, after=now
        )
        for (item, _, _), question, was, now in zip(worded, questions[1:], before[1:], after[1:], strict=True)
    )
    return EditReport(
        edit=edit.to_json(),
        editor=plan.patch.editor,
        graph=graph_summary(context),
        before=before[0],
        after=after[0],
        consequences=consequences,
        seconds=dict(plan.seconds),
    )


def graph_summary(context: EditContext) -> dict[str, Any]:
    """Sizes and notes of what the graph contributed; ``took_part`` is false where it did not know the subject."""
    if context.subgraph is None:
        return {"took_part": False, "notes": ["No graph was given."]}
    notes = [] if context.linked is None else list(context.linked.notes)
    return {
        "took_part": context.has_graph,
        "entities": len(context.subgraph.entities),
        "relations": len(context.subgraph.relations),
        "triples": [str(triple) for triple in context.subgraph.triples],
        "left_out": context.subgraph.n_left_out,
        "notes": notes,
    }


def _worded(context: EditContext) -> list[tuple[Consequence, str, Any]]:
    """Each forward consequence with a prompt that no search ever sees, and its new end."""
    if context.consequences is None:
        return []
    found = []
    for item in context.consequences.forward:
        held_out = split_templates(item.templates, N_PROBE_WORDINGS)[1]
        if item.new is not None and held_out:
            found.append((item, item.text(held_out[0]), item.new))
    return found
