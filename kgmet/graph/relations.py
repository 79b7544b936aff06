"""`RelationCatalogue`: prompts, questions and rules of each relation.

Prompts, questions, inverses and compositions are data (`relations.json` beside this file), so a new relation is a new
entry there, without new code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from kgmet.base.errors import BrokenArtifactError, ConfigError, UnknownRelationError
from kgmet.base.files import parse_json, read_text
from kgmet.base.fingerprint import fingerprint_value
from kgmet.graph.names import fold
from kgmet.graph.triple import Relation

__all__ = ["MIN_CLOZE", "MIN_QUESTIONS", "RelationCatalogue", "RelationSpec", "spelled"]

MIN_CLOZE = 4
"""Fewest cloze prompts of a relation: some for editing, the others for probing."""
MIN_QUESTIONS = 3
"""Fewest questions of a relation."""
_OPTIONAL = frozenset({"names", "family", "cues"})
_LOCAL = re.compile(r"^(?:\S+[/#]|[A-Za-z][\w.-]*:)(?=\S)")
"""Prefix before the local name in an IRI or a prefixed name."""
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class RelationSpec:
    """One relation, as data.

    Every template has exactly one ``{}`` for the subject's label (or, in multi-hop prompts, for a noun phrase that
    stands for the subject), written so that it reads well both with "The Eiffel Tower" and "the Eiffel Tower".
    """

    id: str
    """Wikidata property where one fits (``P36``), otherwise ``K-name``."""
    label: str
    """Display name: ``capital``."""
    inverse_label: str
    """``capital of``."""
    inverse: str | None
    """Id of the relation that is its inverse, where the graph has one (``P1376``)."""
    is_functional: bool
    """A subject has one object at most (a country has one capital)."""
    is_inverse_functional: bool
    """An object has one subject at most (a city is the capital of one country)."""
    subject_type: str
    """Kind of subject: ``country``, ``city``, ``landmark``, ``person``, …; several are joined by ``|``."""
    object_type: str
    """Kind of object; several are joined by ``|``."""
    cloze: tuple[str, ...]
    """≥ 4 prompts whose natural continuation is the object: ``The capital of {} is``. Subject first in some."""
    questions: tuple[str, ...]
    """≥ 3 questions: ``What is the capital of {}?``."""
    negated: str
    """A prompt that the object must not continue: ``The capital of {} is not``."""
    yes_no: str
    """A question with ``{object}`` for the object's label: ``Is {object} the capital of {}?``."""
    phrase: str
    """Noun phrase for the object, used to build multi-hop text: ``the capital of {}``."""
    composes: Mapping[str, str | None]
    """r' → r'' where (s r o), (o r' x) makes (s r'' x) true: located-in-city ∘ country → country. ``None``: composes in
    meaning, but no single relation names the result (birthplace ∘ country)."""
    names: tuple[str, ...] = ()
    """What else the relation is called, in other graphs and data sets: ``capital city``. No two relations share one."""
    family: str = ""
    """Relations of one family say the same of different types of object: located in city, country, lies in."""
    cues: tuple[str, ...] = ()
    """Cue phrases for recognising it in a sentence, without the subject's slot: ``governed from``."""

    @property
    def relation(self) -> Relation:
        """The relation as a graph value."""
        return Relation(id=self.id, label=self.label)

    @property
    def subject_types(self) -> frozenset[str]:
        """Types of entity that may be its subject."""
        return frozenset(self.subject_type.split("|"))

    @property
    def object_types(self) -> frozenset[str]:
        """Types of entity that may be its object."""
        return frozenset(self.object_type.split("|"))


class RelationCatalogue:
    """All relations with wordings, by id. Immutable; iterates sorted by id."""

    def __init__(self, specs: Mapping[str, RelationSpec]) -> None:
        """Build from individually checked specs, and check their references to each other.

        Raises:
            ConfigError: if a spec names an unknown relation, or inverses disagree.
        """
        self._specs = {key: specs[key] for key in sorted(specs)}
        self._by_name: dict[str, RelationSpec] = {}
        for spec in self:
            self._check_references(spec)
            self._by_name.setdefault(spelled(spec.label), spec)
        for spec in self:
            for name in spec.names:
                self._by_name.setdefault(spelled(name), spec)

    @classmethod
    def load(cls, path: Path | None = None) -> RelationCatalogue:
        """Read a catalogue; without a path, the bundled one, which is read once per process.

        Raises:
            BrokenArtifactError: if the file is not a JSON list of objects.
            ConfigError: if an entry is wrong; the message names entry, field and value.
        """
        if path is None:
            return _bundled()
        return cls(_parse(read_text(path), name=str(path)))

    def spec(self, relation_id: str) -> RelationSpec:
        """Return one relation's entry.

        Raises:
            UnknownRelationError: if the catalogue has no such relation.
        """
        try:
            return self._specs[relation_id]
        except KeyError:
            raise UnknownRelationError(
                f"The catalogue has no relation {relation_id!r}. Its {len(self)} relations run from "
                f"{min(self._specs, default='-')} to {max(self._specs, default='-')}; add an entry to relations.json."
            ) from None

    def named(self, text: str) -> RelationSpec | None:
        """Return the relation with this id, label or alias, given as text, IRI or ``snake_case``."""
        found = self._specs.get(text.strip()) or self._specs.get(_LOCAL.sub("", text.strip()))
        return found or self._by_name.get(spelled(text))

    def family_of(self, relation_id: str) -> tuple[RelationSpec, ...]:
        """Return the ids of the other relations in its family; empty for a relation without one."""
        family = self._specs[relation_id].family if relation_id in self._specs else ""
        return tuple(spec for spec in self if family and spec.family == family and spec.id != relation_id)

    def compose(self, first: str, second: str) -> str | None:
        """Return r'' with (s first o), (o second x) ⇒ (s r'' x); ``None`` if no single relation fits."""
        spec = self._specs.get(first)
        return spec.composes.get(second) if spec else None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any wording or rule."""
        return fingerprint_value(list(self))

    def __contains__(self, relation_id: object) -> bool:
        return relation_id in self._specs

    def __iter__(self) -> Iterator[RelationSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def __repr__(self) -> str:
        return f"RelationCatalogue({len(self)} relations, {self.fingerprint})"

    def _check_references(self, spec: RelationSpec) -> None:
        named = [*spec.composes, *(result for result in spec.composes.values() if result)]
        if spec.inverse is not None:
            named.append(spec.inverse)
        for other in named:
            if other not in self._specs:
                raise ConfigError(
                    f"Relation {spec.id} refers to {other!r}, which is not in the catalogue. Add it, or take it out."
                )
        if spec.inverse is None:
            return
        back = self._specs[spec.inverse]
        if back.inverse != spec.id:
            raise ConfigError(
                f"Relation {spec.id} has the inverse {back.id}, whose inverse is {back.inverse!r}. Make them agree."
            )
        if (back.is_functional, back.is_inverse_functional) != (spec.is_inverse_functional, spec.is_functional):
            raise ConfigError(
                f"Relations {spec.id} and {back.id} are inverse, but disagree on which side has one value."
            )


def spelled(name: str) -> str:
    """Return a relation's name as lower-case words: ``dbo:placeOfBirth`` and ``place_of_birth`` become equal."""
    words = _HUMP.sub(" ", _LOCAL.sub("", name.strip()).replace("_", " "))
    return fold(words)


