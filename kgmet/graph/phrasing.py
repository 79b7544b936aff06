"""Filling templates with names and noun phrases, and splitting templates between search and probes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from kgmet.base.ranges import check_number
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.triple import Entity

__all__ = [
    "N_PROBE_QUESTIONS",
    "N_PROBE_WORDINGS",
    *("as_typed", "fill", "in_slot", "interleave", "nest", "noun_phrases", "path_label", "says"),
    *("split_templates", "word_chain"),
]

N_PROBE_WORDINGS = 2
"""Wordings of each fact that are kept for probing: never optimised, and in no index that a write is priced with."""
N_PROBE_QUESTIONS = 3
"""Questions of each consequence that are kept for probing, the first ones: never optimised."""
_ENOUGH = 2
"""Nested wordings are used only where there are fewer than this many others."""


def in_slot(template: str, entity: Entity) -> str:
    """Return the entity's name as it reads in the slot, such as ``The Eiffel Tower`` at a sentence's start."""
    before = template.partition("{}")[0]
    name = entity.label if _ends_in_article(before) else entity.in_text
    opens = not before.strip(" \"'“‘¿¡([")
    return name[:1].upper() + name[1:] if opens and entity.article else name


def fill(template: str, entity: Entity) -> str:
    """Fill the template's ``{}`` with the entity's name; other braces stay as they are."""
    return template.replace("{}", in_slot(template, entity), 1)


def as_typed(text: str, entity: Entity) -> Entity:
    """Return `entity` under the name the user typed.

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
    """Fill the template's slot with a noun phrase that itself has one ``{}``.

    ``{} is located in the country of`` and ``the city where {} is located`` give ``The city where {} is located is in
    the country of``: a repeated participle is dropped, and a sentence starts with a capital.
    """
    before, _, after = template.partition("{}")
    if _ends_in_article(before) and phrase.startswith("the "):
        phrase = phrase[len("the ") :]
    words, following = phrase.split(), after.split()
    if len(words) > 1 and len(following) > 2 and words[-2:] == following[:2] and words[-2] in ("is", "was"):
        after = after.replace(f" {following[0]} {following[1]}", f" {following[0]}", 1)
    text = before + phrase + after
    if not before.strip() and not phrase.startswith("{}"):
        text = text[:1].upper() + text[1:]
    return text


def says(text: str, answer: str) -> bool:
    """Return whether `text` contains `answer` as whole words, and so gives it away."""
    return re.search(rf"(?<!\w){re.escape(answer.casefold())}(?!\w)", text.casefold()) is not None


