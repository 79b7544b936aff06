"""`score_packed`: `score_answers` for many prompts that begin alike, each common beginning encoded once.

Prompts and answers are laid out as a tree of tokens in one row. A token sees its ancestors only, by a mask, and stands
at its depth, so it has the states it would have in a text of its own; there is no padding, nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kgmet.lm.loaded import LoadedLM
from kgmet.lm.score import AnswerScore, score_answers, score_from
from kgmet.lm.spans import EditSpan, Phrase, locate_all
from kgmet.lm.suffixes import base_states

__all__ = ["score_packed"]


def score_packed(lm: LoadedLM, pairs: Sequence[tuple[str, str]], *, max_token: int = 256) -> list[AnswerScore]:
    """Score each (prompt, answer), in order; the same numbers as `score_answers` up to rounding.

    Args:
        lm: the model with whatever is attached.
        pairs: prompts and answers.
        max_token: most tokens laid out together; attention takes their square.

    Raises:
        EmptyTextError: if an answer has no token of its own after its prompt.
    """
    if getattr(lm.config, "sliding_window", None) is not None:
        # A sliding window counts places in the row, which are not depths in the tree.
        return score_answers(lm, pairs)
    spans = locate_all(lm, [Phrase(template=prompt.replace("{}", "{ }"), target=answer) for prompt, answer in pairs])
    scores: dict[int, AnswerScore] = {}
    for tree, members in _trees(spans, max_token):
        table, place = _logprobs(lm, tree, [spans[number] for number, _ in members], [path for _, path in members])
        for (number, path), span in zip(members, [spans[number] for number, _ in members], strict=True):
            assert span.target is not None
            rows = table[[place[node] for node in path[span.target.start - 1 :]]]
            scores[number] = score_from(pairs[number], span, rows)
    return [scores[number] for number in range(len(pairs))]


@dataclass
class _Tree:
    """Tokens of one row: what each is, whom it follows, how deep it stands."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    children: dict[tuple[int, int], int] = field(default_factory=dict)

    def n_new(self, ids: Sequence[int]) -> int:
        """How many tokens of `ids` are not laid out yet."""
        node = -1
        for depth, token in enumerate(ids):
            if (node, token) not in self.children:
                return len(ids) - depth
            node = self.children[node, token]
        return 0

    def add(self, ids: Sequence[int]) -> list[int]:
        """Lay out `ids`; the places of its tokens."""
        node, path = -1, []
        for depth, token in enumerate(ids):
            key = node, token
            if key not in self.children:
                self.children[key] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(depth)
            node = self.children[key]
            path.append(node)
        return path


def _trees(spans: Sequence[EditSpan], max_token: int) -> Iterator[tuple[_Tree, list[tuple[int, list[int]]]]]:
    """Trees of at most `max_token` tokens (or of one text), with (number of the span, its path) each."""
    tree = _Tree()
    members: list[tuple[int, list[int]]] = []
    # In the order of their tokens, texts that begin alike stand side by side and come into one tree.
    for number in sorted(range(len(spans)), key=lambda number: spans[number].input_ids):
        span = spans[number]
        assert span.target is not None
        ids = span.input_ids[: span.target.stop - 1]  # nothing follows the last token of an answer
        if members and len(tree.tokens) + tree.n_new(ids) > max_token:
            yield tree, members
            tree, members = _Tree(), []
        members.append((number, tree.add(ids)))
    if members:
        yield tree, members


def _logprobs(
    lm: LoadedLM, tree: _Tree, spans: Sequence[EditSpan], paths: Sequence[Sequence[int]]
) -> tuple[Tensor, dict[int, int]]:
    """Log-probabilities (n, d_vocab) after the tokens that predict an answer, and the row of each such token."""
    wanted = sorted(
        {
            node
            for span, path in zip(spans, paths, strict=True)
            if span.target is not None
            for node in path[span.target.start - 1 :]
        }
    )
    with torch.no_grad():
        ids = torch.tensor([tree.tokens], device=lm.device)
        positions = torch.tensor([tree.depths], device=lm.device)
        states = base_states(lm, ids, attention_mask=_mask(tree, lm), position_ids=positions, use_cache=False)
        table = lm.vocabulary_logits(states[0, wanted]).log_softmax(-1).cpu()
    return table, {node: row for row, node in enumerate(wanted)}


def _mask(tree: _Tree, lm: LoadedLM) -> Tensor:
    """(1, 1, n, n): 0 where a token sees another, the lowest number elsewhere."""
    n = len(tree.tokens)
    sees = torch.zeros(n, n, dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            sees[node] = sees[parent]
        sees[node, node] = True
    lowest = torch.finfo(lm.dtype).min
    return torch.zeros(n, n, dtype=lm.dtype).masked_fill(~sees, lowest)[None, None].to(lm.device)
