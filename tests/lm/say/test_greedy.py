"""`greedy_tokens` says after each text what the model says after it alone, and runs a common beginning once."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import Cancelled
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate_all
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.say import greedy as greedy_module
from kgmet.lm.say.greedy import greedy_tokens
from tests.passes import passes
from tests.tiny_models import FAMILY_KINDS, tiny_lm

NAMES = ("Rome", "Paris", "Germany", "Big Ben", "The Eiffel Tower", "London", "Italian", "the news")
TEXTS = tuple(
    text
    for name in NAMES
    for text in (f"The capital of {name} is", f"{name} is located in the city of", f"{name}", f"The capital of {name}")
)


def ids_of(lm: LoadedLM) -> list[tuple[int, ...]]:
    return [span.input_ids for span in locate_all(lm, [Phrase(template=text) for text in TEXTS])]


def alone(lm: LoadedLM, ids: tuple[int, ...]) -> int:
    with torch.no_grad():
        states = base_states(lm, torch.tensor([ids], dtype=torch.long), use_cache=False)
        return int(lm.vocabulary_logits(states[:, -1]).argmax())


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_every_text_is_followed_by_what_follows_it_alone(kind: str) -> None:
    lm = tiny_lm(kind)
    texts = ids_of(lm)
    assert greedy_tokens(lm, texts) == {text: alone(lm, text) for text in texts}


@pytest.mark.parametrize(("max_node", "max_token"), [(1, 1), (5, 12), (9, 1000), (1000, 30)])
def test_trees_and_passes_of_any_size_say_the_same(
    max_node: int, max_token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm()
    texts = ids_of(lm)
    whole = greedy_tokens(lm, texts)
    monkeypatch.setattr(greedy_module, "_MAX_NODE", max_node)
    monkeypatch.setattr(greedy_module, "_MAX_TOKEN", max_token)
    monkeypatch.setattr(greedy_module, "_MOST_LOGITS", 3 * lm.n_token)
    with passes(lm) as seen:
        assert greedy_tokens(lm, texts) == whole
    widest = max(max_node, *map(len, texts))
    assert all(width <= widest and (rows == 1 or rows * width <= max_token) for rows, width in seen)


def test_a_common_beginning_is_run_once() -> None:
    lm = tiny_lm()
    texts = ids_of(lm)
    beginnings = {text[:stop] for text in texts for stop in range(1, len(text) + 1)}
    with passes(lm) as seen:
        greedy_tokens(lm, texts)
    assert len(seen) == 1
    assert sum(rows * width for rows, width in seen) < 1.2 * len(beginnings) < sum(map(len, texts))


def test_it_can_be_stopped_before_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy_module, "_MAX_NODE", 15)
    monkeypatch.setattr(greedy_module, "_MAX_TOKEN", 30)
    lm = tiny_lm()
    stops = iter([None, Cancelled("stop")])

    def check() -> None:
        stop = next(stops)
        if stop is not None:
            raise stop

    with passes(lm) as seen, pytest.raises(Cancelled):
        greedy_tokens(lm, ids_of(lm), check=check)
    assert len(seen) == 1


def test_no_text_takes_no_pass() -> None:
    assert greedy_tokens(tiny_lm(), []) == {}
