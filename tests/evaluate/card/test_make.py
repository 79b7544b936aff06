"""Whole cards on tiny models: what must be equal is equal, and what is told is told."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace

import pytest

from kgmet.base.errors import BrokenArtifactError, ConfigError, RequestError, StaleArtifactError
from kgmet.editing.config import EditConfig
from kgmet.editing.context import prepare_edit
from kgmet.editing.told import told_sentences
from kgmet.evaluate.card.asked import AskedItem, CardConfig, card_questions
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.known import KnownAnswers
from kgmet.evaluate.card.make import card_from, make_card
from kgmet.evaluate.card.score import score_models
from kgmet.evaluate.card.texts import chosen_texts, text_losses
from kgmet.evaluate.card.value import COLUMNS, ROWS, ReportCard
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.measure import general
from kgmet.measure.divergence import divergences
from kgmet.measure.general import bundled_passages, perplexity
from kgmet.measure.told import told_question
from kgmet.write.patch import attached
from tests.graph.small_world import CATALOGUE, edit, world
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import logits_of, random_patch

STORE = world()
ROME = edit("Eiffel Tower", "P131", "Rome", typed="The Eiffel Tower", template="{} is located in the city of")
SPAIN = edit("Spain", "P36", "Paris", template="The capital of {} is")
SMALL = CardConfig(
    n_consequences=2,
    n_neighbours=3,
    n_other_facts=2,
    n_later_hops=2,
    n_multi_hop=2,
    answer_tokens=6,
    continued_tokens=8,
    text_tokens=60,
)


@functools.cache
def roomy_lm(*, seed: int = 0) -> LoadedLM:
    """A tiny model that reads texts of 1,024 tokens: its tokenizer makes many."""
    module = tiny_model("llama", seed=seed)
    module.config.max_position_embeddings = 1024
    return wrap_lm(module, tiny_tokenizer(), name="tiny llama")


def same(lm: LoadedLM) -> EditedModel:
    return EditedModel.of_patches(lm, [])


def asked(
    *, number: int = 0, edited: frozenset[str] = frozenset(), rows: tuple[str, ...] = ()
) -> tuple[AskedItem, ...]:
    context = prepare_edit(ROME, store=STORE, catalogue=CATALOGUE, config=EditConfig())
    config = CardConfig(rows=rows)
    return card_questions(context, store=STORE, catalogue=CATALOGUE, config=config, number=number, edited=edited)


def texts_of(row: str, items: tuple[AskedItem, ...]) -> list[str]:
    return [item.question.text for item in items if item.row == row]


def test_only_the_rows_that_are_wanted_are_asked() -> None:
    every, some = asked(), asked(rows=("multi_hop", "efficacy"))
    assert some == tuple(item for item in every if item.row in ("multi_hop", "efficacy"))
    assert 0 < len(some) < len(every)
    with pytest.raises(ConfigError, match="no row 'hops'; its rows are efficacy, "):
        CardConfig(rows=("hops",))


def test_an_empty_patch_changes_nothing() -> None:
    card = make_card(same(roomy_lm()), edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL)
    assert [row.key for row in card.rows] == list(ROWS)
    for row in card.rows:
        assert row.cells["after"] == row.cells["unedited"], row.key
    assert card.row("divergence").cells["after"].value == 0.0


def test_a_model_beside_itself_is_not_different() -> None:
    lm = roomy_lm()
    twin = roomy_lm.__wrapped__()
    card = make_card(EditedModel.of_models(lm, twin, edits=[ROME]), store=STORE, catalogue=CATALOGUE, config=SMALL)
    for row in card.rows:
        assert row.cells["after"] == row.cells["unedited"], row.key


def test_a_patch_changes_the_column_of_the_edit_only() -> None:
    lm = roomy_lm()
    plain = make_card(same(lm), edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL)
    moved = make_card(
        EditedModel.of_patches(lm, [random_patch(lm)]), edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL
    )
    for one, other in zip(plain.rows, moved.rows, strict=True):
        assert one.cells["unedited"] == other.cells["unedited"], one.key
        assert one.cells["in_context"] == other.cells["in_context"], one.key
    value = moved.row("divergence").cells["after"].value
    assert value is not None
    assert value > 0


def test_a_merged_model_scores_as_its_patch() -> None:
    """Whether the edit is attached or the other checkpoint holds it makes no difference."""
    lm, patch = roomy_lm(), random_patch(roomy_lm())
    module = tiny_model("llama")
    module.config.max_position_embeddings = 1024
    for update in patch.updates:
        weight = module.get_submodule(update.weight_name).weight
        weight.data += update.dense()
    merged = wrap_lm(module, tiny_tokenizer(), name="merged")
    one = make_card(EditedModel.of_patches(lm, [patch]), edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL)
    other = make_card(EditedModel.of_models(lm, merged, edits=[ROME]), store=STORE, catalogue=CATALOGUE, config=SMALL)
    for row in ROWS:
        left, right = one.row(row).cells["after"], other.row(row).cells["after"]
        assert (left.value or 0.0) == pytest.approx(right.value or 0.0, rel=1e-3, abs=1e-6), row
        assert (left.n, left.said, left.preferred) == (right.n, right.said, right.preferred), row


@pytest.mark.parametrize("n_token", [1, 7, 10_000])
def test_losses_are_those_of_the_models_own_forward(n_token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens' logits are in memory at a time."""
    lm, patch = roomy_lm(), random_patch(roomy_lm())
    monkeypatch.setattr(general, "_MOST_LOGITS", n_token * lm.n_token)
    texts = list(bundled_passages()[:3])
    (losses,) = text_losses([EditedModel.of_patches(lm, [patch])], texts, known=KnownAnswers(), batch_size=2)
    value, n = perplexity(lm, texts)
    total = sum(loss.n for loss in losses)
    assert total == n
    assert math.exp(sum(loss.before for loss in losses) / n) == pytest.approx(value, rel=1e-5)
    before = logits_of(lm, texts[0])[:-1]
    with attached(patch, lm):
        after = logits_of(lm, texts[0])[:-1]
    assert losses[0].divergence == pytest.approx(sum(divergences(before, after)), rel=1e-4)


