"""Trace page: states that carry a fact, contributions to the answer, and the end of a chain of facts."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kgmet.base.errors import KgmetError
from kgmet.fact import FactEdit
from kgmet.inspect.attribution import Component
from kgmet.inspect.causal_trace import CausalTrace, TraceConfig
from kgmet.inspect.patching import PatchMap
from kgmet.inspect.recall import RECALLED, Followed
from kgmet.inspect.settings import settings_of
from kgmet.inspect.traced_prompt import LocatedPrompt
from workbench import wording
from workbench.drawing.charts import SAVED_AS_SVG
from workbench.drawing.contributions import layer_bars, rank_lines, rank_map
from workbench.drawing.heatmaps import Cell, Marks, Scale, chosen_cell, heatmap, heatmap_alt, token_label
from workbench.drawing.traced import READING, Reading, TracedMap, map_name
from workbench.running.resources import Resident
from workbench.screens.trace import actions as trace_actions
from workbench.screens.trace import view as trace_view
from workbench.screens.trace.view import Choice, Map, Shown, Side
from workbench.shared import actions, inspect_actions, inspect_panels, panels
from workbench.shared.inspect_panels import is_dark, reading_help
from workbench.shared.table_panel import figures, table
from workbench.state import session
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["show"]

LAYER, POSITION, PART = "trace-layer", "trace-position", "trace-part"
RANK_LAYER, RANK_POSITION = "trace-rank-layer", "trace-rank-position"
MAP, RANKS, HEADS, BARS = "trace-map", "trace-ranks", "trace-heads", "trace-bars"
VIEWS = ("Causal trace", "Contributions", "Recall by layer")
MAPS: Sequence[Map] = tuple(Map)
DRAWS = (1, 2, 5, 10)
MAP_HEIGHT = 400
"""Height of a map's cells in pixels, unless the model is too deep."""


def show() -> None:
    """Draw the page."""
    panels.title(
        "Trace", "Which states carry the fact, what each part adds to the answer, and where a chain of facts ends."
    )
    state = session.current()
    resident = panels.require_model()
    entry = inspect_panels.focus_picker(state, resident)
    edit = panels.choose_edit(state, entry)
    prompt_side, view_side = st.columns([3, 2], vertical_alignment="bottom")
    shown = view_side.segmented_control("View", VIEWS, default=VIEWS[0], label_visibility="collapsed", required=True)
    choice = _choose_prompt(prompt_side, entry, edit)
    breaks = st.empty()
    if shown == VIEWS[0]:
        _maps(state, resident, entry, choice, breaks)
        return
    reading = _reading(state, resident, entry, choice)
    _show_breaks(breaks, reading)
    if shown == VIEWS[1]:
        _contributions(state, resident, entry, reading.contributions)
    else:
        _ranks(entry, reading)


def _reading(state: WorkbenchState, resident: Resident, entry: StackEntry, choice: Choice) -> Reading:
    """Return contributions and ranks; if missing, start their job and stop the page."""
    found: Reading = inspect_panels.looked_up(
        state,
        READING,
        trace_actions.reading_of(trace_actions.sides_of(state, resident, entry), choice),
        made_from=inspect_actions.seen_from(state, resident, entry, choice),
        title="Reading contributions and ranks",
        entry=entry,
    )
    return found


def _show_breaks(place: DeltaGenerator, reading: Reading) -> None:
    place.markdown("  \n".join(wording.safe(trace_view.break_line(side, found)) for side, found in reading.breaks))


def _choose_prompt(column: DeltaGenerator, entry: StackEntry, edit: FactEdit) -> Choice:
    """Let the user choose a prompt of the edit or type one; stop the page until it is complete."""
    offered = trace_view.choices(edit, actions.context_of(entry, settings_of(entry.patch), edit))
    number = column.selectbox(
        "Prompt",
        range(len(offered) + 1),
        format_func=lambda index: offered[index].label if index < len(offered) else "Type a prompt …",
        key=f"trace-prompt-{entry.id}-{edit.id}",
        help="The edit's own prompt, one of its consequences, or any other text.",
    )
    if number < len(offered):
        return offered[number]
    fields = st.columns([4, 2, 2, 2, 2])
    texts = [
        column.text_input(label, key=f"trace-typed-{label}", max_chars=500, placeholder=example)
        for column, label, example in zip(
            fields,
            ("Text", "Subject", "Answer", "Rival", "Bridge"),
            ("The Eiffel Tower is in the country of", "The Eiffel Tower", "France", "optional", "optional: Paris"),
            strict=True,
        )
    ]
    if not all(text.strip() for text in texts[:3]):
        st.info("Type a text that ends before the answer, the subject in it, and the answer.", icon=":material/edit:")
        st.stop()
    try:
        return trace_view.typed(*texts)
    except KgmetError as error:
        panels.message(str(error), kind="warning")
        st.stop()
        raise


