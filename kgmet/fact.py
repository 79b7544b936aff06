"""`FactEdit`: the fact to change, checked before anything expensive starts."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kgmet.base.errors import (
    BrokenArtifactError,
    ContradictionError,
    EmptyTextError,
    RequestError,
    SameObjectError,
    SubjectNotFoundError,
    TemplateError,
    TextError,
)
from kgmet.base.files import read_json
from kgmet.base.fingerprint import digest
from kgmet.base.text import caseless

__all__ = ["MAX_OBJECT", "MAX_SUBJECT", "MAX_TEMPLATE", "FactEdit", "check_batch", "load_edits", "save_edits"]

MAX_SUBJECT = 200
"""Longest subject, in characters."""
MAX_OBJECT = 200
"""Longest old or new object, in characters."""
MAX_TEMPLATE = 1000
"""Longest template, in characters."""


_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Burmese and Khmer: scripts without blanks between words."""


@dataclass(frozen=True, kw_only=True)
class FactEdit:
    """One fact to change: (subject, relation, old object → new object).

    `template` has exactly one ``{}`` where the subject goes. `prompt` is the template with the subject in place; the
    new object is its wanted continuation. `relation` and the three ``*_id`` fields are ids of a `TripleStore` where
    known. `id` is derived from the texts when it is left empty, so the same edit has the same id everywhere.

    Raises:
        TemplateError: if `template` has not exactly one ``{}``.
        EmptyTextError: if a needed field is blank.
        TextError: if a field is too long or holds line breaks or other control characters.
        SameObjectError: if old and new object are the same but for case and blanks.
    """

    subject: str
    template: str
    new_object: str
    old_object: str | None = None
    relation: str | None = None
    subject_id: str | None = None
    new_object_id: str | None = None
    old_object_id: str | None = None
    id: str = ""

    def __post_init__(self) -> None:
        """Normalise blanks and check every field."""
        put = object.__setattr__
        put(self, "subject", _clean("subject", self.subject, MAX_SUBJECT))
        put(self, "template", _clean("template", self.template, MAX_TEMPLATE))
        put(self, "new_object", _clean("new object", self.new_object, MAX_OBJECT))
        if self.old_object is not None:
            put(self, "old_object", _clean("old object", self.old_object, MAX_OBJECT))
            if caseless(self.old_object) == caseless(self.new_object):
                raise SameObjectError(
                    f"Old and new object are both {self.new_object!r}, so nothing changes. Give another new object."
                )
        count = self.template.count("{}")
        if count != 1:
            raise TemplateError(
                f"The template {self.template!r} has {count} places for the subject; it needs exactly one '{{}}', "
                "for example '{} is located in the city of'."
            )
        if not self.id:
            put(self, "id", digest("edit", self.subject, self.template, self.new_object)[:12])

    @property
    def prompt(self) -> str:
        """The template with the subject filled in; other braces stay as they are."""
        return self.template.replace("{}", self.subject)

    @classmethod
    def from_prompt(cls, prompt: str, *, subject: str, new_object: str, **rest: Any) -> FactEdit:
        """Make an edit from a prompt that holds the subject once, as whole words; a template is taken as it is.

        Raises:
            SubjectNotFoundError: if the prompt holds no subject; "Rome" is not in "Romeo was born in".
        """
        if "{}" not in prompt:
            text, name = (unicodedata.normalize("NFC", value.strip()) for value in (prompt, subject))
            places = _places(name, text)
            if len(places) != 1:
                where = "only inside other words" if not places and name and name in text else f"{len(places)} times"
                raise SubjectNotFoundError(
                    f"Subject {subject!r} occurs {where} in {prompt!r}, not once. Write the prompt with one '{{}}' "
                    "where the subject goes, for example '{} was born in'."
                )
            prompt = text[: places[0]] + "{}" + text[places[0] + len(name) :]
        return cls(subject=subject, template=prompt, new_object=new_object, **rest)

    @property
    def sentence(self) -> str:
        """The edit in one line: ``The Eiffel Tower is located in the city of → Rome``."""
        return f"{self.prompt} → {self.new_object}"

    def to_json(self) -> dict[str, str | None]:
        """Return all fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FactEdit:
        """Read what `to_json` made; unknown keys and values that are not text are errors.

        Raises:
            RequestError: if the mapping is not an edit.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise RequestError(f"An edit has no field {unknown[0]!r}; its fields are {', '.join(sorted(known))}.")
        missing = [name for name in ("subject", "template", "new_object") if name not in data]
        if missing:
            raise RequestError(f"The edit lacks {missing[0]!r}.")
        for key, value in data.items():
            if value is not None and not isinstance(value, str):
                raise RequestError(f"The edit's {key!r} must be text, got {type(value).__name__}.")
        return cls(**data)


