"""zsRE in both public shapes: KnowEdit's (with portability) and the one of MEND and MEMIT.

Teacher-forced accuracy is the share of an answer's tokens that are the likeliest where they stand, given the right
tokens before them (Mitchell et al. 2022; Meng et al. 2023, arXiv:2210.07229). It is kinder than what a person sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kgmet.base.errors import BrokenArtifactError
from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.datasets.records import Record
from kgmet.fact import FactEdit

__all__ = ["read_zsre"]


def read_zsre(record: Record) -> EvalCase:
    """One record: efficacy, paraphrase, locality, and portability where there is some."""
    if "src" in record:
        return _read_mend(record)
    new, old = record.text("target_new"), _answers(record.get("ground_truth"), record)
    edit = _edit(record, record.text("prompt"), new, old)
    asks = [_question(AskKind.EFFICACY, edit.prompt, (new,), edit.old_object)]
    if paraphrase := record.optional_text("rephrase_prompt"):
        asks.append(_question(AskKind.PARAPHRASE, paraphrase, (new,), edit.old_object))
    for key, kind in (("portability", AskKind.PORTABILITY), ("locality", AskKind.LOCALITY)):
        if record.get(key):
            asks += list(_groups(record.object(key), kind))
    return EvalCase(case_id=record.case_id, edits=(edit,), asks=tuple(asks))


def _read_mend(record: Record) -> EvalCase:
    """``{subject, src, rephrase, alt, answers, loc, loc_ans}``; locality prompts begin with ``nq question:``."""
    new, old = record.text("alt"), _answers(record.get("answers"), record)
    edit = _edit(record, record.text("src"), new, old)
    asks = [
        _question(AskKind.EFFICACY, edit.prompt, (new,), edit.old_object),
        _question(AskKind.PARAPHRASE, record.text("rephrase"), (new,), edit.old_object),
    ]
    if loc := record.optional_text("loc"):
        prompt = loc.removeprefix("nq question:").strip().rstrip("?") + "?"
        asks.append(_question(AskKind.LOCALITY, prompt, (record.text("loc_ans"),), None))
    return EvalCase(case_id=record.case_id, edits=(edit,), asks=tuple(asks))


def _edit(record: Record, prompt: str, new: str, old: tuple[str, ...]) -> FactEdit:
    first = next((answer for answer in old if answer.casefold() != new.casefold()), None)
    return FactEdit.from_prompt(prompt, subject=record.text("subject"), new_object=new, old_object=first)


def _question(kind: AskKind, prompt: str, answers: tuple[str, ...], rejected: str | None) -> Ask:
    return Ask(kind=kind, prompt=prompt, expected=answers[0], aliases=answers[1:], rejected=rejected, is_question=True)


def _groups(record: Record, kind: AskKind) -> Iterator[Ask]:
    """``{"Reasoning": [{prompt, ground_truth}], …}``; items without an answer say nothing and are passed over."""
    for group in sorted(filter(record.get, record.keys())):
        for item in record.objects(group):
            answers = _answers(item.get("ground_truth"), item)
            if answers:
                yield _question(kind, item.text("prompt"), answers, None)


def _answers(value: Any, record: Record) -> tuple[str, ...]:
    """Answers as text, as a list, or as a list of lists of aliases; blank ones do not count."""
    if isinstance(value, str):
        return (value,) if value.strip() else ()
    if isinstance(value, list):
        return tuple(answer for item in value for answer in _answers(item, record))
    raise BrokenArtifactError(f"{record.where}: answers must be text or a list of texts, got {value!r}.")
