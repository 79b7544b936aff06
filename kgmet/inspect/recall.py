"""`read_recall`: ranks of answer and bridge in every state of a text; `find_break`: where a chain of facts ends.

It applies the logit lens at all positions. A multi-hop prompt reaches its answer through another entity, the bridge:
the tower is in *Rome*, so its country is *Italy*. If the bridge ranks high and the answer does not, the second hop
failed; if the bridge does not rank high, the first hop failed (as in Yao et al. 2025, "CaKE", arXiv:2503.16356).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.shapes import check_shape
from kgmet.inspect.shift import layer_states
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.general import token_parts
from kgmet.write.patch import EditPatch, attached

__all__ = ["ChainBreak", "Followed", "Outcome", "Recall", "find_break", "read_recall", "read_recalls"]

RECALLED = 10
"""Lowest rank of an entity's first token at which the entity counts as recalled."""
_LOGITS_AT_ONCE = 2**22
"""Most logits that are kept at a time, 16 MB: several layers' states at once take less time than layer after layer."""


class Followed(Enum):
    """The tracked first tokens."""

    BRIDGE = "bridge"
    ANSWER = "answer"
    RIVAL = "rival"


@dataclass(frozen=True, eq=False, kw_only=True)
class Recall:
    """Tracked tokens in every layer's state: `rank` from 1 and `logprob` in nats, (n_layer, pos) each."""

    source: LocatedPrompt
    rank: dict[Followed, Tensor]
    logprob: dict[Followed, Tensor]

    def __post_init__(self) -> None:
        """Check shapes."""
        for values in (*self.rank.values(), *self.logprob.values()):
            check_shape("ranks and log-probabilities", values, None, len(self.source.tokens))

    def best(self, followed: Followed, position: int | None = None) -> tuple[int, int, int]:
        """Return (rank, layer, position) of the best rank, at one position or at any; ties go to the lowest layer."""
        ranks = self.rank[followed]
        chosen = ranks if position is None else ranks[:, position : position + 1]
        place = int(chosen.flatten().argmin())
        layer, column = divmod(place, chosen.shape[1])
        return int(chosen[layer, column]), layer, column if position is None else position % ranks.shape[1]


class Outcome(Enum):
    """End of a chain of recall."""

    SAID = "said"
    """The answer is the likeliest next token."""
    NO_BRIDGE = "the bridge is not recalled"
    NO_ANSWER = "the answer is not recalled"
    OVERTAKEN = "the answer is recalled, then overtaken"
    """It reached the first ranks after some layer and is not among them at the end."""
    NOT_FIRST = "the answer is recalled, but something else is likelier"


@dataclass(frozen=True, kw_only=True)
class ChainBreak:
    """Best rank and layer of answer and bridge at the last token, and the answer's last rank.

    `bridge` is ``None`` for a prompt without one. `bridge_anywhere` is the best (rank, layer, position) at any token.
    """

    source: LocatedPrompt
    outcome: Outcome
    answer: tuple[int, int]
    last_rank: int
    bridge: tuple[int, int] | None = None
    bridge_last_rank: int | None = None
    bridge_anywhere: tuple[int, int, int] | None = None

    @property
    def sentence(self) -> str:
        """The measured ranks and the resulting conclusion, as one sentence."""
        prompt = self.source.source
        at_end = f"at the last token “{prompt.answer}” {_best(self.answer)}"
        if self.outcome is Outcome.SAID:
            found = f"No break: “{prompt.answer}” is the likeliest next token"
            return f"{found}{self._by_way()}."
        if self.outcome is Outcome.NO_BRIDGE:
            assert self.bridge is not None and self.bridge_anywhere is not None
            rank, layer, position = self.bridge_anywhere
            token = self.source.tokens[position].strip()
            seen = f"; its best rank at any token is {rank}, at “{token}” after layer {layer}"
            return (
                f"The bridge is not recalled: at the last token “{prompt.bridge}” {_best(self.bridge)}, not within "
                f"the first {RECALLED}{seen}. The answer “{prompt.answer}” ends at rank {self.last_rank}."
            )
        if self.outcome is Outcome.NO_ANSWER:
            begin = "The answer is not recalled" if self.bridge is None else "The bridge is recalled, the answer is not"
            return f"{begin}: {at_end}, not within the first {RECALLED}{self._by_way()}."
        if self.outcome is Outcome.OVERTAKEN:
            return (
                f"The answer is recalled and then overtaken: {at_end}, but it ends at rank {self.last_rank}"
                f"{self._by_way()}."
            )
        return (
            f"The answer is recalled, but not said: “{prompt.answer}” ends at rank {self.last_rank}{self._instead()}."
        )

    def _instead(self) -> str:
        if self.bridge_last_rank == 1:
            return f"; the bridge “{self.source.source.bridge}” itself is the likeliest next token"
        return self._by_way()

    def _by_way(self) -> str:
        if self.bridge is None:
            return ""
        return f"; the bridge “{self.source.source.bridge}” {_best(self.bridge)} there"


