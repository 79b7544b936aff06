"""`ask_packed`: next-token logits, answer scores and continuations of many prompts from few passes.

Prompts and answers are laid out as trees of tokens (`token_tree`), without padding and almost without repeated
computation. Then each text continues in a row of its own (`continue_begun`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import room_after
from kgmet.lm.run.spans import EditSpan, Phrase, locate_all
from kgmet.lm.run.suffixes import base_states, most_in_tree, trees_fit
from kgmet.lm.run.token_tree import cheapest_trees, lay_out, lowest_where_unseen
from kgmet.lm.run.tracing import Rows
from kgmet.lm.say.continue_begun import BegunText, Enough, GrowingText, batches, continue_begun
from kgmet.lm.say.score import AnswerScore, generate, literal, next_logits, score_answers, score_from

__all__ = ["Asked", "Side", "ask_packed", "ask_sides", "score_packed", "unchanged"]

Side = Callable[[Rows | None], AbstractContextManager[None]]
"""A context manager factory that attaches a change to some rows of a batch, or to all (``None``)."""
OnFirst = Callable[[list["Asked"]], None] | None
"""Receives, for each side, what is known of the first prompt."""
_Found = tuple[dict[tuple[int, ...], tuple[Tensor, list[int]]], dict[int, AnswerScore]]
"""By text, the logits of the token after it and the tokens written so far; by number, the answers' scores."""
_MOST_LOGITS = 2**26
"""Most logits at a time: 256 MB."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """A model's outputs for some prompts.

    `logits` (n_prompt, d_vocab), float32 on the CPU, belong to the token after each prompt. `texts` are greedy
    continuations without special tokens; `scores` belong to the (prompt, answer) pairs.
    """

    logits: Tensor
    texts: tuple[str, ...]
    scores: tuple[AnswerScore, ...]


def unchanged(_rows: Rows | None) -> AbstractContextManager[None]:
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
    is_done: Sequence[Enough] = (),
    max_token: int = 768,
    on_first: OnFirst = None,
    check: Callable[[], None] = lambda: None,
) -> list[Asked]:
    """Do `ask_packed` for several changed models at once, each as rows of the batch.

    Args:
        lm: the model, with any patches attached to all sides.
        prompts: texts whose next token is read and which are continued.
        pairs: prompts (these or others) with an answer to score.
        sides: the change of each model: called with the rows to change, or ``None`` for every row.
        max_new_tokens: length of the continuations, of all prompts or of each; 0 leaves them empty.
        is_done: for each prompt, whether the text generated so far is enough; by default only the length counts.
        max_token: most tokens per tree; attention is quadratic in them.
        on_first: receives what the first prompt with its pairs alone would give, once it was continued on all sides,
            before the others end. Not called if it is not continued, or where a sliding window is too short for trees.
        check: called before every pass, where trees are used; may raise.
    """
    lengths = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    heads = [span.input_ids for span in locate_all(lm, [Phrase(template=literal(prompt)) for prompt in prompts])]
    spans = locate_all(lm, [Phrase(template=literal(prompt), target=answer) for prompt, answer in pairs])
    lengths = [min(length, room_after(lm, len(head))) for length, head in zip(lengths, heads, strict=True)]
    longest = max(map(len, (*heads, *map(_asked, spans))), default=0)
    # A sliding window counts the tokens of a tree, whichever they see.
    if not trees_fit(lm, longest + max(lengths, default=0) + 1):
        return [_ask_apart(lm, prompts, pairs, lengths, side) for side in sides]
    texts = _texts(heads, lengths, is_done or [None] * len(heads))
    found: list[_Found] = [({}, {}) for _ in sides]
    placed = [Rows(slice(side, side + 1)) for side in range(len(sides))]
    begun: list[BegunText] = []

    def ended(text: GrowingText) -> None:
        if on_first is not None and text.ids == heads[0]:
            own = [number for number, (prompt, _) in enumerate(pairs) if prompt == prompts[0]]
            on_first([_asked_of(lm, side, heads[:1], lengths, own) for side in found])

    with ExitStack() as stack, torch.no_grad():
        for side, mine in zip(sides, placed, strict=True):
            stack.enter_context(side(mine if len(sides) > 1 else None))
        for tree in _trees(lm, texts, spans, max_token):
            check()
            firsts, scored, more = _read_tree(lm, tree, pairs, len(sides))
            begun += more
            for (read, scores), first, own in zip(found, firsts, scored, strict=True):
                read |= {text.ids: (first[number], []) for number, text in enumerate(tree.texts)}
                scores |= own
        for batch in batches(begun, len(sides)):
            added = [[_begin(*read[one.text.ids]) for one in batch] for read, _ in found]
            continue_begun(lm, batch, added, placed=placed, ended=ended, check=check)
    return [_asked_of(lm, side, heads, lengths, range(len(pairs))) for side in found]


def _trees(lm: LoadedLM, texts: Sequence[GrowingText], spans: Sequence[EditSpan], max_token: int) -> list[_Tree]:
    """Distribute texts and answers over trees that cost the fewest tokens."""
    # Sorted by tokens, texts with a common beginning are adjacent and share a tree.
    rows = sorted({*(text.ids for text in texts), *map(_asked, spans)})
    tree_of = dict(zip(rows, cheapest_trees(rows, most_in_tree(lm, max_token), width=lm.d_model), strict=True))
    trees = [_Tree(texts=[], spans={}) for _ in range(max(tree_of.values(), default=-1) + 1)]
    for text in texts:
        trees[tree_of[text.ids]].texts.append(text)
    for number, span in enumerate(spans):
        trees[tree_of[_asked(span)]].spans[number] = span
    return trees


def _begin(logits: Tensor, tokens: list[int]) -> list[int]:
    """Return the text's new tokens with the likeliest one as the first."""
    tokens.append(int(logits.argmax()))
    return tokens


