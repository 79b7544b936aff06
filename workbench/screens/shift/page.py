"""Shift page: change of the hidden states by layer and token."""

from __future__ import annotations

import streamlit as st

from workbench.drawing import charts
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.drawing.curves import search_curve
from workbench.drawing.heatmaps import Marks, chosen_cell, clipped_words, heatmap, heatmap_alt, token_label
from workbench.screens.shift import tables as inspect_tables
from workbench.screens.shift import view as shift_view
from workbench.shared import inspect_actions, inspect_panels, panels
from workbench.shared.inspect_panels import is_dark, reading_help
from workbench.shared.table_panel import figures, table
from workbench.state import session

FIGURES = ("Logit lens", "All texts by layer", "Search curve")


def clicked() -> None:
    """Set the two selectors from a click on the map."""
    shift_view.take_cell(
        st.session_state, chosen_cell(st.session_state.get(MAP)), layer_key=LAYER, position_key=POSITION
    )


__all__ = ["show"]

LAYER, POSITION, MAP = "shift-layer", "shift-position", "shift-map"


def show() -> None:
    """Draw the page."""
    panels.title(
        "Shift", "How far the edit moves the model's hidden states, by layer and token, in direction and length."
    )
    state = session.current()
    resident = panels.require_model()
    entry = inspect_panels.focus_picker(state, resident)
    edit = panels.choose_edit(state, entry)
    made_from = inspect_actions.seen_from(state, resident, entry, edit.id)
    work = inspect_actions.trace_shift_of(state, resident, entry, edit)
    traces = inspect_panels.looked_up(
        state,
        inspect_actions.SHIFT,
        work,
        made_from=made_from,
        title="Reading the states before and after",
        entry=entry,
    )

    left, right = st.columns([3, 2], vertical_alignment="bottom")
    number = left.selectbox(
        "Text",
        range(len(traces)),
        format_func=lambda index: shift_view.text_label(traces[index].source),
        help="The prompt of the edit, the same fact in other words, and texts in which nothing may move.",
    )
    quantity = right.selectbox(
        "What to draw",
        list(shift_view.SCALES),
        format_func=lambda item: item.value.capitalize(),
        help="Direction and magnitude are shown separately: the angle ignores lengths, the magnitude ignores angles.",
    )
    trace = traces[number]
    shift_view.settle(st.session_state, trace, layer_key=LAYER, position_key=POSITION)

    map_side, cell_side = st.columns([3, 2], gap="large")
    with map_side:
        values, scale = trace.of(quantity).tolist(), shift_view.SCALES[quantity]
        rows, columns = shift_view.layer_labels(trace), [token_label(token) for token in trace.tokens]
        figure = heatmap(
            values,
            rows=rows,
            columns=list(trace.tokens),
            scale=scale,
            axes=("layer", "token"),
            marks=Marks(
                chosen=shift_view.cell(st.session_state, layer_key=LAYER, position_key=POSITION),
                rows=[update.layer for update in entry.patch.updates],
                column=trace.lookup,
            ),
            upwards=True,
            dark=is_dark(),
        )
        st.plotly_chart(
            figure,
            key=MAP,
            on_select=clicked,
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=heatmap_alt(quantity.value, values, rows=rows, columns=columns, unit=scale.unit),
        )
        reading_help(f"{shift_view.READING[quantity]} {clipped_words(values, scale)}")

    with cell_side:
        st.selectbox(
            "Token",
            range(len(trace.tokens)),
            key=POSITION,
            format_func=lambda index: shift_view.token_choice(trace, index),
        )
        st.slider("Layer", 0, trace.n_layer - 1, key=LAYER, help="Counted from 0. Edited layers have an orange bar.")
        layer, position = st.session_state[LAYER], st.session_state[POSITION]
        figures(shift_view.cell_figures(trace, layer, position))
        reading = inspect_actions.lens_at(state, resident, entry, trace.source, position)
        st.markdown(f"**What layer {layer} would say here**")
        table(
            inspect_tables.lens_at_layer(reading, layer),
            stem="lens-of-layer",
            alt="Likeliest next tokens before and after, with probabilities",
        )
        st.caption(inspect_tables.lens_sentence(reading, layer))

    shown = st.segmented_control("Below", FIGURES, default=FIGURES[0], label_visibility="collapsed", required=True)
    if shown == FIGURES[0]:
        st.subheader(f"Logit lens at “{token_label(trace.tokens[position])}”", anchor=False)
        if reading.answers:
            st.plotly_chart(
                charts.lens_chart(reading, dark=is_dark(), marker=layer),
                key="lens-chart",
                config=SAVED_AS_SVG,
                alt=inspect_tables.lens_sentence(reading, len(reading.after) - 1),
            )
            reading_help(shift_view.READ_LENS)
        table(inspect_tables.lens_by_layer(reading), stem="lens", height=320, alt="Likeliest tokens of every layer")
    elif shown == FIGURES[1]:
        st.plotly_chart(
            charts.profile_chart(traces, quantity, dark=is_dark(), unit=scale.unit, marker=layer),
            key="profile-chart",
            config=SAVED_AS_SVG,
            alt=f"{quantity.value} by layer for {len(traces)} texts",
        )
        reading_help(shift_view.READ_PROFILE)
    elif entry.curve:
        st.plotly_chart(
            search_curve(entry.curve),
            key="search-chart",
            config=SAVED_AS_SVG,
            alt=f"Search curve over {len(entry.curve)} steps",
        )
        reading_help(shift_view.READ_SEARCH)
    else:
        st.info("This patch came without its search curve.")