def check_batch(edits: Iterable[FactEdit]) -> tuple[FactEdit, ...]:
    """Return the edits without exact duplicates, in order.

    Raises:
        ContradictionError: if two edits give the same subject and template different new objects.
        RequestError: if there is no edit at all.
    """
    seen: dict[tuple[str, str], FactEdit] = {}
    for edit in edits:
        key = (caseless(edit.subject), caseless(edit.template))
        earlier = seen.setdefault(key, edit)
        if caseless(earlier.new_object) != caseless(edit.new_object):
            raise ContradictionError(
                f"Two edits contradict each other: {edit.prompt!r} is to be continued with both "
                f"{earlier.new_object!r} and {edit.new_object!r}. Keep one, or apply them one after the other."
            )
    if not seen:
        raise RequestError("There is no edit to carry out. Give at least one.")
    return tuple(seen.values())


def load_edits(path: Path) -> tuple[FactEdit, ...]:
    """Read a JSON list of edits.

    Raises:
        BrokenArtifactError: if the file is not a JSON list of objects.
        RequestError: if one of them is not an edit; says which.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BrokenArtifactError(f"{path} must hold a JSON list of edits, each an object.")
    edits = []
    for number, row in enumerate(rows, start=1):
        try:
            edits.append(FactEdit.from_json(row))
        except RequestError as error:
            raise type(error)(f"{path}, edit {number}: {error}") from error
    return tuple(edits)


def save_edits(edits: Iterable[FactEdit], path: Path) -> None:
    """Write the edits as a JSON list that `load_edits` reads."""
    path.write_text(json.dumps([edit.to_json() for edit in edits], ensure_ascii=False, indent=1), encoding="utf-8")


def _clean(name: str, text: str, longest: int) -> str:
    if not isinstance(text, str) or not text.strip():
        raise EmptyTextError(f"The {name} is empty. Type some text.")
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > longest:
        raise TextError(f"The {name} has {len(text)} characters; at most {longest} are allowed. Shorten it.")
    for position, character in enumerate(text, start=1):
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise TextError(
                f"The {name} holds a line break or control character (U+{ord(character):04X}) at position {position}. "
                "Write it on one line."
            )
    return text


def _places(subject: str, text: str) -> list[int]:
    """Return the positions at which the subject occurs in the text as whole words."""
    if not subject:
        return []
    starts = [match.start() for match in re.finditer(f"(?={re.escape(subject)})", text)]
    ends = [start + len(subject) for start in starts]
    return [
        start
        for start, end in zip(starts, ends, strict=True)
        if not _is_one_word(text[start - 1 : start], subject[0]) and not _is_one_word(subject[-1], text[end : end + 1])
    ]


def _is_one_word(left: str, right: str) -> bool:
    """Return whether two neighbouring characters belong to one word; never in scripts without blanks."""
    return bool(left and right) and all(
        (each.isalnum() or unicodedata.category(each).startswith("M"))
        and unicodedata.east_asian_width(each) not in ("W", "F")
        and not _UNSPACED.match(each)
        for each in (left, right)
    )
