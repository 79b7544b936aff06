"""Scores of the unedited model are made once, whoever makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kgmet.evaluate.datasets.cases import Ask, AskKind, Dataset, EvalCase
from kgmet.evaluate.runs.before import BeforeScores
from kgmet.evaluate.runs.score import AskScore, CaseScore, ScoreConfig
from kgmet.fact import FactEdit
from tests.tiny_models import tiny_lm


def _cases() -> tuple[EvalCase, ...]:
    edit = FactEdit(subject="Big Ben", template="{} is located in", new_object="Rome", old_object="London")
    ask = Ask(kind=AskKind.EFFICACY, prompt="Big Ben is located in", expected="Rome", rejected="London")
    return tuple(EvalCase(case_id=str(number), edits=(edit,), asks=(ask,)) for number in range(2))


def _score(logprob: float) -> CaseScore:
    ask = AskScore(preferred=True, first=False, accuracy=0.5, logprob=logprob, rejected_logprob=-2.0, text=" Rome")
    return CaseScore(asks=(ask,), texts=("a",), fluency=1.0, consistency=None)


def _never() -> Sequence[CaseScore]:
    raise AssertionError("measured again")


def _opened(folder: Path, **config: int) -> BeforeScores:
    dataset = Dataset(name="own", cases=_cases())
    return BeforeScores.for_run(folder, lm=tiny_lm(), dataset=dataset, config=ScoreConfig(**config))


def test_a_run_that_goes_on_at_the_same_time_takes_over_what_another_has_made(tmp_path: Path) -> None:
    one, other = _opened(tmp_path), _opened(tmp_path)
    made = one.of(_cases(), lambda: [_score(-1.0), _score(-3.0)])
    assert other.of(_cases(), _never) == made == [_score(-1.0), _score(-3.0)]
    assert _opened(tmp_path).of(_cases(), _never) == made


def test_another_way_of_scoring_is_measured_anew(tmp_path: Path) -> None:
    _opened(tmp_path).of(_cases(), lambda: [_score(-1.0), _score(-1.0)])
    other = _opened(tmp_path, free_tokens=3)
    assert other.of(_cases(), lambda: [_score(-2.0), _score(-2.0)]) == [_score(-2.0), _score(-2.0)]


def test_without_a_folder_they_last_as_long_as_the_value() -> None:
    scores = BeforeScores(None)
    made = scores.of(_cases(), lambda: [_score(-1.0), _score(-3.0)])
    assert scores.of(_cases(), _never) == made
