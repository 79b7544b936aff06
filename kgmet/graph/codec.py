"""`graph_json`: values of the graph as plain JSON; `kgmet.base.values.value_from` reads them."""

from __future__ import annotations

import dataclasses
from typing import Any

from kgmet.base.fingerprint import plain
from kgmet.graph.triple import Entity

__all__ = ["graph_json"]


def graph_json(value: Any) -> Any:
    """Return `plain(value)`, with entities without their empty fields: a graph names each of them many times."""
    if isinstance(value, Entity):
        return {name: item for name, item in plain(value).items() if item or name in ("id", "label")}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: graph_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [graph_json(item) for item in value] if isinstance(value, (list, tuple)) else plain(value)
