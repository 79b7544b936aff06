"""`read_recall`: how high answer and bridge rank in every state of a text; `find_break`: where a chain ends.

The logit lens at all positions. A prompt of several hops asks for its answer by way of another entity, the bridge: the
tower is in *Rome*, so its country is *Italy*. Where the bridge ranks high and the answer does not, the second hop
failed; where the bridge does not, the first (Yao et al. 2025, "CaKE", arXiv:2503.16356, look at it like this).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.shapes import check_shape
from kgmet.inspect.shift import layer_states
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch, attached

__all__ = ["ChainBreak", "Followed", "Outcome", "Recall", "find_break", "read_recall"]

RECALLED = 10
"""An entity counts as recalled where its first token ranks at least so high among all tokens."""


class Followed(Enum):
    """Which first token is followed."""

    BRIDGE = "bridge"
    ANSWER = "answer"
    RIVAL = "rival"


@dataclass(frozen=True, eq=False, kw_only=True)
class Recall:
    """The followed tokens in every layer's state: `rank` from 1 and `logprob` in nats, (n_layer, pos) each."""

    source: LocatedPrompt
    rank: dict[Followed, Tensor]
    logprob: dict[Followed, Tensor]

    def __post_init__(self) -> None:
        """Check shapes."""
        for values in (*self.rank.values(), *self.logprob.values()):
            check_shape("ranks and log-probabilities", values, None, len(self.source.tokens))

    def best(self, followed: Followed, position: int | None = None) -> tuple[int, int, int]:
        """(rank, layer, position) of the highest rank, at one position or at any; the lowest layer of equal ones."""
        ranks = self.rank[followed]
        chosen = ranks if position is None else ranks[:, position : position + 1]
        place = int(chosen.flatten().argmin())
        layer, column = divmod(place, chosen.shape[1])
        return int(chosen[layer, column]), layer, column if position is None else position % ranks.shape[1]


class Outcome(Enum):
    """Where a chain of recall ends."""

    SAID = "said"
    """The answer is the likeliest next token."""
    NO_BRIDGE = "the bridge is not recalled"
    NO_ANSWER = "the answer is not recalled"
    OVERTAKEN = "the answer is recalled, then overtaken"


@dataclass(frozen=True, kw_only=True)
class ChainBreak:
    """What was found at the last token: highest rank and its layer for answer and bridge, and the answer's last rank.

    `bridge` is ``None`` for a prompt without one. `bridge_anywhere` is (rank, layer, position) at whichever token.
    """

    source: LocatedPrompt
    outcome: Outcome
    answer: tuple[int, int]
    last_rank: int
    bridge: tuple[int, int] | None = None
    bridge_anywhere: tuple[int, int, int] | None = None

    @property
    def sentence(self) -> str:
        """What was measured, and what that is called here."""
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
        return (
            f"The answer is recalled and then overtaken: {at_end}, and it ends at rank {self.last_rank}"
            f"{self._by_way()}."
        )

    def _by_way(self) -> str:
        if self.bridge is None:
            return ""
        return f"; the bridge “{self.source.source.bridge}” {_best(self.bridge)} there"


def read_recall(lm: LoadedLM, prompt: TracedPrompt, *, patches: EditPatch | Sequence[EditPatch] = ()) -> Recall:
    """Rank and log-probability of answer, rival and bridge in each layer's state at each token.

    Args:
        lm: the model; nothing needs to be attached.
        prompt: the text and what is followed.
        patches: edits that are on.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        TextError: if the text is longer than the model reads.
    """
    where = locate_prompt(lm, prompt)
    tokens = {Followed.BRIDGE: where.bridge, Followed.ANSWER: where.answer, Followed.RIVAL: where.rival}
    known = {followed: token for followed, token in tokens.items() if token is not None}
    ranks: dict[Followed, list[Tensor]] = {followed: [] for followed in known}
    logprobs: dict[Followed, list[Tensor]] = {followed: [] for followed in known}
    with attached(patches, lm):
        states = layer_states(lm, where.ids)
    for state in states:
        with torch.no_grad():
            logits = lm.vocabulary_logits(state.to(device=lm.device, dtype=lm.dtype))
        for followed, token in known.items():
            own = logits[:, token : token + 1]
            ranks[followed].append((logits > own).sum(-1).cpu() + 1)
            logprobs[followed].append((own[:, 0] - logits.logsumexp(-1)).cpu())
    return Recall(
        source=where,
        rank={followed: torch.stack(rows) for followed, rows in ranks.items()},
        logprob={followed: torch.stack(rows) for followed, rows in logprobs.items()},
    )


def find_break(recall: Recall) -> ChainBreak:
    """Read off where the chain ends. Thresholds: rank 1 is said, rank 10 or better is recalled."""
    last = len(recall.source.ids) - 1
    answer = recall.best(Followed.ANSWER, last)
    last_rank = int(recall.rank[Followed.ANSWER][-1, last])
    bridge = bridge_anywhere = None
    if Followed.BRIDGE in recall.rank:
        bridge, bridge_anywhere = recall.best(Followed.BRIDGE, last), recall.best(Followed.BRIDGE)
    if last_rank == 1:
        outcome = Outcome.SAID
    elif bridge is not None and bridge[0] > RECALLED:
        outcome = Outcome.NO_BRIDGE
    else:
        outcome = Outcome.NO_ANSWER if answer[0] > RECALLED else Outcome.OVERTAKEN
    return ChainBreak(
        source=recall.source,
        outcome=outcome,
        answer=answer[:2],
        last_rank=last_rank,
        bridge=None if bridge is None else bridge[:2],
        bridge_anywhere=bridge_anywhere,
    )


def _best(found: tuple[int, int]) -> str:
    return f"ranks {found[0]} at best (after layer {found[1]})"