def split_templates(
    templates: Sequence[str], n_probe_only: int, *, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split templates into (for the search, for the probes): disjoint, in order and deterministic.

    Optimised and probed wordings must differ, so both sides call this one function. The probe templates are spread
    evenly over the list; without a `seed` the first is never among them, and a `seed` shifts them. With two or more
    templates at least one is left for the search. A single template goes to the probes, because a fact without a
    held-out wording is not optimised.

    Raises:
        ConfigError: if `n_probe_only` is not positive.
    """
    check_number("n_probe_only", n_probe_only, least=1)
    unique = tuple(dict.fromkeys(templates))
    n = len(unique)
    if n < 2:
        return (), unique
    n_probe_only = min(n_probe_only, n - 1)
    held = {(seed + k * n // (n_probe_only + 1)) % n for k in range(1, n_probe_only + 1)}
    return (
        tuple(text for i, text in enumerate(unique) if i not in held),
        tuple(text for i, text in enumerate(unique) if i in held),
    )


def noun_phrases(spec: RelationSpec) -> tuple[str, ...]:
    """Return noun phrases for the relation's object: the catalogue's own, and those in its prompts.

    ``The city where {} can be found is`` contains ``the city where {} can be found``.
    """
    found = [spec.phrase]
    for template in spec.cloze:
        if (
            template.startswith("The ")
            and template.endswith(" is")
            and not template.startswith(("The {}", "The name "))
        ):
            found.append("the " + template[len("The ") : -len(" is")])
    return tuple(dict.fromkeys(found))


def path_label(catalogue: RelationCatalogue, relations: Sequence[str]) -> str:
    """Describe the end of a chain: (located in city, country, currency) → ``currency of the country``.

    The first relation is named only if the chain has no other.
    """
    ways = _reductions(catalogue, tuple(relations)) if all(r in catalogue for r in relations) else set()
    if not ways:
        return " → ".join(relations)
    shortest = min(ways, key=lambda way: (len(way), way))
    nouns = [_noun(catalogue.spec(relation)) for relation in shortest]
    return " of the ".join(reversed(nouns)) if len(nouns) > 1 else catalogue.spec(shortest[0]).label


_OF_SUBJECT = re.compile(
    r" (?:(?:held|won|spoken|played|used|served) )?"
    r"(?:of|in|on|by|for|from|to|with|under|next to|on the course of)"
    r" (?:which\b|(?:the )?(?:\w+ )?\{\})| (?:where|that|who|whose)\b"
)
"""What in a noun phrase ties its noun to the subject; ``body of water next to {}`` is cut before "next to"."""


def _noun(spec: RelationSpec) -> str:
    """Return the noun for the relation's object: ``country`` for "a country in which {} lies"."""
    words = re.sub(r"^(?:the|an?) ", "", spec.phrase)
    noun = _OF_SUBJECT.split(words)[0]
    return spec.label if "{}" in noun else noun


def word_chain(
    catalogue: RelationCatalogue, relations: Sequence[str], *, n_templates: int, n_questions: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Build prompts and questions for the end of a chain of relations, each with one ``{}`` for its start.

    Adjacent relations that compose are also worded as one: (located in city, country) gives "{} is located in the
    country of" and "The country of the city where {} can be found is". Prompts alternate, shortest wording first.
    Questions come longest first, because they are meant to be answered hop by hop; those with other noun phrases inside
    come last. A relation without a catalogue entry has no wording.
    """
    if any(relation not in catalogue for relation in relations):
        return (), ()
    ways = sorted(_reductions(catalogue, tuple(relations)), key=lambda way: (len(way), way))
    specs = [[catalogue.spec(relation) for relation in way] for way in ways]
    templates = interleave([_nested(way, way[-1].cloze) for way in specs])
    questions = interleave([_nested(way, way[-1].questions) for way in reversed(specs)])
    others = interleave([_nested(way, way[-1].questions, start=1) for way in reversed(specs)])
    return templates[:n_templates], interleave([(*questions, *others)])[:n_questions]


def interleave(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Interleave lists: the first of each, then the second of each, and so on; each text once."""
    rows = zip_longest(*lists)
    return tuple(dict.fromkeys(text for row in rows for text in row if text is not None))


def _nested(way: Sequence[RelationSpec], outer: Sequence[str], *, start: int = 0) -> tuple[str, ...]:
    smooth: list[str] = []
    clumsy: list[str] = []
    for number, template in enumerate(outer, start):
        is_smooth = True
        for position, spec in reversed(list(enumerate(way[:-1]))):
            phrases = noun_phrases(spec)
            # A clause inside a clause ("the country where the city where … is can be found") is unnatural English:
            # the plain phrase is used there, and only the innermost phrase varies.
            is_tight = _holds_a_clause(template)
            phrase = phrases[0] if position > 0 or is_tight else phrases[number % len(phrases)]
            is_smooth = is_smooth and not (is_tight and not phrase.endswith("{}"))
            template = nest(template, phrase)
        (smooth if is_smooth else clumsy).append(template)
    return tuple(smooth if len(smooth) >= _ENOUGH else smooth + clumsy)


def _reductions(catalogue: RelationCatalogue, relations: tuple[str, ...]) -> set[tuple[str, ...]]:
    found, waiting = {relations}, [relations]
    while waiting:
        way = waiting.pop()
        for i in range(len(way) - 1):
            one = catalogue.compose(way[i], way[i + 1])
            shorter = (*way[:i], one, *way[i + 2 :]) if one else way
            if shorter not in found:
                found.add(shorter)
                waiting.append(shorter)
    return found


def _holds_a_clause(template: str) -> bool:
    """Return whether a noun phrase with a verb would be hard to read in the slot."""
    before, _, after = template.partition("{}")
    is_in_clause = not {"where", "which", "that", "whose", "who"}.isdisjoint(before.casefold().split())
    return is_in_clause or (template.endswith("?") and after != "?")


def _ends_in_article(text: str) -> bool:
    return text.endswith(" ") and text.casefold().split()[-1:] == ["the"]