def _maps(state: WorkbenchState, resident: Resident, entry: StackEntry, choice: Choice, breaks: DeltaGenerator) -> None:
    seen = inspect_actions.seen_from(state, resident, entry, choice)
    known = state.measured(entry, READING, seen)
    if known is not None:
        _show_breaks(breaks, known.value)
    kind_side, model_side, layer_side, draw_side = st.columns([4, 3, 2, 2], vertical_alignment="bottom")
    kind = kind_side.selectbox("What to draw", MAPS, format_func=lambda item: item.value, key="trace-kind")
    sides = [side for side in Side if choice.on(side) is not None]
    side = model_side.segmented_control(
        "Model",
        sides,
        default=sides[0],
        format_func=lambda item: item.value.capitalize(),
        required=True,
        help="On the edited model the new answer is followed, on the unedited one the old answer.",
    )
    coarse = trace_view.coarse_step(resident.lm.n_layer)
    steps = [coarse, 1] if coarse > 1 else [1]
    step: int = layer_side.selectbox(
        "Layers",
        steps,
        format_func=lambda item: trace_view.layers_label(item).capitalize(),
        disabled=coarse == 1,
        help="Layers whose states are tried. Those that are known already are not tried again.",
    )
    draws: int = draw_side.selectbox(
        "Draws of noise",
        list(DRAWS),
        index=DRAWS.index(TraceConfig().n_sample),
        disabled=not kind.is_causal,
        help="Averaged. More take longer in proportion.",
    )
    config = TraceConfig(n_sample=draws)
    name = map_name(kind)

    def made_from(step: int) -> str:
        causal = config if kind.is_causal else None
        return inspect_actions.seen_from(state, resident, entry, choice, side, kind, causal, step)

    tried = [last.value for one in steps if (last := state.measured(entry, name, made_from(one))) is not None]
    both = trace_actions.sides_of(state, resident, entry)
    found: TracedMap = inspect_panels.looked_up(
        state,
        name,
        trace_actions.with_reading(
            state,
            entry,
            trace_actions.reading_of(both, choice),
            trace_actions.map_of(
                both,
                choice,
                side,
                kind,
                config,
                step=step,
                known=tried[0].found if tried else None,
            ),
            made_from=seen,
        ),
        made_from=made_from(step),
        title="Reading contributions and ranks, then trying one state at a time",
        entry=entry,
    )
    _show_breaks(breaks, _reading(state, resident, entry, choice))
    _show_map(state, resident, entry, choice, side=side, kind=kind, found=found.found)


