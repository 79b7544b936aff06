"""Blocks of the Foresee page: the ranked list with its picture, protection, and forecast against measurement."""

from __future__ import annotations

import streamlit as st

from kgmet.base.progress import Stage
from kgmet.editing.foresee import ForecastFacts, Foreseen
from kgmet.forecast.check import CheckedForecast
from kgmet.forecast.forecast import FactForecast
from workbench import wording
from workbench.drawing import forecasts
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.drawing.forecast_words import lost_sentence
from workbench.running.resources import Resident, catalogue
from workbench.screens.foresee import actions as foresee_actions
from workbench.screens.foresee import view
from workbench.screens.foresee.actions import Question
from workbench.screens.foresee.values import Shown
from workbench.shared import panels
from workbench.shared.foreseen import CHECKED, FORESEEN
from workbench.shared.inspect_panels import is_dark, reading_help
from workbench.shared.table_panel import set_table, table
from workbench.state.session import WorkbenchState

__all__ = ["result", "time_left"]

PICTURES = ("By fact", "By relation")
_MANY, _FEW = 40, 12


def time_left(job: panels.Job) -> None:
    """Show the remaining time of the measurement."""
    event = job.latest
    if event is not None and event.stage is Stage.FACT_INDEX:
        st.caption(view.time_left(event.done, event.total, job.seconds))


def result(state: WorkbenchState, resident: Resident, question: Question) -> None:
    """Show the last forecast; grey and without buttons if its inputs have changed."""
    came = None if question.entry is None else question.entry.figures.get(FORESEEN)
    known = state.fresh(FORESEEN, question.made_from) or came or state.result(FORESEEN)
    if known is None:
        st.info("No forecast yet. The button above applies nothing.", icon=":material/query_stats:")
        return
    foreseen: Shown = known.value
    is_stale = known.is_stale(question.made_from)
    panels.stale_note(is_stale)
    with st.container(key="stale-foresee" if is_stale else "foresee-result"):
        edit = foreseen.edits[0]
        st.subheader(wording.safe(edit.sentence), anchor=False)
        st.markdown(view.headline(foreseen))
        if foreseen.is_priced:
            st.caption(f":material/shield: {view.priced_note(foreseen)}")
        protected = None if is_stale else foresee_actions.protected_of(state, question)
        checked = None if is_stale else _checked(state, question)
        _forecast(state, question, foreseen, protected, checked, is_stale=is_stale)
        if not is_stale and question.entry is None and isinstance(foreseen, Foreseen):
            _protect(state, resident, question, foreseen, protected)
        elif not is_stale and question.entry is None:
            st.caption("This forecast is from before the server was started again. To protect or apply, foresee again.")
        if checked is not None:
            _came_true(state, resident, question, foreseen, checked)
        with st.expander(f"All facts: {len(foreseen.forecasts)}", icon=":material/table:"):
            table(
                view.full_table(foreseen, _labels(foreseen), protected=protected, checked=checked),
                stem="forecast",
                alt="Every fact with its forecast",
            )
        _about(resident, foreseen)


def _forecast(
    state: WorkbenchState,
    question: Question,
    foreseen: ForecastFacts,
    protected: ForecastFacts | None,
    checked: CheckedForecast | None,
    *,
    is_stale: bool,
) -> None:
    """Show the ranked list with checkboxes, and the picture beside it."""
    if not foreseen.forecasts:
        return
    labels = _labels(foreseen)
    measured = {} if checked is None else checked.probabilities
    left, right = st.columns([6, 5], gap="large")
    with left:
        way = st.segmented_control(
            "Which", view.WAYS, default=view.ALL, label_visibility="collapsed", required=True, key="foresee-way"
        )
        is_long = st.session_state.get("foresee-long", False)
        items = view.chosen_ways(foreseen, way or view.ALL, _MANY if is_long else _FEW)
        can_tick = question.entry is None and not is_stale and isinstance(foreseen, Foreseen)
        if can_tick:
            st.caption("Tick what must not move; then protect it below. ▼ loses, ▲ gains, in nats of log p(answer).")
        else:
            st.caption("▼ loses, ▲ gains, in nats of log p(answer).")
        with st.container(key="foresee-facts"):
            for item in items:
                line = view.fact_line(
                    item, labels.get(item.fact.prompt.relation, ""), measured=measured.get(item.fact.prompt.id)
                )
                _line(state, question, item, line, can_tick=can_tick)
        if not items:
            st.caption("None.")
        if len(foreseen.forecasts) > _FEW:
            st.toggle(f"Show {_MANY}", key="foresee-long")
    with right:
        picture = st.segmented_control(
            "Picture", PICTURES, default=PICTURES[0], label_visibility="collapsed", required=True, key="foresee-picture"
        )
        if picture == PICTURES[1]:
            figure = forecasts.relation_chart(foreseen.forecasts, labels=labels, dark=is_dark())
            n = wording.count(len(foreseen.forecasts), "fact")
            alt = f"Forecast change of {n} by relation. {view.alt(items[:5])}"
        else:
            other = None if protected is None else {item.fact.prompt.id: item for item in protected.forecasts}
            figure = forecasts.fact_chart(items, protected=other, measured=measured, dark=is_dark())
            alt = view.alt(items)
        st.plotly_chart(figure, key="foresee-chart", config=SAVED_AS_SVG, alt=alt)
        also = (view.READ_PROTECTED if protected else "") + (view.READ_MEASURED if measured else "")
        reading_help(view.READ_RELATIONS if picture == PICTURES[1] else view.READ_FACTS + also)


