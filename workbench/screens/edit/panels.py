"""The blocks of the Edit page: the form, what the graph makes of it, what follows, the settings, the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.editing.context import EditContext, held_consequences, protected_facts
from kgmet.fact import FactEdit
from kgmet.graph.reading.consequences import Consequence, KeptFact
from kgmet.graph.store import Match
from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.drawing import curves, tables
from workbench.running.resources import catalogue
from workbench.shared import actions
from workbench.shared.panels import follow, message
from workbench.state.session import WorkbenchState, retyped
from workbench.state.values import FactDraft

__all__ = ["candidates", "consequences", "doubts", "fact_form", "fill", "link_to", "present_answers"]

_FIELDS = {"fact-subject": "subject", "fact-prompt": "prompt", "fact-new": "new_object", "fact-old": "old_object"}
_NOWHERE = "not in the graph"


def fact_form(state: WorkbenchState) -> None:
    """Example picker and the four fields; every change is kept at once."""
    _from_address(state)
    for key, name in _FIELDS.items():
        follow(key, getattr(state.draft, name))

    def typed() -> None:
        state.set_draft(retyped(state.draft, **{name: st.session_state[key] for key, name in _FIELDS.items()}))

    def picked() -> None:
        chosen: FactEdit | None = st.session_state["fact-example"]
        if chosen is not None:
            fill(state, chosen)

    st.selectbox(
        "Start from an example",
        actions.examples(),
        index=None,
        format_func=lambda edit: f"{edit.prompt} → {edit.new_object}",
        placeholder="Pick one, or type below",
        key="fact-example",
        on_change=picked,
    )
    left, right = st.columns(2)
    left.text_input("Subject", key="fact-subject", on_change=typed, placeholder="The Eiffel Tower", max_chars=400)
    right.text_input(
        "New object",
        key="fact-new",
        on_change=typed,
        placeholder="Tokyo",
        max_chars=400,
        help="What the model shall say.",
    )
    st.text_input(
        "Prompt, with {} where the subject goes",
        key="fact-prompt",
        on_change=typed,
        placeholder="{} is located in the city of",
        max_chars=2000,
        help="The beginning of a sentence whose natural continuation is the object. The subject instead of {} is fine.",
    )
    st.text_input(
        "Old object (optional)",
        key="fact-old",
        on_change=typed,
        placeholder="what the graph holds, if left empty",
        max_chars=400,
    )
    if not state.draft.is_blank:
        with st.popover("Link to this fact", icon=":material/link:", type="tertiary"):
            st.code(link_to(state.draft), language=None, wrap_lines=True)
            st.caption("Opens this page with the form filled in; nothing is applied by it.")


def link_to(draft: FactDraft) -> str:
    """The address, within this server, that fills the form with a fact."""
    names = {"subject": draft.subject, "prompt": draft.prompt, "new": draft.new_object, "old": draft.old_object}
    base = (st.context.url or "").split("?")[0]
    return f"{base}?{urlencode({name: text for name, text in names.items() if text})}"


def fill(state: WorkbenchState, edit: FactEdit) -> None:
    """Put a fact into the form, from a callback."""
    draft = FactDraft(
        subject=edit.subject, prompt=edit.template, new_object=edit.new_object, old_object=edit.old_object or ""
    )
    state.set_draft(draft)


def _from_address(state: WorkbenchState) -> None:
    """A link with ``?subject=…&prompt=…&new=…`` fills the form once."""
    names = {"subject": "subject", "prompt": "prompt", "new": "new_object", "old": "old_object"}
    given = {field: st.query_params[name] for name, field in names.items() if name in st.query_params}
    if given and not st.session_state.get("fact-linked"):
        st.session_state["fact-linked"] = True
        state.set_draft(retyped(FactDraft(), **given))


def present_answers(state: WorkbenchState, lm: LoadedLM, edit: FactEdit) -> None:
    """The tokens with the edited position, and what the model answers now."""
    try:
        strip = actions.token_strip(lm, edit)
        tokens = actions.answers_now(state, lm, edit.prompt)
    except KgmetError as error:
        message(str(error))
        return
    st.caption("Tokens of the prompt; the filled one is where the edit acts: the subject's last token")
    st.html(tables.token_html([(token.text, token.role) for token in strip]))
    live = len(state.live(lm))
    after = f"with {live} edit{'s' if live > 1 else ''} live" if live else "unedited"
    st.caption(f"What the model answers now ({after}), ten likeliest next tokens")
    marked = {edit.new_object: "new"} | ({edit.old_object: "old"} if edit.old_object else {})
    st.html(curves.answer_bars(tokens, marked=marked))


def candidates(state: WorkbenchState, context: EditContext) -> None:
    """What the graph found for the typed words, each to be corrected."""
    linked = context.linked
    if linked is None or not (linked.subject or linked.new_object or linked.relations):
        return
    columns = [*st.columns(2), *st.columns(2)]
    edit = context.edit
    _entity(state, columns[0], "Subject in the graph", "subject_id", linked.subject, edit.subject_id)
    _relation(state, columns[1], context)
    _entity(state, columns[2], "New object", "new_object_id", linked.new_object, edit.new_object_id)
    _entity(state, columns[3], "Old object", "old_object_id", linked.old_object, edit.old_object_id)


def _entity(
    state: WorkbenchState, place: Any, label: str, field: str, matches: Sequence[Match], chosen: str | None
) -> None:
    entities = {match.entity.id: match.entity for match in matches}
    options: list[str | None] = [*entities, *([] if chosen in entities or chosen is None else [chosen])]
    if chosen is None:
        options.insert(0, None)

    def show(entity_id: str | None) -> str:
        if entity_id is None:
            return _NOWHERE
        entity = entities.get(entity_id)
        if entity is None:
            return entity_id
        return " · ".join(part for part in (entity.label, entity.id, entity.description) if part)

    key = f"link-{field}-{state.fingerprint(options, chosen)}"

    def corrected() -> None:
        state.set_draft(retyped(state.draft, **{field: st.session_state[key]}))

    place.selectbox(
        label,
        options,
        index=options.index(chosen),
        format_func=show,
        key=key,
        on_change=corrected,
        disabled=len(options) < 2,
    )


def _relation(state: WorkbenchState, place: Any, context: EditContext) -> None:
    assert context.linked is not None
    guessed = [spec.id for spec, _ in context.linked.relations]
    options: list[str | None] = [*guessed, *(spec.id for spec in catalogue() if spec.id not in guessed)]
    chosen = context.edit.relation
    if chosen not in options:
        options.insert(0, chosen)

    def show(relation_id: str | None) -> str:
        if relation_id is None or relation_id not in catalogue():
            return relation_id or "none fits"
        return f"{catalogue().spec(relation_id).label} · {relation_id}"

    key = f"link-relation-{state.fingerprint(guessed, chosen)}"

    def corrected() -> None:
        state.set_draft(retyped(state.draft, relation=st.session_state[key]))

    place.selectbox("Relation", options, index=options.index(chosen), format_func=show, key=key, on_change=corrected)


def consequences(state: WorkbenchState, context: EditContext) -> None:
    """What changes with the edit and what must not; unticked ones are left out of search and write."""
    found = context.consequences
    if found is None or not (found.changed or found.kept):
        st.caption("Nothing follows from this edit that the graph would know of.")
        return
    held = {item.id for item in held_consequences(context, state.config)}
    st.markdown("**What else becomes true**")
    st.caption("Ticked: the search makes it hold. Asked only: the settings hold fewer, or it has too few wordings.")
    for item in found.forward:
        _consequence(state, item, is_held=item.id in held)
    others = (*found.inverse_gained, *found.inverse_lost, *found.later_hops)
    if others:
        with st.expander(f"{len(others)} more that follow; asked on the Probe page, not optimised"):
            for other in others:
                st.markdown(f"- {wording.safe(other.reason)}")
    if found.kept:
        protected = {item.id for item in protected_facts(context, state.config)}
        with st.expander(f"{len(found.kept)} facts that must stay; {len(protected)} of them protected in the write"):
            for fact in found.kept:
                _kept(state, fact, is_protected=fact.id in protected)


def _leave(state: WorkbenchState, item_id: str, key: str) -> None:
    leave = state.draft.leave - {item_id} if st.session_state[key] else state.draft.leave | {item_id}
    state.set_draft(retyped(state.draft, leave=leave))


def _consequence(state: WorkbenchState, item: Consequence, *, is_held: bool) -> None:
    old = item.old.label if item.old else "?"
    new = item.new.label if item.new else "?"
    said = (item.relation in catalogue() and catalogue().spec(item.relation).label) if item.relation else None
    name = said or item.path_new[-1].relation.label
    key = f"hold-{item.id}"
    is_ticked = item.id not in state.draft.leave
    st.session_state[key] = is_ticked
    st.checkbox(
        f"**{wording.safe(name)}**: {wording.safe(old)} → {wording.safe(new)}"
        + ("" if is_held or not is_ticked else "  :gray-badge[asked only]"),
        key=key,
        help=wording.safe(item.reason),
        on_change=_leave,
        args=(state, item.id, key),
    )


def _kept(state: WorkbenchState, fact: KeptFact, *, is_protected: bool) -> None:
    key = f"hold-{fact.id}"
    st.session_state[key] = fact.id not in state.draft.leave
    st.checkbox(
        wording.safe(str(fact.triple)) + ("  :material/shield:" if is_protected else ""),
        key=key,
        help=wording.safe(fact.reason),
        on_change=_leave,
        args=(state, fact.id, key),
    )


def doubts(state: WorkbenchState, lm: LoadedLM, context: EditContext) -> None:
    """What the graph was not sure of, and whether the model believes another old object than the graph holds."""
    for note in context.linked.notes if context.linked else ():
        message(note, kind="warning")
    said = actions.greedy_now(state, lm, context.edit.prompt)
    old = context.edit.old_object
    line = f"The model now goes on: “{wording.safe(said.removesuffix('.'))}”."
    if actions.says(said, context, new=True):
        live = "an edit of yours is live" if state.live(lm) else "it believes so already"
        st.caption(f"{line} That is the new object: {live}.")
    elif old is None:
        st.caption(f"{line} No old object is known; the edit does not need one.")
    elif actions.says(said, context):
        st.caption(f"{line} That agrees with the old object, {wording.safe(old)}.")
    else:
        st.warning(
            f"{line} The old object here is {wording.safe(old)}, which is not what the model says. The edit "
            "works, but “old” probabilities are about something the model did not say.",
            icon=":material/compare_arrows:",
        )
