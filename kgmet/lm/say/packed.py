"""`ask_packed`: next-token logits, answer scores and continuations of many prompts from one pass.

Prompts and answers are laid out as trees of tokens (`token_tree`), without padding or repeated computation.
Continuations grow on the same trees, one token of every text per step, so a step reads the weights once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import room_after
from kgmet.lm.run.spans import EditSpan, Phrase, locate_all
from kgmet.lm.run.suffixes import base_states, trees_fit
from kgmet.lm.run.token_tree import lay_out, lowest_where_unseen, share_out
from kgmet.lm.say.score import AnswerScore, end_tokens, generate, literal, next_logits, score_answers, score_from

if TYPE_CHECKING:
    from transformers import DynamicCache

__all__ = ["Asked", "Side", "ask_packed", "ask_sides", "score_packed", "unchanged"]

Side = Callable[[int | None], AbstractContextManager[None]]
"""A context manager factory that attaches a change to one row of a batch, or to all (``None``)."""
_ROOM = 8
"""Initial cache capacity in tokens per text; it grows if needed."""
_Found = tuple[dict[tuple[int, ...], tuple[Tensor, list[int]]], dict[int, AnswerScore]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """A model's outputs for some prompts.

    `logits` (n_prompt, d_vocab), float32 on the CPU, belong to the token after each prompt. `texts` are greedy
    continuations without special tokens; `scores` belong to the (prompt, answer) pairs.
    """

    logits: Tensor
    texts: tuple[str, ...]
    scores: tuple[AnswerScore, ...]


def unchanged(_row: int | None) -> AbstractContextManager[None]:
    """Return the side without any change."""
    return nullcontext()


def ask_packed(
    lm: LoadedLM,
    prompts: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
    *,
    max_new_tokens: int = 0,
    max_token: int = 768,
) -> Asked:
    """Ask prompts and (prompt, answer) pairs together, with the same results as one by one, up to rounding.

    Args:
        lm: the model with whatever is attached.
        prompts: texts whose next token is read and which are continued.
        pairs: prompts (these or others) with an answer to score.
        max_new_tokens: length of the continuations; 0 leaves them empty.
        max_token: most tokens per tree; attention is quadratic in them.

    Raises:
        EmptyTextError: if a prompt has no token, or an answer has none of its own after its prompt.
    """
    return ask_sides(lm, prompts, pairs, sides=[unchanged], max_new_tokens=max_new_tokens, max_token=max_token)[0]


def ask_sides(
    lm: LoadedLM,
    prompts: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
    *,
    sides: Sequence[Side],
    max_new_tokens: int | Sequence[int] = 0,
    is_done: Sequence[Callable[[str], bool] | None] = (),
    max_token: int = 768,
) -> list[Asked]:
    """Do `ask_packed` for several changed models at once, each as a row of the batch.

    Args:
        lm: the model, with any patches attached to all sides.
        prompts: texts whose next token is read and which are continued.
        pairs: prompts (these or others) with an answer to score.
        sides: the change of each model: called with the row to change, or ``None`` for every row.
        max_new_tokens: length of the continuations, of all prompts or of each; 0 leaves them empty.
        is_done: for each prompt, whether the text generated so far is enough; by default only the length counts. A
            text may still continue where another side needs it.
        max_token: most tokens per tree; attention is quadratic in them.
    """
    lengths = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    heads = [span.input_ids for span in locate_all(lm, [Phrase(template=literal(prompt)) for prompt in prompts])]
    spans = locate_all(lm, [Phrase(template=literal(prompt), target=answer) for prompt, answer in pairs])
    lengths = [min(length, room_after(lm, len(head))) for length, head in zip(lengths, heads, strict=True)]
    # Sorted by tokens, texts with a common beginning are adjacent and share a tree.
    rows = sorted({*heads, *map(_asked, spans)})
    if not trees_fit(lm, max([max_token, *map(len, rows)]) + sum(lengths)):
        return [_ask_apart(lm, prompts, pairs, lengths, side) for side in sides]
    longest: dict[tuple[int, ...], int] = {}
    for head, length in zip(heads, lengths, strict=True):
        longest[head] = max(length, longest.get(head, 0))
    enough: dict[tuple[int, ...], Callable[[str], bool] | None] = {}
    for head, done in zip(heads, is_done or [None] * len(heads), strict=True):
        enough[head] = done if head not in enough or enough[head] is done else None
    found: list[_Found] = [({}, {}) for _ in sides]
    with ExitStack() as stack:
        for row, side in enumerate(sides):
            stack.enter_context(side(row if len(sides) > 1 else None))
        tree_of = dict(zip(rows, share_out(rows, max_token), strict=True))
        for tree in range(max(tree_of.values(), default=-1) + 1):
            mine = [head for head in dict.fromkeys(heads) if tree_of[head] == tree]
            asked = [number for number, span in enumerate(spans) if tree_of[_asked(span)] == tree]
            answers = _ask_tree(
                lm,
                mine,
                [spans[number] for number in asked],
                [longest[head] for head in mine],
                [enough[head] for head in mine],
                len(sides),
            )
            for (texts, scores), (logits, written, tables) in zip(found, answers, strict=True):
                texts |= zip(mine, zip(logits, written, strict=True), strict=True)
                scores |= {n: score_from(pairs[n], spans[n], table) for n, table in zip(asked, tables, strict=True)}
    return [
        Asked(
            logits=torch.stack([texts[head][0] for head in heads]) if heads else torch.empty(0, 0, dtype=torch.float32),
            texts=tuple(
                str(lm.tokenizer.decode(texts[head][1][:length], skip_special_tokens=True))
                for head, length in zip(heads, lengths, strict=True)
            ),
            scores=tuple(scores[number] for number in range(len(pairs))),
        )
        for texts, scores in found
    ]


def score_packed(lm: LoadedLM, pairs: Sequence[tuple[str, str]], *, max_token: int = 256) -> list[AnswerScore]:
    """Score each (prompt, answer) pair, with the same results as `score_answers` up to rounding.

    Args:
        lm: the model with whatever is attached.
        pairs: prompts and answers.
        max_token: most tokens laid out together; attention takes their square.

    Raises:
        EmptyTextError: if an answer has no token of its own after its prompt.
    """
    return list(ask_packed(lm, (), pairs, max_token=max_token).scores)


def _asked(span: EditSpan) -> tuple[int, ...]:
    """Return the tokens without the answer's last one, which predicts nothing."""
    assert span.target is not None
    return span.input_ids[: span.target.stop - 1]


