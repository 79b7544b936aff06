"""`score_packed`: `score_answers` for many prompts that begin alike, each common beginning encoded once.

Prompts and answers are laid out as trees of tokens (`kgmet.lm.token_tree`): no padding, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kgmet.lm.loaded import LoadedLM
from kgmet.lm.score import AnswerScore, score_answers, score_from
from kgmet.lm.spans import EditSpan, Phrase, locate_all
from kgmet.lm.suffixes import base_states, trees_fit
from kgmet.lm.token_tree import lay_out, lowest_where_unseen, share_out

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
    spans = locate_all(lm, [Phrase(template=prompt.replace("{}", "{ }"), target=answer) for prompt, answer in pairs])
    # In the order of their tokens, texts that begin alike stand side by side and come into one tree.
    order = sorted(range(len(spans)), key=lambda number: spans[number].input_ids)
    texts = [_asked(spans[number]) for number in order]
    if not trees_fit(lm, max([max_token, *map(len, texts)])):
        return score_answers(lm, pairs)
    scores: dict[int, AnswerScore] = {}
    tree_of = share_out(texts, max_token)
    for tree in range(max(tree_of, default=-1) + 1):
        members = [number for number, mine in zip(order, tree_of, strict=True) if mine == tree]
        found = _answer_logprobs(lm, [spans[number] for number in members])
        scores |= {
            number: score_from(pairs[number], spans[number], rows) for number, rows in zip(members, found, strict=True)
        }
    return [scores[number] for number in range(len(pairs))]


def _asked(span: EditSpan) -> tuple[int, ...]:
    """The tokens without the last of the answer, which nothing follows."""
    assert span.target is not None
    return span.input_ids[: span.target.stop - 1]


def _answer_logprobs(lm: LoadedLM, spans: Sequence[EditSpan]) -> list[Tensor]:
    """For each text, laid out in one tree, the log-probabilities (n_token, d_vocab) at its answer's tokens."""
    layout = lay_out([_asked(span) for span in spans], [0] * len(spans))
    nodes = [
        path[span.target.start - 1 :] for span, path in zip(spans, layout.paths, strict=True) if span.target is not None
    ]
    wanted = sorted({node for path in nodes for node in path})
    row = {node: number for number, node in enumerate(wanted)}
    mask = lowest_where_unseen(layout.sees, dtype=lm.dtype, device=lm.device)
    ids, positions = layout.ids.to(lm.device), layout.positions.to(lm.device)
    with torch.no_grad():
        states = base_states(lm, ids, attention_mask=mask, position_ids=positions, use_cache=False)
        table = lm.vocabulary_logits(states[0, wanted]).log_softmax(-1).cpu()
    return [table[[row[node] for node in path]] for path in nodes]
