"""`continue_begun`: greedy continuation of many texts at once, a row for each text on each side.

Every step adds one token to every text, so a step reads the weights once for all, and a token sees its own text only. A
text that has ended leaves the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.run.token_tree import lowest_where_unseen
from kgmet.lm.run.tracing import Rows
from kgmet.lm.say.score import end_tokens

if TYPE_CHECKING:
    from transformers import DynamicCache

__all__ = ["BegunText", "Enough", "GrowingText", "batches", "continue_begun"]

Enough = Callable[[str], bool] | None
"""Whether the text generated so far is enough; ``None`` if only its length counts."""
_MOST_KEPT = 8192
"""Most tokens in the key/value cache of texts that begin to continue together, unless one text takes more."""
_ROOM = 8
"""Room for new tokens of a text at first, in its cache, which grows if needed."""
_ONE_IN = 8
"""Ended texts leave the batch once they are one in so many, because the others are copied then."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GrowingText:
    """A text to continue by at most `length` tokens."""

    ids: tuple[int, ...]
    length: int
    enough: Enough


@dataclass(frozen=True, eq=False, kw_only=True)
class BegunText:
    """A text that was read, at `path` of the cache of its tree."""

    text: GrowingText
    cache: DynamicCache
    path: tuple[int, ...]


def batches(begun: Sequence[BegunText], n_side: int) -> list[list[BegunText]]:
    """Put texts of similar length of answer together, as many as a cache may keep."""
    found: list[list[BegunText]] = []
    longest = 0
    for one in sorted(begun, key=lambda one: (-one.text.length, len(one.path))):
        longest = max(longest, len(one.path))
        if not found or n_side * (len(found[-1]) + 1) * (longest + _ROOM) > _MOST_KEPT:
            found.append([])
            longest = len(one.path)
        found[-1].append(one)
    return found


def continue_begun(
    lm: LoadedLM,
    begun: Sequence[BegunText],
    added: Sequence[Sequence[list[int]]],
    *,
    placed: Sequence[Rows],
    ended: Callable[[GrowingText], None],
    check: Callable[[], None],
) -> None:
    """Generate greedily after each text on each side, up to an end token, the text's own length or a stop rule.

    Args:
        lm: the model, with any patches attached to the rows of their sides.
        begun: the texts, as many as one cache may keep (`batches`).
        added: each side's new tokens of each text, the first of them; more are appended in place.
        placed: for each side its rows, kept up to date as texts leave the batch.
        ended: called for each text that was continued to its end on all sides.
        check: called before every pass; may raise.
    """
    ends, n_side = end_tokens(lm), len(added)
    texts, cache = [one.text for one in begun], _in_rows(begun, n_side)
    rows = [(side, text) for side in range(n_side) for text in range(len(texts))]
    depths = torch.tensor([len(text.ids) for text in texts], dtype=torch.long).repeat(n_side)
    sees = torch.arange(cache.get_seq_length()) < depths[:, None]
    going = list(range(len(rows)))
    for step in range(max(text.length for text in texts)):
        unfinished = {rows[n][1] for n in going}
        going = [n for n in going if not _is_over(lm, texts[rows[n][1]], added[rows[n][0]][rows[n][1]], ends)]
        for text in sorted(unfinished - {rows[n][1] for n in going}):
            ended(texts[text])
        if not going:
            break
        if (len(rows) - len(going)) * _ONE_IN >= len(rows):
            kept = torch.tensor(going, dtype=torch.long)
            cache.batch_select_indices(kept.to(lm.device))
            rows, depths, sees = [rows[n] for n in going], depths[kept], sees[kept]
            going = list(range(len(rows)))
        for side, mine in enumerate(placed):
            of = [n for n, (other, _) in enumerate(rows) if other == side]
            mine.now = slice(of[0], of[-1] + 1) if of else slice(0, 0)
        check()
        sees = torch.cat([sees, torch.ones(len(rows), 1, dtype=torch.bool)], dim=1)
        last = torch.tensor([[added[side][text][-1]] for side, text in rows], dtype=torch.long)
        states = base_states(
            lm,
            last.to(lm.device),
            attention_mask=lowest_where_unseen(sees[:, None], dtype=lm.dtype, device=lm.device),
            position_ids=(depths + step)[:, None].to(lm.device),
            cache=cache,
            use_cache=True,
        )
        chosen = lm.vocabulary_logits(states[:, -1]).argmax(-1).tolist()
        for n in going:
            side, text = rows[n]
            added[side][text].append(chosen[n])


def _in_rows(begun: Sequence[BegunText], n_side: int) -> DynamicCache:
    """Return a cache with a row for each text on each side."""
    from kgmet.lm.run.growing_kv_cache import PathCache

    store = PathCache(
        n_side=n_side,
        n_text=len(begun),
        longest=max(len(one.path) for one in begun),
        n_new=min(_ROOM, max(one.text.length for one in begun)),
    )
    for tree in {id(one.cache): one.cache for one in begun}.values():
        mine = [number for number, one in enumerate(begun) if one.cache is tree]
        store.take(tree, [begun[number].path for number in mine], mine)
    return store.cache


def _is_over(lm: LoadedLM, text: GrowingText, tokens: Sequence[int], ends: set[int]) -> bool:
    """Return whether a text goes on no further after these new tokens, of which there is one at least."""
    if len(tokens) >= text.length or tokens[-1] in ends:
        return True
    return text.enough is not None and text.enough(str(lm.tokenizer.decode(list(tokens))))
