"""`FactPrompt`: a fact as a prompt with its right answers, from a graph or a CSV file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from kgmet.base.csv_table import CsvTable, separator_of
from kgmet.base.errors import ConfigError, ConfigFileError
from kgmet.base.files import read_text
from kgmet.base.fingerprint import digest
from kgmet.fact import MAX_TEMPLATE
from kgmet.graph.phrasing import N_PROBE_WORDINGS, fill, says, split_templates
from kgmet.graph.reading.chains import GraphReader
from kgmet.graph.relations import RelationCatalogue, RelationSpec
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.lm.run.spans import Phrase
from kgmet.write.stated import StatedFact

__all__ = [
    "MOST_OWN_FACTS",
    "OWN",
    "FactPrompt",
    "facts_of",
    "own_facts",
    "prompts_of",
    "read_own_facts",
    "stated_prompt",
]

OWN = "own"
"""Relation id of facts that the user supplied."""
MOST_OWN_FACTS = 10_000
"""Most facts in a user's file: each is asked, which takes a model longer than the search."""
_MAX_NAMES = 8
_MAX_OBJECTS = 8
_READ = 50_000


@dataclass(frozen=True, kw_only=True)
class FactPrompt:
    """One fact in one wording.

    `text` is the complete prompt; any of `answers` is right. `subject_id` and `relation` are the graph's ids; a user's
    own fact has the relation `OWN` and no subject id. `must_hold` says whether the fact counts even if the model does
    not know it, `is_stated` that an earlier edit made it true.
    """

    text: str
    answers: tuple[str, ...]
    subject: str
    subject_id: str = ""
    relation: str = OWN
    must_hold: bool = False
    is_stated: bool = False

    @property
    def fact(self) -> tuple[str, str]:
        """(subject id, relation id): the same for all wordings of a fact."""
        return (self.subject_id, self.relation) if self.subject_id else (self.text, self.relation)

    @property
    def phrase(self) -> Phrase | None:
        """The prompt with its subject marked, article included; ``None`` if the text does not name the subject."""
        begin = self.text.find(self.subject)
        if not self.subject or begin < 0 or "{" in self.text or "}" in self.text:
            return None
        end = begin + len(self.subject)
        if self.text[:begin].casefold() == "the ":
            begin = 0
        return Phrase(template=self.text[:begin] + "{}" + self.text[end:], subject=self.text[begin:end])

    @property
    def id(self) -> str:
        """16 hex digits for the prompt and its answers."""
        return digest(self.text, *self.answers)[:16]


def facts_of(
    store: TripleStore, catalogue: RelationCatalogue, *, relations: Sequence[str] | None = None
) -> Iterator[tuple[str, Entity, tuple[Entity, ...]]]:
    """Yield (relation id, subject, objects) of every fact with a wording; relations alternate, best known first.

    Args:
        store: the graph.
        catalogue: wordings of relations.
        relations: the relations to include; by default all of the store's.
    """
    wanted = [relation.id for relation in store.relations() if relation.id in catalogue]
    if relations is not None:
        wanted = [relation for relation in wanted if relation in set(relations)]
    reader = GraphReader(store, limit=_READ)
    queues = [_by_subject(store, relation, reader) for relation in wanted]
    for row in zip_longest(*queues):
        yield from (entry for entry in row if entry is not None)


def _by_subject(store: TripleStore, relation: str, reader: GraphReader) -> list[tuple[str, Entity, tuple[Entity, ...]]]:
    objects: dict[Entity, list[Entity]] = {}
    for triple in store.with_relation(relation, limit=_READ):
        if triple.subject != triple.object:
            objects.setdefault(triple.subject, []).append(triple.object)
    subjects = sorted((s for s, found in objects.items() if len(found) <= _MAX_OBJECTS), key=reader.by_fame)
    return [(relation, subject, tuple(objects[subject])) for subject in subjects]


def prompts_of(spec: RelationSpec, subject: Entity, objects: Sequence[Entity]) -> tuple[FactPrompt, ...]:
    """Return the fact in every wording that is not held out for probing and does not give away the answer."""
    names = tuple(dict.fromkeys(name for thing in objects for name in (thing.label, thing.in_text, *thing.aliases)))
    right = tuple(name for name in names if name.strip() and not says(subject.label, name))[:_MAX_NAMES]
    if not right or any(says(subject.label, thing.label) for thing in objects):
        return ()
    return tuple(
        FactPrompt(
            text=fill(template, subject),
            answers=right,
            subject=subject.label,
            subject_id=subject.id,
            relation=spec.id,
        )
        for template in split_templates(spec.cloze, N_PROBE_WORDINGS)[0]
        if not any(says(template.replace("{}", ""), name) for name in right)
    )


def stated_prompt(stated: StatedFact) -> FactPrompt:
    """Return what an earlier edit made true as a fact of an index."""
    return FactPrompt(
        text=stated.prompt,
        answers=(stated.answer,),
        subject=stated.subject,
        subject_id=stated.subject_id if stated.relation else "",
        relation=stated.relation or OWN,
        is_stated=True,
    )


def own_facts(rows: Iterable[tuple[str, str]]) -> tuple[FactPrompt, ...]:
    """Make facts that must not change from (prompt, answer) pairs."""
    return tuple(
        FactPrompt(text=prompt.strip(), answers=(answer.strip(),), subject=prompt.strip(), must_hold=True)
        for prompt, answer in rows
    )


def read_own_facts(path: Path) -> tuple[FactPrompt, ...]:
    """Read facts that must not change from a table with the columns ``prompt`` and ``answer``.

    Columns are separated by commas, semicolons or tabs.

    Raises:
        ConfigError: if the file cannot be read, holds no fact or too many, or a row lacks a value or holds one that is
            no prompt or answer; gives the line.
    """
    text = read_text(path, error=ConfigFileError)
    table = CsvTable(text=text, where=str(path), separator=separator_of(text), error=ConfigFileError)
    if not {"prompt", "answer"} <= set(table.columns):
        named = ", ".join(map(repr, table.columns)) or "none"
        raise ConfigError(
            f"{path} must be a table with the columns 'prompt' and 'answer'; its first line has {named[:200]}. Give "
            "one fact a line: prompt,answer"
        )
    rows: list[tuple[str, str]] = []
    for row in table.rows():
        where = f"{path}, line {row.line}"
        if row.problem:
            raise ConfigError(f"{where}: {row.problem}")
        rows.append(
            (_own_text(row.values["prompt"], "prompt", where), _own_text(row.values["answer"], "answer", where))
        )
        if len(rows) > MOST_OWN_FACTS:
            raise ConfigError(f"{path} holds more than {MOST_OWN_FACTS} facts. Leave some out.")
    if not rows:
        raise ConfigError(f"{path} holds no fact below its header. Give one a line.")
    return own_facts(rows)


def _own_text(value: str, name: str, where: str) -> str:
    text = value.strip()
    if not text:
        raise ConfigError(f"{where}: prompt and answer must both hold text.")
    if len(text) > MAX_TEMPLATE:
        raise ConfigError(f"{where}: the {name} has {len(text)} characters; at most {MAX_TEMPLATE} are read.")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ConfigError(f"{where}: the {name} holds a line break or control character. Write it on one line.")
    return text
