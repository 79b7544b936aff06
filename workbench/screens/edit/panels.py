"""Blocks of the Edit page: form, linking, consequences, settings and result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.editing.context import EditContext
from kgmet.fact import FactEdit
from kgmet.graph.store import Match
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.verdict import clause
from workbench import wording
from workbench.drawing import curves, tables
from workbench.running.resources import catalogue
from workbench.screens.edit.form import link_button
from workbench.shared import actions
from workbench.shared.panels import message
from workbench.state.session import WorkbenchState, retyped

__all__ = ["candidates", "doubts", "linking_line", "present_answers"]

_NOWHERE = "not in the graph"


def present_answers(state: WorkbenchState, lm: LoadedLM, edit: FactEdit) -> None:
    """Show the tokens with the edited position, and the model's present answer."""
    try:
        strip = actions.token_strip(lm, edit)
        tokens = actions.answer_now(state, lm, edit.prompt).tokens
    except KgmetError as error:
        message(str(error))
        return
    st.caption("Tokens of the prompt; the filled one is where the edit acts: the subject's last token")
    st.html(tables.token_html([(token.text, token.role) for token in strip]))
    live = len(state.live(lm))
    after = f"with {wording.count(live, 'edit')} live" if live else "unedited"
    st.caption(f"What the model answers now ({after}), ten likeliest next tokens")
    marked = {edit.new_object: "new"} | ({edit.old_object: "old"} if edit.old_object else {})
    st.html(curves.answer_bars(tokens, marked=marked))


def linking_line(state: WorkbenchState, context: EditContext | None, complaint: str | None) -> None:
    """Show one line with missing input, an error, or the linked entities; a popover corrects the linking."""
    draft = state.draft
    if draft.is_incomplete:
        missing = ", ".join(name.replace("_", " ") for name in draft.missing)
        st.caption(" " if draft.is_blank else f"Still missing: {missing}.")
        return
    if complaint is not None or context is None:
        st.caption(f":material/edit: {wording.safe(complaint or '')}")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="linking"):
        line = context.linked.line if context.linked else f"{context.edit.subject} · no graph"
        st.markdown(f":material/hub: {wording.safe(line)}")
        if context.linked is not None:
            with st.popover("Change", type="tertiary"):
                candidates(state, context)
        link_button(state)


def candidates(state: WorkbenchState, context: EditContext) -> None:
    """Show the linked entities and relation, each with a correction."""
    linked = context.linked
    if linked is None or not (linked.subject or linked.new_object or linked.relations):
        return
    columns = [st.container() for _ in range(4)]
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


def doubts(state: WorkbenchState, lm: LoadedLM, context: EditContext) -> None:
    """Show doubts of the linking, and whether model and graph disagree on the old object."""
    for note in context.linked.notes if context.linked else ():
        message(note, kind="warning")
    said = actions.answer_now(state, lm, context.edit.prompt).text
    old = context.edit.old_object
    line = f"The model now goes on: “{wording.safe(said.removesuffix('.'))}”."
    if actions.says(said, context, new=True):
        live = "an edit of yours is live" if state.live(lm) else "it believes so already"
        st.caption(f"{line} That is the new object: {live}.")
    elif any(context.edit.id in {edit.id for edit in entry.patch.edits} for entry in state.live(lm)):
        st.caption(f"{line} That is with this edit live.")
    elif old is None:
        st.caption(f"{line} No old object is known; the edit does not need one.")
    elif actions.says(said, context):
        st.caption(f"{line} That agrees with the old object, {wording.safe(old)}.")
    else:
        st.caption(
            f":material/compare_arrows: {line} The old object here is {wording.safe(old)}, which is not what the model "
            "says. The edit works all the same, but “old” is about something the model did not say."
        )

        def take() -> None:
            state.set_draft(retyped(state.draft, old_object=clause(said)))

        if clause(said):
            st.button(f"Take “{wording.safe(clause(said))}” as the old object", on_click=take, key="take-old")
