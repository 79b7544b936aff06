"""General ability against numbers worked by hand or one by one."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from kgmet.base.errors import BrokenArtifactError, ConfigError, KgmetError
from kgmet.lm.run.tracing import hooked, with_hidden
from kgmet.measure.general import (
    TASKS,
    Task,
    TaskResult,
    _task_result,
    bundled_abilities,
    bundled_passages,
    drift_states,
    find_tasks,
    perplexity,
    run_task,
)
from tests.evaluate.records import written
from tests.tiny_models import N_LAYER, tiny_lm

PASSAGES = ["The capital of Germany is Berlin.", "Big Ben", "The Louvre is located in the city of Paris too."]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_perplexity_is_that_of_each_passage_alone(kind: str) -> None:
    lm = tiny_lm(kind)
    total, n = 0.0, 0
    for passage in PASSAGES:
        ids = torch.tensor([lm.tokenizer(passage)["input_ids"]])
        with torch.no_grad():
            table = lm.model(ids).logits[0, :-1].double().log_softmax(-1)
        total -= float(table.gather(1, ids[0, 1:, None]).sum())
        n += ids.shape[1] - 1
    value, counted = perplexity(lm, PASSAGES, batch_size=2)
    assert counted == n
    assert value == pytest.approx(math.exp(total / n), rel=1e-4)


def test_perplexity_needs_something_to_predict() -> None:
    with pytest.raises(ConfigError, match="two tokens"):
        perplexity(tiny_lm(), ["a"])


def test_the_fixed_text_is_long_enough_to_mean_something() -> None:
    assert len(bundled_passages()) == 25
    assert sum(len(passage.split()) for passage in bundled_passages()) > 400


def test_nothing_attached_is_no_drift_and_a_moved_layer_moves_all_after_it() -> None:
    lm = tiny_lm()
    before = drift_states(lm, PASSAGES)
    assert before.shape == (N_LAYER, len(PASSAGES), lm.d_model)
    torch.testing.assert_close(drift_states(lm, PASSAGES), before, rtol=0, atol=0)
    with hooked(lm.layers[1], lambda _, output: with_hidden(output, _moved(output))):
        after = drift_states(lm, PASSAGES)
    moved = (after - before).norm(dim=-1).mean(1)
    assert moved[0] == 0
    assert (moved[1:] > 0).all()


def _moved(output):  # type: ignore[no-untyped-def]
    return (output[0] if isinstance(output, tuple) else output) + 1.0


def test_f1_and_matthews_of_a_two_by_two_table() -> None:
    # of 6 zeros 4 are found, of 4 ones 3
    right = [0] * 6 + [1] * 4
    said = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
    tp, fn, tn, fp = 4, 2, 3, 1
    mcc = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    f1 = 0.6 * 2 * 4 / (6 + 5) + 0.4 * 2 * 3 / (4 + 5)
    result = _task_result(right, said)
    assert result == TaskResult(n=10, accuracy=0.7, f1=pytest.approx(f1), mcc=pytest.approx(mcc))


def test_always_the_same_answer_has_no_correlation() -> None:
    assert _task_result([0, 1, 0, 1], [0, 0, 0, 0]).mcc == 0


def test_the_answer_is_the_likelier_choice_of_the_plain_model() -> None:
    lm = tiny_lm()
    task = Task(name="short", choices=("city", "river"), asked=lambda row: (str(row["text"]), int(row["right"])))
    questions = [(f"{name}:", n % 2) for n, name in enumerate(["Paris", "Rome", "Berlin", "In", "London", "Big", "It"])]
    result = run_task(lm, task, questions)
    assert result.n == 3  # four are worked examples
    shots = "".join(f"{text} {task.choices[right]}\n\n" for text, right in questions[:4])
    n_before = len(lm.tokenizer("It:")["input_ids"])
    tokens = [lm.tokenizer(f"It: {choice}")["input_ids"][n_before] for choice in task.choices]
    hits = 0
    for text, right in questions[4:]:
        ids = torch.tensor([lm.tokenizer(shots + text)["input_ids"]])
        with torch.no_grad():
            hits += int(lm.model(ids).logits[0, -1, tokens].argmax()) == right
    assert result.accuracy == pytest.approx(hits / 3)


def test_a_task_that_does_not_fit_the_model_says_so() -> None:
    with pytest.raises(KgmetError, match=r"No example of sst2, .* 128 tokens that .* reads\. Leave out sst2\.json"):
        run_task(tiny_lm(), TASKS["sst2"], [("word " * 200 + "Answer:", n % 2) for n in range(6)])


def test_the_files_in_a_folder_are_found(tmp_path: Path) -> None:
    written(tmp_path / "sst2.json", [{"sentence": "x", "label": n % 2} for n in range(3)])
    assert {name: len(rows) for name, rows in find_tasks(tmp_path).items()} == {"sst2": 3}


def test_a_folder_without_tasks_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cola\.json"):
        find_tasks(tmp_path)


def test_a_broken_task_file_is_named_with_its_record(tmp_path: Path) -> None:
    written(
        tmp_path / "mmlu.json", [{"question": "?", "choices": ["a", "b", "c", "d"], "answer": 0}, {"question": "?"}]
    )
    with pytest.raises(BrokenArtifactError, match=r"mmlu\.json, record 2"):
        find_tasks(tmp_path)


@pytest.mark.parametrize(
    ("name", "row", "right"),
    [
        ("cola", {"sentence": "x", "label": 1}, "yes"),
        ("mrpc", {"sentence1": "x", "sentence2": "y", "label": 0}, "no"),
        ("rte", {"sentence1": "x", "sentence2": "y", "label": 0}, "yes"),
        ("sst2", {"sentence": "x", "label": 0}, "negative"),
        ("nli", {"sentence1": "x", "sentence2": "y", "label": "not_entailment"}, "no"),
        ("mmlu", {"question": "?", "choices": list("wxyz"), "answer": 3}, "D"),
    ],
)
def test_labels_mean_what_the_published_files_mean(name: str, row: dict[str, object], right: str) -> None:
    task = TASKS[name]
    text, place = task.asked(row)
    assert task.choices[place] == right
    assert text.endswith("Answer:")


def test_statements_of_general_ability_are_different_and_have_one_right_answer() -> None:
    items = bundled_abilities()
    assert len(items) == len({item.prompt for item in items}) == 96
    assert Counter(item.kind for item in items) == dict.fromkeys(("nature", "language", "numbers", "everyday"), 24)
    assert [item.kind for item in items[:4]] == ["nature", "language", "numbers", "everyday"]
    for item in items:
        assert item.wrong not in (item.right, *item.others)
        assert not item.prompt.endswith(" ")
        assert item.right
