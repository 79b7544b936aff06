"""An exchange as cards beside each other, and all of them as text for a file. No Streamlit here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from kgmet.measure.answer import Answer
from workbench.drawing.plain import bdi, shown
from workbench.screens.chat.values import Exchange
from workbench.wording import safe

__all__ = ["chat_json", "chat_markdown", "exchange_html"]


def sides(exchange: Exchange) -> list[tuple[str, Answer]]:
    """Return the heading and answer of each model that was asked."""
    found = [("unedited", exchange.unedited), ("edited", exchange.edited)]
    if exchange.told is not None:
        found.append((f"not edited, told {exchange.telling}", exchange.told.answers[0]))
    return found


def exchange_html(exchange: Exchange) -> str:
    """Return a card for each model."""
    cards = []
    for heading, answer in sides(exchange):
        said = answer.said.strip()
        same = heading != "unedited" and said == exchange.unedited.said.strip()
        note = "<small>the same as the unedited model</small>" if same else ""
        text = bdi(said).replace("\n", "<br>") if said else "<em>ends at once</em>"
        cards.append(f'<div class="kg-side"><h4>{shown(heading)}</h4><p class="said">{text}</p>{note}</div>')
    return f'<div class="kg-chat" style="--n:{len(cards)}">{"".join(cards)}</div>'


def chat_json(exchanges: Sequence[Exchange]) -> str:
    """Return everything that was asked and said."""
    rows = [
        {
            "question": exchange.question.text,
            "edits": list(exchange.edits),
            "told": [] if exchange.told is None else list(exchange.told.sentences),
            "decoding": asdict(exchange.decoding),
            "answers": {heading: answer.said for heading, answer in sides(exchange)},
        }
        for exchange in exchanges
    ]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def chat_markdown(exchanges: Sequence[Exchange]) -> str:
    """Return the same for reading; nothing in it is taken for Markdown."""
    lines = []
    for exchange in exchanges:
        lines += [f"**{safe(exchange.question.text)}**", ""]
        lines += [f"- {safe(heading)}: {safe(answer.said)}" for heading, answer in sides(exchange)]
        lines.append("")
    return "\n".join(lines)
