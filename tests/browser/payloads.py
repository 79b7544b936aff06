"""Texts that would run a script wherever they were read as HTML, SVG, Markdown, TeX, a link, a style or a script.

Each calls ``kgmark(N)`` with a number of its own. The function is there in every frame of a watched browser context, so
a page in which one of them ran is noticed, whatever else it shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from playwright.sync_api import BrowserContext, Frame, Page

__all__ = ["PAYLOADS", "Marks", "groups", "hover_everything", "made_of_payloads", "numbers_of", "shown"]

VECTORS = (
    "<img src=x onerror=kgmark(N)>",
    "<script>kgmark(N)</script>",
    "<svg onload=kgmark(N)>",
    "<ScRiPt >kgmark(N)</sCrIpT>",
    "<iframe srcdoc='<script>parent.kgmark(N)</script>'></iframe>",
    "<a href=javascript:kgmark(N)>x</a>",
    "[x](javascript:kgmark(N))",
    "<details open ontoggle=kgmark(N)>",
    "<input autofocus onfocus=kgmark(N)>",
    "<img/src=x/onerror=kgmark(N)>",
    "<svg><script>kgmark(N)</script></svg>",
    "<svg><animate onbegin=kgmark(N) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=kgmark(N)>",
    "<video><source onerror=kgmark(N)>",
    "![x](x 'y' onerror=kgmark(N))",
    "<object data=javascript:kgmark(N)>",
    "<form><button formaction=javascript:kgmark(N)>x",
    "<style onload=kgmark(N)></style>",
    "<noscript><p title='</noscript><img src=x onerror=kgmark(N)>'>",
    "<body onload=kgmark(N)>",
    "<iframe src=javascript:parent.kgmark(N)></iframe>",
    r"$\href{javascript:kgmark(N)}{x}$",
    "&lt;img src=x onerror=kgmark(N)&gt;",
    r"\u003cimg src=x onerror=kgmark(N)\u003e",
    "${kgmark(N)}",
    "{{constructor.constructor('kgmark(N)')()}}",
)
ESCAPES = ("", '"', "'", '">', "'>", "-->", "</script>", "</style>", "</svg>", "]]>")
"""Ends of what a payload may be inside of."""
FROM_STRINGS = (
    "';kgmark(N);//",
    '";kgmark(N);//',
    "`;kgmark(N);//",
    "\\';kgmark(N);//",
    "'-kgmark(N)-'",
    '"-kgmark(N)-"',
)
"""Texts that would run inside of a script's string."""


def _made() -> tuple[str, ...]:
    ends = [f"{escape}{vector}" for escape in ESCAPES for vector in VECTORS if escape == "" or vector.startswith("<")]
    return tuple(text.replace("N", str(number)) for number, text in enumerate([*ends, *FROM_STRINGS]))


PAYLOADS = _made()


def groups(payloads: Sequence[str], *, most: int) -> list[str]:
    """Several payloads in one text of at most `most` characters, so that one page view shows all of them."""
    found: list[str] = []
    for payload in payloads:
        if found and len(found[-1]) + 1 + len(payload) <= most:
            found[-1] += f" {payload}"
        else:
            found.append(payload)
    return found


class Marks:
    """Counts the payloads that ran in any page or frame of a browser context, and the dialogs that opened."""

    def __init__(self, context: BrowserContext) -> None:
        self.ran: list[int] = []
        self.dialogs: list[str] = []
        context.expose_binding("kgmark", lambda source, number=-1: self.ran.append(number))
        context.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))


_EVERY = """function* every(root) {
  for (const element of root.querySelectorAll('*')) {
    yield element;
    if (element.shadowRoot) yield* every(element.shadowRoot);
  }
}"""
"""All elements of a document, those in shadow trees too: Streamlit draws our pictures in such trees."""
_SCAN = r"""() => {
  EVERY
  const found = [];
  for (const element of every(document)) {
    const tag = element.tagName.toLowerCase();
    if (tag === 'script' && /^\s*(parent\.)?kgmark\(/.test(element.textContent)) found.push(tag);
    for (const { name, value } of element.attributes) {
      const is_handler = /^on/i.test(name) && /kgmark/.test(value);
      const is_address = /^(href|src|action|formaction|xlink:href|data|poster|style)$/i.test(name)
        && /^\s*(javascript|vbscript|data:text\/html)[\s\S]*kgmark/i.test(value);
      const is_document = name === 'srcdoc' && value.length < 200 && /kgmark/.test(value);
      if (is_handler || is_address || is_document) found.push(`${tag} ${name}=${value}`);
    }
  }
  return found;
}""".replace("EVERY", _EVERY)
_HOVER = """() => {
  EVERY
  let count = 0;
  for (const element of every(document)) {
    if (!element.matches('[data-testid="stTooltipHoverTarget"], .spot, .kg-tip, [title]')) continue;
    count += 1;
    for (const kind of ['pointerover', 'mouseover', 'mousemove'])
      element.dispatchEvent(new MouseEvent(kind, { bubbles: true, composed: true }));
  }
  return count;
}""".replace("EVERY", _EVERY)
_SHOWN = r"""() => {
  EVERY
  const found = new Set();
  const read = (text) => { for (const match of String(text).matchAll(/kgmark\((\d+)\)/g)) found.add(+match[1]); };
  for (const element of every(document)) {
    if (['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
    read(element.value ?? '');
    for (const name of ['title', 'aria-label', 'alt']) read(element.getAttribute(name) ?? '');
    for (const node of element.childNodes) if (node.nodeType === 3) read(node.data);
  }
  return [...found];
}""".replace("EVERY", _EVERY)


EVERYTHING = r"""() => {
  EVERY
  const found = [document.title, location.href];
  for (const element of every(document)) {
    found.push(element.value ?? '', ...[...element.attributes].map((one) => one.value));
    for (const node of element.childNodes) if (node.nodeType === 3) found.push(node.data);
  }
  return found.join('\n');
}""".replace("EVERY", _EVERY)
"""All that a document holds, as one text: what is shown, scripts, fields, attributes, its title and its address."""


def hover_everything(page: Page) -> int:
    """Move the mouse over all that shows a tooltip, in every frame; return of how many."""
    return sum(int(frame.evaluate(_HOVER)) for frame in page.frames)


def shown(page: Page) -> set[int]:
    """The numbers of the payloads that stand in any frame as text, in a field, or in what a screen reader says."""
    return {int(number) for frame in page.frames for number in frame.evaluate(_SHOWN)}


def numbers_of(text: str) -> set[int]:
    """The numbers of the payloads in a text."""
    return {int(number) for number in re.findall(r"kgmark\((\d+)\)", text)}


def made_of_payloads(page: Page | Frame) -> list[str]:
    """Elements and attributes in any frame that a payload became, whether or not they ran."""
    frames = page.frames if isinstance(page, Page) else [page]
    return [found for frame in frames for found in frame.evaluate(_SCAN)]
