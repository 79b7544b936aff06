"""A line of stations as one SVG picture for talks and papers, with line breaks computed here."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.drawing.hop_line import KEY, HopLine, Mark, State, Station, hop_line_sentence
from workbench.drawing.plain import readable, shown
from workbench.drawing.text_room import wrapped

__all__ = ["hop_line_svg"]

_WIDE = 268
"""Width of a station, in pixels."""
_START, _WHOLE, _EDGE, _GAP = 170, 380, 28, 22
_TRACK, _DOT = 122, 11
_LINE = 1.32
_FONT = "system-ui, 'Segoe UI', Helvetica, Arial, 'Noto Sans', sans-serif"
_COLOURS = {
    "light": {"ground": "#ffffff", "text": "#1b2733", "quiet": "#55626f", "line": "#c9d1d9"}
    | {"good": "#00734f", "bad": "#a83f00", "old": "#b8540f"},
    "dark": {"ground": "#11181f", "text": "#e8eef4", "quiet": "#a9b6c2", "line": "#3a4652"}
    | {"good": "#2fc99b", "bad": "#ff8f4d", "old": "#f0a06a"},
}
_MARK = {Mark.SAYS: "good", Mark.OLD: "old", Mark.NEITHER: "bad"}
_STATE = {State.HELD: "good", State.BROKEN: "bad", State.UNKNOWN: "quiet"}


def hop_line_svg(line: HopLine, *, title: str, theme: str = "light") -> str:
    """Draw the line with its title, legend, and a sentence for screen readers."""
    pen = _Pen(_COLOURS[theme])
    left = _EDGE
    pen.text(left, 44, [readable(title)], size=24, colour="text", bold=True)
    pen.paragraph(left, 72, hop_line_sentence(line), width=_width(line) - 2 * _EDGE, size=16, colour="quiet")
    places = [left, *(left + _START + n * _WIDE for n in range(len(line.stations)))]
    pen.track(places)
    pen.dot(left, "quiet", is_full=True)
    lowest = [pen.paragraph(left, _TRACK + 40, line.start, width=_START - _GAP, size=18, colour="text", bold=True)]
    for number, (place, station) in enumerate(zip(places[1:], line.stations, strict=True), start=1):
        from_, room = places[number - 1], place - places[number - 1] - 40
        label = wrapped(station.relation, width=room, size=14, lines=1)
        pen.text((from_ + place) / 2 + 4, _TRACK - 14, label, size=14, colour="quiet", anchor="middle")
        lowest.append(_station(pen, place, station, f"hop {number}", width=_WIDE - _GAP))
    place = left + _START + len(line.stations) * _WIDE + 16
    if line.whole is not None:
        lowest.append(_station(pen, place, line.whole, "all in one question", width=_WHOLE - _GAP, is_square=True))
    height, wide = round(max(lowest)) + 56, _width(line)
    if line.whole is not None:
        pen.rule(place - 18, _TRACK - 12, height - 50)
    pen.text(left, height - 20, [KEY], size=13, colour="quiet")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {height}" width="{wide}" height="{height}" '
        f'role="img" font-family="{_FONT}"><title>{shown(title)}</title><desc>{shown(hop_line_sentence(line))}</desc>'
        f'<rect width="{wide}" height="{height}" fill="{pen.colours["ground"]}"/>{"".join(pen.parts)}</svg>'
    )


def _width(line: HopLine) -> int:
    return max(2 * _EDGE + _START + len(line.stations) * _WIDE + (_WHOLE if line.whole is not None else 0), 860)


def _station(pen: _Pen, x: float, station: Station, number: str, *, width: float, is_square: bool = False) -> float:
    """Draw a station with its question and answers; return its lower end."""
    is_grey = station.state is State.UNKNOWN
    ink = "quiet" if is_grey else "text"
    pen.dot(x, _STATE[station.state], is_full=station.state is State.HELD, is_square=is_square)
    y = pen.paragraph(x, _TRACK + 40, station.name, width=width, size=18, colour=ink, bold=True)
    pen.text(x, y, [number], size=12, colour="quiet")
    y = pen.paragraph(x, y + 22, station.asked, width=width, size=14, colour="quiet", most=6)
    for side, said, mark in (
        ("before", station.before, station.mark_before),
        ("after", station.after, station.mark_after),
    ):
        pen.parts.append(f'<path d="M{x} {y - 6:.0f}h{width:.0f}" stroke="{pen.colours["line"]}" stroke-width="1"/>')
        pen.text(x, y + 11, [side], size=12, colour="quiet")
        colour = "quiet" if is_grey else _MARK[mark]
        pen.text(x, y + 31, [mark.value], size=15, colour=colour, bold=True)
        y = pen.paragraph(x + 20, y + 31, said or "∅", width=width - 20, size=15, colour=ink, most=8) + 4
    return y


class _Pen:
    """Collector of SVG elements in one colour scheme."""

    def __init__(self, colours: dict[str, str]) -> None:
        self.colours = colours
        self.parts: list[str] = []

    def track(self, places: Sequence[float]) -> None:
        """Draw the line from the first to the last station."""
        way = f"M{places[0] + _DOT} {_TRACK}H{places[-1] + _DOT}"
        self.parts.append(f'<path d="{way}" stroke="{self.colours["line"]}" stroke-width="5"/>')

    def rule(self, x: float, top: float, bottom: float) -> None:
        """Draw a thin line downwards."""
        self.parts.append(f'<path d="M{x} {top}V{bottom}" stroke="{self.colours["line"]}" stroke-width="1"/>')

    def dot(self, x: float, colour: str, *, is_full: bool, is_square: bool = False) -> None:
        """Draw a station's symbol."""
        ink = self.colours[colour]
        about = f'fill="{ink if is_full else self.colours["ground"]}" stroke="{ink}" stroke-width="5"'
        if is_square:
            side = 2 * _DOT - 4
            self.parts.append(
                f'<rect x="{x + 2}" y="{_TRACK - _DOT + 2}" width="{side}" height="{side}" rx="4" {about}/>'
            )
        else:
            self.parts.append(f'<circle cx="{x + _DOT}" cy="{_TRACK}" r="{_DOT - 2}" {about}/>')

    def text(
        self,
        x: float,
        y: float,
        lines: Sequence[str],
        *,
        size: int,
        colour: str,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        """Draw lines of text, the first at height `y`."""
        weight = ' font-weight="650"' if bold else ""
        for number, text in enumerate(lines):
            self.parts.append(
                f'<text x="{x:.0f}" y="{y + number * size * _LINE:.0f}" font-size="{size}" '
                f'fill="{self.colours[colour]}" text-anchor="{anchor}"{weight}>{shown(text)}</text>'
            )

    def paragraph(
        self, x: float, y: float, text: str, *, width: float, size: int, colour: str, bold: bool = False, most: int = 4
    ) -> float:
        """Draw text broken into lines; return the height of the next line."""
        lines = wrapped(text, width=width, size=size * (1.06 if bold else 1.0), lines=most)
        self.text(x, y, lines, size=size, colour=colour, bold=bold)
        return y + len(lines) * size * _LINE