def _line(state: WorkbenchState, question: Question, item: FactForecast, line: str, *, can_tick: bool) -> None:
    if not can_tick:
        st.markdown(line)
        return
    fact_id = item.fact.prompt.id
    key = f"protect-{fact_id}"
    st.session_state[key] = fact_id in foresee_actions.ticked(state, question)

    def changed() -> None:
        others = foresee_actions.ticked(state, question) - {fact_id}
        foresee_actions.tick(state, question, others | ({fact_id} if st.session_state[key] else set()))

    st.checkbox(line, key=key, on_change=changed)


def _protect(
    state: WorkbenchState, resident: Resident, question: Question, foreseen: Foreseen, protected: Shown | None
) -> None:
    """Show the controls to protect the ticked facts, compare, and apply one of the two edits."""
    st.subheader("Protect these", anchor=False)
    ticked = foresee_actions.ticked(state, question)
    losers = [item.fact.prompt.id for item in foreseen.strongest_first if item.change < 0]
    editor = state.editor
    if not editor.can_price:
        st.info(
            f"{editor.name} cannot protect known facts: its write has no key metric to price them in. KGMET, AlphaEdit "
            "and MEMIT can.",
            icon=":material/info:",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        _tick_button(state, question, "Tick the 10 that lose most", losers[:10], key="foresee-tick-worst")
        _tick_button(
            state, question, "Tick all", [item.fact.prompt.id for item in foreseen.forecasts], key="foresee-tick-all"
        )
        _tick_button(state, question, "Tick none", [], key="foresee-tick-none")
        if st.button(
            f"Forecast with {len(ticked)} protected" if ticked else "Forecast with ticked ones protected",
            icon=":material/shield:",
            disabled=not ticked or not editor.can_price or protected is not None,
            key="foresee-protect",
        ):
            panels.message(foresee_actions.protect_ticked(state, resident, question, ticked))
            st.rerun()
    if protected is not None:
        set_table(view.protected_table(foreseen, protected, protected.protected), stem="protected")
        st.caption(
            "The write minimises this forecast for the ticked facts, so theirs is near 0 by construction. A linear "
            "forecast misses the rest: apply the edit to measure it. Keys of neighbours stay "
            "protected as before."
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        _apply_button(state, resident, question, foreseen, label="Apply as it is", key="foresee-apply")
        if isinstance(protected, Foreseen):
            name = f"Apply with {len(protected.protected)} protected"
            _apply_button(state, resident, question, protected, label=name, key="foresee-apply-protected")


def _tick_button(state: WorkbenchState, question: Question, label: str, facts: list[str], *, key: str) -> None:
    st.button(label, key=key, on_click=foresee_actions.tick, args=(state, question, facts), type="tertiary")


def _apply_button(
    state: WorkbenchState, resident: Resident, question: Question, foreseen: Foreseen, *, label: str, key: str
) -> None:
    if st.button(label, key=key, icon=":material/check:", disabled=state.is_busy):
        panels.message(foresee_actions.apply(state, resident, question, foreseen))
        st.rerun()


def _checked(state: WorkbenchState, question: Question) -> CheckedForecast | None:
    entry = question.entry
    known = None if entry is None else state.measured(entry, CHECKED, question.made_from)
    if known is None:
        return None
    found: CheckedForecast = known.value
    return found


def _came_true(
    state: WorkbenchState, resident: Resident, question: Question, foreseen: ForecastFacts, checked: CheckedForecast
) -> None:
    st.subheader("Forecast against measured", anchor=False)
    left, right = st.columns([3, 2], gap="large")
    with left:
        figure = forecasts.check_chart(checked, protected=foreseen.protected, dark=is_dark())
        st.plotly_chart(figure, key="foresee-check", config=SAVED_AS_SVG, alt=view.check_alt(checked))
    with right:
        found = checked.rank_correlation
        st.metric("Rank correlation (Spearman)", wording.NOT_MEASURED if found is None else f"{found:.2f}")
        st.write(wording.safe(lost_sentence(checked)))
        if question.earlier:
            st.caption(view.earlier_note(len(question.earlier)))
        if foreseen.protected:
            st.caption(f"Protected in the write: {wording.count(len(foreseen.protected), 'fact')}, drawn as diamonds.")
        panels.page_link("ledger", "Undo or switch the edit off on Ledger", icon="history")
    reading_help(view.READ_CHECK)


def _about(resident: Resident, found: Shown) -> None:
    foreseen = found.kept if isinstance(found, Foreseen) else found
    name = resident.lm.name if foreseen.model_fingerprint == resident.lm.fingerprint else "another model"
    st.caption(
        wording.safe(
            f"n = {wording.count(len(foreseen.forecasts), 'fact')} of the graph that the model answers rightly, "
            "without those the edit should change and those used to test it. "
            f"Model {name}, editor {foreseen.editor}, {view.span(foreseen.layers)}. "
            "The forecast is linear: the gradient of log p(answer) times what the patch adds at each token."
        )
    )


def _labels(foreseen: ForecastFacts) -> dict[str, str]:
    known = catalogue()
    relations = {item.fact.prompt.relation for item in foreseen.forecasts}
    return {relation: known.spec(relation).label for relation in relations if relation in known}
