"""zsRE in both published formats: KnowEdit's (with portability), and that of MEND and MEMIT.

Teacher-forced accuracy is the share of an answer's tokens that are the likeliest at their position, given the right
tokens before them (Mitchell et al. 2022; Meng et al. 2023, arXiv:2210.07229). It is more lenient than free generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kgmet.evaluate.datasets.cases import Ask, AskKind, EvalCase
from kgmet.evaluate.datasets.records import Record
from kgmet.fact import FactEdit

__all__ = ["read_zsre"]


def read_zsre(record: Record) -> EvalCase:
    """Read one record: efficacy, paraphrase, locality, and portability if present.

    Locality is KnowEdit's groups, or one question under ``locality_prompt`` (WikiBigEdit).
    """
    if "src" in record:
        return _read_mend(record)
    new, old = record.text("target_new"), _answers(record, "ground_truth")
    edit = _edit(record, record.text("prompt"), new, old)
    asks = [_question(AskKind.EFFICACY, edit.prompt, (new,), edit.old_object)]
    if paraphrase := record.optional_text("rephrase_prompt"):
        asks.append(_question(AskKind.PARAPHRASE, paraphrase, (new,), edit.old_object))
    for key, kind in (("portability", AskKind.PORTABILITY), ("locality", AskKind.LOCALITY)):
        if record.get(key):
            asks += list(_groups(record.object(key), kind))
    if must_stay := record.optional_text("locality_prompt"):
        answers = _answers(record, "locality_ground_truth")
        if not answers:
            raise record.wrong("locality_ground_truth", "text or a list of texts")
        asks.append(_question(AskKind.LOCALITY, must_stay, answers, None))
    return EvalCase(case_id=record.case_id, edits=(edit,), asks=tuple(asks))


def _read_mend(record: Record) -> EvalCase:
    """Read ``{subject, src, rephrase, alt, answers, loc, loc_ans}``; locality prompts begin with ``nq question:``.

    The file with portability (Yao et al. 2023, arXiv:2305.13172) adds one question about a consequence, as
    ``{"portability": {"New Question": …, "New Answer": …}}``. KnowEdit's groups are read there too.
    """
    new, old = record.text("alt"), _answers(record, "answers")
    edit = _edit(record, record.text("src"), new, old)
    asks = [
        _question(AskKind.EFFICACY, edit.prompt, (new,), edit.old_object),
        _question(AskKind.PARAPHRASE, record.text("rephrase"), (new,), edit.old_object),
    ]
    if loc := record.optional_text("loc"):
        prompt = loc.removeprefix("nq question:").strip().rstrip("?") + "?"
        asks.append(_question(AskKind.LOCALITY, prompt, (record.text("loc_ans"),), None))
    if record.get("portability"):
        follows = record.object("portability")
        if "New Question" in follows:
            answer = follows.text("New Answer")
            asks.append(_question(AskKind.PORTABILITY, follows.text("New Question"), (answer,), None))
        else:
            asks += list(_groups(follows, AskKind.PORTABILITY))
    return EvalCase(case_id=record.case_id, edits=(edit,), asks=tuple(asks))


def _edit(record: Record, prompt: str, new: str, old: tuple[str, ...]) -> FactEdit:
    first = next((answer for answer in old if answer.casefold() != new.casefold()), None)
    return FactEdit.from_prompt(prompt, subject=record.text("subject"), new_object=new, old_object=first)


def _question(kind: AskKind, prompt: str, answers: tuple[str, ...], rejected: str | None) -> Ask:
    return Ask(kind=kind, prompt=prompt, expected=answers[0], aliases=answers[1:], rejected=rejected, is_question=True)


def _groups(record: Record, kind: AskKind) -> Iterator[Ask]:
    """Yield the items of ``{"Reasoning": [{prompt, ground_truth}], …}``; items without an answer are skipped.

    A group may also be one object, with one prompt or with lists of prompts and answers, as EasyEdit writes them.
    """
    for group in sorted(filter(record.get, record.keys())):
        if isinstance(record.get(group), Mapping):
            yield from _parallel(record.object(group), kind)
            continue
        for item in record.objects(group):
            answers = _answers(item, "ground_truth")
            if answers:
                yield _question(kind, item.text("prompt"), answers, None)


def _parallel(item: Record, kind: AskKind) -> Iterator[Ask]:
    """Yield the pairs of ``{prompt: "…", ground_truth: "…"}``, or of two lists of equal length."""
    if isinstance(item.get("prompt"), str):
        answers = _answers(item, "ground_truth")
        if answers:
            yield _question(kind, item.text("prompt"), answers, None)
        return
    prompts, truths = item.texts("prompt", required=True), item.get("ground_truth")
    if not isinstance(truths, list) or len(truths) != len(prompts):
        raise item.wrong("ground_truth", f"a list of {len(prompts)} answers, one for each prompt")
    for prompt, truth in zip(prompts, truths, strict=True):
        answers = tuple(_flat(truth, item, "ground_truth"))
        if answers:
            yield _question(kind, prompt, answers, None)


def _answers(record: Record, key: str) -> tuple[str, ...]:
    """Return the answers from a text, a list, or a list of lists of aliases, without null and blank ones."""
    return tuple(_flat(record.get(key), record, key))


def _flat(value: Any, record: Record, key: str) -> Iterator[str]:
    if isinstance(value, str):
        yield from [value] if value.strip() else []
    elif isinstance(value, list):
        for item in value:
            yield from _flat(item, record, key)
    elif value is not None:
        raise record.wrong(key, "text or a list of texts")