@lru_cache(maxsize=1)
def _bundled() -> RelationCatalogue:
    resource = files("kgmet.graph") / "relations.json"
    return RelationCatalogue(_parse(resource.read_text(encoding="utf-8"), name="relations.json"))


def _parse(text: str, *, name: str) -> dict[str, RelationSpec]:
    rows = parse_json(text, where=name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BrokenArtifactError(f"{name} must hold a JSON list of relations, each an object.")
    specs: dict[str, RelationSpec] = {}
    for number, row in enumerate(rows, start=1):
        spec = _spec(row, where=f"{name}, relation {number} ({row.get('id', 'no id')})")
        if spec.id in specs:
            raise ConfigError(f"{name} has two entries for relation {spec.id}. Keep one.")
        specs[spec.id] = spec
    return specs


def _spec(row: Mapping[str, Any], *, where: str) -> RelationSpec:
    known = {field.name for field in fields(RelationSpec)}
    wrong = sorted((set(row) ^ known) - (_OPTIONAL - set(row)))
    if wrong:
        verb = "has an unknown field" if wrong[0] in row else "lacks the field"
        raise ConfigError(f"{where} {verb} {wrong[0]!r}; the fields are {', '.join(sorted(known))}.")
    for key in ("id", "label", "inverse_label", "subject_type", "object_type"):
        if not isinstance(row[key], str) or not row[key].strip() or row[key] != row[key].strip():
            raise ConfigError(f"{where}: {key} must be text without outer blanks, got {row[key]!r}.")
    for key in ("is_functional", "is_inverse_functional"):
        if not isinstance(row[key], bool):
            raise ConfigError(f"{where}: {key} must be true or false, got {row[key]!r}.")
    if row["inverse"] is not None and not isinstance(row["inverse"], str):
        raise ConfigError(f"{where}: inverse must be a relation id or null, got {row['inverse']!r}.")
    composes = row["composes"]
    if not isinstance(composes, dict) or not all(r is None or isinstance(r, str) for r in composes.values()):
        raise ConfigError(f"{where}: composes must map relation ids to relation ids or null, got {composes!r}.")
    _check_template(row["phrase"], where=f"{where}: phrase")
    _check_template(row["negated"], where=f"{where}: negated")
    _check_template(row["yes_no"], where=f"{where}: yes_no")
    if row["yes_no"].count("{object}") != 1 or not row["yes_no"].endswith("?"):
        raise ConfigError(f"{where}: yes_no must be a question with one '{{object}}', got {row['yes_no']!r}.")
    if not isinstance(row.get("family", ""), str):
        raise ConfigError(f"{where}: family must be text, got {row['family']!r}.")
    texts = {
        key: _templates(row[key], least=least, where=f"{where}: {key}")
        for key, least in (("cloze", MIN_CLOZE), ("questions", MIN_QUESTIONS))
    }
    texts |= {key: _words(row[key], where=f"{where}: {key}") for key in ("names", "cues") if key in row}
    return RelationSpec(**{**row, **texts, "composes": dict(sorted(composes.items()))})


def _templates(value: Any, *, least: int, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < least:
        raise ConfigError(f"{where} must be a list of at least {least} templates, got {value!r}.")
    for template in value:
        _check_template(template, where=where)
    if len(set(value)) != len(value):
        raise ConfigError(f"{where} holds a template twice: {value!r}.")
    return tuple(value)


def _words(value: Any, *, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ConfigError(f"{where} must be a list of texts, got {value!r}.")
    return tuple(value)


def _check_template(template: Any, *, where: str) -> None:
    if not isinstance(template, str) or template != template.strip() or template.count("{}") != 1:
        raise ConfigError(f"{where} must be text with exactly one '{{}}' and no outer blanks, got {template!r}.")
