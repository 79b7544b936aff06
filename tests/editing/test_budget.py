"""Estimates of memory: from a config alone, near what tensors take, and refusals that say what fits."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig, Qwen2Config

from kgmet.base.errors import MemoryLimitError
from kgmet.editing.budget import Use, Work, check_memory, estimate_memory, most_at_once, ways_out
from kgmet.editing.config import EditConfig
from kgmet.editing.defaults import settings_for
from kgmet.editing.editors import EDITORS
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.load.shape import FORMATS, ModelShape
from kgmet.search.directions.source import FreeDirection
from kgmet.search.room import search_bytes, size_of
from kgmet.search.search import TargetConfig, find_target_shifts
from kgmet.write.moments import make_key_moments
from kgmet.write.statistics import KeyStatistics
from tests.counting import PeakBytes
from tests.editing.small import CORPUS, TOWER, planned
from tests.progress import Recorded
from tests.search.test_search import LAYER, PROBLEMS, find, problem
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import EDITS

LLAMA = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)
QWEN = Qwen2Config(
    vocab_size=152_064,
    hidden_size=3584,
    intermediate_size=18_944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
)
GEMMA = Gemma2Config(
    vocab_size=256_000,
    hidden_size=3584,
    intermediate_size=14_336,
    num_hidden_layers=42,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=256,
)
CARD = Use(device=24 << 30, cpu=64 << 30)
"""What a card of 24 GB has free, and a machine of 64 GB."""


@functools.cache
def shape_of(model_type: str) -> ModelShape:
    """The sizes of one of the configs above, read once."""
    return ModelShape.of_config({config.model_type: config for config in (LLAMA, QWEN, GEMMA)}[model_type])


def work(config: Any, *, weights: str = "bfloat16", editor: str = "KGMET", **rest: Any) -> Work:
    shape = shape_of(config.model_type)
    settings = settings_for(EDITORS[editor], config.model_type, n_layer=shape.n_layer, d_model=shape.d_model).config
    return Work(
        **{
            "shape": shape,
            "weights": FORMATS[weights],
            "editor": EDITORS[editor],
            "config": settings,
            "is_on_cpu": False,
            **rest,
        }
    )


@pytest.mark.parametrize(
    ("config", "n_parameter", "d_key"),
    [(LLAMA, 8_030_261_248, 14_336), (QWEN, 7_615_616_512, 18_944), (GEMMA, 9_241_705_984, 14_336)],
)
def test_sizes_come_from_the_config_alone(config: Any, n_parameter: int, d_key: int) -> None:
    with PeakBytes() as taken:
        shape = ModelShape.of_config(config)
    assert (shape.n_parameter, shape.d_key) == (n_parameter, d_key)  # the published numbers of parameters
    assert shape.d_attend == (4096 if config is not QWEN else 3584)
    assert shape.weight_bytes(FORMATS["bfloat16"]) == 2 * n_parameter
    assert n_parameter / 2 < shape.weight_bytes(FORMATS["4 bits"]) < shape.weight_bytes(FORMATS["8 bits"])
    assert taken.peak < n_parameter / 100, "weights are described, not made (tables of positions are)"


def test_an_8b_model_in_16_bits_is_edited_on_a_card_of_24_gb() -> None:
    found = estimate_memory(work(LLAMA))
    assert found.stages["load"] == Use(device=16_060_522_496, cpu=16_060_522_496)
    # Beside the weights: a float64 matrix and twice as much to work in; finished layers wait on the CPU, half a float32
    # one for each.
    square = 14_336**2
    assert found.stages["eigenvectors"] == Use(device=16_060_522_496 + 24 * square, cpu=(8 + 2 * 5) * square)
    assert found.stages["write"].device - 16_060_522_496 == pytest.approx(2 * 5 * square, rel=0.02)
    for name in ("KGMET", "KGMET-paper", "AlphaEdit", "MEMIT", "ROME"):
        assert estimate_memory(work(LLAMA, editor=name)).peak.device - 16_060_522_496 < 6e9, name
    assert found.peak.device < CARD.device
    assert most_at_once(work(LLAMA), CARD) == 16
    assert most_at_once(work(LLAMA, is_least=True), CARD) >= 256, "searched in parts"
    assert most_at_once(work(GEMMA, is_least=True), CARD) >= 256, "eigenvectors on the CPU"
    assert most_at_once(work(LLAMA, weights="float32", is_least=True), CARD) == 0
    assert most_at_once(work(LLAMA, is_least=True), Use(device=16 << 30, cpu=64 << 30)) == 0, "the weights fill it"
    said = ways_out(work(LLAMA), Use(device=16 << 30, cpu=64 << 30))
    assert [text.split(" in ")[1].split(" (")[0] for text in said] == ["8 bits", "4 bits"]
    assert "device_map='auto'" in ways_out(work(LLAMA), Use(device=4 << 30, cpu=64 << 30))[0]
    assert "a smaller model" in ways_out(work(LLAMA), Use(device=4 << 30, cpu=8 << 30))[0]


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("is_on_cpu", [False, True])
def test_more_takes_more(editor: str, is_on_cpu: bool) -> None:
    base = work(LLAMA, editor=editor, is_on_cpu=is_on_cpu)
    few, many, least = (estimate_memory(replace(base, **change)) for change in ({}, {"n_edit": 64}, {"is_least": True}))  # type: ignore[arg-type]
    layers = base.config.write.layers
    top = replace(base.config, write=replace(base.config.write, layers=layers[-1:]))
    narrow = estimate_memory(replace(base, config=top))
    for stage, use in few.stages.items():
        assert use.fits(many.stages[stage])
        assert narrow.stages[stage].fits(use), "fewer layers take less"
        assert least.stages[stage].device <= use.device
    assert least.peak.device + least.peak.cpu <= 2 * (few.peak.device + few.peak.cpu)
    assert few.peak.device == 0 or not is_on_cpu
    assert few.fullest in few.stages


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("n_edit", [1, 6])
def test_a_search_takes_what_was_estimated_within_a_factor_of_three(kind: str, n_edit: int) -> None:
    lm = tiny_lm(kind)
    problems = [problem(EDITS[n % 2], answer=answer) for n, answer in zip(range(n_edit), "abcdef", strict=False)]
    sizes = [size_of(lm, one) for one in problems]
    guess = search_bytes(lm.shape, sizes, layer=LAYER, itemsize=4, plain_head=lm.linear_head is not None)
    sources = [FreeDirection(lm.d_model) for _ in problems]
    with PeakBytes([*lm.model.parameters(), *lm.model.buffers()]) as taken:
        find_target_shifts(lm, problems, sources, layer=LAYER, config=TargetConfig(max_steps=2, stop_nll=1e-9))
    assert taken.peak / 3 < guess < 3 * taken.peak, (taken.peak, guess)


def test_statistics_take_no_more_than_was_estimated() -> None:
    lm, layers = tiny_lm(), (1, 2)
    config = replace(EditConfig(), write=replace(EditConfig().write, layers=layers))
    asked = Work(
        shape=lm.shape,
        weights=FORMATS["float32"],
        editor=EDITORS["AlphaEdit"],
        config=config,
        is_on_cpu=True,
        is_loaded=True,
    )
    with PeakBytes([*lm.model.parameters(), *lm.model.buffers()]) as taken:
        make_key_moments(lm, layers, corpus=CORPUS)
    # A batch of the bundled text has 1,536 tokens; this text's has fewer.
    assert taken.peak < estimate_memory(asked).stages["key statistics"].cpu
    with PeakBytes() as taken:
        KeyStatistics(lm, CORPUS).free(layers, config.cutoff)
    assert taken.peak < estimate_memory(asked).stages["eigenvectors"].cpu


def test_edits_that_do_not_fit_are_refused_before_anything_is_worked_out(
    lm: LoadedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.budget.free_memory", lambda device: 10_000)
    with PeakBytes() as taken, pytest.raises(MemoryLimitError, match="beside the weights of tiny llama") as refused:
        planned(lm, EDITORS["KGMET"], TOWER)
    assert "What fits: fewer layers (write.layers), or a smaller model." in str(refused.value)
    assert taken.peak < 10_000
    weights = sum(p.numel() * 4 for p in lm.model.parameters())
    monkeypatch.setattr("kgmet.editing.budget.free_memory", lambda device: 40 * weights)
    check_memory(lm, EDITORS["KGMET"], EditConfig(write=replace(EditConfig().write, layers=(1, 2))), n_edit=1)
    with pytest.raises(MemoryLimitError, match=r"for 9999 edits at once .*What fits: up to \d+ edits at once"):
        check_memory(lm, EDITORS["KGMET"], EditConfig(write=replace(EditConfig().write, layers=(1, 2))), n_edit=9999)


def test_a_batch_that_does_not_fit_is_searched_in_parts_with_the_same_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, problems, heard = tiny_lm(), [*PROBLEMS, *PROBLEMS, PROBLEMS[0]], Recorded()
    whole = find(lm, problems)
    sizes = [size_of(lm, one) for one in problems]
    two = search_bytes(lm.shape, sizes[:2], layer=LAYER, itemsize=4, plain_head=True)
    monkeypatch.setattr("kgmet.search.room.free_memory", lambda device: two)
    parts = find(lm, problems, progress=heard)
    assert heard.notes == ["5 edits at once would not fit into memory; they are searched 2 at a time."]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.delta, other.delta, rtol=1e-3, atol=1e-4)
    monkeypatch.setattr("kgmet.search.room.free_memory", lambda device: two // 10)
    with pytest.raises(MemoryLimitError, match="The search for 'The Eiffel Tower is located in the city of'"):
        find(lm, problems)
