"""Links to the Edit page: one fills its form with a fact, one restores a published result.

A link holds the texts and the relation, never the session. Its contents are checked and put into the form; nothing is
applied until the user presses Apply.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from kgmet.fact import MAX_OBJECT, MAX_SUBJECT, MAX_TEMPLATE
from workbench.state.values import FactDraft

__all__ = ["LinkedFact", "edit_page", "link_to", "read_link", "result_link"]

_LONGEST = {
    "subject": MAX_SUBJECT,
    "template": MAX_TEMPLATE,
    "new_object": MAX_OBJECT,
    "old_object": MAX_OBJECT,
    "relation": 80,
}
"""Fields of the draft that a link holds, and their most characters."""
_OLD_NAMES = {"template": "prompt", "new_object": "new", "old_object": "old"}
"""What links up to version 0.2 call some of them."""


@dataclass(frozen=True, kw_only=True)
class LinkedFact:
    """Contents of a link: a draft for the form (``None`` if there is none), and rejected parameters with reasons."""

    draft: FactDraft | None
    refused: tuple[str, ...] = ()


def link_to(address: str, draft: FactDraft) -> str:
    """Return the link, based on the current page's address, that fills the form with this draft."""
    texts = {name: getattr(draft, name) for name in _LONGEST}
    return f"{_bare(address)}?{urlencode({name: text for name, text in texts.items() if text})}"


def edit_page(address: str) -> str:
    """Return the address of the Edit page, from that of Share or its own."""
    return _bare(address).rstrip("/").removesuffix("/share").removesuffix("/edit") + "/edit"


def result_link(address: str, token: str) -> str:
    """Return the link that opens a published result, from the address of Share or Edit."""
    return f"{edit_page(address)}?{urlencode({'result': token})}"


def _bare(address: str) -> str:
    """Return an address without parameters and fragment."""
    return address.split("?")[0].split("#")[0]


def read_link(parameters: Mapping[str, str]) -> LinkedFact:
    """Read the parameters of a link; unknown ones are ignored."""
    taken: dict[str, Any] = {}
    refused: list[str] = []
    for name, longest in _LONGEST.items():
        given = name if name in parameters else _OLD_NAMES.get(name, name)
        text = parameters.get(given, "").strip()
        fault = _fault(text, longest)
        if fault:
            refused.append(f"The link's “{given}” {fault}, so it was left out.")
        elif text:
            taken[name] = text
    return LinkedFact(draft=replace(FactDraft(), **taken) if taken else None, refused=tuple(refused))


def _fault(text: str, longest: int) -> str:
    if len(text) > longest:
        return f"has {len(text):,} characters, and at most {longest:,} are read"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        return "holds line breaks or control characters"
    return ""
