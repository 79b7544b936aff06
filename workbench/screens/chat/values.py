"""What one question in Chat gave, as a value that knows no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding
from kgmet.measure.question import Question
from kgmet.measure.told import Told

__all__ = ["KIND", "Exchange"]

KIND = "chat"
"""Job kind, and name under which a session keeps the conversation."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One question and what each model said; `edits` are the names of those that were live."""

    question: Question
    unedited: Answer
    edited: Answer
    told: Told | None
    telling: str
    edits: tuple[str, ...]
    decoding: Decoding
    seconds: float = 0.0
