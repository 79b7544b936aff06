"""`FactIndex`: facts a model knows, with the pairs (k, g) of their tokens at the written layers.

Facts are asked relation by relation, best known first, in the first wording that no probe uses. A relation of which the
model knows almost nothing is dropped early. Known facts are measured at once and saved in parts, so that an interrupted
build resumes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, load_header, save_artifact
from kgmet.base.cache import cache_dir
from kgmet.base.errors import BrokenArtifactError, ConfigError, KgmetError, StaleArtifactError
from kgmet.base.files import failures_as, parse_json
from kgmet.base.fingerprint import digest, plain
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.values import value_from
from kgmet.forecast.facts import FactPrompt, facts_of, prompts_of
from kgmet.forecast.known import answers_of
from kgmet.forecast.pairs import MeasuredFacts, joined_pairs, measure_facts
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.config import check_layers
from kgmet.write.priced import FactPairs, FactPrice, PriceConfig

__all__ = [
    "EVERYTHING",
    "MOST_BYTES",
    "PAIRS_PER_FACT",
    "FactIndex",
    "FactScope",
    "IndexedFact",
    "build_index",
    "facts_on_disk",
    "index_bytes",
    "index_folder",
    "measured_index",
    "pairs_that_fit",
]

PAIRS_PER_FACT = 48
"""Most pairs kept per fact, over all layers; the effect is spread over tokens, so few can be dropped."""
MOST_BYTES = 500_000_000
"""Size limit of an index in bytes; with very many facts, fewer pairs of each are kept."""
_ROUND = 8
"""Facts asked per relation and round."""
_PATIENCE = 16
"""Number of asked facts after which a relation may be dropped."""
_AHEAD = 256
"""Facts asked at a time, where later rounds are known to be needed: a pass over few tokens costs nearly as much."""
_FEWEST = 0.1
"""Share of known facts below which a relation is dropped."""
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class IndexedFact:
    """One fact of an index: its prompt, the priced answer with its `logprob` in nats, and its tokens."""

    prompt: FactPrompt
    answer: str
    logprob: float
    tokens: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rest = {name: value for name, value in plain(self).items() if name != "prompt"}
        return {**plain(self.prompt), **rest}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IndexedFact:
        """Read what `to_json` made."""
        return value_from(cls, {**data, "prompt": data}, "This is no known fact")


@dataclass(frozen=True, eq=False, kw_only=True)
class FactIndex:
    """Known facts of one model with their pairs by layer.

    `kept` is the mean share of a fact's Σ ‖g‖²‖k‖² that the kept pairs carry, in [0, 1].
    """

    model_fingerprint: str
    facts: tuple[IndexedFact, ...]
    pairs: Mapping[int, FactPairs]
    kept: float = 1.0

    def __len__(self) -> int:
        """Return the number of facts."""
        return len(self.facts)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have pairs, ascending."""
        return tuple(sorted(self.pairs))

    @property
    def n_bytes(self) -> int:
        """Size of the pairs."""
        return sum(t.numel() * t.element_size() for p in self.pairs.values() for t in (p.keys, p.slopes))

    def price(
        self, config: PriceConfig, *, lm: LoadedLM | None = None, without: Sequence[int] = (), is_first: bool = True
    ) -> FactPrice:
        """Return the price on changing these facts in a write.

        Args:
            config: the price's settings.
            lm: the model, to measure facts again with (`PriceConfig.again`).
            without: facts by number that have no price.
            is_first: whether no earlier edit is attached during the write.
        """

        def measure(rows: Sequence[int], layers: Sequence[int]) -> tuple[Tensor, Mapping[int, FactPairs]]:
            assert lm is not None
            asked = [(self.facts[row].prompt.text, self.facts[row].answer) for row in rows]
            found = measure_facts(lm, asked, layers, per_fact=0, dtype=torch.float32)
            return found.logprobs, found.pairs

        logprobs = torch.tensor([fact.logprob for fact in self.facts], dtype=torch.float64)
        return FactPrice(
            pairs=self.pairs,
            n_fact=len(self),
            config=config,
            without=without,
            measure=None if lm is None else measure,
            logprobs=logprobs if is_first else None,
        )

    def only(self, rows: Sequence[int]) -> FactIndex:
        """Select facts by index, in the given order."""
        chosen = torch.tensor(sorted(rows), dtype=torch.long)
        return replace(
            self,
            facts=tuple(self.facts[int(row)] for row in chosen),
            pairs={layer: pairs.of(chosen) for layer, pairs in self.pairs.items()},
        )

    def without(self, facts: Collection[tuple[str, str]]) -> FactIndex:
        """Drop facts by (subject id, relation id); a user's own facts by (text, ``own``)."""
        rows = [number for number, fact in enumerate(self.facts) if fact.prompt.fact not in facts]
        return self if len(rows) == len(self.facts) else self.only(rows)

    def extended(self, other: FactIndex) -> FactIndex:
        """Add the facts of another index of the same model and layers; prompts already present stay.

        Raises:
            StaleArtifactError: if the other is of another model or lacks a layer.
        """
        if other.model_fingerprint != self.model_fingerprint or other.layers != self.layers:
            raise StaleArtifactError(
                f"An index of model {other.model_fingerprint}, layers {list(other.layers)}, cannot join one of "
                f"{self.model_fingerprint}, layers {list(self.layers)}. Make it again for this model and these layers."
            )
        known = {fact.prompt.id for fact in self.facts}
        new = other.only([n for n, fact in enumerate(other.facts) if fact.prompt.id not in known])
        n, m = len(self), len(new)
        return replace(
            self,
            facts=(*self.facts, *new.facts),
            pairs={layer: joined_pairs([self.pairs[layer], new.pairs[layer]], offsets=[0, n]) for layer in self.layers},
            kept=(n * self.kept + m * new.kept) / max(n + m, 1),
        )

    def check(self, lm: LoadedLM, layers: Collection[int]) -> None:
        """Check that the index is of this model and has these layers.

        Raises:
            StaleArtifactError: if it is of another model.
            ConfigError: if it lacks a layer.
        """
        if self.model_fingerprint != lm.fingerprint:
            raise StaleArtifactError(
                f"The index of known facts is of model {self.model_fingerprint}; loaded is {lm.name} "
                f"({lm.fingerprint}). Make one for this model."
            )
        self.check_layers(layers)

    def check_layers(self, layers: Collection[int]) -> None:
        """Raise `ConfigError` if a layer has no pairs."""
        missing = sorted(set(layers) - set(self.layers))
        if missing:
            raise ConfigError(
                f"The index of known facts has layers {list(self.layers)} and lacks {missing[0]}. Make one of the "
                "layers that are written."
            )


