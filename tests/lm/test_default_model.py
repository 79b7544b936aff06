"""The embedded default model itself, as everybody gets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from kgmet.lm.load.bundled import is_ready


def test_the_default_model_knows_where_paris_is(default_model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(default_model_dir)
    model = AutoModelForCausalLM.from_pretrained(default_model_dir)
    assert model.num_parameters() == 134_515_008
    ids = tokenizer("The Eiffel Tower is located in the city of", return_tensors="pt")
    answer = model.generate(**ids, max_new_tokens=1, do_sample=False)[0, ids.input_ids.shape[1] :]
    assert tokenizer.decode(answer) == " Paris"


@pytest.mark.parametrize("text", ["The capital of France is", "In  1989, 12345 €", "Émile Zola 日本 🗼", "שלום"])
def test_its_tokenizer_gives_back_any_text_and_says_where_each_token_stands(text: str, default_model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(default_model_dir)
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert tokenizer.decode(encoded.input_ids) == text
    covered = {place for start, end in encoded.offset_mapping for place in range(start, end)}
    assert covered == set(range(len(text)))


def test_its_licence_lies_beside_it(default_model_dir: Path) -> None:
    assert is_ready()
    assert "Apache License" in (default_model_dir / "LICENSE").read_text(encoding="utf-8")
    assert json.loads((default_model_dir / "manifest.json").read_text(encoding="utf-8"))["licence"] == "Apache-2.0"
