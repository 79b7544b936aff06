"""How the conversation is kept over a restart of the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from kgmet.measure.answer import Answer
from kgmet.measure.question import Question
from workbench.screens.chat.values import KIND, Exchange
from workbench.state.answers_json import decoding_from_json, told_from_json, told_to_json
from workbench.state.kept import ResultCodec

__all__ = ["CODECS", "exchanges_from_json", "exchanges_to_json"]


def exchanges_to_json(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """Return every exchange as plain JSON values."""
    return [
        {
            "question": exchange.question.to_json(),
            "unedited": exchange.unedited.to_json(),
            "edited": exchange.edited.to_json(),
            "told": told_to_json(exchange.told),
            "telling": exchange.telling,
            "edits": list(exchange.edits),
            "decoding": asdict(exchange.decoding),
            "seconds": exchange.seconds,
        }
        for exchange in exchanges
    ]


def exchanges_from_json(data: Any) -> tuple[Exchange, ...]:
    """Read what `exchanges_to_json` made.

    Raises:
        KeyError, ValueError: if it is something else.
    """
    return tuple(_exchange(row) for row in data)


def _exchange(row: Any) -> Exchange:
    return Exchange(
        question=Question.from_json(row["question"]),
        unedited=Answer.from_json(row["unedited"]),
        edited=Answer.from_json(row["edited"]),
        told=told_from_json(row["told"]),
        telling=msgspec.convert(row["telling"], str),
        edits=msgspec.convert(row["edits"], tuple[str, ...]),
        decoding=decoding_from_json(row["decoding"]),
        seconds=msgspec.convert(row["seconds"], float),
    )


CODECS = (ResultCodec(name=KIND, what="The conversation", to_json=exchanges_to_json, from_json=exchanges_from_json),)
