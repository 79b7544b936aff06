"""`Handout`: one result as one HTML file that needs no server, no network and no other file, and is its own talk.

Its sections stand below each other; with ``?present`` in its address (or a click on *Present*) each fills the screen
and the arrow keys turn the pages. The one script is ours and known by its digest: the file's own policy runs no other.
No Streamlit.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kgmet.base.shipped import shipped
from workbench.drawing.plain import shown

__all__ = ["Handout", "Section", "handout_html"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the result: a heading (text) and what stands below it (HTML in which every text is escaped)."""

    heading: str
    body: str
    is_title: bool = False


@dataclass(frozen=True, kw_only=True)
class Handout:
    """A whole result; `footer` is a line of text below every section."""

    title: str
    sections: Sequence[Section]
    footer: str = ""


def handout_html(handout: Handout, *, theme: Literal["any", "light", "dark"] = "any") -> str:
    """Return the file. It follows the reader's preference for light or dark, unless a theme is given.

    The pictures in it have colours of their own: light ones stand on a white ground, and on the page's only if the
    given theme is dark.
    """
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; {_NOTHING_ELSE}"
    sections = "".join(_section(section, handout.footer) for section in handout.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{shown(handout.title)}</title><style>{_style(theme)}</style></head><body>"
        '<nav><button type="button" id="present">Present</button><span id="place"></span></nav>'
        f"<main>{sections}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _section(section: Section, footer: str) -> str:
    level, kind = ("h1", "title") if section.is_title else ("h2", "")
    foot = f"<footer><bdi>{shown(footer)}</bdi></footer>" if footer else ""
    heading = f"<{level}><bdi>{shown(section.heading)}</bdi></{level}>"
    return f'<section class="{kind}" tabindex="-1"><div class="inside">{heading}{section.body}</div>{foot}</section>'


def _style(theme: Literal["any", "light", "dark"]) -> str:
    """Return the app's own sheet for answers and chains, and the page around it."""
    folder = shipped("assets")
    sheet = "".join((folder / name).read_text(encoding="utf-8") for name in ("handout.css", "answers.css"))
    if theme == "any":
        return sheet
    ground = f":root {{ color-scheme: {theme}; }}"
    if theme == "dark":
        ground = ":root { color-scheme: dark; --kg-figure: var(--kg-ground); --kg-figure-ink: var(--kg-ink); }"
    return sheet.replace("(prefers-color-scheme: dark)", "all" if theme == "dark" else "not all") + ground


_NOTHING_ELSE = "base-uri 'none'; form-action 'none'"
_SCRIPT = """
(function () {
  var body = document.body, sections = Array.prototype.slice.call(document.querySelectorAll("section")), at = -1;
  var button = document.getElementById("present"), place = document.getElementById("place");
  function show(next) {
    at = Math.max(-1, Math.min(sections.length - 1, next));
    body.classList.toggle("presenting", at >= 0);
    sections.forEach(function (section, n) { section.classList.toggle("now", n === at); });
    button.textContent = at < 0 ? "Present" : "Close";
    place.textContent = at < 0 ? "" : (at + 1) + " / " + sections.length;
    window.scrollTo(0, 0);
    if (at >= 0) { sections[at].focus({ preventScroll: true }); }
  }
  button.addEventListener("click", function () { show(at < 0 ? 0 : -1); });
  document.addEventListener("keydown", function (event) {
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) { return; }
    var steps = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
    var key = event.key, step = steps[key];
    if (step) { show(Math.max(0, at + step)); }
    else if (key === "Home") { show(0); }
    else if (key === "End") { show(sections.length - 1); }
    else if (key === "Escape") { show(-1); }
    else { return; }
    event.preventDefault();
  });
  if (/[?&#]present\\b/.test(location.search + location.hash)) { show(0); }
})();
"""
