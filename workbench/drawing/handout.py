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


def handout_html(handout: Handout) -> str:
    """The file."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    sections = "".join(_section(section, handout.footer) for section in handout.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{shown(handout.title)}</title><style>{_style()}</style></head><body>"
        '<nav><button type="button" id="present">Present</button><span id="place"></span></nav>'
        f"<main>{sections}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _section(section: Section, footer: str) -> str:
    level, kind = ("h1", "title") if section.is_title else ("h2", "")
    foot = f"<footer><bdi>{shown(footer)}</bdi></footer>" if footer else ""
    heading = f"<{level}><bdi>{shown(section.heading)}</bdi></{level}>"
    return f'<section class="{kind}" tabindex="-1"><div class="inside">{heading}{section.body}</div>{foot}</section>'


def _style() -> str:
    """The app's own sheet for answers and chains, and the page around it."""
    sheet = shipped("assets", package="workbench") / "answers.css"
    return _AROUND + sheet.read_text(encoding="utf-8")


_AROUND = """
:root { color-scheme: light dark; --kg-good: #00734f; --kg-bad: #a83f00; --kg-quiet: #55626f; --kg-ground: #ffffff; --kg-ink: #1b2733;
  --kg-new: #1f86c7; --kg-old: #d9661f; --kg-line: #d5dce3; --kg-accent: #0064a1; }
@media (prefers-color-scheme: dark) { :root { --kg-good: #2fc99b; --kg-bad: #ff8f4d; --kg-quiet: #a9b6c2; --kg-ground: #11181f;
  --kg-ink: #e8eef4; --kg-line: #33404c; --kg-accent: #7cc4f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--kg-ground); color: var(--kg-ink); font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.2rem clamp(1rem, 4vw, 3rem) 3rem; }
nav { position: fixed; top: 10px; right: 14px; z-index: 2; display: flex; gap: 10px; align-items: center; font-size: .85rem; color: var(--kg-quiet); }
button { font: inherit; color: var(--kg-accent); background: var(--kg-ground); border: 1px solid currentColor; border-radius: 8px;
  padding: 4px 14px; cursor: pointer; }
button:focus-visible { outline: 3px solid var(--kg-accent); outline-offset: 2px; }
section { padding: 1.6rem 0; border-top: 1px solid var(--kg-line); outline: 0; }
section.title { border: 0; padding-top: 2.6rem; }
h1, h2, p { overflow-wrap: anywhere; }
h1 { font-size: 2.1em; line-height: 1.2; margin: 0 0 .6em; max-width: 24em; } h2 { font-size: 1.35em; margin: 0 0 .7em; }
.lead { font-size: 1.2em; } .quiet { color: var(--kg-quiet); font-size: .9em; }
footer { display: none; }
figure { margin: 0; background: #fff; color: #1b2733; border-radius: 10px; overflow-x: auto; }
figure svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.kg-sides { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
.kg-side { border: 1px solid var(--kg-line); border-radius: 10px; padding: 12px 16px; min-width: 0; }
.kg-side h4 { margin: 0 0 6px; font-size: .78em; letter-spacing: .05em; text-transform: uppercase; color: var(--kg-quiet); }
.kg-side .said { margin: 0 0 8px; font-size: 1.2em; overflow-wrap: anywhere; }
.kg-side mark { color: inherit; border-radius: 3px; padding: 0 2px; background: color-mix(in srgb, var(--kg-new) 28%, transparent); }
.kg-side mark.old { background: color-mix(in srgb, var(--kg-old) 30%, transparent); }
.kg-side .row { display: flex; justify-content: space-between; gap: 12px; font-size: .9em; } .kg-side .row b { font-weight: 500; }
.kg-chip { display: inline-block; border: 1px solid currentColor; border-radius: 11px; padding: 1px 9px; font-size: .8rem; font-weight: 600; }
.kg-chip.good { color: var(--kg-good); } .kg-chip.bad { color: var(--kg-bad); } .kg-chip.near { color: var(--kg-old); }
.kg-counts { border-collapse: collapse; } .kg-counts th, .kg-counts td { text-align: left; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--kg-line); }
.kg-counts th { color: var(--kg-quiet); font-weight: 600; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--kg-line); border-radius: 8px; padding: 10px 14px; font-size: .85em; }
body.presenting main { max-width: none; padding: 0; }
body.presenting section { display: none; border: 0; min-height: 100vh; padding: 4vh 5vw 7vh; font-size: clamp(16px, 1.45vw, 30px); }
body.presenting section.now { display: flex; flex-direction: column; justify-content: center; }
body.presenting .inside { width: 100%; }
body.presenting .kg-hops, body.presenting .kg-answers { font-size: 1em; }
body.presenting figure svg { max-height: 76vh; width: auto; }
body.presenting footer { display: block; position: fixed; bottom: 14px; left: 5vw; right: 8rem; color: var(--kg-quiet); font-size: 14px;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
body.presenting nav { top: auto; bottom: 8px; }
@media (max-width: 640px) { .kg-sides { grid-template-columns: 1fr; } h1 { font-size: 1.6em; } }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""

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
    var key = event.key, step = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[key];
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
