"""What is known is not asked again, is what asking would give, and survives a crash."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kgmet.base.errors import Cancelled, RequestError
from kgmet.base.progress import ProgressEvent, Stage
from kgmet.evaluate.card import edited as edited_module
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.known import KnownAnswers
from kgmet.evaluate.card.make import make_card
from kgmet.evaluate.card.value import ReportCard
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.ask import Decoding, ask
from kgmet.write.patch import EditPatch, attached
from tests.evaluate.card.test_make import CATALOGUE, ROME, SMALL, STORE, asked, roomy_lm
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import random_patch


class Counting:
    """Counts the questions that a model is really asked; stops after `most` batches."""

    def __init__(self, most: float = math.inf) -> None:
        self.n = 0
        self._left = most

    def report(self, event: ProgressEvent) -> None:
        if event.stage is Stage.PROBE and event.done == 0:
            self.n += event.total or 0

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Cancelled("stopped")


def card(models: list[EditedModel], known: KnownAnswers | None = None, progress: Counting | None = None) -> ReportCard:
    return make_card(
        models, edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL, known=known, progress=progress
    )


def other_patch(lm: LoadedLM) -> EditPatch:
    """Another edit of the same model."""
    patch = random_patch(lm)
    return EditPatch(
        edits=patch.edits,
        updates=patch.updates[:1],
        model_fingerprint=patch.model_fingerprint,
        editor="another",
    )


def same_cells(one: ReportCard, other: ReportCard, columns: dict[str, str]) -> None:
    """Every count is equal, and every mean up to rounding; `columns` are those of one card by those of the other."""
    for row in one.rows:
        for mine, theirs in columns.items():
            left, right = row.cells[mine], other.row(row.key).cells[theirs]
            assert (left.n, left.said, left.preferred, left.no) == (right.n, right.said, right.preferred, right.no)
            assert (left.value or 0.0) == pytest.approx(right.value or 0.0, rel=1e-4, abs=1e-9), (row.key, mine)


def test_answers_are_those_of_the_model_asked_alone() -> None:
    """The quick way (all sides, all rows, one pass) gives the verdicts of the slow one."""
    lm = roomy_lm()
    patch, known = random_patch(lm), KnownAnswers()
    questions = [item.question for item in asked()][:24]
    decoding = Decoding(max_answer_tokens=6)
    model = EditedModel.of_patches(lm, [patch])
    before, after = edited_module.ask_models([model], questions, decoding=decoding, known=known)
    slow = [ask(lm, [question], decoding=decoding)[0] for question in questions]
    with attached(patch, lm):
        slow_after = [ask(lm, [question], decoding=decoding)[0] for question in questions]
    for quick, alone in zip([*before, *after], [*slow, *slow_after], strict=True):
        assert (quick.question, quick.said, quick.verdict) == (alone.question, alone.said, alone.verdict)
        if quick.expected is not None and alone.expected is not None:
            assert quick.expected.logprob == pytest.approx(alone.expected.logprob, abs=1e-3)


def test_the_unedited_model_is_asked_once_for_all_editors() -> None:
    lm, known = roomy_lm(), KnownAnswers()
    first, second = EditedModel.of_patches(lm, [random_patch(lm)]), EditedModel.of_patches(lm, [other_patch(lm)])
    alone, counted = card([second]), Counting()
    card([first], known, counted)
    again = Counting()
    beside = card([second], known, again)
    assert 0 < again.n < counted.n
    columns = {column.key: column.key for column in alone.asked}
    same_cells(alone, beside, columns)
    nothing = Counting()
    assert card([second], known, nothing).rows == beside.rows
    assert nothing.n == 0


def test_editors_side_by_side_have_the_columns_they_have_alone() -> None:
    lm = roomy_lm()
    first, second = random_patch(lm), other_patch(lm)
    models = [EditedModel.of_patches(lm, [first], name="one"), EditedModel.of_patches(lm, [second])]
    both = card(models)
    assert [column.label for column in both.columns] == [
        "Unedited",
        "one",
        "another",
        "In context",
        "In context, graph",
    ]
    for model, key in zip(models, ("after:one", "after:another"), strict=True):
        columns = {"unedited": "unedited", "after": key, "in_context": "in_context"}
        same_cells(card([model]), both, columns)
    assert ReportCard.from_json(both.to_json()) == both
    assert both.edited == "one, another"
    with pytest.raises(ValueError, match="different names"):
        card([models[0], models[0]])
    with pytest.raises(RequestError, match="same unedited model"):
        card([models[0], EditedModel.of_patches(tiny_lm(seed=1), [random_patch(tiny_lm(seed=1))], name="two")])


def test_a_card_that_was_stopped_half_way_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edited_module, "_BATCH", 8)
    model = EditedModel.of_patches(roomy_lm(), [random_patch(roomy_lm())])
    whole_count = Counting()
    whole = card([model], progress=whole_count)
    with pytest.raises(Cancelled):
        card([model], KnownAnswers(tmp_path), Counting(most=3))
    rest = Counting()
    resumed = card([model], KnownAnswers(tmp_path), rest)
    assert 0 < rest.n < whole_count.n
    same_cells(whole, resumed, {column.key: column.key for column in whole.asked})
    nothing = Counting()
    assert card([model], KnownAnswers(tmp_path), nothing).rows == resumed.rows
    assert nothing.n == 0


def test_lines_that_are_damaged_or_of_another_version_are_asked_again(tmp_path: Path) -> None:
    model = EditedModel.of_patches(roomy_lm(), [random_patch(roomy_lm())])
    made = card([model], KnownAnswers(tmp_path))
    for path in tmp_path.glob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[0] = lines[0][: len(lines[0]) // 2]
        lines[1] = '{"n_token": 3, "answer": [1]}'
        lines[2] = '{"losses": [{"n": "many"}], "texts": "x"}'
        path.write_text("\n".join(lines) + '\n{"n_tok', encoding="utf-8")
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-40])
    counted = Counting()
    again = card([model], KnownAnswers(tmp_path), counted)
    assert counted.n > 0
    same_cells(made, again, {column.key: column.key for column in made.asked})


def test_a_model_on_top_of_other_edits_is_another_model() -> None:
    lm = roomy_lm()
    under, patch = other_patch(lm), random_patch(lm)
    bare, on_top = EditedModel.of_patches(lm, [patch]), EditedModel.of_patches(lm, [patch], under=[under])
    assert len({bare.key, bare.base_key, on_top.key, on_top.base_key}) == 4
    known = KnownAnswers()
    card([bare], known)
    value = card([on_top], known).row("perplexity").cells["unedited"].value
    with attached(under, lm):
        expected = card([bare]).row("perplexity").cells["unedited"].value
    assert value == pytest.approx(expected, rel=1e-5)
    assert value != card([bare], known).row("perplexity").cells["unedited"].value
