"""Figures: fixed scales, a marker for every cell, labels that are text, and selections that are read right."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kgmet.inspect.lens import read_lens
from kgmet.inspect.shift import Quantity, trace_shifts
from kgmet.inspect.spectrum import inspect_writes
from tests.inspect.looked import moment_of, random_patch, text_of, written_patch
from tests.tiny_models import N_LAYER, tiny_lm
from tests.workbench.test_contrast import contrast
from workbench.drawing import charts
from workbench.drawing.heatmaps import Cell, Marks, Scale, chosen_cell, clipped_words, heatmap, heatmap_alt, token_label

LENGTH = Scale(label="length", low=0, high=1, unit="× ‖h‖")
SIGNED = Scale(label="change", low=-0.5, high=0.5)
ROWS, COLUMNS = ["0", "1"], ["The", " Eiffel", " Tower"]
WORKBENCH = Path(__file__).resolve().parents[3] / "workbench"
HOSTILE = "<img src=x onerror=alert(1)>"


def drawn(values: list[list[float | None]], **rest: Any) -> Any:
    given: dict[str, Any] = {"rows": ROWS, "columns": COLUMNS, "scale": LENGTH}
    return heatmap(values, **(given | rest))


def test_the_scale_does_not_follow_the_values() -> None:
    small, large = drawn([[0.01, 0, 0], [0, 0, 0]]), drawn([[0.01, 0, 50.0], [0, 0, 0]])
    assert (small.data[0].zmin, small.data[0].zmax) == (large.data[0].zmin, large.data[0].zmax) == (0, 1)
    assert small.data[0].colorscale == large.data[0].colorscale


@pytest.mark.parametrize(
    ("values", "scale", "ends", "n"),
    [
        ([[0.2, 0.9, 1.0], [0, 0, None]], LENGTH, None, 0),
        ([[0.2, 1.2, 50.0], [0, 0, None]], LENGTH, ("0", "≥ 1"), 2),
        ([[0.2, -0.7, 0.1], [0, 0, 0]], SIGNED, ("≤ -0.5", "0.5"), 1),
        ([[1.0000001, 0, 0], [0, 0, 0]], LENGTH, None, 0),
    ],
)
def test_a_scale_says_where_it_is_clipped(
    values: list[list[float | None]], scale: Scale, ends: tuple[str, str] | None, n: int
) -> None:
    ticks = drawn(values, scale=scale).data[0].colorbar.ticktext
    assert (None if ticks is None else (ticks[0], ticks[-1])) == ends
    said = clipped_words(values, scale)
    assert said == "" if n == 0 else f"; {n} cell" in said


def test_every_cell_has_one_marker_that_names_it() -> None:
    figure = drawn([[0.1, 0.2, 0.3], [0.4, 0.5, None]])
    markers = figure.data[1]
    assert [tuple(data) for data in markers.customdata] == [(r, c) for r in range(2) for c in range(3)]
    assert list(zip(markers.y, markers.x, strict=True)) == [tuple(data) for data in markers.customdata]
    assert "0.200 × ‖h‖" in markers.text[1] and "not measured" in markers.text[5]
    assert markers.marker.opacity == 0


def test_every_figure_of_a_page_can_be_saved_as_svg() -> None:
    assert charts.SAVED_AS_SVG["toImageButtonOptions"]["format"] == "svg"
    calls = [
        (f"{path.name}:{node.lineno}", [ast.unparse(word.value) for word in node.keywords if word.arg == "config"])
        for path in sorted(WORKBENCH.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "plotly_chart"
    ]
    assert len(calls) > 10
    assert [place for place, config in calls if config != ["SAVED_AS_SVG"]] == []


def test_labels_are_text_whatever_is_in_them() -> None:
    figure = drawn([[0.1]], rows=[HOSTILE], columns=[HOSTILE])
    page = figure.to_json()
    assert "<img" not in page
    assert "&lt;img" in figure.data[1].text[0]


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        drawn([[0.1, 0.2], [0.3, 0.4]])


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (-1.0, 0.5)])
def test_a_scale_that_falls_or_leans_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        Scale(label="x", low=low, high=high)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("scale", [LENGTH, SIGNED])
def test_colours_span_the_scale_and_tell_its_ends_apart(scale: Scale, dark: bool) -> None:
    steps = scale.colours(dark=dark)
    assert (steps[0][0], steps[-1][0]) == (0, 1)
    grey = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for _, colour in steps]
    if scale.diverges:
        middle = len(grey) // 2
        assert (grey[middle] == max(grey)) is not dark and (grey[middle] == min(grey)) is dark
    else:
        assert grey == sorted(grey, reverse=not dark)


@pytest.mark.parametrize(
    "event",
    [
        {"selection": {"points": [{"customdata": [3, 1], "x": 1, "y": 3}]}},
        {"selection": {"points": [{"customdata": {"0": 3, "1": 1}}]}},
        SimpleNamespace(selection={"points": [{"customdata": (3, 1)}, {"customdata": (0, 0)}]}),
    ],
)
def test_a_clicked_marker_is_a_cell(event: Any) -> None:
    assert chosen_cell(event) == Cell(row=3, column=1)


@pytest.mark.parametrize("event", [None, {}, {"selection": {}}, {"selection": {"points": []}}, {"selection": None}])
def test_an_empty_selection_is_no_cell(event: Any) -> None:
    assert chosen_cell(event) is None


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("scale", [LENGTH, SIGNED])
def test_the_chosen_cell_is_outlined_where_it_is_and_seen_on_every_colour(scale: Scale, dark: bool) -> None:
    marks = Marks(chosen=Cell(row=1, column=2))
    figure = drawn([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], marks=marks, dark=dark, scale=scale)
    rim, line = figure.layout.shapes
    for shape in (rim, line):
        assert (shape.x0, shape.x1, shape.y0, shape.y1) == (1.5, 2.5, 0.5, 1.5)
    assert rim.line.width > line.line.width
    for _, colour in scale.colours(dark=dark):
        assert max(contrast(colour, shape.line.color) for shape in (rim, line)) >= 3


def test_an_edited_layer_without_a_row_has_its_bar_between_two_rows() -> None:
    figure = drawn([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], marks=Marks(rows=[-0.5, 0.0, 0.5], row_size=0.5))
    ends = [(shape.y0, shape.y1) for shape in figure.layout.shapes]
    assert ends == [(-0.5, pytest.approx(-0.275)), pytest.approx((-0.225, 0.225)), pytest.approx((0.275, 0.725))]


def test_the_alternative_text_says_where_the_largest_value_is() -> None:
    values: list[list[float | None]] = [[0.1, None, 0.2], [0.0, -0.9, float("nan")]]
    alt = heatmap_alt("Shift", values, rows=ROWS, columns=COLUMNS)
    assert "2 rows by 3 columns" in alt and "-0.9" in alt and "Eiffel" in alt
    assert "nothing was measured" in heatmap_alt("Shift", [[None]], rows=["0"], columns=["a"])


@pytest.mark.parametrize(
    ("token", "label"), [(" Tower", "Tower"), ("  ", "␣␣"), ("\n", "⏎"), ("", "∅"), ("<b>", "&lt;b&gt;")]
)
def test_tokens_can_be_seen(token: str, label: str) -> None:
    assert token_label(token) == label


def test_a_logarithmic_axis_leaves_out_what_has_no_logarithm() -> None:
    figure = charts.lines([charts.Line(name=HOSTILE, x=[1, 2, 3], y=[0.0, None, 2.0])], axes=("x", "y"), log=True)
    assert list(figure.data[0].y) == [None, None, 2.0]
    assert "<img" not in figure.to_json()


def test_intervals_become_bars_about_the_line() -> None:
    line = charts.Line(name="a", x=[1], y=[0.5], low=[0.25], high=[1.0])
    (trace,) = charts.lines([line], axes=("x", "y")).data
    assert (trace.error_y.array[0], trace.error_y.arrayminus[0]) == (0.5, 0.25)


def test_the_lens_draws_each_answer_before_and_after_on_one_fixed_scale() -> None:
    lm = tiny_lm()
    reading = read_lens(lm, random_patch(lm), text_of(), position=-1)
    figure = charts.lens_chart(reading)
    assert [trace.name for trace in figure.data] == [
        f"{a} · {s}" for a in ("Rome", "Paris") for s in ("before", "after")
    ]
    assert all(len(trace.y) == N_LAYER for trace in figure.data)
    assert tuple(figure.layout.yaxis.range) == (-0.02, 1.02)
    new, old = charts.colours(dark=False)[:2]
    assert [trace.line.color for trace in figure.data] == [new, new, old, old]
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_a_profile_has_a_line_for_every_text() -> None:
    lm = tiny_lm()
    traces = trace_shifts(lm, random_patch(lm), [text_of(), text_of()])
    figure = charts.profile_chart(traces, Quantity.LENGTH)
    assert [trace.name for trace in figure.data] == ["edit prompt 1", "edit prompt 2"]
    position = traces[0].lookup
    assert list(figure.data[0].y) == traces[0].of(Quantity.LENGTH)[:, position].tolist()


def test_the_spectrum_marks_both_cutoffs() -> None:
    lm = tiny_lm()
    (write,) = inspect_writes(lm, written_patch(lm), {1: moment_of(lm, 1)})
    same, moved = (charts.spectrum_chart(write, write.curve(6), rank=rank) for rank in (write.rank, 5))
    assert len(moved.layout.shapes) > len(same.layout.shapes)
    bars = charts.energy_chart(write)
    assert [trace.name for trace in bars.data] == ["as written", "without the projection"]
    assert sum(bars.data[0].y) == pytest.approx(1)
