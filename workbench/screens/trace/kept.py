"""How contributions, ranks and the last map of every kind are kept over a restart, and travel in a link to a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kgmet.base.fingerprint import plain
from kgmet.base.values import value_from
from kgmet.inspect.attribution import Attribution, Removal
from kgmet.inspect.causal_trace import CausalTrace, TraceConfig
from kgmet.inspect.patching import PatchMap
from kgmet.inspect.recall import ChainBreak, Followed, Recall
from kgmet.inspect.recall import Outcome as End
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt
from workbench.drawing.traced import READING, Choice, Contributions, Map, Reading, Side, TracedMap, map_name
from workbench.screens.trace import view
from workbench.state.kept import ResultCodec
from workbench.state.tensors_json import SavedTensor, alike

__all__ = ["CODECS", "map_from_json", "map_to_json", "reading_from_json", "reading_to_json"]


@dataclass(frozen=True, kw_only=True)
class _SavedPlace:
    """A `LocatedPrompt` with the ends of its subject."""

    source: TracedPrompt
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    subject: tuple[int, int]
    shared: str
    answer: int
    rival: int | None
    bridge: int | None
    answer_text: str

    @classmethod
    def of(cls, where: LocatedPrompt) -> _SavedPlace:
        """Return the saved form."""
        return alike(cls, where, subject=(where.subject.start, where.subject.stop))

    @property
    def located(self) -> LocatedPrompt:
        """The prompt; its tokens and subject are checked."""
        begin, end = self.subject
        if not self.ids or len(self.ids) != len(self.tokens) or not 0 <= begin <= end <= len(self.ids):
            raise ValueError("the subject is not among the tokens")
        return alike(LocatedPrompt, self, subject=range(begin, end))


@dataclass(frozen=True, kw_only=True)
class _SavedAttribution:
    source: _SavedPlace
    heads: SavedTensor
    attention: SavedTensor
    mlps: SavedTensor
    embedding: float
    measure: float


@dataclass(frozen=True, kw_only=True)
class _SavedRecall:
    source: _SavedPlace
    rank: dict[str, SavedTensor]
    logprob: dict[str, SavedTensor]


@dataclass(frozen=True, kw_only=True)
class _SavedBreak:
    side: Side
    source: _SavedPlace
    outcome: End
    answer: tuple[int, int]
    last_rank: int
    bridge: tuple[int, int] | None
    bridge_last_rank: int | None
    bridge_anywhere: tuple[int, int, int] | None


@dataclass(frozen=True, kw_only=True)
class _SavedReading:
    choice: Choice
    contributions_before: _SavedAttribution
    contributions_after: _SavedAttribution
    removed_before: tuple[Removal, ...]
    removed_after: tuple[Removal, ...]
    before: _SavedRecall
    after: _SavedRecall
    breaks: tuple[_SavedBreak, ...]
    n_token: int


@dataclass(frozen=True, kw_only=True)
class _SavedMap:
    """A map; the probabilities at both ends are of the clean and the corrupted text, or of receiver and giver."""

    choice: Choice
    side: Side
    kind: Map
    config: TraceConfig | None
    step: int
    source: _SavedPlace
    ends: tuple[float, float]
    layers: tuple[int, ...]
    values: SavedTensor
    window: int
    n_sample: int
    sigma: float


def reading_to_json(found: Reading) -> dict[str, Any]:
    """Return contributions and ranks as plain JSON values."""
    both = found.contributions
    saved = _SavedReading(
        choice=found.choice,
        contributions_before=_saved_attribution(both.before),
        contributions_after=_saved_attribution(both.after),
        removed_before=both.removed_before,
        removed_after=both.removed_after,
        before=_saved_recall(found.before),
        after=_saved_recall(found.after),
        breaks=tuple(_saved_break(side, one) for side, one in found.breaks),
        n_token=found.n_token,
    )
    return dict(plain(saved))


def reading_from_json(data: Mapping[str, Any]) -> Reading:
    """Read what `reading_to_json` made.

    Raises:
        ValueError: if it is something else, or lacks what the page shows of it.
    """
    saved = value_from(_SavedReading, data, "These are no contributions and ranks")
    found = Reading(
        choice=saved.choice,
        contributions=Contributions(
            before=_attribution(saved.contributions_before),
            after=_attribution(saved.contributions_after),
            removed_before=saved.removed_before,
            removed_after=saved.removed_after,
        ),
        before=_recall(saved.before),
        after=_recall(saved.after),
        breaks=tuple((one.side, _break(one)) for one in saved.breaks),
        n_token=saved.n_token,
    )
    both = found.contributions
    if both.before.heads.shape != both.after.heads.shape or not both.removed_after:
        raise ValueError("the contributions before and after do not fit together")
    if found.before.rank.keys() != found.after.rank.keys() or found.n_token < 1 or not found.breaks:
        raise ValueError("the ranks before and after do not fit together")
    if {rank.shape for one in (found.before, found.after) for rank in one.rank.values()} != {_shape_of(found.after)}:
        raise ValueError("the ranks before and after do not fit together")
    for item in both.removed_after:
        both.after.of(item.component)  # an IndexError is damage as well
    # What lacks a value shows up when it is put into words; detect it here, not on the page.
    view.check_table(both)
    view.sum_sentence(both)
    for side, one in found.breaks:
        view.break_line(side, one)
    return found


def map_to_json(made: TracedMap) -> dict[str, Any]:
    """Return a map as plain JSON values."""
    found = made.found
    if isinstance(found, CausalTrace):
        ends, values = (found.clean, found.corrupted), found.restored
        noise: dict[str, Any] = {"window": found.window, "n_sample": found.n_sample, "sigma": found.sigma}
    else:
        ends, values = (found.receiver, found.giver), found.patched
        noise = {"window": 1, "n_sample": 1, "sigma": 0.0}
    place = _SavedPlace.of(found.source)
    saved = alike(_SavedMap, made, source=place, ends=ends, layers=found.layers, values=SavedTensor.of(values), **noise)
    return dict(plain(saved))


def map_from_json(data: Mapping[str, Any]) -> TracedMap:
    """Read what `map_to_json` made.

    Raises:
        ValueError: if it is something else.
    """
    saved = value_from(_SavedMap, data, "This is no map by layer and token")
    if saved.kind.is_causal != (saved.config is not None) or min(saved.window, saved.n_sample, saved.step) < 1:
        raise ValueError("the map is of another kind")
    if not saved.layers or list(saved.layers) != sorted({layer for layer in saved.layers if layer >= 0}):
        raise ValueError("its layers are not in order")
    source, part, ends = saved.source.located, saved.kind.part, saved.ends
    values = saved.values.tensor(n_axis=2).float()
    found: CausalTrace | PatchMap
    if saved.kind.is_causal:
        found = alike(CausalTrace, saved, source=source, part=part, clean=ends[0], corrupted=ends[1], restored=values)
    else:
        found = alike(PatchMap, saved, source=source, part=part, receiver=ends[0], giver=ends[1], patched=values)
    return alike(TracedMap, saved, found=found)


def _saved_attribution(found: Attribution) -> _SavedAttribution:
    return alike(_SavedAttribution, found, source=_SavedPlace.of(found.source))


def _attribution(saved: _SavedAttribution) -> Attribution:
    axes = {"heads": 2, "attention": 1, "mlps": 1}
    tensors = {name: getattr(saved, name).tensor(n_axis=n_axis).float() for name, n_axis in axes.items()}
    return alike(Attribution, saved, source=saved.source.located, **tensors)


def _saved_recall(found: Recall) -> _SavedRecall:
    return _SavedRecall(
        source=_SavedPlace.of(found.source),
        rank={followed.value: SavedTensor.of(values) for followed, values in found.rank.items()},
        logprob={followed.value: SavedTensor.of(values) for followed, values in found.logprob.items()},
    )


def _recall(saved: _SavedRecall) -> Recall:
    rank = {Followed(name): values.tensor(n_axis=2).long() for name, values in saved.rank.items()}
    logprob = {Followed(name): values.tensor(n_axis=2).float() for name, values in saved.logprob.items()}
    if not rank or rank.keys() != logprob.keys() or any(bool((one < 1).any()) for one in rank.values()):
        raise ValueError("these are no ranks")
    return Recall(source=saved.source.located, rank=rank, logprob=logprob)


def _shape_of(found: Recall) -> torch.Size:
    first: Tensor = next(iter(found.rank.values()))
    return first.shape


def _saved_break(side: Side, found: ChainBreak) -> _SavedBreak:
    return alike(_SavedBreak, found, side=side, source=_SavedPlace.of(found.source))


def _break(saved: _SavedBreak) -> ChainBreak:
    return alike(ChainBreak, saved, source=saved.source.located)


CODECS = (
    ResultCodec(name=READING, what="Contributions and ranks", to_json=reading_to_json, from_json=reading_from_json),
    *(
        ResultCodec(name=map_name(kind), what=f"The map “{kind.value}”", to_json=map_to_json, from_json=map_from_json)
        for kind in Map
    ),
)
