"""`remedies_of`: what could make an edit take that did not. `try_remedies`: which of them do, and what they cost.

Nothing is proposed on trust: a remedy counts only once the model was seen to say the new object with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from kgmet.base.errors import Cancelled, KgmetError
from kgmet.base.progress import Progress, ProgressEvent, Quiet, Silent, Stage
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.report import EditReport, own_question
from kgmet.editing.session import Edited, EditSession
from kgmet.fact import FactEdit
from kgmet.graph.reading.probe_prompts import QuestionConfig, generate_probes
from kgmet.graph.reading.retrieve import Switch
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.compare import compare_answers
from kgmet.measure.edit_verdict import Outcome, Reason
from kgmet.measure.question import Question, QuestionKind
from kgmet.measure.sides import with_patches
from kgmet.write.patch import EditPatch, attached
from kgmet.write.statistics import KeyStatistics

__all__ = ["Remedies", "Remedy", "RemedyKind", "TriedRemedy", "remedies_of", "stay_questions", "try_remedies"]

WORDS_BEFORE = "It is known that "
"""Words before a subject that is the first token; the edit is then of a state in the middle of a text."""
OTHER_EDITORS = ("MEMIT", "ROME", "FT", "AlphaEdit")
"""Editors to try instead, in this order."""
MOST_FOUND, MOST_TRIED = 3, 8


class RemedyKind(Enum):
    """Kind of a remedy."""

    WORDS_BEFORE = "words before the subject"
    STATEMENT = "a sentence in place of the question"
    WORDING = "another wording"
    LONGER = "a longer shift"
    STEPS = "more steps"
    TOGETHER = "another text and other settings together"
    EDITOR = "another editor"


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """An edit to try in place of one that did not take; `sentence` says what is different."""

    kind: RemedyKind
    edit: FactEdit
    editor: Editor
    config: EditConfig | None
    """``None`` for the editor's settings for the model."""
    sentence: str

    @property
    def key(self) -> tuple[object, ...]:
        """What it consists of; two remedies with one key are the same."""
        return self.edit.template, self.editor.name, self.config