def _ask_tree(
    lm: LoadedLM,
    heads: Sequence[tuple[int, ...]],
    spans: Sequence[EditSpan],
    lengths: Sequence[int],
    enough: Sequence[Callable[[str], bool] | None],
    n_side: int,
) -> list[tuple[Tensor, list[list[int]], list[Tensor]]]:
    """Run all texts of one tree, a row for each side, and generate at most `lengths` tokens after each head.

    Returns:
        For each side: logits (n_head, d_vocab) of the token after each head; the tokens generated after each; for each
        span the log-probabilities (n_token, d_vocab) at its answer's tokens.
    """
    from transformers import DynamicCache

    from kgmet.lm.run.growing_kv_cache import make_room

    layout = lay_out([*heads, *map(_asked, spans)], [0] * (len(heads) + len(spans)))
    last = torch.tensor([path[-1] for path in layout.paths[: len(heads)]], dtype=torch.long)
    answers = [
        path[span.target.start - 1 :]
        for span, path in zip(spans, layout.paths[len(heads) :], strict=True)
        if span.target is not None
    ]
    wanted = sorted({*last.tolist(), *(node for path in answers for node in path)})
    place = {node: number for number, node in enumerate(wanted)}
    cache = DynamicCache(config=lm.config) if any(lengths) else None
    with torch.no_grad():
        states = _states(lm, layout.ids.repeat(n_side, 1), layout.positions, layout.sees, cache)
        if cache is not None:
            make_room(cache, _ROOM * len(heads))
        logits = lm.vocabulary_logits(states[:, wanted])
        first = logits[:, torch.tensor([place[node] for node in last.tolist()], dtype=torch.long)]
        depths = [len(head) for head in heads]
        written = _written(lm, cache, layout.sees[0, last], depths, first, lengths, enough)
        tables = logits.log_softmax(-1).cpu()
    return [
        (first[side].cpu(), written[side], [tables[side, [place[node] for node in path]] for path in answers])
        for side in range(n_side)
    ]