def _show_map(
    state: WorkbenchState,
    resident: Resident,
    entry: StackEntry,
    choice: Choice,
    *,
    side: Side,
    kind: Map,
    found: CausalTrace | PatchMap,
) -> None:
    where = found.source
    position = where.subject[-1] if where.subject else len(where.ids) - 1
    layers = found.layers
    _settle(where, layers, LAYER, POSITION, default=(resident.lm.n_layer // 2, position))
    st.markdown(wording.safe(trace_view.map_sentence(found, side)))
    map_side, cell_side = st.columns([3, 2], gap="large")
    with map_side:
        values, scale = trace_view.map_values(found), trace_view.map_scale(found)
        rows, columns = [str(layer) for layer in layers], [token_label(token) for token in where.tokens]
        st.plotly_chart(
            heatmap(
                values,
                rows=rows,
                columns=list(where.tokens),
                scale=scale,
                axes=("layer", "token"),
                marks=_marks(entry, where.subject, layers, LAYER, POSITION),
                upwards=True,
                dark=is_dark(),
                row_height=_row_height(len(rows)),
            ),
            key=MAP,
            on_select=lambda: _take(MAP, layers, LAYER, POSITION),
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=heatmap_alt(kind.value, values, rows=rows, columns=columns, unit=scale.unit),
        )
        if kind.is_causal:
            window = found.window if isinstance(found, CausalTrace) else 1
            more = " " + trace_view.READ_WINDOW.format(n=window) if window > 1 else ""
            reading_help(trace_view.READ_CAUSAL + more)
        else:
            reading_help(trace_view.READ_OTHER.format(into=side.value, giver=side.other.value))
    with cell_side:
        _cell_choice(where.tokens, layers, LAYER, POSITION)
        layer, position = st.session_state[LAYER], st.session_state[POSITION]
        figures(trace_view.map_figures(found, layer, position))
        patched = trace_actions.patched_at(state, resident, entry, choice, side=side, kind=kind, cell=(layer, position))
        st.markdown("**Put in from the other side**")
        st.markdown(wording.safe(trace_view.patch_sentence(patched, side)))


def _contributions(
    state: WorkbenchState, resident: Resident, entry: StackEntry, found: trace_view.Contributions
) -> None:
    st.markdown(wording.safe(trace_view.sum_sentence(found)))
    shown = st.segmented_control(
        "Contributions",
        list(Shown),
        default=Shown.AFTER,
        format_func=lambda item: item.value.capitalize(),
        label_visibility="collapsed",
        required=True,
    )
    heads, mlps = trace_view.shown_values(found, shown)
    n_head = len(heads[0])
    parts = [Component(layer=layer, head=head) for layer in range(len(heads)) for head in (*range(n_head), None)]
    known = st.session_state.get(PART, -1)
    st.session_state[PART] = known if 0 <= known < len(parts) else parts.index(found.removed_after[0].component)
    chosen = parts[st.session_state[PART]]
    limit, unit = trace_view.limit_of(found), trace_view.unit_of(found.after)
    head_side, bar_side, part_side = st.columns([4, 3, 3])
    with head_side:
        st.caption("Attention heads")
        rows, columns = [str(layer) for layer in range(len(heads))], [str(head) for head in range(n_head)]
        mark = Marks(
            chosen=None if chosen.head is None else Cell(row=chosen.layer, column=chosen.head),
            rows=[update.layer for update in entry.patch.updates],
        )
        st.plotly_chart(
            heatmap(
                heads,
                rows=rows,
                columns=columns,
                scale=Scale(label="contribution", low=-limit, high=limit, unit=unit),
                axes=("layer", "head"),
                marks=mark,
                upwards=True,
                dark=is_dark(),
                row_height=_row_height(len(rows)),
            ),
            key=HEADS,
            on_select=lambda: _take_part(HEADS, n_head, is_head=True),
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=heatmap_alt(f"Contributions of heads, {shown.value}", heads, rows=rows, columns=columns, unit=unit),
        )
    with bar_side:
        st.caption("MLPs")
        st.plotly_chart(
            layer_bars(
                mlps,
                limit=limit,
                title=f"contribution ({unit})",
                unit=unit,
                dark=is_dark(),
                row_height=_row_height(len(rows)),
                chosen=chosen.layer if chosen.head is None else None,
            ),
            key=BARS,
            on_select=lambda: _take_part(BARS, n_head, is_head=False),
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=heatmap_alt(
                f"Contributions of MLPs, {shown.value}",
                [[value] for value in mlps],
                rows=[f"layer {layer}" for layer in range(len(mlps))],
                columns=["MLP"],
                unit=unit,
            ),
        )
    with part_side:
        st.selectbox("Part", range(len(parts)), key=PART, format_func=lambda index: _capital(parts[index].label))
        component = parts[st.session_state[PART]]
        removals = trace_actions.removed(state, resident, entry, found, component)
        figures(trace_view.component_figures(found, component, removals))
    reading_help(trace_view.READ_HEADS)
    st.caption(wording.safe(trace_view.check_sentence(found)))
    table(
        trace_view.check_table(found),
        stem="contributions",
        alt="The largest contributions, estimated and by taking the part out",
    )


def _ranks(entry: StackEntry, reading: Reading) -> None:
    before, after = reading.before, reading.after
    where = after.source
    last = st.session_state.get("trace-followed")
    st.session_state["trace-followed"] = last if last in after.rank else next(iter(after.rank))
    left, right = st.columns(2, vertical_alignment="bottom")
    known: Sequence[Followed] = list(after.rank)
    followed = (
        left.segmented_control(
            "Rank of",
            known,
            format_func=lambda item: wording.safe(trace_view.name_of(after, item)),
            key="trace-followed",
            required=True,
        )
        or known[0]
    )
    when = right.segmented_control(
        "Edit", [Shown.BEFORE, Shown.AFTER], default=Shown.AFTER, format_func=lambda item: item.value, required=True
    )
    n_layer = len(after.rank[followed])
    _settle(where, range(n_layer), RANK_LAYER, RANK_POSITION, default=(n_layer - 1, len(where.ids) - 1))
    map_side, cell_side = st.columns([3, 2], gap="large")
    recall = before if when is Shown.BEFORE else after
    ranks = recall.rank[followed].tolist()
    with map_side:
        best = recall.best(followed)
        st.plotly_chart(
            rank_map(
                ranks,
                columns=list(where.tokens),
                n_token=reading.n_token,
                row_height=_row_height(n_layer),
                marks=_marks(entry, where.subject, range(n_layer), RANK_LAYER, RANK_POSITION),
                dark=is_dark(),
            ),
            key=RANKS,
            on_select=lambda: _take(RANKS, range(n_layer), RANK_LAYER, RANK_POSITION),
            selection_mode="points",
            config=SAVED_AS_SVG,
            alt=f"Rank of {trace_view.name_of(after, followed)} by layer and token, {when.value}: best is rank "
            f"{best[0]} after layer {best[1]} at token {token_label(where.tokens[best[2]])}.",
        )
        reading_help(trace_view.READ_RANKS)
    with cell_side:
        _cell_choice(where.tokens, range(n_layer), RANK_LAYER, RANK_POSITION)
        layer, position = st.session_state[RANK_LAYER], st.session_state[RANK_POSITION]
        table(
            trace_view.rank_figures(before, after, layer, position),
            stem="ranks",
            alt="Rank and log-probability in this state, before and after",
        )
    token = where.tokens[position].strip() or token_label(where.tokens[position])
    st.subheader(f"Ranks at “{wording.safe(token)}”", anchor=False)
    st.plotly_chart(
        rank_lines(trace_view.curves(before, after, position), recalled=RECALLED, dark=is_dark(), marker=layer),
        key="trace-rank-lines",
        config=SAVED_AS_SVG,
        alt=f"Ranks by layer at token {token_label(where.tokens[position])}, before and after",
    )


def _row_height(n_layer: int) -> int:
    return max(11, min(26, MAP_HEIGHT // n_layer))


def _cell_choice(tokens: tuple[str, ...], layers: Sequence[int], layer_key: str, position_key: str) -> None:
    st.selectbox(
        "Token",
        range(len(tokens)),
        key=position_key,
        format_func=lambda index: f"{index}: {tokens[index].strip() or token_label(tokens[index])}",
    )
    help_text = "Counted from 0. Edited layers have an orange bar."
    st.slider("Layer", layers[0], layers[-1], step=trace_view.step_of(layers), key=layer_key, help=help_text)


def _marks(entry: StackEntry, subject: range, layers: Sequence[int], layer_key: str, position_key: str) -> Marks:
    """Mark the chosen cell and the edited layers; one that is between two rows has its bar there."""
    step = trace_view.step_of(layers)
    return Marks(
        chosen=Cell(row=layers.index(st.session_state[layer_key]), column=st.session_state[position_key]),
        rows=[(update.layer - layers[0]) / step for update in entry.patch.updates],
        row_size=1 / step,
        column=subject[-1] if subject else None,
    )


def _settle(
    where: LocatedPrompt, layers: Sequence[int], layer_key: str, position_key: str, *, default: tuple[int, int]
) -> None:
    """Keep the chosen cell while the text is the same; else choose the default (layer, position).

    A layer that has no row gives way to the next one that has. Both are written every time, because a slider that was
    hidden for a run would show its lowest value.
    """
    is_same = st.session_state.get(f"{position_key}~") == where.ids
    st.session_state[f"{position_key}~"] = where.ids
    for key, count, first in ((layer_key, layers[-1] + 1, default[0]), (position_key, len(where.ids), default[1])):
        value = st.session_state.get(key, -1) if is_same else -1
        st.session_state[key] = value if 0 <= value < count else first
    st.session_state[layer_key] = next(layer for layer in layers if layer >= st.session_state[layer_key])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _take(key: str, layers: Sequence[int], layer_key: str, position_key: str) -> None:
    """Choose the clicked cell; an empty selection changes nothing."""
    cell = chosen_cell(st.session_state.get(key))
    if cell is not None:
        st.session_state[layer_key], st.session_state[position_key] = layers[cell.row], cell.column


def _take_part(key: str, n_head: int, *, is_head: bool) -> None:
    cell = chosen_cell(st.session_state.get(key))
    if cell is not None:
        st.session_state[PART] = cell.row * (n_head + 1) + (cell.column if is_head else n_head)
