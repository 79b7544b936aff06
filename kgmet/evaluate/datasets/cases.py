"""`EvalCase`: one record of a data set, of any schema, as edits and the prompts asked about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.text import caseless
from kgmet.fact import FactEdit

__all__ = ["Ask", "AskKind", "CaseTriple", "Dataset", "EvalCase", "Fault", "find_contradictions", "without_contested"]


class AskKind(Enum):
    """Purpose of a prompt; the values are the keys of the result tables."""

    EFFICACY = "efficacy"
    """The edit's own prompt."""
    PARAPHRASE = "paraphrase"
    """A paraphrase of the edited fact."""
    NEIGHBORHOOD = "neighborhood"
    """The same relation of other subjects: the true answer is expected."""
    CONSEQUENCES = "consequences"
    """A consequence of the edit."""
    PORTABILITY = "portability"
    """zsRE as in KnowEdit: a consequence by reasoning."""
    LOCALITY = "locality"
    """zsRE: a fact that must stay."""
    HOP = "hop"
    """MQuAKE: one link of the chain, asked alone."""
    MULTI_HOP = "multi_hop"
    """MQuAKE: the whole chain in one question, after worked examples."""
    MULTI_HOP_CHAT = "multi_hop_chat"
    """A question over several facts, in the chat template if the model has one."""

    @property
    def should_stay(self) -> bool:
        """Whether the edit must not change the answer."""
        return self in (AskKind.NEIGHBORHOOD, AskKind.LOCALITY)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One prompt of a case.

    `expected` is right after the edit, `rejected` wrong. `aliases` are other names of the expected answer,
    `rejected_aliases` of the rejected one. ``is_question`` marks a prompt that is answered, not continued. `hop` counts
    the links of a chain from 1.
    """

    kind: AskKind
    prompt: str
    expected: str
    rejected: str | None = None
    aliases: tuple[str, ...] = ()
    rejected_aliases: tuple[str, ...] = ()
    is_question: bool = False
    hop: int | None = None


@dataclass(frozen=True, kw_only=True)
class CaseTriple:
    """One triple of a case, by labels."""

    subject: str
    relation: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Reason why a record cannot or should not be used; `number` counts records from 1."""

    number: int
    case_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class EvalCase:
    """One record: its `edits` are made together, then all of `asks` are asked.

    `generation_prompts` are continued freely for fluency and consistency; `references` are texts about the new object
    that the continuations should resemble. `n_hop` is the chain length of an MQuAKE case. `relation` names the edited
    relation in tables.
    """

    case_id: str
    edits: tuple[FactEdit, ...]
    asks: tuple[Ask, ...]
    generation_prompts: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    triples: tuple[CaseTriple, ...] = ()
    n_hop: int | None = None
    relation: str = ""

    def of(self, kind: AskKind) -> tuple[Ask, ...]:
        """Return the prompts of one kind."""
        return tuple(ask for ask in self.asks if ask.kind is kind)


def told_case(case: EvalCase, sentences: Sequence[str]) -> EvalCase:
    """Return the case with sentences put before every prompt, separated by blanks."""
    before = "".join(f"{sentence} " for sentence in sentences)
    return replace(
        case,
        asks=tuple(replace(ask, prompt=before + ask.prompt) for ask in case.asks),
        generation_prompts=tuple(before + prompt for prompt in case.generation_prompts),
    )


def without_contested(cases: Iterable[EvalCase]) -> list[EvalCase]:
    """Drop neighbours that another of the cases edits.

    If all cases are in the model together, a neighbour whose relation another case edits no longer has its true answer.
    Neighbours are identified by name in the prompt, as whole words.
    """
    cases = list(cases)
    edited: dict[str, set[str]] = {}
    for case in cases:
        edited.setdefault(case.relation, set()).update(edit.subject for edit in case.edits)
    names = {
        relation: re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(subjects)))})(?!\w)", re.IGNORECASE)
        for relation, subjects in edited.items()
    }
    return [
        replace(
            case,
            asks=tuple(
                ask
                for ask in case.asks
                if ask.kind is not AskKind.NEIGHBORHOOD or not names[case.relation].search(ask.prompt)
            ),
        )
        for case in cases
    ]


def find_contradictions(cases: Mapping[int, EvalCase]) -> list[Fault]:
    """Find cases (by record number) that change a fact that an earlier case changes differently.

    If all are in the model together, the later edit overwrites the earlier one, whose prompts then score as wrong.
    """
    said: dict[tuple[str, str], tuple[int, str]] = {}
    found = []
    for number, case in cases.items():
        for edit in case.edits:
            key = caseless(edit.subject), edit.relation or caseless(edit.template)
            first, earlier = said.setdefault(key, (number, edit.new_object))
            if first != number and caseless(earlier) != caseless(edit.new_object):
                reason = f"it changes {edit.prompt!r} to {edit.new_object!r}; record {first} changes it to {earlier!r}"
                found.append(Fault(number=number, case_id=case.case_id, reason=reason))
    return found


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Cases in file order, the records left out, and remarks on some that were kept."""

    name: str
    cases: tuple[EvalCase, ...]
    path: Path | None = None
    left_out: tuple[Fault, ...] = field(default=())
    notes: tuple[Fault, ...] = field(default=())
    """Used records that change a fact an earlier record changes differently."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over every used text."""
        return fingerprint_value([self.name, list(self.cases)])
