"""Blocks of the Models page: what the model knows, and around which layers it keeps it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kgmet.calibrate.knowledge import asking_seconds
from kgmet.calibrate.where import LayerEffects, propose_layers
from kgmet.editing.config import EditConfig
from kgmet.editing.defaults import listed_layers
from kgmet.forecast.known import AskedFact, KnownRelation
from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.drawing.heatmaps import chosen_cell
from workbench.drawing.knowledge import effect_bars, relation_bars
from workbench.drawing.tables import table_files
from workbench.running.jobs import JobState
from workbench.screens.models import measuring, view
from workbench.screens.models.measuring import Known
from workbench.shared import panels
from workbench.shared.table_panel import save_table
from workbench.state.session import WorkbenchState

__all__ = ["knows", "where"]

FILTER, SORT, RELATION, CHART = "knows-filter", "knows-sort", "knows-relation", "knows-chart"
PER_RELATION, SIZE = "knows-per-relation", "knows-size"
"""The slider, and its value while another view is shown: a widget that is not drawn is forgotten."""
SIZES = (5, 10, 20, 40, 100)
_DEFAULT_SIZE = 10
_MOST_ROWS = 28
"""With more relations the chart scrolls by itself, beside the facts of the chosen one."""
_CHART_HEIGHT = 680
_EXAMPLES = 5


def per_relation() -> int:
    """Return how many facts of a relation are asked, as chosen."""
    return int(st.session_state.get(SIZE, _DEFAULT_SIZE))


def knows(state: WorkbenchState, lm: LoadedLM) -> None:
    """Show which facts of the graph the model answers, by relation, with examples."""
    st.caption(
        "It is asked the graph's facts in the words of the relation catalogue, the best-known subjects first. A fact "
        "is known if the model's own continuation begins with a name of the right object, in any of the wordings."
    )
    if PER_RELATION not in st.session_state:
        st.session_state[PER_RELATION] = per_relation()
    st.session_state[SIZE] = st.select_slider("Facts asked of each relation", SIZES, key=PER_RELATION)
    with st.spinner("Reading the graph"):
        known = measuring.known_of(state, lm, per_relation=per_relation())
    is_asking = _ask(state, lm, known)
    if not known.facts.asked:
        text = "Answers appear here when it is done or stopped." if is_asking else "Nothing was asked yet. Press Ask."
        st.info(text, icon=":material/quiz:")
        return
    st.markdown(f"**{wording.safe(view.knows_sentence(known.facts, known.n_left))}**")
    _map(state, lm, known)


def _ask(state: WorkbenchState, lm: LoadedLM, known: Known) -> bool:
    """Show the job or the button that starts it; return whether it runs."""
    job = state.job(measuring.ASK)
    if job is not None and not job.is_finished:
        panels.job_panel(job)
        return True
    kept = f"{wording.count(known.facts.asked, 'answer')} so far are kept; asking goes on from there."
    panels.job_result(job, stopped=f"Stopped. {kept}" if known.facts.asked else "Stopped before the first answers.")
    if job is not None and job.state is JobState.FAILED and known.facts.asked:
        st.caption(kept)
    if not known.n_left:
        st.badge("all asked", color="green", icon=":material/check:")
        return False
    label = "Ask the rest" if known.facts.asked else "Ask"
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(label, type="primary", icon=":material/quiz:", key="knows-ask", disabled=state.is_busy):
            panels.message(measuring.ask(state, lm, per_relation=per_relation()), kind="warning")
            st.rerun()
        about = wording.duration(asking_seconds(lm, known.n_left))
        on = "on one CPU thread" if lm.device.type == "cpu" else "on a CPU; faster here"
        st.caption(
            f"{wording.count(known.n_left, 'fact')} to ask, about {about} {on}. Stop at any time and go on later."
        )
    return False


def _map(state: WorkbenchState, lm: LoadedLM, known: Known) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    named = left.text_input("Filter relations", key=FILTER, placeholder="capital", max_chars=80)
    sort = right.segmented_control("Sort by", view.SORTS, default=view.SORTS[0], key=SORT, required=True)
    rows = view.relations_shown(known.facts.relations, named=named, sort=str(sort))
    save_table("known_facts", lambda: table_files(view.knows_table(rows)))
    if not rows:
        st.info("No relation is called that. Clear the filter to see all.", icon=":material/filter_alt_off:")
        return
    chosen = _chosen(rows)
    chart_side, fact_side = st.columns([3, 2], gap="large")
    with chart_side, st.container(height=_CHART_HEIGHT if len(rows) > _MOST_ROWS else "content", border=False):
        st.plotly_chart(
            relation_bars(rows, chosen=chosen.relation, dark=panels.theme() == "dark"),
            key=CHART,
            on_select=lambda: _take([row.relation for row in rows]),
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=f"Share of known facts by relation, {len(rows)} relations; first {rows[0].label}, "
            f"{rows[0].known} of {rows[0].asked}; last {rows[-1].label}, {rows[-1].known} of {rows[-1].asked}",
        )
    chart_side.caption(":material/visibility: Whiskers are 95 % intervals (Wilson). Click a bar to see its facts.")
    with fact_side:
        names = {row.relation: row.label for row in rows}
        st.selectbox("Relation", list(names), format_func=lambda key: names.get(key, key), key=RELATION)
        _examples(state, lm, known, chosen)


def _chosen(rows: Sequence[KnownRelation]) -> KnownRelation:
    by_id = {row.relation: row for row in rows}
    if st.session_state.get(RELATION) not in by_id:
        st.session_state[RELATION] = rows[0].relation
    return by_id[st.session_state[RELATION]]


def _take(relations: Sequence[str]) -> None:
    """Choose the relation whose bar was clicked."""
    cell = chosen_cell(st.session_state.get(CHART))
    if cell is not None and cell.row < len(relations):
        st.session_state[RELATION] = relations[cell.row]


def _examples(state: WorkbenchState, lm: LoadedLM, known: Known, row: KnownRelation) -> None:
    right = [fact for fact in known.facts.facts if fact.prompt.relation == row.relation]
    wrong = [fact for fact in known.facts.unknown if fact.prompt.relation == row.relation]
    st.markdown(f"**Known** · {len(right)}")
    for fact in right[:_EXAMPLES]:
        answer = fact.answer or ""
        line = f"{wording.safe(fact.prompt.text)} **{wording.safe(answer)}**"
        _example(state, fact, line, new=view.rival_of(fact, known.facts.facts), old=answer)
    _more(right)
    st.markdown(f"**Not known** · {len(wrong)}")
    said = measuring.said_instead(state, lm, wrong[:_EXAMPLES])
    for fact, text in zip(wrong[:_EXAMPLES], said, strict=True):
        truth = fact.prompt.answers[0]
        asked, answered = wording.safe(fact.prompt.text), wording.safe(wording.short(text, 40))
        line = f"{asked} *{answered}*; right: **{wording.safe(truth)}**"
        _example(state, fact, line, new=truth, old="")
    _more(wrong)


def _more(facts: Sequence[AskedFact]) -> None:
    if not facts:
        st.caption("none")
    elif len(facts) > _EXAMPLES:
        st.caption(f"and {len(facts) - _EXAMPLES} more")


def _example(state: WorkbenchState, fact: AskedFact, line: str, *, new: str, old: str) -> None:
    text_side, button_side = st.columns([5, 2], vertical_alignment="center")
    text_side.markdown(line)
    draft = view.fact_draft(fact, new=new, old=old)
    if draft is None:
        return
    about = "Edit this one: opens Edit with this fact."
    if button_side.button("Edit", icon=":material/edit:", key=f"knows-edit-{fact.prompt.id}", help=about):
        state.set_draft(draft)
        panels.go_to("edit")


def where(state: WorkbenchState, lm: LoadedLM) -> None:
    """Show around which layers facts are kept, with the layers the chosen editor writes to."""
    st.caption(
        "A causal trace averaged over facts the model knows: noise on the subject hides the answer, then the MLP "
        "outputs of a few layers are restored at the subject's last token. Where most comes back, facts are looked up."
    )
    with st.spinner("Reading the graph"):
        known = measuring.known_of(state, lm, per_relation=per_relation())
    effects, n_fact = measuring.effects_of(state, lm, known.facts)
    job = state.job(measuring.TRACE)
    if job is not None and not job.is_finished:
        panels.job_panel(job)
    else:
        n_traced = 0 if effects is None else effects.n
        panels.job_result(
            job, stopped=f"Stopped. {wording.count(n_traced, 'traced fact')} kept; tracing goes on from there."
        )
        _trace(state, lm, known, effects, n_fact)
    if effects is None:
        profile = measuring.profile_in_use(lm)[0]
        if profile is None or not profile.layers:
            return
        st.caption("Not traced here yet: this picture comes with the profile in use.")
        effects = LayerEffects.from_json(profile.layers)
    if len(effects.restored) == lm.n_layer:
        _picture(state.editor.name, state.config, effects, lm.n_layer)


def _trace(state: WorkbenchState, lm: LoadedLM, known: Known, effects: LayerEffects | None, n_fact: int) -> None:
    if n_fact < measuring.FEWEST_TRACED:
        st.info(
            f"{wording.count(n_fact, 'known fact')} so far; {measuring.FEWEST_TRACED} are needed. Ask first what the "
            "model knows: the view “What it knows”.",
            icon=":material/quiz:",
        )
        return
    n_done = 0 if effects is None else effects.n
    if n_done >= n_fact:
        return
    label = "Trace the rest" if n_done else "Trace"
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(label, type="primary", icon=":material/layers:", key="layers-trace", disabled=state.is_busy):
            panels.message(measuring.trace(state, lm, known.facts), kind="warning")
            st.rerun()
        st.caption(f"{n_fact - n_done} of {n_fact} facts to trace. Stop at any time and go on later.")


def _picture(editor: str, config: EditConfig, effects: LayerEffects, n_layer: int) -> None:
    written = config.write.layers
    proposal = propose_layers(effects, written, n_layer)
    st.plotly_chart(
        effect_bars(effects, written=written, proposed=proposal.layers, dark=panels.theme() == "dark"),
        key="layers-chart",
        config=SAVED_AS_SVG,
        alt=f"Probability that comes back by layer, mean over {effects.n} facts. {proposal.reason}",
    )
    st.markdown(wording.safe(proposal.reason))
    proposed = f"Proposed for an edit of as many layers: {listed_layers(proposal.layers)}. " if proposal.layers else ""
    st.markdown(
        wording.safe(
            f"{proposed}{editor} writes to layers {listed_layers(written)} and searches the shift after layer "
            f"{written[-1]}. Where facts are kept does not say where editing works best, so calibrating compares both."
        )
    )
