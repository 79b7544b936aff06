"""General ability: public tasks, perplexity and drift before and after editing.

Six published tasks from files the user supplies (cola, mrpc, rte, sst2, nli, mmlu), perplexity on a fixed text, and the
shift of hidden states on unrelated prompts. Measured repeatedly over a long run, these give the collapse curve of
AlphaEdit (arXiv:2410.02355) and its successors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kgmet.base.errors import BrokenArtifactError, ConfigError
from kgmet.base.files import is_file, read_json
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate
from kgmet.lm.run.suffixes import base_states, left_padded, token_positions
from kgmet.lm.run.tracing import recorded
from kgmet.lm.say.continue_texts import encode_prompts

__all__ = [
    *("TASKS", "AbilityItem", "Task", "TaskResult", "bundled_abilities", "bundled_passages", "drift_states"),
    *("find_tasks", "next_token_states", "perplexity", "run_task", "token_parts"),
]

_N_SHOT = 4
_BATCH = 16
_MOST_LOGITS = 2**23
"""Most logits at a time: 32 MB."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A classification task whose answer is one of a few words.

    `asked` turns a record into the text before the answer and the index of the right choice.
    """

    name: str
    choices: tuple[str, ...]
    asked: Callable[[Mapping[str, Any]], tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """Scores on `n` examples: accuracy, F1 weighted by label frequency, Matthews correlation."""

    n: int
    accuracy: float
    f1: float
    mcc: float


@dataclass(frozen=True, kw_only=True)
class AbilityItem:
    """A statement to complete: the `right` word, `others` that are right too, and a plausible `wrong` one."""

    kind: str
    prompt: str
    right: str
    others: tuple[str, ...]
    wrong: str


def _pair(row: Mapping[str, Any], question: str, is_yes: bool) -> tuple[str, int]:
    return f"First: {row['sentence1']}\nSecond: {row['sentence2']}\n{question} Answer:", 0 if is_yes else 1


_FOLLOWS = "Does the second sentence follow from the first, yes or no?"

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="cola",
            choices=("yes", "no"),
            asked=lambda row: (
                f"Sentence: {row['sentence']}\nIs this sentence grammatical, yes or no? Answer:",
                0 if int(row["label"]) == 1 else 1,
            ),
        ),
        Task(
            name="mrpc",
            choices=("yes", "no"),
            asked=lambda row: _pair(row, "Do they mean the same, yes or no?", int(row["label"]) == 1),
        ),
        Task(name="rte", choices=("yes", "no"), asked=lambda row: _pair(row, _FOLLOWS, int(row["label"]) == 0)),
        Task(
            name="sst2",
            choices=("positive", "negative"),
            asked=lambda row: (
                f"Review: {row['sentence']}\nIs this review positive or negative? Answer:",
                0 if int(row["label"]) == 1 else 1,
            ),
        ),
        Task(name="nli", choices=("yes", "no"), asked=lambda row: _pair(row, _FOLLOWS, row["label"] == "entailment")),
        Task(
            name="mmlu",
            choices=("A", "B", "C", "D"),
            asked=lambda row: (
                f"{row['question']}\n"
                + "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"], strict=True))
                + "\nAnswer:",
                int(row["answer"]),
            ),
        ),
    )
}
"""All tasks by name; each reads ``NAME.json``."""


def find_tasks(folder: Path) -> dict[str, list[tuple[str, int]]]:
    """Find the tasks whose files are in a folder: name → questions with the index of the right choice.

    Raises:
        ConfigError: if there is none.
        BrokenArtifactError: if a file differs from the published format; gives the record.
    """
    found = {task.name: _questions(folder / f"{task.name}.json", task) for task in TASKS.values()}
    kept = {name: rows for name, rows in found.items() if rows}
    if not kept:
        raise ConfigError(f"{folder} holds none of {', '.join(f'{name}.json' for name in TASKS)}.")
    return kept


def run_task(lm: LoadedLM, task: Task, questions: Sequence[tuple[str, int]], *, limit: int = 100) -> TaskResult:
    """Answer a task's questions by the likeliest first token of the choices, after four worked examples.

    The examples are the first of the file, balanced over the labels; they are not scored.

    Raises:
        ConfigError: if no question fits into the model's context, or two choices begin with the same token.
    """
    shots = _shots(task, questions)
    asked = [question for n, question in enumerate(questions) if n not in shots][:limit]
    before = "".join(f"{questions[n][0]} {task.choices[questions[n][1]]}\n\n" for n in shots)
    encoded = [(list(lm.tokenizer(before + text)["input_ids"]), right, text) for text, right in asked]
    fitting = [row for row in encoded if len(row[0]) <= lm.context]
    if not fitting:
        raise ConfigError(
            f"No example of {task.name}, with the worked ones before it, fits into the {lm.context} tokens that "
            f"{lm.name} reads. Leave out {task.name}.json."
        )
    rows = [(ids, right) for ids, right, _ in fitting]
    tokens = _choice_tokens(lm, fitting[0][2], task.choices)
    said: list[int] = []
    for begin in range(0, len(rows), _BATCH):
        with torch.no_grad():
            states, _, _ = encode_prompts(lm, [ids for ids, _ in rows[begin : begin + _BATCH]])
            said += [int(best) for best in lm.vocabulary_logits(states)[:, tokens].argmax(-1)]
    return _task_result([right for _, right in rows], said)


def bundled_passages() -> tuple[str, ...]:
    """Return the fixed text for perplexity: 25 short passages written for this project."""
    text = (resources.files("kgmet.measure") / "passages.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def bundled_abilities() -> tuple[AbilityItem, ...]:
    """Return statements to complete, written for this project: the world, language, numbers, everyday life, in turn."""
    text = (resources.files("kgmet.measure") / "abilities.tsv").read_text(encoding="utf-8")
    by_kind: dict[str, list[AbilityItem]] = {}
    for line in text.splitlines()[1:]:
        kind, prompt, right, wrong = line.split("\t")
        name, *others = right.split("|")
        item = AbilityItem(kind=kind, prompt=prompt, right=name, others=tuple(others), wrong=wrong)
        by_kind.setdefault(kind, []).append(item)
    turns = itertools.zip_longest(*by_kind.values())
    return tuple(item for turn in turns for item in turn if item is not None)


def perplexity(lm: LoadedLM, passages: Sequence[str], *, batch_size: int = 8) -> tuple[float, int]:
    """Return the perplexity per token and the number of scored tokens; each passage's first token is given.

    Raises:
        ConfigError: if no passage has two tokens.
    """
    rows = [list(row) for row in lm.tokenizer(list(passages))["input_ids"]]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise ConfigError("Perplexity needs at least one passage of two tokens.")
    total, n = 0.0, 0
    for begin in range(0, len(rows), batch_size):
        with torch.no_grad():
            states, targets = next_token_states(lm, rows[begin : begin + batch_size])
            for part in token_parts(lm, len(targets)):
                table = lm.vocabulary_logits(states[part]).log_softmax(-1)
                total -= float(table.gather(1, targets[part, None]).double().sum())
            n += len(targets)
    return math.exp(min(total / n, 700.0)), n


def next_token_states(lm: LoadedLM, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return last-layer states (n_token, d_model) of the tokens that predict one, and the next tokens (n_token,)."""
    ids, mask = left_padded(rows, device=lm.device)
    states = base_states(lm, ids, attention_mask=mask, position_ids=token_positions(mask), use_cache=False)
    counted = (mask[:, :-1] * mask[:, 1:]).bool()
    return states[:, :-1][counted], ids[:, 1:][counted]


