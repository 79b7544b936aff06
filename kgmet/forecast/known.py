"""`known_facts`: which of a graph's facts a model knows, by relation.

A fact is known if the model's greedy continuation of a prompt begins with a name of the object, in any of the
catalogue's wordings that are not kept for probing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.forecast.facts import FactPrompt, facts_of, prompts_of
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan, Phrase, locate_all
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.say.score import literal

__all__ = ["AskedFact", "KnownFacts", "KnownRelation", "answers_of", "known_facts"]

_AT_ONCE = 1024
"""Prompts between two reports."""
_MAX_TOKEN = 1536
"""Tokens of a batch."""


@dataclass(frozen=True, kw_only=True)
class AskedFact:
    """A fact that was asked: `answer` is the right name the model begins with, ``None`` where it begins otherwise."""

    prompt: FactPrompt
    answer: str | None


@dataclass(frozen=True, kw_only=True)
class KnownRelation:
    """Of one relation: how many facts were asked and how many of them the model knows."""

    relation: str
    label: str
    asked: int
    known: int

    @property
    def share(self) -> float:
        """Known of asked, in [0, 1]; 0 if none was asked."""
        return self.known / self.asked if self.asked else 0.0


@dataclass(frozen=True, kw_only=True)
class KnownFacts:
    """What a model knows of a graph: by relation, best known first, and the known facts themselves."""

    model: str
    model_fingerprint: str
    graph: str
    relations: tuple[KnownRelation, ...]
    facts: tuple[AskedFact, ...]

    @property
    def asked(self) -> int:
        """Facts asked."""
        return sum(row.asked for row in self.relations)

    @property
    def known(self) -> int:
        """Facts the model knows."""
        return sum(row.known for row in self.relations)

    def to_json(self) -> dict[str, Any]:
        """Counts by relation, as plain JSON values."""
        rows = [
            {"relation": row.relation, "label": row.label, "asked": row.asked, "known": row.known}
            for row in self.relations
        ]
        return {
            "model": self.model,
            "model_fingerprint": self.model_fingerprint,
            "graph": self.graph,
            "asked": self.asked,
            "known": self.known,
            "relations": rows,
        }


def known_facts(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    per_relation: int = 40,
    relations: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> KnownFacts:
    """Ask the model the best-known facts of each relation.

    Args:
        lm: the model with whatever is attached.
        store: the graph.
        catalogue: the words.
        per_relation: most facts asked of a relation.
        relations: only these; by default all there are words for.
        progress: receives every batch and can cancel.
    """
    progress = progress or Silent()
    wordings = list(_chosen(store, catalogue, relations, per_relation))
    asked: dict[tuple[str, str], AskedFact] = {}
    rounds = max((len(prompts) for prompts in wordings), default=0)
    for number in range(rounds):
        left = [p[number] for p in wordings if number < len(p) and not _is_known(asked, p[number])]
        for begin in range(0, len(left), _AT_ONCE):
            progress.report(
                ProgressEvent(stage=Stage.KNOWN_FACTS, done=begin, total=len(left), detail={"wording": number + 1})
            )
            progress.check()
            chunk = left[begin : begin + _AT_ONCE]
            for prompt, answer in zip(chunk, answers_of(lm, chunk, check=progress.check), strict=True):
                asked[prompt.fact] = AskedFact(prompt=prompt, answer=answer)
    return KnownFacts(
        model=lm.name,
        model_fingerprint=lm.fingerprint,
        graph=store.name,
        relations=_by_relation(asked, catalogue),
        facts=tuple(fact for fact in asked.values() if fact.answer is not None),
    )


def _chosen(
    store: TripleStore, catalogue: RelationCatalogue, relations: Sequence[str] | None, per_relation: int
) -> Iterator[tuple[FactPrompt, ...]]:
    counts: dict[str, int] = {}
    for relation, subject, objects in facts_of(store, catalogue, relations=relations):
        prompts = prompts_of(catalogue.spec(relation), subject, objects)
        if prompts and counts.get(relation, 0) < per_relation:
            counts[relation] = counts.get(relation, 0) + 1
            yield prompts


def _is_known(asked: Mapping[tuple[str, str], AskedFact], prompt: FactPrompt) -> bool:
    found = asked.get(prompt.fact)
    return found is not None and found.answer is not None


def _by_relation(asked: Mapping[tuple[str, str], AskedFact], catalogue: RelationCatalogue) -> tuple[KnownRelation, ...]:
    counts: dict[str, list[int]] = {}
    for (_, relation), fact in asked.items():
        count = counts.setdefault(relation, [0, 0])
        count[0] += 1
        count[1] += fact.answer is not None
    rows = [
        KnownRelation(relation=relation, label=catalogue.spec(relation).label, asked=n, known=known)
        for relation, (n, known) in counts.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.share, -row.asked, row.relation)))


def answers_of(
    lm: LoadedLM, prompts: Sequence[FactPrompt], *, check: Callable[[], None] = lambda: None
) -> list[str | None]:
    """For each prompt the right answer that the model's greedy continuation begins with, or ``None``.

    Most prompts are settled by their first token; only where that fits a name are the name's other tokens asked.
    `check` is called before every batch and may raise.
    """
    spans = spans_of(lm, [(prompt.text, name) for prompt in prompts for name in prompt.answers])
    owners = [number for number, prompt in enumerate(prompts) for _ in prompt.answers]
    names = [name for prompt in prompts for name in prompt.answers]
    first = _greedy(lm, {_head(span) for span in spans}, check)
    fits = [n for n, span in enumerate(spans) if first.get(_head(span)) == span.target_ids[0]]
    wanted = {span.input_ids[:stop] for n in fits for span in [spans[n]] for stop in _inner(span)}
    later = _greedy(lm, wanted, check) if wanted else {}
    found: list[str | None] = [None] * len(prompts)
    for n in sorted(fits, key=lambda n: -len(spans[n].target_ids)):
        span = spans[n]
        if all(later[span.input_ids[:stop]] == span.input_ids[stop] for stop in _inner(span)):
            found[owners[n]] = found[owners[n]] or names[n]
    return found


def spans_of(lm: LoadedLM, pairs: Sequence[tuple[str, str]]) -> list[EditSpan]:
    """Where each answer stands in the tokens of its prompt and answer."""
    return locate_all(lm, [Phrase(template=literal(prompt), target=answer) for prompt, answer in pairs])


def _head(span: EditSpan) -> tuple[int, ...]:
    return span.input_ids[: span.n_prompt]


def _inner(span: EditSpan) -> range:
    assert span.target is not None
    return range(span.target.start + 1, span.target.stop)


def _greedy(lm: LoadedLM, texts: set[tuple[int, ...]], check: Callable[[], None]) -> dict[tuple[int, ...], int]:
    """The likeliest next token after each text."""
    found: dict[tuple[int, ...], int] = {}
    with torch.no_grad():
        for batch in equal_batches(sorted(texts, key=lambda ids: (len(ids), ids))):
            check()
            states = base_states(lm, torch.tensor(batch, dtype=torch.long, device=lm.device), use_cache=False)
            tokens = lm.vocabulary_logits(states[:, -1]).argmax(-1).tolist()
            found |= zip(batch, tokens, strict=True)
    return found


def equal_batches(texts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Batches of texts of one length each, so that nothing is padded; `texts` are sorted by length."""
    batch: list[tuple[int, ...]] = []
    for text in texts:
        if batch and (len(text) != len(batch[0]) or (len(batch) + 1) * len(text) > _MAX_TOKEN):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch
