"""Actions of buttons: call kgmet, store the value in the session, turn a `KgmetError` into a message.

They return ``None`` on success and otherwise a message for display; then nothing has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kgmet.base.errors import KgmetError, RequestError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.editing.config import EditConfig, config_to_mapping
from kgmet.editing.context import EditContext, prepare_edit, prepared_from
from kgmet.editing.report import answers_again, own_question
from kgmet.editing.session import Edited, EditSession
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate
from kgmet.lm.say.packed import ask_packed
from kgmet.lm.say.score import NextToken, likeliest
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.question import Form
from kgmet.write.patch import attached
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.shared import ahead, remedies
from workbench.state.session import WorkbenchState
from workbench.state.values import Result, StackEntry

__all__ = [
    "Token",
    "AnswerNow",
    "answer_now",
    "apply",
    "context_fingerprint",
    "context_of",
    "entry_of",
    "first_answers",
    "look_ahead",
    "prepare",
    "redo",
    "session_of",
    "says",
    "token_strip",
    "undo",
    "undo_check",
]

_FIRST = "first-answers"
"""Name of the result with the answers to the prompt of an edit that is being measured."""
_GOES_ON = 8
"""Tokens with which the typed prompt is continued, enough to see whether it names the old object."""


def context_fingerprint(state: WorkbenchState) -> str:
    """Return the fingerprint of everything the prepared context depends on; a context with another one is stale."""
    return fingerprint_value([state.draft, prepared_from(state.config), store().fingerprint])


def prepare(state: WorkbenchState) -> str | None:
    """Link the typed fact to the graph and store its context, unless the stored one is still valid."""
    made_from = context_fingerprint(state)
    if state.record.context is not None and not state.record.context.is_stale(made_from):
        return None
    draft = state.draft
    try:
        context = prepare_edit(
            draft.edit,
            store=store(),
            catalogue=catalogue(),
            config=state.config,
            exclude=draft.exclude,
            leave=draft.leave,
        )
    except KgmetError as error:
        state.record.context = None
        return str(error)
    state.record.context = Result(value=context, made_from=made_from)
    return None


def context_of(entry: StackEntry, config: EditConfig, edit: FactEdit | None = None) -> EditContext:
    """Return the graph context of an applied edit (by default the patch's first), computed again if needed.

    Raises:
        RequestError: if the patch was imported and does not name its fact.
    """
    edit = edit or entry.edit
    if edit is None:
        raise RequestError(f"{entry.name!r} does not say which fact it changes, so the graph cannot be asked.")
    if entry.context is not None and entry.context.edit.id == edit.id:
        return entry.context
    return prepare_edit(
        edit,
        store=store(),
        catalogue=catalogue(),
        config=config,
        exclude=entry.exclude,
        leave=entry.leave,
    )


def look_ahead(state: WorkbenchState, resident: Resident) -> None:
    """Begin on the side with the edit of the typed fact, which Apply then need not wait for."""
    if state.context is not None:
        made_from = _made_from(state, resident)
        ahead.start(state, lambda: session_of(state, resident), state.context, made_from=made_from)


def _made_from(state: WorkbenchState, resident: Resident) -> str:
    """Return the fingerprint of everything that the edit of the typed fact depends on."""
    config, corpus = config_to_mapping(state.config), resident.statistics.corpus
    return state.fingerprint(resident.lm.fingerprint, corpus.fingerprint, context_fingerprint(state), config)


def apply(state: WorkbenchState, resident: Resident) -> str | None:
    """Start the job ``edit``: search, write, measure before and after, and add the edit to the stack.

    An edit that was made ahead from the same inputs is taken, and one that is under way is awaited. Of one that was
    stopped the search is used.
    """
    message = prepare(state)
    context = state.context
    if message is not None or context is None:
        return message
    session, record = session_of(state, resident), state.record
    made_from = _made_from(state, resident)
    based_on = tuple(patch.id for patch in session.patches)

    def work(progress: Progress) -> str:
        edited = ahead.made(state, made_from) or session.edit_prepared(
            [context],
            searched=ahead.found(state, made_from),
            on_answer=lambda pair: state.keep(_FIRST, pair, made_from=made_from),
            progress=progress,
        )
        progress.check()
        entry = entry_of(edited, based_on=based_on)
        record.push(entry)
        if remedies.can_be_tried(state, resident.lm, entry):
            remedies.look_for(state, resident, entry, context)
        return edited.patch.id

    if not state.is_busy:
        state.keep(_FIRST, None, made_from=made_from)  # in the place of what an earlier job left
    return jobs.start("edit", work, state.session_id, title=context.edit.sentence, awaits=ahead.kind_of(made_from))


def first_answers(state: WorkbenchState) -> AnswerPair | None:
    """Return the answers to the edit's own prompt, before and after, once they are known to the last edit's job.

    While it awaits an edit that is made ahead, they are that edit's.
    """
    known = state.result(_FIRST)
    return None if known is None else known.value or ahead.first_answers(state, known.made_from)


def session_of(state: WorkbenchState, resident: Resident) -> EditSession:
    """Return this browser session's live edits and settings as an `EditSession`, to which a job can add."""
    return EditSession(
        resident.lm,
        editor=state.editor,
        config=state.config,
        settings=state.settings_words,
        graph=store(),
        catalogue=catalogue(),
        statistics=resident.statistics,
        patches=state.live_patches(resident.lm),
    )


def entry_of(edited: Edited, *, based_on: tuple[str, ...]) -> StackEntry:
    """Return the session's record of an edit."""
    return StackEntry.made(edited.plan, edited.report, based_on=based_on)


def undo(state: WorkbenchState) -> str | None:
    """Undo the newest edit; it can be redone."""
    if state.is_busy:
        return "A job is running; stop it first, then undo."
    with state.record.lock:
        if not state.stack:
            return "There is no edit to undo."
        last = state.stack[-1]
        state.record.change(stack=state.stack[:-1], redo=(*state.redo, last), focus=None)
    return None


def redo(state: WorkbenchState) -> str | None:
    """Redo the edit that was undone last."""
    if state.is_busy:
        return "A job is running; stop it first, then redo."
    with state.record.lock:
        if not state.redo:
            return "There is nothing to redo."
        last = state.redo[-1]
        state.record.change(stack=(*state.stack, replace(last, is_on=True)), redo=state.redo[:-1], focus=last.id)
    return None


def undo_check(state: WorkbenchState, lm: LoadedLM, entry: StackEntry) -> tuple[Answer, bool] | None:
    """Ask an undone edit's questions again: the answer now, and whether every probability is identical to before.

    ``None`` if the comparison is impossible: no report, another model, or a different set of live edits.
    """
    report = entry.report
    if report is None or entry.patch.model_fingerprint != lm.fingerprint:
        return None
    if tuple(item.id for item in state.live(lm)) != entry.based_on:
        return None
    now = answers_again(lm, report, earlier=state.live_patches(lm))
    return now[0], [_numbers(a) for a in now] == [_numbers(b) for b in report.before_answers]


def _numbers(answer: Answer) -> tuple[float | None, float | None]:
    return answer.p_expected, answer.p_rejected


@dataclass(frozen=True, kw_only=True)
class AnswerNow:
    """What the model says after a prompt: the likeliest next tokens, and its greedy continuation."""

    tokens: Sequence[NextToken]
    text: str


def answer_now(state: WorkbenchState, lm: LoadedLM, prompt: str) -> AnswerNow:
    """Return what the model says with this session's live edits, cached until one of these changes."""
    made_from = fingerprint_value([lm.fingerprint, [entry.id for entry in state.live(lm)], prompt])

    def asked() -> AnswerNow:
        with attached(state.live_patches(lm), lm):
            found = ask_packed(lm, [prompt], max_new_tokens=_GOES_ON)
        return AnswerNow(tokens=likeliest(lm, found.logits)[0], text=found.texts[0].strip())

    return state.remembered("answer_now", asked, made_from=made_from)


def says(text: str, context: EditContext, *, new: bool = False) -> bool:
    """Return whether a continuation names the edit's old (or new) object, under any of its names."""
    answer = Answer(question=own_question(context.edit, context), said=text, form=Form.CLOZE)
    return answer.says if new else answer.says_rejected


@dataclass(frozen=True, kw_only=True)
class Token:
    """One displayed token of the prompt: `role` is ``subject``, ``edited`` (the subject's last) or empty."""

    text: str
    role: str


def token_strip(lm: LoadedLM, edit: FactEdit) -> list[Token]:
    """Return the prompt's tokens with the edited position marked.

    Raises:
        SubjectNotFoundError: if the subject has no token of its own.
    """
    span = locate(lm, Phrase(template=edit.template, subject=edit.subject))
    tokens = []
    for position, token_id in enumerate(span.input_ids):
        role = "subject" if position in span.subject else ""
        if position == span.lookup.position:
            role = "edited"
        tokens.append(Token(text=str(lm.tokenizer.decode([token_id])), role=role))
    return tokens
