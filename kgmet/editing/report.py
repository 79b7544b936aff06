"""`EditReport`: the effect and cost of one edit, as a value for pages and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.files import failures_as
from kgmet.base.progress import Progress, Quiet, Silent
from kgmet.base.values import value_from
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.context import EditContext
from kgmet.editing.graph_part import GraphPart, graph_part
from kgmet.editing.plan import EditPlan
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import N_PROBE_WORDINGS, split_templates
from kgmet.graph.reading.probe_prompts import GeneratedPrompt, first_questions, prompts_of
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.answer import Answer
from kgmet.measure.ask import ask_each_side
from kgmet.measure.compare import AnswerPair
from kgmet.measure.edit_verdict import EditVerdict, Reason, judge_edit
from kgmet.measure.question import Question, QuestionKind
from kgmet.measure.sides import before_and_after
from kgmet.search.search import Stop
from kgmet.write.patch import EditPatch, attached

__all__ = ["ConsequenceReport", "EditReport", "OnAnswer", "answers_again", "own_question", "report_edit"]

OnAnswer = Callable[[AnswerPair], None] | None
"""Receives the answers to an edit's own prompt, before and after."""

_NO_REPORT = "This is not a report of an edit"
_N_MULTI_HOP = 3
"""Number of multi-hop questions per edit, each about another consequence."""


@dataclass(frozen=True, kw_only=True)
class ConsequenceReport:
    """One consequence of the edit in a wording that was not optimised, and why it follows."""

    reason: str
    pair: AnswerPair

    @property
    def question(self) -> Question:
        """The question that was asked."""
        return self.pair.after.question

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"reason": self.reason, **self.pair.to_json()}


