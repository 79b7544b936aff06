"""Settings of an edit as widgets, with the help texts of their dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import EDITORS
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.search import MOST_STEPS
from kgmet.write.nullspace import CutoffKind
from workbench import wording
from workbench.shared.panels import message
from workbench.state.session import WorkbenchState, default_of

__all__ = ["changed_settings", "settings_panel"]


_SHOWN = {
    "write": ("layers", "ridge"),
    "target": ("max_steps", "max_norm_ratio"),
    "cutoff": ("kind", "value"),
    "hold": ("consequences", "neighbours"),
}
"""Stage → settings with a widget."""
_Number = TypeVar("_Number", int, float)
_OPEN = "settings-touched"
"""Session key set once a setting was changed; from then on the panel is open."""


def settings_panel(state: WorkbenchState, lm: LoadedLM) -> None:
    """Show editor and settings in an expander; values out of range are reported and ignored."""
    own = default_of(state.editor)
    changed = "; changed by you" if state.settings else ""
    checked = wording.safe(f"Preferred / first answer, {own.checked}.") if own.checked else None
    st.caption(wording.safe(f"Settings of {state.editor.name}: {own.sentence}{changed}."), help=checked)
    mark = " · changed" if state.settings else ""
    title = f"Settings · {state.editor.name}{mark}"
    # A new title makes a new expander in the browser, which would close while the user is choosing.
    with st.expander(title, expanded=_OPEN in st.session_state, icon=":material/tune:"):
        name = st.selectbox(
            "Editor",
            list(EDITORS),
            index=list(EDITORS).index(state.editor.name),
            help="The method: a composition of direction source, search prompts, residual schedule and writer.",
        )
        editor = EDITORS[name]
        st.caption(wording.safe(editor.summary + (f" Source: {editor.source}." if editor.source else "")))
        is_same = name == state.editor.name
        own = default_of(editor)
        st.caption(wording.safe(f"Settings: {own.sentence}."))
        settings = _widgets(state.config if is_same else own.config, own.config, lm, key=name)
        if is_same:
            settings = _with_others(settings, state.settings)
        is_new = False
        try:
            is_new = state.set_editor(name, settings)
        except KgmetError as error:
            message(str(error))
        if is_new:
            st.session_state[_OPEN] = True
            st.rerun()  # the title is that of before
        if state.settings and st.button("Back to the editor's own", icon=":material/restart_alt:"):
            for key in [key for key in st.session_state if str(key).startswith("setting-")]:
                del st.session_state[key]
            state.set_editor(name)
            st.rerun()


def _widgets(config: EditConfig, own: EditConfig, lm: LoadedLM, *, key: str) -> dict[str, Any]:
    left, right = st.columns(2)
    layers = left.multiselect(
        "Layers written",
        list(range(lm.n_layer - 1)),
        default=[layer for layer in config.write.layers if layer < lm.n_layer - 1],
        key=f"setting-layers-{key}",
        help="Decoder layers, counted from 0; the shift is searched after the last of them.",
    )
    steps = right.number_input(
        "Most search steps",
        1,
        MOST_STEPS,
        config.target.max_steps,
        key=f"setting-steps-{key}",
        help="Gradient steps at most.",
    )
    ridge = left.number_input(
        "λ of the solve",
        *_around(config.write.ridge, 0.0001, 1e6),
        format="%g",
        key=f"setting-ridge-{key}",
        help="Smaller: stronger edit. Larger: fewer side effects.",
    )
    ratio = right.number_input(
        "Longest shift, ‖δ‖ / ‖h‖",
        *_around(config.target.max_norm_ratio, 0.01, 10.0),
        step=0.05,
        key=f"setting-ratio-{key}",
        help="Largest shift of the hidden state, in units of its own length.",
    )
    kind = left.selectbox(
        "Free directions",
        [item.value for item in CutoffKind],
        index=list(CutoffKind).index(config.cutoff.kind),
        format_func=lambda name: "by eigenvalue" if name == CutoffKind.ABSOLUTE.value else f"by share of {name}",
        key=f"setting-kind-{key}",
        help="Which directions of a layer may be written in; the Orthogonality page shows what a cutoff costs.",
    )
    cutoff = right.number_input(
        "Cutoff",
        *_around(config.cutoff.value, 1e-9, 1e3),
        format="%g",
        key=f"setting-cutoff-{key}",
        help="Eigenvalue, or share.",
    )
    held = left.number_input(
        "Consequences held",
        *_around(config.hold.consequences, 0, 20),
        key=f"setting-held-{key}",
        help="Most that must hold.",
    )
    neighbours = right.number_input(
        "Neighbours protected",
        *_around(config.hold.neighbours, 0, 100),
        key=f"setting-neighbours-{key}",
        help="Other subjects of the same relation whose keys the write protects.",
    )
    return changed_settings(
        own,
        {
            "write": {"layers": sorted(layers), "ridge": float(ridge)},
            "target": {"max_steps": int(steps), "max_norm_ratio": float(ratio)},
            "cutoff": {"kind": kind, "value": float(cutoff)},
            "hold": {"consequences": int(held), "neighbours": int(neighbours)},
        },
    )


def _around(value: _Number, least: _Number, most: _Number) -> tuple[_Number, _Number, _Number]:
    """Return a field's ends and value; settings that came from elsewhere may lie outside the usual ends."""
    return min(least, value), max(most, value), value


def _with_others(settings: dict[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` together with those of `present` that no widget shows."""
    merged = {stage: dict(values) for stage, values in settings.items()}
    for stage, values in present.items():
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if name not in _SHOWN.get(stage, ()):
                merged.setdefault(stage, {})[name] = value
    return merged


def changed_settings(own: EditConfig, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings in `wanted` that differ from the editor's own."""
    changed: dict[str, Any] = {}
    for stage, values in wanted.items():
        for name, value in values.items():
            present = getattr(getattr(own, stage), name)
            present = list(present) if isinstance(present, tuple) else getattr(present, "value", present)
            if present != value:
                changed.setdefault(stage, {})[name] = value
    return changed
