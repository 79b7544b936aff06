"""`greedy_tokens`: the likeliest next token after each of many texts, from as few tokens as possible.

Texts are laid out in small trees of tokens (`token_tree`), several trees in a pass: a common beginning is run once,
there is hardly any padding, attention stays within a tree, and every pass has enough tokens to be worth reading the
weights for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import base_states, most_in_tree, trees_fit
from kgmet.lm.run.token_tree import lay_out, lowest_where_unseen, share_out

__all__ = ["equal_batches", "greedy_tokens"]

Text = tuple[int, ...]
_MAX_TOKEN = 1024
"""Most tokens per pass."""
_MAX_NODE = 64
"""Most tokens per tree, unless a text is longer: attention is quadratic in them."""
_MOST_LOGITS = 2**26
"""Most logits at a time: 256 MB."""


def greedy_tokens(
    lm: LoadedLM, texts: Collection[Text], *, check: Callable[[], None] = lambda: None
) -> dict[Text, int]:
    """Return the likeliest next token after each text.

    Args:
        lm: the model with whatever is attached.
        texts: token ids; none is empty.
        check: called before every pass; may raise.
    """
    found: dict[Text, int] = {}
    longest = max(map(len, texts), default=0)
    with torch.no_grad():
        # A sliding window counts the tokens of a tree, whichever they see.
        if not trees_fit(lm, longest + 1):
            for batch in equal_batches(sorted(texts, key=lambda ids: (len(ids), ids)), _MAX_TOKEN):
                check()
                ids = torch.tensor(batch, dtype=torch.long, device=lm.device)
                found |= zip(batch, _likeliest(lm, base_states(lm, ids, use_cache=False)[:, -1]), strict=True)
            return found
        for batch, tree_of in _tree_batches(sorted(set(texts)), most_in_tree(lm, _MAX_NODE)):
            check()
            found |= zip(batch, _after_trees(lm, batch, tree_of), strict=True)
    return found


def _tree_batches(rows: Sequence[Text], max_node: int) -> Iterator[tuple[list[Text], list[int]]]:
    """Yield sorted texts pass by pass, with the number of each one's tree."""
    numbers = share_out(rows, max_node)
    width, begin = 0, 0
    for n, row in enumerate(rows):
        wider = max(width, min(max_node, _MAX_TOKEN), len(row))
        if n > begin and numbers[n] != numbers[n - 1] and (numbers[n] - numbers[begin] + 1) * wider > _MAX_TOKEN:
            yield list(rows[begin:n]), [number - numbers[begin] for number in numbers[begin:n]]
            begin, wider = n, max(min(max_node, _MAX_TOKEN), len(row))
        width = wider
    if rows:
        yield list(rows[begin:]), [number - numbers[begin] for number in numbers[begin:]]


def _after_trees(lm: LoadedLM, rows: Sequence[Text], tree_of: Sequence[int]) -> list[int]:
    layout = lay_out(rows, tree_of)
    states = base_states(
        lm,
        layout.ids.to(lm.device),
        attention_mask=lowest_where_unseen(layout.sees, dtype=lm.dtype, device=lm.device),
        position_ids=layout.positions.to(lm.device),
        use_cache=False,
    )
    return _likeliest(lm, states[list(layout.tree_of), [path[-1] for path in layout.paths]])


def _likeliest(lm: LoadedLM, states: Tensor) -> list[int]:
    """Return the likeliest token by each last-layer state (n_row, d_model)."""
    parts = torch.split(states, max(1, _MOST_LOGITS // lm.n_token))
    return [int(token) for part in parts for token in lm.vocabulary_logits(part).argmax(-1)]


def equal_batches(texts: Sequence[Text], max_token: int) -> Iterator[list[Text]]:
    """Yield batches of texts of equal length, so that nothing is padded; `texts` must be sorted by length."""
    batch: list[Text] = []
    for text in texts:
        if batch and (len(text) != len(batch[0]) or (len(batch) + 1) * len(text) > max_token):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch
