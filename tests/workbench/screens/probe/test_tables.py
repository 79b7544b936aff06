"""Counts by kind: what is said is not mixed up with what is only unchanged."""

from __future__ import annotations

from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding
from kgmet.measure.compare import Comparison, compare_answers
from kgmet.measure.question import Question, QuestionKind
from tests.workbench.sessions import answer_to
from workbench.drawing.probe_story import counts_html
from workbench.screens.probe.tables import probe_story, summary_frame
from workbench.screens.probe.values import ProbeRun

NEIGHBOURS = [
    Question(kind=QuestionKind.NEIGHBOUR, text=f"{name} is in", expected="Paris", rejected="Rome")
    for name in ("The Louvre", "The Panthéon", "The Odéon")
]


def saying(*texts: str) -> list[Answer]:
    return [answer_to(asked, text, new=0.5, old=0.25) for asked, text in zip(NEIGHBOURS, texts, strict=True)]


def run_of(before: list[Answer], after: list[Answer]) -> ProbeRun:
    return ProbeRun(
        entry_id="one",
        comparison=compare_answers(before, after),
        divergence=(0.0,) * len(before),
        chains=(),
        hops=Comparison(pairs=()),
        decoding=Decoding(max_new_tokens=5, temperature=0.0),
    )


def test_a_neighbour_that_keeps_a_wrong_answer_is_unchanged_but_not_said() -> None:
    (row,) = summary_frame(run_of(saying("Paris", "Lyon", "Lyon"), saying("Paris", "Lyon", "Rome"))).to_dict("records")
    assert (row["says before"], row["says after"]) == ("1/3", "1/3")
    assert round(row["said or unchanged"]) == 67
    assert (row["prefers before"], row["prefers after"]) == ("2/3", "2/3")


def test_a_shared_file_has_no_number_before_for_what_can_only_stay() -> None:
    (count,) = probe_story(run_of(saying("Paris", "Lyon", "Lyon"), saying("Paris", "Lyon", "Rome"))).counts
    assert (count.n, count.before, count.after) == (3, None, 2)
    assert "<td>3</td><td>–</td><td>2</td>" in counts_html([count])