@dataclass(frozen=True, kw_only=True)
class EditReport:
    """One edit before and after.

    `before` and `after` answer the edit's own prompt. `consequences` are clozes; `multi_hop` are a few questions over
    several facts, asked in chat. `settings` says in words where the editor's settings come from.
    """

    edit: FactEdit
    editor: str
    graph: Mapping[str, Any]
    before: Answer
    after: Answer
    verdict: EditVerdict
    consequences: tuple[ConsequenceReport, ...]
    multi_hop: tuple[ConsequenceReport, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    settings: str = ""

    @property
    def before_answers(self) -> tuple[Answer, ...]:
        """Every answer of the unedited model, in the order of asking."""
        return (self.before, *(item.pair.before for item in (*self.consequences, *self.multi_hop)))

    def __str__(self) -> str:
        """Return the edit, the graph's contribution and the answers before and after, as lines of text."""
        graph = self.graph
        lines = [f"{self.edit.sentence}   ({self.editor})"]
        if "triples" in graph:
            lines.append(f"Graph: {len(graph['triples'])} triples around the edit, {graph['left_out']} left out.")
        if graph.get("part"):
            lines += [f"  {graph['linking']}", f"  {GraphPart.from_json(graph['part'])}"]
        if not graph["took_part"]:
            lines.append("No graph took part.")
        lines += [f"  {note}" for note in graph["notes"]]
        lines += [self.verdict.headline, *(f"  {reason.value}" for reason in self.verdict.reasons)]
        lines += [f"  before  {self.before}", f"  after   {self.after}"]
        lines += _listed("Multi-hop questions, asked in chat", self.multi_hop)
        lines += _listed("Consequences, in wordings that were not optimised", self.consequences)
        lines += [f"Settings: {self.settings}."] if self.settings else []
        lines.append("Seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in self.seconds.items()))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "edit": self.edit.to_json(),
            "editor": self.editor,
            "graph": dict(self.graph),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "verdict": self.verdict.to_json(),
            "consequences": [item.to_json() for item in self.consequences],
            "multi_hop": [item.to_json() for item in self.multi_hop],
            "seconds": dict(self.seconds),
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EditReport:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is not a report of this version.
        """
        with failures_as(BrokenArtifactError, _NO_REPORT, advice="Make the edit again."):
            pairs = {name: [{**row, "pair": row} for row in data[name]] for name in ("consequences", "multi_hop")}
            report = value_from(cls, {**data, **pairs}, _NO_REPORT, advice="Make the edit again.")
            str(report)  # what cannot be printed holds something else
            return report


def _listed(heading: str, items: Sequence[ConsequenceReport]) -> list[str]:
    if not items:
        return []
    said, before = (
        sum(holds) for holds in zip(*((i.pair.holds is True, i.pair.before.says) for i in items), strict=True)
    )
    lines = [f"{heading}: {said} of {len(items)} said ({before} before)"]
    for item in items:
        question, pair = item.question, item.pair
        goes_on = " …" if question.is_cloze else ""
        lines.append(f"  {question.text}{goes_on}   {question.rejected or '?'} → {question.expected}")
        lines += [
            f"         before  {pair.before}",
            f"         after   {pair.after}{', as before' if pair.was_so_before else ''}",
        ]
    return lines


def own_question(edit: FactEdit, context: EditContext | None = None) -> Question:
    """Return the edit's own prompt as a question; with a context, the graph's aliases of the objects count too."""
    linked = None if context is None else context.linked
    new = () if linked is None else _names(linked.new_object, edit.new_object_id)
    old = () if linked is None else _names(linked.old_object, edit.old_object_id)
    return Question(
        kind=QuestionKind.REWRITE,
        text=edit.prompt,
        expected=edit.new_object,
        rejected=edit.old_object,
        aliases=tuple(name for name in new if name != edit.new_object),
        rejected_aliases=tuple(name for name in old if name != edit.old_object) if edit.old_object else (),
        source_id=edit.id,
    )


def report_edit(
    lm: LoadedLM,
    plan: EditPlan,
    *,
    earlier: Sequence[EditPatch] = (),
    position: int = 0,
    settings: str = "",
    on_answer: OnAnswer = None,
    progress: Progress | None = None,
) -> EditReport:
    """Ask the edit's prompt, its consequences and a few multi-hop questions, with the patch off and on.

    Args:
        lm: the model; nothing needs to be attached.
        plan: the plan with the patch.
        earlier: patches that stay attached in both cases.
        position: the edit's position in the plan.
        settings: where the settings come from, in words.
        on_answer: receives the answers to the edit's own prompt, while the other questions are still being answered.
        progress: can cancel before every pass; receives nothing.

    Raises:
        Cancelled: if asked to stop.
    """
    context = plan.contexts[position]
    clozes, questions = _consequences(context), _multi_hop(context)
    asked = [
        own_question(context.edit, context),
        *(Question.from_generated(made) for _, made in (*clozes, *questions)),
    ]
    first = None if on_answer is None else partial(_told_as_pair, on_answer)
    before, after = _both_sides(lm, asked, earlier, before_and_after(plan.patch, lm), on_first=first, progress=progress)
    pairs = [AnswerPair(before=was, after=now) for was, now in zip(before, after, strict=True)]
    reasons = [reason for reason, _ in (*clozes, *questions)]
    items = [ConsequenceReport(reason=why, pair=pair) for why, pair in zip(reasons, pairs[1:], strict=True)]
    return EditReport(
        edit=context.edit,
        editor=plan.patch.editor,
        graph=graph_summary(context, config_from_mapping(plan.patch.config)),
        before=before[0],
        after=after[0],
        verdict=judge_edit(before[0], after[0], search=_search_reasons(lm, plan, position)),
        consequences=tuple(items[: len(clozes)]),
        multi_hop=tuple(items[len(clozes) :]),
        seconds=dict(plan.seconds),
        settings=settings,
    )


def answers_again(lm: LoadedLM, report: EditReport, *, earlier: Sequence[EditPatch] = ()) -> list[Answer]:
    """Return the answers of `EditReport.before_answers`, asked again without the edit.

    They are asked beside a second side, as `report_edit` does: only then are the numbers the same to the bit.
    """
    questions = [answer.question for answer in report.before_answers]
    return _both_sides(lm, questions, earlier, (unchanged, unchanged))[0]


def _told_as_pair(on_answer: Callable[[AnswerPair], None], answers: list[Answer]) -> None:
    before, after = answers
    on_answer(AnswerPair(before=before, after=after))


def _both_sides(
    lm: LoadedLM,
    questions: Sequence[Question],
    earlier: Sequence[EditPatch],
    sides: tuple[Side, Side],
    *,
    on_first: Callable[[list[Answer]], None] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Answer], list[Answer]]:
    """Ask two sides together, so that a step of their answers reads the weights once."""
    with attached(list(earlier), lm):
        one, other = ask_each_side(lm, questions, sides, on_first=on_first, progress=Quiet(progress or Silent()))
    return one.answers, other.answers


def graph_summary(context: EditContext, config: EditConfig) -> dict[str, Any]:
    """Return sizes, notes and the graph's part; ``took_part`` is false where the edit uses none of it."""
    part = graph_part(context, config)
    if context.subgraph is None or context.linked is None or part is None:
        return {"took_part": False, "notes": ["No graph was given."]}
    return {
        "took_part": part.took_part,
        "linking": context.linked.line,
        "part": part.to_json(),
        "entities": len(context.subgraph.entities),
        "relations": len(context.subgraph.relations),
        "triples": [str(triple) for triple in context.subgraph.triples],
        "left_out": context.subgraph.n_left_out,
        "notes": list(context.linked.notes),
    }


def _names(matches: Sequence[Any], entity_id: str | None) -> tuple[str, ...]:
    """Return every name of the linked entity among the matches."""
    names = [
        name
        for match in matches
        if match.entity.id == entity_id
        for name in (match.entity.label, match.entity.in_text, *match.entity.aliases)
    ]
    return tuple(dict.fromkeys(names))


def _consequences(context: EditContext) -> list[tuple[str, GeneratedPrompt]]:
    """Return each forward consequence with a cloze held out from the search, and why it follows."""
    found = []
    for item in context.consequences.forward if context.consequences is not None else ():
        held_out = split_templates(item.templates, N_PROBE_WORDINGS)[1]
        found += [(item.reason, made) for made in prompts_of("consequence", item, held_out[:1])]
    return found


def _multi_hop(context: EditContext) -> list[tuple[str, GeneratedPrompt]]:
    """Return the first question of each of the first few consequences."""
    found = [] if context.consequences is None else first_questions(context.consequences)
    return [(item.reason, prompt) for item, prompt in found[:_N_MULTI_HOP]]


def _search_reasons(lm: LoadedLM, plan: EditPlan, position: int) -> list[Reason]:
    """Return the possible reasons for a failure that the search itself gives."""
    edit, found = plan.contexts[position].edit, []
    if locate(lm, Phrase(template=edit.template, subject=edit.subject)).lookup.position == 0:
        found.append(Reason.FIRST_TOKEN)
    if plan.shifts:
        shift = plan.shifts[position]
        longest = float(plan.patch.config["target"]["max_norm_ratio"])
        if shift.stopped is Stop.STEPS:
            found.append(Reason.LENGTH_LIMIT if shift.norm_ratio >= 0.99 * longest else Reason.STEPS_USED)
    return found
