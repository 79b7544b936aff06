"""`score_answers` and `generate`: answer probabilities and generated text.

Both use the model with the patches attached at the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.encoding import ChatText, encode_texts, room_after
from kgmet.lm.run.spans import EditSpan, Phrase, locate_all
from kgmet.lm.run.suffixes import base_states, left_padded, token_positions
from kgmet.lm.say.sampling import Sampling

__all__ = [
    "AnswerScore",
    "NextToken",
    "chat_question",
    "end_tokens",
    "generate",
    "likeliest",
    "literal",
    "next_logits",
    "next_tokens",
    "question_and_answer",
    "score_answers",
    "score_from",
]


@dataclass(frozen=True, kw_only=True)
class AnswerScore:
    """Likelihood of an answer after a prompt.

    `logprob` is in nats, summed over the answer's `n_token` tokens. `is_first` says whether greedy decoding gives
    exactly these tokens, `n_hit` how many of them are the likeliest at their position (teacher-forced). `rank` is the
    rank of the answer's first token, from 1.
    """

    prompt: str
    answer: str
    logprob: float
    n_token: int
    is_first: bool
    rank: int
    n_hit: int

    def __post_init__(self) -> None:
        """Refuse an answer without a token."""
        if self.n_token < 1:
            raise ValueError(f"an answer of {self.n_token} tokens has no likelihood")

    @property
    def probability(self) -> float:
        """The answer's probability, in [0, 1]."""
        return float(torch.tensor(self.logprob, dtype=torch.float64).exp())

    @property
    def mean_logprob(self) -> float:
        """Log-probability per token in nats, for comparing answers of different length."""
        return self.logprob / self.n_token


@dataclass(frozen=True, kw_only=True)
class NextToken:
    """One candidate for the next token."""

    text: str
    probability: float


def score_answers(lm: LoadedLM, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32) -> list[AnswerScore]:
    """Score each (prompt, answer) pair, in order.

    Repeated prompts are encoded once, and so are the tokens that answers share with their prompt.

    Raises:
        EmptyTextError: if an answer has no token of its own after its prompt.
    """
    if not pairs:
        return []
    spans = locate_all(lm, [Phrase(template=literal(prompt), target=answer) for prompt, answer in pairs])
    heads = sorted({span.input_ids[: span.n_prompt] for span in spans}, key=lambda ids: (len(ids), ids))
    scores: dict[int, AnswerScore] = {}
    for begin in range(0, len(heads), batch_size):
        chunk = heads[begin : begin + batch_size]
        index = {head: row for row, head in enumerate(chunk)}
        members = [
            (n, index[s.input_ids[: s.n_prompt]]) for n, s in enumerate(spans) if s.input_ids[: s.n_prompt] in index
        ]
        logprobs = _target_logprobs(lm, chunk, [(row, spans[n]) for n, row in members])
        for (number, _), table in zip(members, logprobs, strict=True):
            scores[number] = score_from(pairs[number], spans[number], table)
    return [scores[number] for number in range(len(pairs))]


def next_tokens(lm: LoadedLM, prompts: Sequence[str], *, k: int = 10) -> list[list[NextToken]]:
    """Return the `k` likeliest next tokens after each prompt, best first."""
    return likeliest(lm, next_logits(lm, prompts), k=k)


def next_logits(lm: LoadedLM, prompts: Sequence[str]) -> Tensor:
    """Return logits (n_prompt, d_vocab), float32 on the CPU, of the token after each prompt."""
    spans = locate_all(lm, [Phrase(template=literal(prompt)) for prompt in prompts])
    with torch.no_grad():
        ids, mask = left_padded([span.input_ids for span in spans], device=lm.device)
        states = base_states(lm, ids, attention_mask=mask, position_ids=token_positions(mask), use_cache=False)
        return lm.vocabulary_logits(states[:, -1]).cpu()


def likeliest(lm: LoadedLM, logits: Tensor, *, k: int = 10) -> list[list[NextToken]]:
    """Return the `k` likeliest tokens, best first, by each row of logits (n_row, d_vocab)."""
    top = logits.softmax(-1).topk(k)
    return [
        [
            NextToken(text=str(lm.tokenizer.decode([int(token)])), probability=float(value))
            for value, token in zip(values, tokens, strict=True)
        ]
        for values, tokens in zip(top.values, top.indices, strict=True)
    ]