def _asked_of(
    lm: LoadedLM,
    found: _Found,
    heads: Sequence[tuple[int, ...]],
    lengths: Sequence[int],
    answered: Sequence[int],
) -> Asked:
    """Return what is known of these prompts, and of the answers of these numbers."""
    texts, scores = found
    return Asked(
        logits=torch.stack([texts[head][0] for head in heads]) if heads else torch.empty(0, 0, dtype=torch.float32),
        texts=tuple(
            str(lm.tokenizer.decode(texts[head][1][:length], skip_special_tokens=True))
            for head, length in zip(heads, lengths, strict=False)
        ),
        scores=tuple(scores[number] for number in answered),
    )


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


@dataclass(frozen=True, eq=False, kw_only=True)
class _Tree:
    """The texts, and the answers by their number, that are laid out together."""

    texts: list[GrowingText]
    spans: dict[int, EditSpan]

    @property
    def is_continued(self) -> bool:
        """Whether any of the texts is."""
        return any(text.length for text in self.texts)


def _texts(heads: Sequence[tuple[int, ...]], lengths: Sequence[int], enough: Sequence[Enough]) -> list[GrowingText]:
    """Return each text once, with its largest length and without a rule where two differ."""
    found: dict[tuple[int, ...], GrowingText] = {}
    for head, length, rule in zip(heads, lengths, enough, strict=True):
        other = found.get(head)
        is_same = other is None or other.enough is rule
        most = length if other is None else max(length, other.length)
        found[head] = GrowingText(ids=head, length=most, enough=rule if is_same else None)
    return list(found.values())


def _read_tree(
    lm: LoadedLM, tree: _Tree, pairs: Sequence[tuple[str, str]], n_side: int
) -> tuple[list[dict[int, Tensor]], list[dict[int, AnswerScore]], list[BegunText]]:
    """Run a tree with a row for each side.

    Returns:
        For each side: logits (d_vocab,) of the token after each text, by its place in the tree; the scores of the
        answers by their number. Then the texts to continue.
    """
    from transformers import DynamicCache

    n_text = len(tree.texts)
    rows = [*(text.ids for text in tree.texts), *map(_asked, tree.spans.values())]
    layout = lay_out(rows, [0] * len(rows))
    last = [path[-1] for path in layout.paths[:n_text]]
    answers = [
        path[span.target.start - 1 :]
        for span, path in zip(tree.spans.values(), layout.paths[n_text:], strict=True)
        if span.target is not None
    ]
    cache = DynamicCache(config=lm.config) if tree.is_continued else None
    states = base_states(
        lm,
        layout.ids.repeat(n_side, 1).to(lm.device),
        attention_mask=lowest_where_unseen(layout.sees, dtype=lm.dtype, device=lm.device).expand(n_side, -1, -1, -1),
        position_ids=layout.positions.to(lm.device).expand(n_side, -1),
        cache=cache,
        use_cache=cache is not None,
    )
    numbers = list(tree.spans)
    firsts: list[dict[int, Tensor]] = [{} for _ in range(n_side)]
    scores: list[dict[int, AnswerScore]] = [{} for _ in range(n_side)]
    for place, logits in _logits_at(lm, states, [*((node,) for node in last), *answers]):
        for side, own in enumerate(logits):
            if place < n_text:
                firsts[side][place] = own[0]
            else:
                number = numbers[place - n_text]
                scores[side][number] = score_from(pairs[number], tree.spans[number], own.log_softmax(-1))
    begun = [
        BegunText(text=text, cache=cache, path=path)
        for text, path in zip(tree.texts, layout.paths, strict=False)
        if text.length and cache is not None
    ]
    return firsts, scores, begun


def _logits_at(lm: LoadedLM, states: Tensor, paths: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, Tensor]]:
    """Yield the place of each path and its logits (n_side, n_node, d_vocab), on the CPU, in any order.

    Those of all paths would take gigabytes where the vocabulary is large, so some paths are read at a time.
    """
    most = _MOST_LOGITS // (len(states) * lm.n_token)
    groups: list[list[int]] = []
    nodes: set[int] = set()
    # A prompt and its answers begin at one node, so they are read together.
    for number in sorted(range(len(paths)), key=lambda number: paths[number]):
        if not groups or len(nodes.union(paths[number])) > most:
            groups.append([])
            nodes = set()
        groups[-1].append(number)
        nodes.update(paths[number])
    for group in groups:
        wanted = sorted({node for number in group for node in paths[number]})
        place = {node: row for row, node in enumerate(wanted)}
        logits = lm.vocabulary_logits(states[:, wanted]).cpu()
        for number in group:
            yield number, logits[:, [place[node] for node in paths[number]]]


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
