"""Orthogonality page: what the null space protects and costs, and interference between edits."""

from __future__ import annotations

import streamlit as st

from kgmet.inspect.overlap import OverlapKind
from workbench import wording
from workbench.drawing import charts
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.drawing.heatmaps import chosen_cell, clipped_words, heatmap, heatmap_alt
from workbench.drawing.protection import PROTECTION, Protection
from workbench.screens.orthogonality import view as protection_view
from workbench.shared import inspect_actions, inspect_panels, panels
from workbench.shared.inspect_panels import is_dark, reading_help
from workbench.shared.table_panel import figures, table
from workbench.state import session

VIEWS = ("Spectrum and cutoff", "Energy of the update", "Edit × edit", "Drift")

__all__ = ["show"]


def show() -> None:
    """Draw the page."""
    panels.title(
        "Orthogonality",
        "Edits are written into the directions that ordinary text uses least: how well this worked, and at what cost.",
    )
    state = session.current()
    resident = panels.require_model()
    entry = inspect_panels.focus_picker(state, resident)
    edit = panels.choose_edit(state, entry)
    protection: Protection = inspect_panels.looked_up(
        state,
        PROTECTION,
        inspect_actions.protection_of(state, resident, entry, edit),
        made_from=inspect_actions.protection_from(state, resident.lm, entry, edit),
        title="Measuring spectra, drift and overlap",
        entry=entry,
    )
    writes, drift, overlap = protection.writes, protection.drift, protection.overlap
    if not any(write.is_projected for write in writes):
        st.info(
            f"{wording.safe(entry.patch.editor)} does not confine itself to free directions. This shows where its "
            "update lies, and what a null-space write would have done with the same keys.",
            icon=":material/info:",
        )
    if len(entry.patch.edits) > 1:
        st.caption(protection_view.together(len(entry.patch.edits)))
    for column, (label, value, about) in zip(
        st.columns(len(protection_view.headline(writes, drift))), protection_view.headline(writes, drift), strict=True
    ):
        column.metric(label, value, help=about)

    view = st.segmented_control("View", VIEWS, default=VIEWS[0], label_visibility="collapsed", required=True)
    layers = [write.layer for write in writes]

    if view in VIEWS[:3]:
        shown = list(overlap.layers) if view == VIEWS[2] and overlap is not None else layers
        layer = st.segmented_control("Layer", shown, default=shown[len(shown) // 2], required=True)
        write = next((write for write in writes if write.layer == layer), writes[0])

    if view == VIEWS[0] and len(write.keys):
        d_key = len(write.eigenvalues)
        chart, side = st.columns([3, 2], gap="large")
        with side:
            rank = st.slider("Free directions", 1, d_key, value=write.rank, key=f"cutoff-{entry.id}-{layer}")
            actual, moved = write.cost(write.rank), write.cost(rank)
            figures(protection_view.cost_table(actual, moved))
            st.write(protection_view.trade_sentence(actual, moved))
            if st.button(
                f"Use {moved.eigenvalue:.3g} as cutoff for the next edits",
                disabled=rank == write.rank,
                icon=":material/tune:",
                help="Sets the absolute cutoff in the settings of the Edit page, for all layers.",
            ):
                message = inspect_actions.use_cutoff(state, moved.eigenvalue)
                panels.message(
                    message or "Set. The next edit is written with it.", kind="error" if message else "success"
                )
        with chart:
            st.plotly_chart(
                charts.spectrum_chart(write, write.costs, rank=rank, dark=is_dark()),
                key="spectrum",
                config=SAVED_AS_SVG,
                alt=f"Key spectrum of layer {layer}. {protection_view.trade_sentence(actual, moved)}",
            )
            reading_help(protection_view.READ_SPECTRUM)
    elif view == VIEWS[0]:
        st.info("This edit keeps no keys, so what another cutoff would cost cannot be computed.")
    elif view == VIEWS[1]:
        st.plotly_chart(
            charts.energy_chart(write, dark=is_dark()),
            key="energy",
            config=SAVED_AS_SVG,
            alt=f"Energy of the update of layer {layer} along the spectrum: {write.protected_share:.2%} in protected "
            f"space, {write.protected_share_unprojected:.2%} without the projection",
        )
        reading_help(protection_view.READ_ENERGY)
        table(protection_view.write_table(writes), stem="write", alt="The write, layer by layer")
    elif view == VIEWS[2] and overlap is None:
        st.info("Overlap needs at least two live edits that share a layer. Apply another one on the Edit page.")
    elif view == VIEWS[2]:
        kind = st.selectbox("What to compare", list(OverlapKind), format_func=lambda item: item.value.capitalize())
        assert overlap is not None and kind is not None
        values = overlap.of(kind)[overlap.layers.index(layer)].tolist()
        labels = protection_view.edit_labels(overlap)
        event = st.plotly_chart(
            heatmap(
                values,
                rows=labels,
                columns=labels,
                scale=protection_view.OVERLAP_SCALES[kind],
                dark=is_dark(),
                row_height=max(17, 44 - 2 * len(labels), 200 // len(labels)),
            ),
            key="overlap",
            on_select="rerun",
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=heatmap_alt(kind.value, values, rows=labels, columns=labels),
        )
        if (cell := chosen_cell(event)) is not None:
            text = protection_view.overlap_sentence(overlap, kind, layer=layer, row=cell.row, column=cell.column)
            st.write(wording.safe(text))
        reading_help(
            f"{protection_view.READ_OVERLAP[kind]} {clipped_words(values, protection_view.OVERLAP_SCALES[kind])}"
        )
    else:
        labels, columns = protection_view.drift_labels(drift), [f"layer {layer}" for layer in drift.layers]
        values = drift.values.tolist()
        st.plotly_chart(
            heatmap(values, rows=labels, columns=columns, scale=protection_view.DRIFT_SCALE, dark=is_dark()),
            key="drift",
            config=SAVED_AS_SVG,
            alt=heatmap_alt("Drift", values, rows=labels, columns=columns),
        )
        reading_help(f"{protection_view.READ_DRIFT} {clipped_words(values, protection_view.DRIFT_SCALE)}")
        table(protection_view.drift_table(drift), stem="drift", alt="Mean and largest drift by kind of text")
