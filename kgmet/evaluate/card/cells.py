"""Cells of a card from answers: counts of each row, and its worst answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kgmet.evaluate.card.asked import AskedItem
from kgmet.evaluate.card.value import Cell, Example, Row
from kgmet.evaluate.card.wordings import NOT_SURE
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.metrics import mean_value, n_gram_entropy, repetition, share_value
from kgmet.measure.verdict import Verdict, names_only

__all__ = ["answer_row", "entropy_row", "is_negation_kept", "repetition_row"]

_TOLERANCE = 0.01
"""Tolerance, in nats per token, for a likelier new object after a negation (rounding)."""
_WORST_FIRST = {Verdict.NO: 0, Verdict.PREFERS: 1, Verdict.SAYS: 2}


def answer_row(
    key: str,
    items: Sequence[AskedItem],
    columns: Mapping[str, Sequence[Answer]],
    *,
    edits: Sequence[str],
    n_worst: int,
    judged: str = "after",
) -> Row:
    """Count one row's verdicts in each column.

    Args:
        key: the row.
        items: its questions.
        columns: for each column the answers to them, in order; ``unedited`` among them.
        edits: the facts as sentences, by place.
        n_worst: most examples.
        judged: the column whose worst answers are kept.
    """
    before = columns["unedited"]
    kept = [n for n, answer in enumerate(before) if key != "later_hops" or answer.says_rejected]
    verdicts = {column: [_verdict(key, before[n], answers[n]) for n in kept] for column, answers in columns.items()}
    cells = {
        column: _cell(found, note=_note(key, [before[n] for n in kept], [columns[column][n] for n in kept]))
        for column, found in verdicts.items()
    }
    mine, found = columns[judged], verdicts[judged]
    failed = [place for place in range(len(kept)) if found[place] is not Verdict.SAYS]
    failed.sort(key=lambda place: (_WORST_FIRST[found[place]], mine[kept[place]].p_expected or 0.0))
    worst = tuple(
        _example(
            key,
            edits[items[kept[place]].edit] if key != "ability" else "",
            {column: answers[kept[place]] for column, answers in columns.items()},
            {column: each[place] for column, each in verdicts.items()},
        )
        for place in failed[:n_worst]
    )
    return Row(key=key, cells=cells, worst=worst, n_asked=len(items))


def is_negation_kept(before: Answer, after: Answer) -> bool:
    """Return whether a negated prompt neither continues with the new object nor makes it likelier than before."""
    assert before.expected is not None
    assert after.expected is not None
    is_likelier = after.expected.mean_logprob > before.expected.mean_logprob + _TOLERANCE
    says_more = names_only(after.text, after.question.expected_names) and not names_only(
        before.text, before.question.expected_names
    )
    return not is_likelier and not says_more


def entropy_row(columns: Mapping[str, Sequence[str]]) -> Row:
    """Return the row of fluency; `columns` hold continuations."""
    cells = {column: _mean([100 * n_gram_entropy(text) for text in texts]) for column, texts in columns.items()}
    return Row(key="fluency", cells=cells, n_asked=_most(columns))


def repetition_row(columns: Mapping[str, Sequence[str]]) -> Row:
    """Return the row of repetition; `columns` hold continuations. Texts without a trigram do not count."""
    cells = {
        column: _mean([share for text in texts if (share := repetition(text)) is not None])
        for column, texts in columns.items()
    }
    return Row(key="repetition", cells=cells, n_asked=_most(columns))


def _verdict(key: str, before: Answer, after: Answer) -> Verdict:
    if key == "negation":
        return Verdict.SAYS if is_negation_kept(before, after) else Verdict.NO
    verdict = AnswerPair(before=before, after=after).verdict
    assert verdict is not None
    return verdict


def _cell(verdicts: Sequence[Verdict], *, note: str) -> Cell:
    counts = Counter(verdicts)
    share = share_value(counts[Verdict.SAYS], len(verdicts))
    return Cell(
        value=share.value,
        n=share.n,
        interval=share.interval,
        said=counts[Verdict.SAYS],
        preferred=counts[Verdict.PREFERS],
        no=counts[Verdict.NO],
        note=note,
    )


def _note(key: str, before: Sequence[Answer], answers: Sequence[Answer]) -> str:
    """Describe what the verdicts of a row leave out."""
    if not answers:
        return ""
    if key == "negation":
        changes = [
            now.expected.mean_logprob - was.expected.mean_logprob
            for was, now in zip(before, answers, strict=True)
            if was.expected is not None and now.expected is not None
        ]
        return f"new object {sum(changes) / len(changes):+.2f} nats per token"
    if key.startswith("choice"):
        unsure = sum(names_only(answer.text, ("D", NOT_SURE), ("A", "B", "C")) for answer in answers)
        return f"not sure {unsure}" if unsure else ""
    if key in ("other_facts", "neighbours"):
        return f"true object said {sum(answer.says for answer in answers)}"
    return ""


def _example(key: str, edit: str, answers: Mapping[str, Answer], verdicts: Mapping[str, Verdict]) -> Example:
    question = answers["unedited"].question
    wanted, unwanted = question.expected or "", question.rejected or ""
    if key == "negation":
        wanted, unwanted = unwanted, wanted
    return Example(
        edit=edit,
        prompt=question.text,
        expected=wanted,
        rejected=unwanted,
        answers={column: " ".join(answer.text.split()) for column, answer in answers.items()},
        verdicts={column: verdict.value for column, verdict in verdicts.items()},
        probabilities={column: answer.p_expected or 0.0 for column, answer in answers.items()},
    )


def _mean(values: Sequence[float]) -> Cell:
    mean = mean_value(values)
    return Cell(value=mean.value, n=mean.n, interval=mean.interval)


def _most(columns: Mapping[str, Sequence[str]]) -> int:
    return max((len(texts) for texts in columns.values()), default=0)