def _written(
    lm: LoadedLM,
    cache: DynamicCache | None,
    sees: Tensor,
    depths: Sequence[int],
    logits: Tensor,
    lengths: Sequence[int],
    enough: Sequence[Callable[[str], bool] | None],
) -> list[list[list[int]]]:
    """Generate greedily after each text on each side, up to an end token, the text's own length or a stop rule.

    `sees` (n_text, n_node) are the nodes of each text, `logits` (n_side, n_text, d_vocab) those after it.
    """
    added: list[list[list[int]]] = [[[] for _ in depths] for _ in range(len(logits))]
    if not any(lengths):
        return added
    ends = end_tokens(lm)

    def is_over(text: int, tokens: list[int]) -> bool:
        done = enough[text]
        return bool(ends & set(tokens)) or (done is not None and done(str(lm.tokenizer.decode(tokens))))

    texts = [text for text, length in enumerate(lengths) if length]
    sees, logits = sees[texts], logits[:, texts]
    for step in range(max(lengths)):
        chosen = logits.argmax(-1).cpu()
        for side, tokens in zip(added, chosen.tolist(), strict=True):
            for text, token in zip(texts, tokens, strict=True):
                side[text].append(token)
        # A text continues for all sides until it has ended on each.
        going = [
            n
            for n, text in enumerate(texts)
            if step + 1 < lengths[text] and not all(is_over(text, side[text]) for side in added)
        ]
        if not going:
            break
        texts = [texts[n] for n in going]
        sees = _without_unseen(sees[going], cache)
        sees = torch.cat([sees, torch.eye(len(going), dtype=torch.bool)], dim=1)
        positions = torch.tensor([[depths[text] + step for text in texts]], dtype=torch.long)
        logits = lm.vocabulary_logits(_states(lm, chosen[:, going], positions, sees[None], cache))
    return [[_ended(tokens, ends) for tokens in side] for side in added]


def _without_unseen(sees: Tensor, cache: DynamicCache | None) -> Tensor:
    """Drop the nodes that no row of `sees` (n_text, n_node) reads, from it and the cache, once they are half of all."""
    from kgmet.lm.run.growing_kv_cache import keep_tokens

    kept = sees.any(0).nonzero()[:, 0]
    if cache is None or 2 * len(kept) > sees.shape[1] or not keep_tokens(cache, kept):
        return sees
    return sees[:, kept]


def _ended(tokens: list[int], ends: set[int]) -> list[int]:
    """Return the tokens up to and including the first end token."""
    return next((tokens[: n + 1] for n, token in enumerate(tokens) if token in ends), tokens)


def _states(lm: LoadedLM, ids: Tensor, positions: Tensor, sees: Tensor, cache: DynamicCache | None) -> Tensor:
    """Return the last layer's output (n_side, n_node, d_model) of new nodes, and add them to the cache if given.

    `ids` (n_side, n_node); `positions` (1, n_node) and `sees` (1, n_node, n_seen) are the same for all sides.
    """
    n_side = len(ids)
    return base_states(
        lm,
        ids.to(lm.device),
        attention_mask=lowest_where_unseen(sees, dtype=lm.dtype, device=lm.device).expand(n_side, -1, -1, -1),
        position_ids=positions.to(lm.device).expand(n_side, -1),
        cache=cache,
        use_cache=cache is not None,
    )


def _ask_apart(
    lm: LoadedLM, prompts: Sequence[str], pairs: Sequence[tuple[str, str]], lengths: Sequence[int], side: Side
) -> Asked:
    """Do the same without trees, where a sliding window is too short: one text per row, one side at a time."""
    with side(None):
        written = [""] * len(prompts)
        for length in sorted({length for length in lengths if length}):
            mine = [n for n, own in enumerate(lengths) if own == length]
            for n, text in zip(mine, generate(lm, [prompts[n] for n in mine], max_new_tokens=length), strict=True):
                written[n] = text
        return Asked(
            logits=next_logits(lm, prompts) if prompts else torch.empty(0, 0, dtype=torch.float32),
            texts=tuple(written),
            scores=tuple(score_answers(lm, pairs)),
        )
