"""Putting names and noun phrases into templates, and sharing templates between searching and probing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kgmet.errors import ConfigError
from kgmet.graph.triple import Entity

__all__ = ["as_typed", "fill", "in_slot", "nest", "split_templates"]


def in_slot(template: str, entity: Entity) -> str:
    """The entity's name as it reads in the slot: ``The Eiffel Tower`` at the start, else ``the Eiffel Tower``."""
    name = entity.in_text
    opens = not template.partition("{}")[0].strip(" \"'“‘¿¡([")
    return name[:1].upper() + name[1:] if opens and entity.article else name


def fill(template: str, entity: Entity) -> str:
    """The template with the entity's name in its ``{}``; other braces stay as they are."""
    return template.replace("{}", in_slot(template, entity), 1)


def as_typed(text: str, entity: Entity) -> Entity:
    """`entity` under the name a person typed.

    A typed leading "The" becomes the entity's article, so that it is lower-case inside a sentence, unless it is part of
    the entity's own name (The Beatles, The Hague).
    """
    first, _, rest = text.partition(" ")
    names = (entity.label, *entity.aliases)
    is_part = any(name == text and name[:4] == "The " for name in names) and not entity.article
    if first.casefold() == "the" and rest.strip() and not (is_part and not entity.id.startswith("typed:")):
        return replace(entity, label=rest.strip(), article="the")
    return replace(entity, label=text, article="")


def nest(template: str, phrase: str) -> str:
    """The template with a noun phrase (itself with one ``{}``) in its slot.

    ``{} is located in the country of`` and ``the city where {} is located`` give ``The city where {} is located is in
    the country of``: a participle that would stand twice in a row stands once, and a sentence starts with a capital.
    """
    before, _, after = template.partition("{}")
    words, following = phrase.split(), after.split()
    if len(words) > 1 and len(following) > 2 and words[-2:] == following[:2] and words[-2] in ("is", "was"):
        after = after.replace(f" {following[0]} {following[1]}", f" {following[0]}", 1)
    text = before + phrase + after
    if not before.strip() and not phrase.startswith("{}"):
        text = text[:1].upper() + text[1:]
    return text


def split_templates(templates: Sequence[str], n_held: int, *, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(for the search, for the probes): disjoint, in order, the same for everybody who asks with the same arguments.

    What is optimised must be worded otherwise than what is probed, so both sides call this one function. The held
    templates are spread evenly over the list, from an offset given by `seed`; at least one stays for the search
    wherever there are two. A single template goes to the probes: what cannot be measured apart is not optimised.

    Raises:
        ConfigError: if `n_held` is not positive.
    """
    if n_held < 1:
        raise ConfigError(f"n_held must be at least 1, got {n_held}")
    unique = tuple(dict.fromkeys(templates))
    n = len(unique)
    if n < 2:
        return (), unique
    n_held = min(n_held, n - 1)
    held = {(seed + (2 * k + 1) * n // (2 * n_held)) % n for k in range(n_held)}
    return (
        tuple(text for i, text in enumerate(unique) if i not in held),
        tuple(text for i, text in enumerate(unique) if i in held),
    )