def pairs_that_fit(lm: LoadedLM, n_fact: int) -> int:
    """Return the pairs kept per fact: `PAIRS_PER_FACT`, or fewer to fit `MOST_BYTES`; at least 4."""
    return max(4, min(PAIRS_PER_FACT, MOST_BYTES // (n_fact * 2 * (lm.d_key + lm.d_model))))


def index_bytes(lm: LoadedLM, n_fact: int, *, per_fact: int | None = None) -> int:
    """Return the largest size in bytes of an index of so many facts, in memory and on disk."""
    return n_fact * (per_fact or pairs_that_fit(lm, n_fact)) * 2 * (lm.d_key + lm.d_model)


@dataclass(frozen=True, kw_only=True)
class FactScope:
    """Scope of an index: relations and subjects (ids) to ask; empty means all.

    `per_round` facts of every relation are asked before what is known of them is kept: few, where few are wanted of
    many relations.
    """

    relations: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    per_round: int = _ROUND

    def takes(self, relation: str, subject: str) -> bool:
        """Return whether a fact of this relation about this subject is asked."""
        return (not self.relations or relation in self.relations) and (not self.subjects or subject in self.subjects)


EVERYTHING = FactScope()
"""The scope of all facts with a wording."""


def index_folder(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    layers: Sequence[int],
    *,
    per_fact: int,
    scope: FactScope = EVERYTHING,
) -> Path:
    """Return the cache folder of an index, named by model, graph, wordings, layers, pairs per fact and scope."""
    parts = [lm.fingerprint, store.fingerprint, catalogue.fingerprint, json.dumps(list(layers))]
    if scope != EVERYTHING:
        parts.append(json.dumps([sorted(scope.relations), sorted(scope.subjects), scope.per_round]))
    name = digest("fact index", str(_VERSION), str(per_fact), *parts)[:16]
    return cache_dir() / "forecast" / name


def facts_on_disk(folder: Path) -> list[str]:
    """Return the ids of the facts in a folder's finished parts, in order; unreadable parts are skipped."""
    found: list[str] = []
    for path in sorted(folder.glob("part-*.safetensors")):
        try:
            header = parse_json(load_header(path, what="index of facts", advice="Delete it.")["index"], where=str(path))
            found += [IndexedFact.from_json(row).prompt.id for row in header["facts"]]
        except (KgmetError, KeyError, TypeError, ValueError):
            continue
    return found


def measured_index(
    lm: LoadedLM,
    facts: Sequence[tuple[FactPrompt, str]],
    layers: Sequence[int],
    *,
    per_fact: int = PAIRS_PER_FACT,
    dtype: torch.dtype = torch.bfloat16,
    check: Callable[[], None] = lambda: None,
) -> FactIndex:
    """Build an index of given (fact, answer) pairs, known or not, without saving it.

    Args:
        lm: the model, with any attached patches.
        facts: the facts, each with the answer to measure.
        layers: decoder layers.
        per_fact: most pairs kept of a fact; 0 keeps all.
        dtype: in which pairs are kept.
        check: called before every batch; may raise.

    Raises:
        ConfigError: if a layer is out of range.
    """
    check_layers(lm, layers)
    asked = [(prompt.text, answer) for prompt, answer in facts]
    found = measure_facts(lm, asked, layers, per_fact=per_fact, dtype=dtype, check=check)
    return _index(lm.fingerprint, facts, found)


def build_index(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    layers: Sequence[int],
    *,
    limit: int,
    own: Sequence[FactPrompt] = (),
    per_fact: int | None = None,
    scope: FactScope = EVERYTHING,
    progress: Progress | None = None,
) -> FactIndex:
    """Build an index of up to `limit` facts of a graph that the model knows, using cached parts.

    Args:
        lm: the model, with nothing attached.
        store: the graph.
        catalogue: wordings of relations.
        layers: the written decoder layers.
        limit: most facts of the graph.
        own: the user's own facts, which count whether the model knows them or not.
        per_fact: most pairs kept of a fact; by default `pairs_that_fit`.
        scope: which facts of the graph are asked; by default all.
        progress: receives every round and can cancel; finished rounds are kept for the next call.

    Raises:
        ConfigError: if a layer is out of range.
        Cancelled: if asked to stop.
    """
    progress, layers = progress or Silent(), tuple(sorted(layers))
    check_layers(lm, layers)
    per_fact = per_fact or pairs_that_fit(lm, limit)
    folder = index_folder(lm, store, catalogue, layers, per_fact=per_fact, scope=scope)
    parts: list[FactIndex] = []
    asking = _Asking(store, catalogue, scope)
    ready = _Ready(lm, layers, per_fact, progress)
    while (have := sum(map(len, parts))) < limit:
        size = index_bytes(lm, limit, per_fact=per_fact)
        detail: dict[str, float | str] = {"most bytes": float(size), "round": float(len(parts) + 1)}
        progress.report(ProgressEvent(stage=Stage.FACT_INDEX, done=have, total=limit, detail=detail))
        progress.check()
        prompts = asking.next_round()
        if not prompts:
            break
        path = folder / f"part-{len(parts):04}.safetensors"
        part = _part_on_disk(lm, prompts, layers, path)
        if part is None:
            # A fact is one prompt at most, so as many as are missing must be asked in any case.
            ready.ask(prompts, ahead=asking.ahead(min(_AHEAD, limit - have) - len(prompts)))
            part = ready.part(prompts)
            _save(part, path, _digest_of(prompts))
        asking.heard({fact.prompt.id for fact in part.facts})
        parts.append(part)
    progress.report(ProgressEvent(stage=Stage.FACT_INDEX, done=limit, total=limit))
    index = _joined(lm, parts, layers)
    index = index.only(range(limit)) if len(index) > limit else index
    if own:
        facts = [(prompt, prompt.answers[0]) for prompt in own]
        index = index.extended(measured_index(lm, facts, layers, per_fact=per_fact, check=progress.check))
    return index


class _Asking:
    """Choice of the next facts to ask: some of every relation of which the model knows anything."""

    def __init__(self, store: TripleStore, catalogue: RelationCatalogue, scope: FactScope) -> None:
        self._catalogue, self._scope = catalogue, scope
        self._queues: dict[str, Iterator[FactPrompt]] = {}
        for relation in store.relations():
            if relation.id in catalogue and (not scope.relations or relation.id in scope.relations):
                self._queues[relation.id] = self._prompts(store, relation.id)
        self._next: dict[str, list[FactPrompt]] = {relation: [] for relation in self._queues}
        self._asked: dict[str, int] = dict.fromkeys(self._queues, 0)
        self._known: dict[str, int] = dict.fromkeys(self._queues, 0)
        self._round: list[FactPrompt] = []

    def next_round(self) -> list[FactPrompt]:
        """Return the next facts of each relation; empty at the end."""
        self._round = []
        for relation in list(self._queues):
            if self._asked[relation] >= _PATIENCE and self._known[relation] < _FEWEST * self._asked[relation]:
                del self._queues[relation]
                continue
            found = self._following(relation, self._scope.per_round)
            self._next[relation] = self._next[relation][len(found) :]
            self._asked[relation] += len(found)
            self._round += found
            if not found:
                del self._queues[relation]
        return self._round

    def ahead(self, most: int) -> list[FactPrompt]:
        """Return the facts of later rounds, as many rounds as begin within `most` facts, if no relation is dropped."""
        found: list[FactPrompt] = []
        begin, size = 0, self._scope.per_round
        while len(found) < most:
            new = [p for relation in self._queues for p in self._following(relation, begin + size)[begin:]]
            if not new:
                break
            found += new
            begin += size
        return found

    def heard(self, known: Collection[str]) -> None:
        """Record the ids of the last round's facts that the model knows."""
        for prompt in self._round:
            self._known[prompt.relation] += prompt.id in known

    def _following(self, relation: str, n: int) -> list[FactPrompt]:
        """Return the next `n` facts of a relation, without taking them."""
        waiting = self._next[relation]
        waiting += itertools.islice(self._queues[relation], max(0, n - len(waiting)))
        return waiting[:n]

    def _prompts(self, store: TripleStore, relation: str) -> Iterator[FactPrompt]:
        for _, subject, objects in facts_of(store, self._catalogue, relations=[relation]):
            if self._scope.takes(relation, subject.id):
                yield from prompts_of(self._catalogue.spec(relation), subject, objects)[:1]


class _Ready:
    """Facts that were asked, with what is measured of those the model knows, also of rounds to come."""

    def __init__(self, lm: LoadedLM, layers: Sequence[int], per_fact: int, progress: Progress) -> None:
        self._lm, self._layers, self._per_fact, self._progress = lm, layers, per_fact, progress
        self._asked: set[str] = set()
        self._known: FactIndex | None = None

    def ask(self, prompts: Sequence[FactPrompt], *, ahead: Sequence[FactPrompt]) -> None:
        """Ask a round and those ahead of it, unless the round was asked."""
        if all(prompt.id in self._asked for prompt in prompts):
            return
        asked, check = [*prompts, *ahead], self._progress.check
        answers = answers_of(self._lm, asked, check=check)
        facts = [(prompt, answer) for prompt, answer in zip(asked, answers, strict=True) if answer is not None]
        self._known = measured_index(self._lm, facts, self._layers, per_fact=self._per_fact, check=check)
        self._asked = {prompt.id for prompt in asked}

    def part(self, prompts: Sequence[FactPrompt]) -> FactIndex:
        """Return the known facts of a round."""
        assert self._known is not None
        own = {prompt.id for prompt in prompts}
        return self._known.only([n for n, fact in enumerate(self._known.facts) if fact.prompt.id in own])


def _part_on_disk(lm: LoadedLM, prompts: Sequence[FactPrompt], layers: Sequence[int], path: Path) -> FactIndex | None:
    """Return the known facts of a round from an earlier build, if there is a readable file of them."""
    if path.is_file():
        try:
            return _load(path, lm.fingerprint, layers, _digest_of(prompts))
        except BrokenArtifactError:
            path.unlink(missing_ok=True)
    return None


def _digest_of(prompts: Sequence[FactPrompt]) -> str:
    return digest(*(prompt.id for prompt in prompts))[:16]


def _index(fingerprint: str, facts: Sequence[tuple[FactPrompt, str]], found: MeasuredFacts) -> FactIndex:
    rows = zip(facts, found.logprobs.tolist(), found.tokens, strict=True)
    return FactIndex(
        model_fingerprint=fingerprint,
        facts=tuple(
            IndexedFact(prompt=prompt, answer=answer, logprob=logprob, tokens=tokens)
            for (prompt, answer), logprob, tokens in rows
        ),
        pairs=found.pairs,
        kept=float(found.kept.mean()) if len(found.kept) else 1.0,
    )


def _joined(lm: LoadedLM, parts: Sequence[FactIndex], layers: Sequence[int]) -> FactIndex:
    if not parts:
        return _index(lm.fingerprint, [], measure_facts(lm, [], layers, per_fact=1))
    offsets = [sum(map(len, parts[:n])) for n in range(len(parts))]
    total = sum(map(len, parts))
    return FactIndex(
        model_fingerprint=lm.fingerprint,
        facts=tuple(fact for part in parts for fact in part.facts),
        pairs={layer: joined_pairs([part.pairs[layer] for part in parts], offsets=offsets) for layer in layers},
        kept=sum(len(part) * part.kept for part in parts) / max(total, 1),
    )


def _save(index: FactIndex, path: Path, asked: str) -> None:
    tensors: dict[str, Tensor] = {}
    for layer, pairs in index.pairs.items():
        for name in ("keys", "slopes", "fact", "token"):
            tensors[f"{layer}.{name}"] = getattr(pairs, name)
    header = {
        "model": index.model_fingerprint,
        "asked": asked,
        "kept": index.kept,
        "facts": [fact.to_json() for fact in index.facts],
    }
    save_artifact(path, tensors, {"index": json.dumps(header, ensure_ascii=False)})


def _load(path: Path, fingerprint: str, layers: Sequence[int], asked: str) -> FactIndex:
    advice = "Delete it to make it again."
    read = load_artifact(path, what="index of facts", advice=advice)
    with failures_as(BrokenArtifactError, f"{path} holds no index of facts", advice=advice):
        header = parse_json(read.header["index"], where=str(path))
        if header["model"] != fingerprint or header["asked"] != asked:
            raise BrokenArtifactError(f"{path} is of another model or of other facts.")
        names = ("keys", "slopes", "fact", "token")
        return FactIndex(
            model_fingerprint=fingerprint,
            facts=tuple(IndexedFact.from_json(row) for row in header["facts"]),
            pairs={layer: FactPairs(**{name: read.tensors[f"{layer}.{name}"] for name in names}) for layer in layers},
            kept=float(header["kept"]),
        )