def test_texts_reach_the_length_that_is_asked_for_and_say_where_they_are_from() -> None:
    lm = roomy_lm()
    few, where = chosen_texts(lm, 60)
    assert few == list(bundled_passages()[: len(few)])
    assert where == f"{len(few)} passages written for this project"
    many, where = chosen_texts(lm, 5000)
    assert len(many) > len(bundled_passages())
    assert "key statistics" in where


def test_the_questions_of_an_edit_by_row() -> None:
    items = asked()
    assert texts_of("efficacy", items) == ["The Eiffel Tower is located in the city of"]
    assert texts_of("reversal", items) == ["What is located in the city of Rome?"]
    assert texts_of("yes_no", items) == [
        "Is the Eiffel Tower in the city of Rome?",
        "Is the Eiffel Tower in the city of Paris?",
    ]
    assert texts_of("yes_no_contradicts", items)[0] == (
        "The Eiffel Tower is located in the city of Paris. Is the Eiffel Tower in the city of Rome?"
    )
    choices = [item.question for item in items if item.row == "choice"]
    assert [question.expected for question in choices] == ["A", "B", "C"]
    for question in choices:
        letter = question.text.partition("Rome")[0][-3]
        assert letter == question.expected
        assert "Paris" in question.text
        assert "D. I am not sure" in question.text
    one_each = {item.question.expected for item in items if item.row.startswith("choice_")}
    assert one_each == {"A", "B", "C"}
    assert all("not" in text or "cannot" in text for text in texts_of("negation", items))
    assert set(texts_of("multi_hop", items))
    assert all(item.question.expected is not None for item in items if item.row not in ("fluency",))


def test_a_neighbour_that_another_edit_changes_is_not_asked() -> None:
    plain = asked()
    neighbours = texts_of("neighbours", plain)
    gone = frozenset({"prado", "louvre", "reichstag", "brandenburg gate", "tokyo tower"})
    left = texts_of("neighbours", asked(edited=gone))
    assert len(left) < len(neighbours)
    assert not any(name in text.casefold() for name in gone for text in left)


def test_what_is_told_starts_with_the_fact_and_goes_on_with_what_the_graph_retrieves() -> None:
    context = prepare_edit(ROME, store=STORE, catalogue=CATALOGUE, config=EditConfig())
    sentences = told_sentences(context, CATALOGUE)
    assert sentences[0] == "The Eiffel Tower is located in the city of Rome."
    assert any("Rome" in text and "Italy" in text for text in sentences[1:])
    assert any("Italy" in text and "Italian" in text for text in sentences[1:])
    assert not any("France" in text or "Paris" in text for text in sentences)
    assert len(told_sentences(context, CATALOGUE, most=1)) == 2
    question = asked()[0].question
    assert told_question(question, sentences[:1]).text == f"{sentences[0]} {question.text}"
    assert told_question(question, sentences[:1]).expected == question.expected


def test_several_edits_share_one_card_and_each_is_told_its_own_fact() -> None:
    card = make_card(same(roomy_lm()), edits=[ROME, SPAIN], store=STORE, catalogue=CATALOGUE, config=SMALL)
    assert card.row("efficacy").cells["after"].n == 2
    assert [facts[0] for facts in card.facts] == [
        "The Eiffel Tower is located in the city of Rome.",
        "The capital of Spain is Paris.",
    ]