@dataclass(frozen=True, eq=False, kw_only=True)
class TriedRemedy:
    """A remedy that made the model say the new object.

    Of `n_stay` facts that must stay, `kept` have the answer they had. `typed` answers the prompt as it was typed, with
    the remedy's patch; ``None`` if the remedy has the same prompt.
    """

    remedy: Remedy
    edited: Edited
    kept: int
    n_stay: int
    typed: Answer | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Remedies:
    """What was found for an edit that did not take.

    `kept` of `n_stay` facts that must stay have the answer they had, with the edit as it is.
    """

    found: tuple[TriedRemedy, ...] = ()
    n_tried: int = 0
    n_candidate: int = 0
    kept: int = 0
    n_stay: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to try."""
        return self.n_tried == self.n_candidate or len(self.found) == MOST_FOUND


def remedies_of(
    report: EditReport, *, editor: Editor, config: EditConfig, wordings: Sequence[str] = ()
) -> tuple[Remedy, ...]:
    """Map the reasons found for an edit that did not take to remedies worth a try, most promising first.

    Args:
        report: the edit's report; one that took has no remedies.
        editor: the method it was made with.
        config: its settings.
        wordings: other prompts of the same relation, each with one ``{}`` (`EditContext.paraphrases`).
    """
    if report.verdict.outcome is Outcome.TOOK:
        return ()
    own = Remedy(kind=RemedyKind.TOGETHER, edit=report.edit, editor=editor, config=config, sentence="")
    single = [made for reason in report.verdict.reasons for made in _for_reason(reason, own, wordings[:1])]
    found = [*single, *_together(own, single)]
    if not single:
        found.append(_longer(own))
    others = [EDITORS[name] for name in OTHER_EDITORS if name != editor.name]
    text = next((item for item in single if item.edit != own.edit), own)
    found += [_with_editor(text, other) for other in others[:2]]
    found += [_with_editor(own, other) for other in others[1:3]]
    if RemedyKind.STATEMENT not in {item.kind for item in single}:
        found += [_worded(own, RemedyKind.WORDING, wording) for wording in wordings[:2]]
    found += [_with_editor(text, other) for other in others[2:]]
    unique: dict[tuple[object, ...], Remedy] = {}
    for item in found:
        unique.setdefault(item.key, item)
    unique.pop(own.key, None)
    return tuple(unique.values())[:MOST_TRIED]


def _for_reason(reason: Reason, own: Remedy, wordings: Sequence[str]) -> Iterator[Remedy]:
    if reason is Reason.FIRST_TOKEN and own.edit.template.startswith("{}"):
        template = WORDS_BEFORE + own.edit.template
        yield _worded(own, RemedyKind.WORDS_BEFORE, template)
    if reason in (Reason.QUESTION, Reason.EMPTY):
        yield from (_worded(own, RemedyKind.STATEMENT, text) for text in wordings if text != own.edit.template)
    if reason is Reason.LENGTH_LIMIT:
        yield _longer(own)
    if reason is Reason.STEPS_USED:
        yield _more_steps(own, 3)


def _worded(own: Remedy, kind: RemedyKind, template: str) -> Remedy:
    edit = replace(own.edit, template=template, id="")
    return replace(own, kind=kind, edit=edit, sentence=f"Write “{edit.prompt}”.")


def _with_editor(text: Remedy, editor: Editor) -> Remedy:
    sentence = f"{text.sentence} Use the editor {editor.name}.".lstrip()
    return replace(text, kind=RemedyKind.EDITOR, editor=editor, config=None, sentence=sentence)


def _longer(own: Remedy) -> Remedy:
    assert own.config is not None
    target = own.config.target
    longer = replace(target, max_norm_ratio=round(1.5 * target.max_norm_ratio, 2), max_steps=2 * target.max_steps)
    return replace(
        own,
        kind=RemedyKind.LONGER,
        config=replace(own.config, target=longer),
        sentence=(
            f"Allow a shift of {longer.max_norm_ratio:g} times the hidden state's length (now "
            f"{target.max_norm_ratio:g}), and {longer.max_steps} steps (now {target.max_steps})."
        ),
    )


def _more_steps(own: Remedy, factor: int) -> Remedy:
    assert own.config is not None
    target = own.config.target
    more = replace(target, max_steps=factor * target.max_steps)
    return replace(
        own,
        kind=RemedyKind.STEPS,
        config=replace(own.config, target=more),
        sentence=f"Allow {more.max_steps} search steps (now {target.max_steps}).",
    )


def _together(own: Remedy, single: Sequence[Remedy]) -> Iterator[Remedy]:
    """Yield one remedy of another text with other settings, where both were found."""
    texts = [item for item in single if item.edit != own.edit]
    settings = [item for item in single if item.config != own.config]
    if texts and settings:
        sentence = f"{texts[0].sentence} {settings[0].sentence}"
        yield replace(own, edit=texts[0].edit, config=settings[0].config, sentence=sentence)


def stay_questions(
    context: EditContext, store: TripleStore | None, catalogue: RelationCatalogue
) -> tuple[Question, ...]:
    """Return up to ten questions about neighbours of an edit, whose answers must stay; none without a graph."""
    if context.consequences is None or store is None:
        return ()
    made = generate_probes(
        store, catalogue, context.edit, context.consequences, config=QuestionConfig(), ends=context.ends
    )
    asked = (Question.from_generated(item) for item in made)
    return tuple(question for question in asked if question.kind is QuestionKind.NEIGHBOUR)


def try_remedies(
    lm: LoadedLM,
    context: EditContext,
    patch: EditPatch,
    remedies: Sequence[Remedy],
    *,
    statistics: KeyStatistics,
    graph: TripleStore | None,
    catalogue: RelationCatalogue,
    earlier: Sequence[EditPatch] = (),
    exclude: Collection[Switch] = (),
    leave: Collection[str] = (),
    progress: Progress | None = None,
    seen: Callable[[Remedies], None] = lambda _: None,
) -> Remedies:
    """Make the edit in each way, and keep those ways with which the model says the new object.

    Nothing stays attached. It ends after three that work.

    Args:
        lm: the model.
        context: the edit that did not take, with its graph context.
        patch: what was written for it.
        remedies: what to try (`remedies_of`).
        statistics: key statistics of this model.
        graph: the graph; ``None`` for none.
        catalogue: the relations' wordings.
        earlier: the patches that were attached when the edit was made.
        exclude: triples and relations that were left out of the edit.
        leave: consequences and kept facts that were left out.
        progress: receives each try and can cancel.
        seen: receives what was found so far, after each try.
    """
    progress = progress or Silent()
    trial = _Trial(lm, context, graph=graph, catalogue=catalogue, earlier=tuple(earlier))
    now = Remedies(n_candidate=len(remedies), n_stay=len(trial.stay), kept=trial.kept(patch)[0])
    for number, remedy in enumerate(remedies):
        if now.is_over:
            break
        progress.report(ProgressEvent(stage=Stage.REMEDIES, done=number, total=len(remedies)))
        progress.check()
        session = EditSession(
            lm,
            editor=remedy.editor,
            config=remedy.config,
            graph=graph,
            catalogue=catalogue,
            statistics=statistics,
            patches=earlier,
        )
        found: tuple[TriedRemedy, ...] = ()
        try:
            context = session.prepare(remedy.edit, exclude=exclude, leave=leave)
            found = trial.worked(remedy, session.edit_prepared([context], progress=Quiet(progress)))
        except Cancelled:
            raise
        except KgmetError:  # this way is closed for this model, for example by layers that it does not have
            pass
        now = replace(now, found=(*now.found, *found), n_tried=number + 1)
        seen(now)
    return now


class _Trial:
    """What every remedy of one edit is measured by: facts that must stay, and the prompt as it was typed."""

    def __init__(
        self,
        lm: LoadedLM,
        context: EditContext,
        *,
        graph: TripleStore | None,
        catalogue: RelationCatalogue,
        earlier: tuple[EditPatch, ...],
    ) -> None:
        self.stay = stay_questions(context, graph, catalogue)
        self._lm, self._earlier = lm, list(earlier)
        self._asked = (*self.stay, own_question(context.edit, context))
        self._before = self._answers(unchanged)

    def kept(self, patch: EditPatch) -> tuple[int, Answer]:
        """Return how many facts keep their answer with a patch, and what it makes of the typed prompt."""
        after, n = self._answers(with_patches([patch], self._lm)), len(self.stay)
        return sum(pair.holds is True for pair in compare_answers(self._before[:n], after[:n]).pairs), after[-1]

    def worked(self, remedy: Remedy, made: Edited) -> tuple[TriedRemedy, ...]:
        """Return the remedy with its price; nothing if the model does not say the new object, or always did."""
        verdict = made.report.verdict
        if verdict.outcome is not Outcome.TOOK or Reason.SAID_BEFORE in verdict.reasons:
            return ()
        kept, typed = self.kept(made.patch)
        is_same = remedy.edit.prompt == typed.question.text
        return (
            TriedRemedy(remedy=remedy, edited=made, kept=kept, n_stay=len(self.stay), typed=None if is_same else typed),
        )

    def _answers(self, side: Side) -> list[Answer]:
        with attached(self._earlier, self._lm):
            (found,) = ask_each_side(self._lm, self._asked, [side], decoding=Decoding(only_judged=True))
        return found.answers
