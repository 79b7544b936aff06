"""Conversion of entities, relations and triples to and from JSON, with validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgmet.base.errors import BrokenArtifactError
from kgmet.graph.triple import Entity, Relation, Triple

__all__ = [
    "entity_from_json",
    "entity_to_json",
    "relation_from_json",
    "take",
    "texts_from_json",
    "triple_from_json",
    "triple_to_json",
    "triples_from_json",
]


def take(data: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    """Return `data[key]`, checked to be of `kind`.

    Raises:
        BrokenArtifactError: if `data` is no mapping, lacks `key`, or holds something else there.
    """
    if not isinstance(data, Mapping):
        raise BrokenArtifactError(
            f"Expected an object with {key!r}, found {type(data).__name__}. Save the value again."
        )
    if key not in data:
        raise BrokenArtifactError(f"The saved value lacks {key!r}. Save it again.")
    value = data[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise BrokenArtifactError(
            f"The saved {key!r} is {type(value).__name__} {value!r:.60}, which does not fit. Save it again."
        )
    return value


def entity_to_json(entity: Entity) -> dict[str, Any]:
    """Return the entity's fields; empty ones are left out."""
    row: dict[str, Any] = {"id": entity.id, "label": entity.label}
    if entity.description:
        row["description"] = entity.description
    if entity.aliases:
        row["aliases"] = list(entity.aliases)
    if entity.article:
        row["article"] = entity.article
    if entity.type:
        row["type"] = entity.type
    return row


def entity_from_json(data: Any) -> Entity:
    """Read what `entity_to_json` made.

    Raises:
        BrokenArtifactError: if it is not an entity.
    """
    entity_id, label = take(data, "id", str), take(data, "label", str)
    description = take({"description": "", **data}, "description", str)
    article = take({"article": "", **data}, "article", str)
    return Entity(
        id=entity_id,
        label=label,
        description=description,
        aliases=texts_from_json({"aliases": [], **data}, "aliases"),
        article=article,
        type=take({"type": "", **data}, "type", str),
    )


def relation_from_json(data: Any) -> Relation:
    """Return a relation from its id and label.

    Raises:
        BrokenArtifactError: if it is not a relation.
    """
    return Relation(id=take(data, "id", str), label=take(data, "label", str))


def texts_from_json(data: Any, key: str) -> tuple[str, ...]:
    """Return `data[key]` as a tuple of texts.

    Raises:
        BrokenArtifactError: if it is not a list of texts.
    """
    texts = take(data, key, (list, tuple))
    if not all(isinstance(text, str) for text in texts):
        raise BrokenArtifactError(f"The saved {key!r} must be a list of texts, found {texts!r:.60}. Save it again.")
    return tuple(texts)


def triple_to_json(triple: Triple) -> dict[str, Any]:
    """Return a triple with all fields of its two entities."""
    return {
        "subject": entity_to_json(triple.subject),
        "relation": {"id": triple.relation.id, "label": triple.relation.label},
        "object": entity_to_json(triple.object),
        "source": triple.source,
    }


def triple_from_json(data: Any) -> Triple:
    """Read what `triple_to_json` made.

    Raises:
        BrokenArtifactError: if it is not a triple.
    """
    return Triple(
        subject=entity_from_json(take(data, "subject", dict)),
        relation=relation_from_json(take(data, "relation", dict)),
        object=entity_from_json(take(data, "object", dict)),
        source=take({"source": "", **data}, "source", str),
    )


def triples_from_json(rows: Sequence[Any]) -> tuple[Triple, ...]:
    """Return each row as a triple.

    Raises:
        BrokenArtifactError: if one of them is not a triple.
    """
    return tuple(triple_from_json(row) for row in rows)