def test_edits_scored_apart_are_counted_together() -> None:
    lm = roomy_lm()
    edited = EditedModel.of_patches(lm, [random_patch(lm)])
    given = {"store": STORE, "catalogue": CATALOGUE, "config": SMALL}
    parts = [score_models([one], edits=[fact], **given) for one, fact in ((edited, ROME), (same(lm), SPAIN))]
    card = card_from(parts, config=SMALL)
    alone = [card_from([part], config=SMALL) for part in parts]
    for row in card.rows:
        for column, cell in row.cells.items():
            cells = [one.row(row.key).cells[column] for one in alone]
            if cell.said is not None:
                assert cell.said == sum(one.said or 0 for one in cells), (row.key, column)
                assert cell.n == sum(one.n for one in cells)
    values = [one.row("divergence").cells["after"].value or 0.0 for one in alone]
    assert card.row("divergence").cells["after"].value == pytest.approx(sum(values) / 2)
    assert card.row("divergence").cells["after"].n == alone[0].row("divergence").cells["after"].n
    assert len(card.edits) == len(card.facts) == 2
    assert "2 models" in card.notes[0]
    assert {example.edit for row in card.rows if row.key != "ability" for example in row.worst} <= set(card.edits)


def test_without_a_graph_the_edits_own_prompt_and_its_forms_are_asked() -> None:
    fact = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome")
    card = make_card(same(roomy_lm()), edits=[fact], store=None, catalogue=CATALOGUE, config=SMALL)
    assert "No graph" in card.notes[0]
    n = {row.key: row.cells["after"].n for row in card.rows}
    assert (n["efficacy"], n["yes_no"], n["negation"]) == (1, 1, 1)
    assert n["consequences"] == n["neighbours"] == n["choice"] == n["later_hops"] == 0
    assert all(row.cells["after"].value is None for row in card.rows if not row.cells["after"].n)


def test_no_text_is_measured_where_none_is_asked_for() -> None:
    config = replace(SMALL, text_tokens=0, continued_tokens=0)
    card = make_card(same(roomy_lm()), edits=[ROME], store=STORE, catalogue=CATALOGUE, config=config)
    for key in ("fluency", "repetition", "divergence", "perplexity"):
        assert all(card.row(key).cells[column.key].value is None for column in COLUMNS)
    assert card.texts == ""


def test_a_card_comes_back_from_json() -> None:
    lm = roomy_lm()
    made = EditedModel.of_patches(lm, [random_patch(lm)])
    card = make_card(made, edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL)
    assert ReportCard.from_json(json.loads(json.dumps(card.to_json()))) == card
    with pytest.raises(BrokenArtifactError, match="not a report card"):
        ReportCard.from_json({"format": 2, "rows": [{"key": "efficacy"}]})
    with pytest.raises(BrokenArtifactError, match="another version"):
        ReportCard.from_json({**card.to_json(), "format": 0})


def test_what_the_graph_lacks_of_an_edit_is_said() -> None:
    lm = roomy_lm()
    nowhere = FactEdit(subject="Zorblax", template=ROME.template, new_object="Quux")
    edits = [ROME, nowhere, replace(nowhere, id="", new_object="Rome")]
    card = make_card(same(lm), edits=edits, store=STORE, catalogue=CATALOGUE, config=replace(SMALL, rows=("efficacy",)))
    said = [note for note in card.notes if note.startswith("The graph knows")]
    prompt = nowhere.prompt
    assert said == [
        f"The graph knows neither the subject nor the new object of: {prompt}.",
        f"The graph knows the new object but not the subject of: {prompt}.",
    ]


def test_questions_that_are_longer_than_the_model_reads_are_left_out_and_that_is_said() -> None:
    lm = tiny_lm()  # 128 tokens
    card = make_card(same(lm), edits=[ROME], store=STORE, catalogue=CATALOGUE, config=SMALL)
    assert any("longer than the model reads" in note for note in card.notes)
    assert card.row("choice").n_asked < 3


def test_what_cannot_be_scored_is_refused() -> None:
    lm = roomy_lm()
    with pytest.raises(RequestError, match="edited fact is unknown"):
        make_card(same(lm), store=STORE)
    with pytest.raises(StaleArtifactError, match="different tokenizers"):
        EditedModel.of_models(lm, tiny_lm(bos=True), edits=[ROME])
    with pytest.raises(StaleArtifactError):
        EditedModel.of_patches(lm, [random_patch(tiny_lm(seed=1))])
    with pytest.raises(ConfigError, match=r"card\.answer_tokens"):
        CardConfig(answer_tokens=0)