def generate(
    lm: LoadedLM,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 12,
    chat: bool = False,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Continue each prompt; greedily unless `temperature` is above 0.

    Args:
        lm: the model.
        prompts: texts to continue; with `chat`, messages of a user.
        max_new_tokens: length of an answer, in tokens; less where the model can read no more.
        chat: whether to put each prompt into the model's chat template.
        temperature: 0 is greedy; above 0 samples.
        seed: seed of the sampling; the same seed gives the same text in any batch and thread.

    Returns:
        The added text of each prompt, without special tokens.
    """
    texts = [chat_text(lm, prompt) if chat else prompt for prompt in prompts]
    rows = [encoded.ids for encoded in encode_texts(lm, texts, add_special_tokens=not chat)]
    length = min([max_new_tokens, *(room_after(lm, len(row)) for row in rows)])
    if length < 1:
        return [""] * len(rows)
    ids, mask = left_padded(rows, device=lm.device)
    pad = lm.tokenizer.pad_token_id
    sampling = [Sampling(len(rows), temperature=temperature, seed=seed)] if temperature > 0 else []
    with torch.no_grad():
        out = lm.model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=length,
            pad_token_id=0 if pad is None else pad,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            logits_processor=sampling,
        )
    return list(lm.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True))


def chat_text(lm: LoadedLM, message: str) -> str:
    """Put the message into the model's chat template; return it unchanged if there is none."""
    if not getattr(lm.tokenizer, "chat_template", None):
        return message
    turns = [{"role": "user", "content": message}]
    text = lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return ChatText(str(text), message=message)


def question_and_answer(question: str) -> str:
    """Return a question in the form for models without a chat template."""
    return f"Q: {question}\nA:"


def chat_question(lm: LoadedLM, message: str) -> str:
    """Return a message as the model reads it before its reply: in its chat template, or ``Q: … A:`` without one.

    A ``{}`` in the message stays a slot, for `locate` to fill.
    """
    text, begin = chat_text(lm, message), lm.tokenizer.bos_token
    if not isinstance(text, ChatText):
        return question_and_answer(message)
    # The tokenizer adds its first token to every text; the template must not add a second one.
    adds_begin = bool(begin) and lm.tokenizer("a")["input_ids"][0] == lm.tokenizer.bos_token_id
    return ChatText(text.removeprefix(begin), message=text.message) if adds_begin else text


def _target_logprobs(
    lm: LoadedLM, heads: Sequence[tuple[int, ...]], members: Sequence[tuple[int, EditSpan]]
) -> list[Tensor]:
    """Return each member's log-probabilities (n_target, d_vocab) at the positions that predict its target."""
    with torch.no_grad():
        ids, mask = left_padded(heads, device=lm.device)
        needs_more = any(len(span.target_ids) > 1 for _, span in members)
        from kgmet.lm.run.tracing import recorded

        with recorded([lm.layers[-1]]) as seen:
            output = lm.base(ids, attention_mask=mask, position_ids=token_positions(mask), use_cache=needs_more)
        assert seen[0] is not None
        first = lm.vocabulary_logits(seen[0][:, -1]).log_softmax(-1).cpu()
        tables = [first[row][None] for row, _ in members]
        longer = [(n, row, span) for n, (row, span) in enumerate(members) if len(span.target_ids) > 1]
        if longer:
            rest = _continued(lm, output.past_key_values, mask, longer)
            for (number, _, _), table in zip(longer, rest, strict=True):
                tables[number] = torch.cat([tables[number], table])
    return tables


def _continued(lm: LoadedLM, cache: object, mask: Tensor, longer: Sequence[tuple[int, int, EditSpan]]) -> list[Tensor]:
    """Return log-probabilities after every target token except the last, resumed from the prompts' cache."""
    rows = torch.tensor([row for _, row, _ in longer], dtype=torch.long, device=mask.device)
    cache.batch_select_indices(rows)  # type: ignore[attr-defined]
    heads = [span.target_ids[:-1] for _, _, span in longer]
    width = max(len(head) for head in heads)
    ids = torch.tensor([[*head, *[0] * (width - len(head))] for head in heads], dtype=torch.long, device=mask.device)
    before = mask[rows]
    positions = before.sum(1)[:, None] + torch.arange(width, device=mask.device)
    states = base_states(
        lm,
        ids,
        attention_mask=torch.cat([before, torch.ones_like(ids)], dim=1),
        position_ids=positions,
        cache=cache,
        use_cache=True,
    )
    kept = [state[: len(head)] for state, head in zip(states, heads, strict=True)]
    table = lm.vocabulary_logits(torch.cat(kept)).log_softmax(-1).cpu()
    return list(torch.split(table, [len(head) for head in heads]))


def score_from(pair: tuple[str, str], span: EditSpan, table: Tensor) -> AnswerScore:
    """Score an answer from the log-probabilities (n_target, d_vocab) that predict its tokens."""
    target = torch.tensor(span.target_ids, dtype=torch.long)
    chosen = table.gather(1, target[:, None])[:, 0]
    hits = table.argmax(-1) == target
    return AnswerScore(
        prompt=str(pair[0]),
        answer=pair[1],
        logprob=float(chosen.double().sum()),
        n_token=len(span.target_ids),
        is_first=bool(hits.all()),
        rank=int((table[0] > chosen[0]).sum()) + 1,
        n_hit=int(hits.sum()),
    )


def end_tokens(lm: LoadedLM) -> set[int]:
    """Return the tokens that end a generated text."""
    config = getattr(lm.model, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    ends = set(named) if isinstance(named, (list, tuple)) else {named}
    return {int(token) for token in (*ends, lm.tokenizer.eos_token_id) if token is not None}


def literal(prompt: str) -> str:
    """Escape '{}' in a prompt, which is not a template here, so that `locate` does not fill it."""
    if "{}" not in prompt:
        return prompt  # a `ChatText` as it is
    changed = prompt.replace("{}", "{ }")
    return ChatText(changed, message=literal(prompt.message)) if isinstance(prompt, ChatText) else changed
