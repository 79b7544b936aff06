"""A comparison's answers as one table, questions in rows and editors in columns, without Streamlit.

The table folds without running the page again: a group shows its questions, a question its probabilities and ranks.
"""

from __future__ import annotations

from kgmet.inspect.matrix import AnswerMatrix, MatrixGroup, MatrixRow
from kgmet.measure.answer import Answer
from kgmet.measure.compare import AnswerPair
from kgmet.measure.metrics import MetricValue
from kgmet.measure.question import QuestionKind
from kgmet.measure.verdict import Verdict
from workbench.drawing.plain import bdi, shown
from workbench.wording import AS_BEFORE, STAYS, VERDICTS, count, percent, short

__all__ = ["SIGNS", "UNEDITED", "matrix_html", "share_text"]

UNEDITED = "unedited"
"""Name of the first column of answers."""
SIGNS = {Verdict.SAYS: "✓", Verdict.PREFERS: "≈", Verdict.NO: "✗"}
"""Verdict → the sign in front of an answer, so that its colour is not the only mark."""
_OPEN = (QuestionKind.REWRITE, QuestionKind.PARAPHRASE, QuestionKind.CONSEQUENCE, QuestionKind.MULTI_HOP)
_LONGEST = 170


def matrix_html(matrix: AnswerMatrix, *, with_figures: bool = False) -> str:
    """Return the table; on a narrow screen each question is stacked, every answer with its editor's name.

    Args:
        matrix: the answers.
        with_figures: whether every question shows probabilities and ranks.
    """
    names = [UNEDITED, *matrix.labels]
    head = "".join(f'<th scope="col">{bdi(name)}</th>' for name in ("question", *names))
    body = "".join(_group(group, matrix) for group in matrix.groups)
    widths = f"--n:{len(names)}"
    return (
        f'<div class="kg-table-wrap"><table class="kg-matrix{" figures" if with_figures else ""}" style="{widths}">'
        f'<thead><tr>{head}</tr></thead>{body}</table></div><p class="kg-matrix-key">{shown(_KEY)}</p>'
    )


_KEY = (
    f"{SIGNS[Verdict.SAYS]} says it, or unchanged where it must stay · {SIGNS[Verdict.PREFERS]} only prefers it · "
    f"{SIGNS[Verdict.NO]} no · “{AS_BEFORE}”: the unedited model says it too"
)


def share_text(share: MetricValue | None) -> tuple[str, str]:
    """Return a count and its 95 % interval as texts: ``9 of 13``, ``42–87 %``."""
    if share is None or share.value is None or share.interval is None:
        return "failed", ""
    low, high = share.interval
    return f"{round(share.value * share.n)} of {share.n}", f"{100 * low:.0f}–{100 * high:.0f}\u00a0%"


def _group(group: MatrixGroup, matrix: AnswerMatrix) -> str:
    is_open = " open" if group.kind in _OPEN else ""
    about = f"{group.definition}; {count(len(group.rows), 'question')}"
    head = (
        f'<th scope="rowgroup"><details{is_open}><summary>{shown(group.label)}</summary></details>'
        f"<small>{shown(about)}</small></th>"
    )
    before = _share(group.before, UNEDITED, note="say the true one" if group.kind.should_stay else "")
    cells = [
        _share(share, label, is_best=column == group.best)
        for column, (label, share) in enumerate(zip(matrix.labels, group.shares, strict=True))
    ]
    rows = "".join(_question(row, matrix) for row in group.rows)
    return f'<tbody><tr class="group">{head}{before}{"".join(cells)}</tr>{rows}</tbody>'


def _share(share: MetricValue | None, name: str, *, is_best: bool = False, note: str = "") -> str:
    said, interval = share_text(share)
    best = ' <b title="its interval lies above all the others\'">★</b>' if is_best else ""
    lines = "".join(f"<small>{shown(line)}</small>" for line in (interval, note) if line)
    return f'<td data-name="{shown(name)}"><div>{said}{best}{lines}</div></td>'


def _question(row: MatrixRow, matrix: AnswerMatrix) -> str:
    question = row.question
    goes_on = " …" if question.is_cloze else ""
    rejected = f", not {bdi(question.rejected)}" if question.rejected else ""
    head = (
        f'<th scope="row"><details><summary>{bdi(question.text)}{goes_on}</summary></details>'
        f"<small>expects {bdi(question.expected or '')}{rejected}</small>"
        f'<small class="more">{bdi(question.path)}</small></th>'
    )
    before = _answer(row.before, UNEDITED, verdict=row.before.verdict, is_change=True)
    cells = [_pair(pair, label) for label, pair in zip(matrix.labels, row.pairs, strict=True)]
    return f'<tr class="question">{head}{before}{"".join(cells)}</tr>'


def _pair(pair: AnswerPair | None, name: str) -> str:
    if pair is None:
        return f'<td data-name="{shown(name)}"><div>–</div></td>'
    is_change = not pair.after.question.kind.should_stay
    is_before = is_change and pair.was_so_before
    return _answer(pair.after, name, verdict=pair.verdict, is_change=is_change, is_before=is_before)


def _answer(answer: Answer, name: str, *, verdict: Verdict | None, is_change: bool, is_before: bool = False) -> str:
    assert verdict is not None
    words = (VERDICTS if is_change else STAYS)[verdict.value][0]
    said = short(" ".join(answer.text.split()), _LONGEST)
    text = f"<bdi>{shown(said)}</bdi>" if said else "<em>∅</em>"
    before = f'<small class="so">{AS_BEFORE}</small>' if is_before else ""
    scores = (answer.question.expected, answer.expected), (answer.question.rejected, answer.rejected)
    figures = "".join(
        f'<small class="more">{bdi(who)} {percent(score.probability)}, rank {score.rank:,}</small>'
        for who, score in scores
        if who is not None and score is not None
    )
    return (
        f'<td class="{verdict.value}" data-name="{shown(name)}"><div><b title="{shown(words)}">{SIGNS[verdict]}</b> '
        f"{text}{before}{figures}</div></td>"
    )
