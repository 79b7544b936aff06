"""`known_facts`: the facts of a graph that a model knows, by relation.

A fact is known if the model's greedy continuation of a prompt begins with a name of the object, in any catalogue
wording that is not held out for probing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.forecast.facts import FactPrompt, facts_of, prompts_of
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan, Phrase, locate_all
from kgmet.lm.say.greedy import greedy_tokens
from kgmet.lm.say.score import literal

__all__ = ["AnswerBook", "AskedFact", "KnownFacts", "KnownRelation", "answers_of", "known_facts", "known_so_far"]

_AT_ONCE = 256
"""Prompts between two progress reports; so many are asked again at most after a stop."""


@dataclass(frozen=True, kw_only=True)
class AskedFact:
    """An asked fact: `answer` is the right name with which the model begins, ``None`` if it begins otherwise."""

    prompt: FactPrompt
    answer: str | None


class AnswerBook(Protocol):
    """Answers of earlier runs by the id of their `FactPrompt`; an answer is ``None`` where it was wrong."""

    def find(self, key: str, /) -> Mapping[str, Any] | None:
        """Return ``{"answer": …}`` if the prompt was asked before."""
        ...

    def add(self, key: str, values: Mapping[str, Any], /) -> None:
        """Keep an answer."""
        ...


@dataclass(frozen=True, kw_only=True)
class KnownRelation:
    """Numbers of asked and known facts of one relation."""

    relation: str
    label: str
    asked: int
    known: int

    @property
    def share(self) -> float:
        """Share of known facts, in [0, 1]; 0 if none was asked."""
        return self.known / self.asked if self.asked else 0.0


@dataclass(frozen=True, kw_only=True)
class KnownFacts:
    """A model's knowledge of a graph: counts by relation, best known first, the known facts and the others."""

    model: str
    model_fingerprint: str
    graph: str
    relations: tuple[KnownRelation, ...]
    facts: tuple[AskedFact, ...]
    unknown: tuple[AskedFact, ...] = ()

    @property
    def asked(self) -> int:
        """Number of asked facts."""
        return sum(row.asked for row in self.relations)

    @property
    def known(self) -> int:
        """Number of known facts."""
        return sum(row.known for row in self.relations)

    def to_json(self) -> dict[str, Any]:
        """Return counts by relation, as plain JSON values."""
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
    book: AnswerBook | None = None,
    progress: Progress | None = None,
) -> KnownFacts:
    """Ask the model the best-known facts of each relation.

    Args:
        lm: the model, with any attached patches.
        store: the graph.
        catalogue: wordings of relations.
        per_relation: most facts asked of a relation.
        relations: the relations to ask; by default all with a wording.
        book: answers of earlier runs, which are not asked again; new ones are added batch by batch.
        progress: receives every batch, as prompts of at most so many in all wordings, and can cancel.
    """
    progress = progress or Silent()
    wordings = list(_chosen(store, catalogue, relations, per_relation))
    asked: dict[tuple[str, str], AskedFact] = {}
    rounds = max((len(prompts) for prompts in wordings), default=0)
    done = 0
    for number in range(rounds):
        missing = [p[number:] for p in wordings if number < len(p) and not _is_known(asked, p[number])]
        left, total = [rest[0] for rest in missing], done + sum(map(len, missing))
        for begin in range(0, len(left), _AT_ONCE):
            progress.report(
                ProgressEvent(stage=Stage.KNOWN_FACTS, done=done + begin, total=total, detail={"wording": number + 1})
            )
            progress.check()
            chunk = left[begin : begin + _AT_ONCE]
            for prompt, answer in zip(chunk, _answered(lm, chunk, book, progress), strict=True):
                asked[prompt.fact] = AskedFact(prompt=prompt, answer=answer)
        done += len(left)
    return _found(lm, store, catalogue, asked)


def known_so_far(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, *, per_relation: int, book: AnswerBook
) -> tuple[KnownFacts, int]:
    """Read from the book what is known so far, and how many facts are not asked in every wording yet; asks nothing.

    A fact that was asked in some wordings only, none of them answered right, counts as asked and not known. So what a
    run knew when it was stopped is too little, never too much.
    """
    asked: dict[tuple[str, str], AskedFact] = {}
    n_left = 0
    for prompts in _chosen(store, catalogue, None, per_relation):
        rows = [book.find(prompt.id) or {} for prompt in prompts]
        known = [(prompt, row["answer"]) for prompt, row in zip(prompts, rows, strict=True) if row.get("answer")]
        if known:
            prompt, answer = known[0]
            asked[prompt.fact] = AskedFact(prompt=prompt, answer=str(answer))
            continue
        if any("answer" in row for row in rows):
            asked[prompts[0].fact] = AskedFact(prompt=prompts[0], answer=None)
        n_left += not all("answer" in row for row in rows)
    return _found(lm, store, catalogue, asked), n_left


def _found(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, asked: Mapping[tuple[str, str], AskedFact]
) -> KnownFacts:
    return KnownFacts(
        model=lm.name,
        model_fingerprint=lm.fingerprint,
        graph=store.name,
        relations=_by_relation(asked, catalogue),
        facts=tuple(fact for fact in asked.values() if fact.answer is not None),
        unknown=tuple(fact for fact in asked.values() if fact.answer is None),
    )


def _answered(
    lm: LoadedLM, prompts: Sequence[FactPrompt], book: AnswerBook | None, progress: Progress
) -> list[str | None]:
    """Return `answers_of`, with what the book has read from it and the others added to it."""
    if book is None:
        return answers_of(lm, prompts, check=progress.check)
    missing = [prompt for prompt in prompts if "answer" not in (book.find(prompt.id) or {})]
    for prompt, answer in zip(missing, answers_of(lm, missing, check=progress.check), strict=True):
        book.add(prompt.id, {"answer": answer})
    found = [book.find(prompt.id) or {} for prompt in prompts]
    return [row.get("answer") for row in found]


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
    """Return, for each prompt, the right answer with which the greedy continuation begins, or ``None``.

    Most prompts are decided by the first token; only if that fits a name are the name's other tokens checked. `check`
    is called before every batch and may raise.
    """
    spans = spans_of(lm, [(prompt.text, name) for prompt in prompts for name in prompt.answers])
    owners = [number for number, prompt in enumerate(prompts) for _ in prompt.answers]
    names = [name for prompt in prompts for name in prompt.answers]
    first = greedy_tokens(lm, {_head(span) for span in spans}, check=check)
    fits = [n for n, span in enumerate(spans) if first.get(_head(span)) == span.target_ids[0]]
    wanted = {span.input_ids[:stop] for n in fits for span in [spans[n]] for stop in _inner(span)}
    later = greedy_tokens(lm, wanted, check=check)
    found: list[str | None] = [None] * len(prompts)
    for n in sorted(fits, key=lambda n: -len(spans[n].target_ids)):
        span = spans[n]
        if all(later[span.input_ids[:stop]] == span.input_ids[stop] for stop in _inner(span)):
            found[owners[n]] = found[owners[n]] or names[n]
    return found


def spans_of(lm: LoadedLM, pairs: Sequence[tuple[str, str]]) -> list[EditSpan]:
    """Return the range of each answer in the tokens of prompt and answer."""
    return locate_all(lm, [Phrase(template=literal(prompt), target=answer) for prompt, answer in pairs])


def _head(span: EditSpan) -> tuple[int, ...]:
    return span.input_ids[: span.n_prompt]


def _inner(span: EditSpan) -> range:
    assert span.target is not None
    return range(span.target.start + 1, span.target.stop)
