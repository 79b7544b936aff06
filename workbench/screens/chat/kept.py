"""How the conversation is kept over a restart of the server."""

from __future__ import annotations

from workbench.screens.chat.values import KIND, Exchange
from workbench.state.kept import ResultCodec

__all__ = ["CODECS"]

CODECS = (ResultCodec.of(KIND, "The conversation", tuple[Exchange, ...]),)