def token_parts(lm: LoadedLM, n_token: int, *, most_logits: int = _MOST_LOGITS) -> list[slice]:
    """Return parts of so many tokens; logits of the whole vocabulary for all of them may take gigabytes."""
    most = max(1, most_logits // lm.n_token)
    return [slice(begin, begin + most) for begin in range(0, n_token, most)]


def drift_states(lm: LoadedLM, prompts: Sequence[str]) -> Tensor:
    """Return states after every layer at each prompt's last token: (n_layer, n_prompt, d_model), float32, CPU."""
    rows = [list(row) for row in lm.tokenizer(list(prompts))["input_ids"]]
    with torch.no_grad(), recorded(list(lm.layers)) as seen:
        ids, mask = left_padded(rows, device=lm.device)
        positions = token_positions(mask)
        lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)
    return torch.stack([layer[:, -1].float().cpu() for layer in seen if layer is not None])


def _questions(path: Path, task: Task) -> list[tuple[str, int]]:
    if not is_file(path):
        return []
    rows = read_json(path)
    if not isinstance(rows, list):
        raise BrokenArtifactError(f"{path} must hold a JSON list of records.")
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(task.asked(row))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BrokenArtifactError(
                f"{path.name}, record {number} is not as {task.name} is published: {error!r}"
            ) from error
    return found


def _shots(task: Task, questions: Sequence[tuple[str, int]]) -> list[int]:
    per_label = max(1, _N_SHOT // len(task.choices))
    chosen: list[int] = []
    for label in range(len(task.choices)):
        chosen += [n for n, (_, right) in enumerate(questions) if right == label][:per_label]
    return sorted(chosen) if len(questions) > len(chosen) else []


def _choice_tokens(lm: LoadedLM, text: str, choices: Sequence[str]) -> list[int]:
    template = text.replace("{}", "{ }")
    tokens = [locate(lm, Phrase(template=template, target=choice)).target_ids[0] for choice in choices]
    if len(set(tokens)) != len(tokens):
        raise ConfigError(f"The choices {', '.join(choices)} begin with the same token in {lm.name}'s vocabulary.")
    return tokens


def _task_result(right: Sequence[int], said: Sequence[int]) -> TaskResult:
    n = len(right)
    hits = sum(a == b for a, b in zip(right, said, strict=True))
    labels = sorted({*right, *said})
    f1 = 0.0
    for label in labels:
        both = sum(a == label == b for a, b in zip(right, said, strict=True))
        together = sum(a == label for a in right) + sum(b == label for b in said)
        f1 += sum(a == label for a in right) / n * (2 * both / together)
    return TaskResult(n=n, accuracy=hits / n, f1=f1, mcc=_matthews(right, said, labels))


def _matthews(right: Sequence[int], said: Sequence[int], labels: Sequence[int]) -> float:
    """Return the Matthews correlation for any number of labels (Gorodkin 2004); 0 if one side is constant."""
    n = len(right)
    hits = sum(a == b for a, b in zip(right, said, strict=True))
    true = [sum(a == label for a in right) for label in labels]
    found = [sum(b == label for b in said) for label in labels]
    product = sum(t * f for t, f in zip(true, found, strict=True))
    spread = (n * n - sum(f * f for f in found)) * (n * n - sum(t * t for t in true))
    return (hits * n - product) / math.sqrt(spread) if spread else 0.0