def read_recall(
    lm: LoadedLM,
    prompt: TracedPrompt,
    *,
    patches: EditPatch | Sequence[EditPatch] = (),
    states: Tensor | None = None,
) -> Recall:
    """Compute rank and log-probability of answer, rival and bridge in each layer's state at each token.

    Args:
        lm: the model; nothing needs to be attached.
        prompt: the text and the tracked answers.
        patches: attached edits.
        states: the prompt's `layer_states` with these patches, if known.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        TextError: if the text is longer than the model reads.
    """
    return read_recalls(lm, [prompt], patches=patches, states=states)[0]


def read_recalls(
    lm: LoadedLM,
    prompts: Sequence[TracedPrompt],
    *,
    patches: EditPatch | Sequence[EditPatch] = (),
    states: Tensor | None = None,
) -> list[Recall]:
    """Do `read_recall` for several prompts; a text that several have is run once. `states` are the first prompt's."""
    places = [locate_prompt(lm, prompt) for prompt in prompts]
    tokens: dict[tuple[int, ...], set[int]] = {}
    for where in places:
        tokens.setdefault(where.ids, set()).update(_tracked(where).values())
    known = {} if states is None else {places[0].ids: states}
    read = {}
    for ids, mine in tokens.items():
        if ids not in known:
            with attached(patches, lm):
                known[ids] = layer_states(lm, ids)
        read[ids] = _ranks(lm, known[ids], mine)
    found = []
    for where in places:
        ranks = {followed: read[where.ids][token] for followed, token in _tracked(where).items()}
        found.append(
            Recall(
                source=where,
                rank={followed: rank for followed, (rank, _) in ranks.items()},
                logprob={followed: logprob for followed, (_, logprob) in ranks.items()},
            )
        )
    return found


def _tracked(where: LocatedPrompt) -> dict[Followed, int]:
    tokens = {Followed.BRIDGE: where.bridge, Followed.ANSWER: where.answer, Followed.RIVAL: where.rival}
    return {followed: token for followed, token in tokens.items() if token is not None}


def _ranks(lm: LoadedLM, states: Tensor, tokens: Collection[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """Return each token's rank and log-probability in states (n_layer, pos, d_model), (n_layer, pos) each."""
    every = states.flatten(0, 1)
    followed = list(tokens)
    ranks, logprobs = [], []
    for part in token_parts(lm, len(every), most_logits=_LOGITS_AT_ONCE):
        with torch.no_grad():
            logits = lm.vocabulary_logits(every[part].to(device=lm.device, dtype=lm.dtype))
        own = logits[:, followed]
        ranks.append(torch.stack([(logits > own[:, [number]]).sum(-1) + 1 for number in range(len(followed))]).cpu())
        logprobs.append((own - logits.logsumexp(-1, keepdim=True)).T.cpu())
    shape = states.shape[:2]
    return {
        token: (rank.reshape(shape), logprob.reshape(shape))
        for token, rank, logprob in zip(followed, torch.cat(ranks, 1), torch.cat(logprobs, 1), strict=True)
    }


def find_break(recall: Recall) -> ChainBreak:
    """Find where the chain ends. Thresholds: rank 1 is said, rank 10 or better is recalled."""
    last = len(recall.source.ids) - 1
    answer = recall.best(Followed.ANSWER, last)
    last_rank = int(recall.rank[Followed.ANSWER][-1, last])
    bridge = bridge_anywhere = bridge_last_rank = None
    if Followed.BRIDGE in recall.rank:
        bridge_last_rank = int(recall.rank[Followed.BRIDGE][-1, last])
        bridge, bridge_anywhere = recall.best(Followed.BRIDGE, last), recall.best(Followed.BRIDGE)
    if last_rank == 1:
        outcome = Outcome.SAID
    elif bridge is not None and bridge[0] > RECALLED:
        outcome = Outcome.NO_BRIDGE
    elif answer[0] > RECALLED:
        outcome = Outcome.NO_ANSWER
    else:
        outcome = Outcome.OVERTAKEN if last_rank > RECALLED else Outcome.NOT_FIRST
    return ChainBreak(
        source=recall.source,
        outcome=outcome,
        answer=answer[:2],
        last_rank=last_rank,
        bridge=None if bridge is None else bridge[:2],
        bridge_last_rank=bridge_last_rank,
        bridge_anywhere=bridge_anywhere,
    )


def _best(found: tuple[int, int]) -> str:
    return f"ranks {found[0]} at best (after layer {found[1]})"
