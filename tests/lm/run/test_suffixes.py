"""Properties of resuming, beyond the conformance test: batches, sliding windows, patches attached meanwhile."""

from __future__ import annotations

import pytest
import torch

from kgmet.lm.run.suffixes import base_states, cache_argument, encode_suffixes, left_padded
from kgmet.write.patch import attached
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import random_patch

LONG = "In the news today: it is well known what the guide said, and the Eiffel Tower is located in the city of Rome"


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gemma3", "mistral-sliding"])
@pytest.mark.parametrize("n_after", [1, 3, 12])
def test_a_prefix_longer_than_the_sliding_window_is_kept_as_far_as_it_is_seen(kind: str, n_after: int) -> None:
    lm = tiny_lm(kind)
    row = lm.tokenizer(LONG)["input_ids"]
    suffixes = encode_suffixes(lm, [row], [len(row) - n_after], layer=1)
    with torch.no_grad():
        resumed = lm.vocabulary_logits(suffixes.resume(suffixes.hidden))[0]
        expected = lm.model(torch.tensor([row]), use_cache=False).logits[0, -n_after:].float()
    torch.testing.assert_close(resumed, expected, rtol=1e-4, atol=1e-4)


def test_each_row_of_a_batch_is_as_it_is_alone() -> None:
    lm = tiny_lm(bos=True)
    rows = [lm.tokenizer(text)["input_ids"] for text in (LONG, "Rome", "The capital of Italy is")]
    starts = [4, 0, 3]
    together = encode_suffixes(lm, rows, starts, layer=1)
    assert [len(path) for path in together.paths] == [len(row) - start for row, start in zip(rows, starts, strict=True)]
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        alone = encode_suffixes(lm, [row], [start], layer=1)
        n = len(together.paths[number])
        torch.testing.assert_close(together.hidden[number, :n], alone.hidden[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.final[number, :n], alone.final[0], rtol=1e-4, atol=1e-4)


def test_all_rows_may_start_at_their_first_token() -> None:
    lm = tiny_lm()
    rows = [lm.tokenizer(text)["input_ids"] for text in ("Rome", "The capital of Italy is")]
    suffixes = encode_suffixes(lm, rows, [0, 0], layer=0)
    with torch.no_grad():
        expected = lm.model(torch.tensor([rows[1]]), use_cache=False).logits[0].float()
        resumed = lm.vocabulary_logits(suffixes.resume(suffixes.hidden))[1]
    torch.testing.assert_close(resumed, expected, rtol=1e-4, atol=1e-4)


def test_what_is_attached_while_encoding_counts() -> None:
    lm = tiny_lm()
    row = lm.tokenizer(LONG)["input_ids"]
    with attached(random_patch(lm, layers=(0, 3)), lm), torch.no_grad():
        suffixes = encode_suffixes(lm, [row], [5], layer=1)
        resumed = lm.vocabulary_logits(suffixes.resume(suffixes.hidden))[0]
        expected = lm.model(torch.tensor([row]), use_cache=False).logits[0, 5:].float()
    torch.testing.assert_close(resumed, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_a_cache_is_given_under_the_name_that_the_installed_version_takes(kind: str) -> None:
    # A deprecated name would warn, and warnings are errors here.
    lm = tiny_lm(kind)
    row = torch.tensor([lm.tokenizer(LONG)["input_ids"][:8]])
    with torch.no_grad():
        cache = lm.base(row[:, :5], use_cache=True).past_key_values
        resumed = base_states(lm, row[:, 5:], cache=cache, use_cache=True)
        expected = base_states(lm, row, use_cache=False)[:, 5:]
    torch.testing.assert_close(resumed, expected, rtol=1e-4, atol=1e-4)


def test_no_cache_is_no_argument() -> None:
    assert cache_argument(tiny_lm(), None) == {}


def test_left_padding_puts_tokens_at_the_end_and_masks_the_rest() -> None:
    ids, mask = left_padded([[5, 6, 7], [8], []], device=torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert left_padded([], device=torch.device("cpu"))[0].shape == (0, 0)


def test_texts_of_one_tree_share_what_they_begin_with_and_nothing_else() -> None:
    lm = tiny_lm()
    texts = ("Rome is in the city of", "Rome is in the country of", "Is Rome in the city of")
    rows = [lm.tokenizer(text)["input_ids"] for text in texts]
    starts = [2, 2, 3]
    suffixes = encode_suffixes(lm, rows, starts, layer=1, together=[0, 0, 0])
    first, second, third = suffixes.paths
    common = next(n for n, (a, b) in enumerate(zip(rows[0], rows[1], strict=False)) if a != b) - 2
    assert common > 0
    assert first[:common] == second[:common]
    assert not set(first[common:]) & set(second[common:])
    assert not set(third) & {*first, *second}
    assert suffixes.hidden.shape[:2] == (1, len({*first, *second, *third}))
