"""MQuAKE (Zhong et al. 2023, arXiv:2305.14795): several edits per case, chains of 2 to 4 hops, answers with aliases.

The published data has inconsistent records: chains that do not end in the stated answer, edits that contradict each
other, and, when many cases are edited together, chains that use a fact another case changes (MQuAKE-Remastered, ICLR
2025). `find_faults` finds them by rule from the records themselves, so every exclusion has a checkable reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kgmet.base.text import caseless
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase, Fault
from kgmet.evaluate.datasets.records import Record
from kgmet.fact import FactEdit

__all__ = ["COT_SHOTS", "PLAIN_SHOTS", "find_faults", "read_mquake"]

PLAIN_SHOTS = (
    "Q: What is the capital of the country where the Sagrada Família stands?\nA: Madrid\n\n"
    "Q: Which currency is used in the country where sushi was invented?\nA: Japanese yen\n\n"
    "Q: On which continent lies the country whose capital is Nairobi?\nA: Africa\n\n"
    "Q: Who is the author of the book in which Sherlock Holmes first appears?\nA: Arthur Conan Doyle\n\n"
)
"""Worked examples put before a multi-hop question, as in the paper; these four are our own."""

COT_SHOTS = (
    "Question: What is the capital of the country where the Sagrada Família stands?\n"
    "Thoughts: The Sagrada Família stands in Spain. The capital of Spain is Madrid.\nAnswer: Madrid\n\n"
    "Question: Which currency is used in the country where sushi was invented?\n"
    "Thoughts: Sushi was invented in Japan. The currency of Japan is the Japanese yen.\nAnswer: Japanese yen\n\n"
    "Question: On which continent lies the country whose capital is Nairobi?\n"
    "Thoughts: Nairobi is the capital of Kenya. Kenya lies in Africa.\nAnswer: Africa\n\n"
)
"""The same examples with the links of the chain spelled out (chain of thought)."""


def read_mquake(record: Record) -> EvalCase:
    """Read one record: its edits, each link of the new chain, and the questions over the whole chain."""
    edits = tuple(_edit(item) for item in record.objects("requested_rewrite", required=True))
    asks = [
        Ask(kind=AskKind.EFFICACY, prompt=edit.prompt, expected=edit.new_object, rejected=edit.old_object)
        for edit in edits
    ]
    hops = record.objects("new_single_hops", required=True)
    for number, item in enumerate(hops, start=1):
        aliases = item.names("answer_alias")
        asks.append(
            Ask(
                kind=AskKind.HOP,
                prompt=item.optional_text("cloze") or item.text("question"),
                expected=item.text("answer"),
                aliases=aliases,
                is_question="cloze" not in item,
                hop=number,
            )
        )
    aliases = (*record.names("new_answer_alias"), *record.names("answer_extended"))
    for question in record.texts("questions", required=True):
        asks.append(
            Ask(
                kind=AskKind.MULTI_HOP,
                prompt=question,
                expected=record.text("new_answer"),
                rejected=record.optional_text("answer"),
                aliases=aliases,
                is_question=True,
            )
        )
    return EvalCase(
        case_id=record.case_id,
        edits=edits,
        asks=tuple(asks),
        n_hop=len(hops),
        relation="+".join(sorted({edit.relation or "" for edit in edits})),
    )


def find_faults(rows: Sequence[Any], *, together: bool = True) -> list[Fault]:
    """Find records that cannot be scored as published.

    Args:
        rows: the records.
        together: whether the edits of several records are in the model at once. Then a record that contradicts an
            earlier one is faulty too; the first of each conflict is kept.
    """
    faults = []
    index: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows, start=1):
        record = Record(row, where=f"record {number}", number=number)
        facts = _Facts(record)
        reason = facts.inner_fault() or (facts.clash(index) if together else "")
        if reason:
            faults.append(Fault(number=number, case_id=record.case_id, reason=reason))
            continue
        index |= facts.needs
    return faults


class _Facts:
    """Edits of one record and facts its chain needs: (subject, relation) → object, folded."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.edited: dict[tuple[str, str], str] = {}
        self._double = ""
        for item in record.objects("requested_rewrite", required=True):
            new = item.object("target_new").text("str")
            key = caseless(item.text("subject")), item.optional_text("relation_id") or caseless(item.text("prompt"))
            if self.edited.setdefault(key, caseless(new)) != caseless(new):
                self._double = f"it edits {item.text('subject')!r} to both {self.edited[key]!r} and {new!r}"
        self.needs = dict(self.edited)
        for (subject, relation), target in self._chain():
            self.needs.setdefault((subject, relation), target)

    def _chain(self) -> Iterator[tuple[tuple[str, str], str]]:
        if not self._record.get("orig"):
            return
        orig = self._record.object("orig")
        ids, labels = orig.get("new_triples") or [], orig.get("new_triples_labeled") or []
        for key, value in (("new_triples", ids), ("new_triples_labeled", labels)):
            if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == 3 for row in value):
                raise orig.wrong(key, "a list of triples")
        for coded, named in zip(ids, labels, strict=False):
            yield (caseless(str(named[0])), str(coded[1])), caseless(str(named[2]))

    def inner_fault(self) -> str:
        """Return why the record is inconsistent in itself; empty if it is consistent."""
        record = self._record
        answer = record.text("new_answer")
        names = {caseless(name) for name in (answer, *record.names("new_answer_alias"))}
        last = record.objects("new_single_hops", required=True)[-1]
        ends = {caseless(name) for name in (last.text("answer"), *last.names("answer_alias"))}
        if self._double:
            return self._double
        if record.optional_text("answer") and caseless(record.text("answer")) == caseless(answer):
            return f"its answer {answer!r} is the same before and after the edits"
        if not names & ends:
            return f"its chain ends in {last.text('answer')!r}, its answer is {answer!r}"
        chain = dict(self._chain())
        for key, new in self.edited.items():
            if chain and key not in chain:
                return f"it edits {key[0]!r} ({key[1]}), which its chain does not use"
            if chain and chain[key] != new:
                return f"it edits {key[0]!r} to {new!r}, its chain uses {chain[key]!r}"
        return ""

    def clash(self, index: dict[tuple[str, str], str]) -> str:
        """Return why the record conflicts with earlier ones; empty if it does not."""
        for key, target in self.needs.items():
            if index.get(key, target) != target:
                return f"it needs {key[0]!r} ({key[1]}) to be {target!r}; an earlier record needs {index[key]!r}"
        return ""


def _edit(item: Record) -> FactEdit:
    return FactEdit.from_prompt(
        item.text("prompt"),
        subject=item.text("subject"),
        new_object=item.object("target_new").text("str"),
        old_object=item.object("target_true").text("str") if "target_true" in item else None,
        relation=item.optional_text("relation_id"),
    )
