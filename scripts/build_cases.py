"""Write `sample_data/cases.json`: CounterFact-style cases from the sample graph, about facts the default model knows.

Run with ``python -m scripts.build_cases``; it takes some minutes. The wordings are in `facts/case_wordings.json`. None
of them is in the relation catalogue, so optimised and tested wordings differ.

A fact is *known* if the default model ranks its object first after the edit's own prompt, or among the first three
there and first after a paraphrase. Of the known facts of a relation the script takes as many as the wordings file
allows, in hash order. The new object is another object of the relation that several subjects have; cases in which the
model already prefers it are dropped. Ten neighbours are other known facts of the relation; half of them share the old
object if there are enough. Consequences are those of `find_consequences` with a wording, so both ends come from the
graph.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgmet.base.fingerprint import digest
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import fill, in_slot
from kgmet.graph.reading.consequences import Consequence, ConsequenceConfig, EditConsequences, find_consequences
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import SAMPLE_FOLDER, sample_store
from kgmet.graph.triple import Entity, Triple
from kgmet.lm.load.loaded import LoadedLM, load_lm
from kgmet.lm.say.packed import score_packed
from kgmet.lm.say.score import score_answers

WORDINGS = Path(__file__).parent / "facts" / "case_wordings.json"
N_NEIGHBOUR, N_PARAPHRASE, N_CONSEQUENCE, N_REFERENCE, N_TRIPLE = 10, 2, 5, 4, 12
FACTS_PER_CASE = 6
"""Number of facts of a relation tried per wanted case."""
_CONFIG = ConsequenceConfig()


def main() -> None:
    wordings = json.loads(WORDINGS.read_text(encoding="utf-8"))
    store, catalogue, lm = sample_store(), RelationCatalogue.load(), load_lm()
    cases: list[dict[str, Any]] = []
    for relation, words in wordings.items():
        known = known_facts(lm, store, relation, words)
        made = [case for fact in known if (case := build_case(store, catalogue, fact, words, known))]
        if words["consequences"]:
            made.sort(key=lambda case: not case["consequence_prompts"])
        print(
            f"{relation:10} {len(known):4} known, {len(made):4} usable, {min(len(made), words['limit']):4} taken",
            flush=True,
        )
        cases += made[: words["limit"]]
    rows = [{"case_id": number, **case} for number, case in enumerate(shuffled(believed(lm, cases), key=_case_key))]
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (SAMPLE_FOLDER / "cases.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    with_more = sum(bool(row["consequence_prompts"]) for row in rows)
    print(f"{len(rows)} cases, {with_more} of them with consequences")


def known_facts(lm: LoadedLM, store: TripleStore, relation: str, words: dict[str, Any]) -> list[Triple]:
    """Return the relation's facts that the model knows, in hash order."""
    by_subject: dict[str, list[Triple]] = defaultdict(list)
    for triple in store.with_relation(relation, limit=20_000):
        by_subject[triple.subject.id].append(triple)
    kinds = words.get("kinds")
    single = [
        facts[0]
        for facts in by_subject.values()
        if len(facts) == 1 and (not kinds or facts[0].subject.type in kinds) and is_usable(facts[0])
    ]
    facts = shuffled(single, key=_fact_key)[: FACTS_PER_CASE * words["limit"]]
    near = [(fact, rank) for fact, rank in zip(facts, ranks(lm, words["prompt"], facts), strict=True) if rank <= 3]
    doubtful = [fact for fact, rank in near if rank > 1]
    others = [ranks(lm, template, doubtful) for template in words["paraphrases"]]
    sure = {fact.key for fact, rank in near if rank == 1}
    sure |= {fact.key for fact, *found in zip(doubtful, *others, strict=True) if 1 in found}
    return [fact for fact, _ in near if fact.key in sure]


def ranks(lm: LoadedLM, template: str, facts: Sequence[Triple]) -> list[int]:
    """Return the rank of the first token of each fact's object after the template."""
    pairs = [(fill(template, fact.subject), fact.object.label) for fact in facts]
    return [score.rank for score in score_answers(lm, pairs)] if pairs else []


def believed(lm: LoadedLM, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep cases in which the model prefers the true object per token, so that efficacy before the edit is 0."""
    rewrites = [case["requested_rewrite"] for case in cases]
    pairs = [
        (rewrite["prompt"].replace("{}", rewrite["subject"]), rewrite[target]["str"])
        for rewrite in rewrites
        for target in ("target_true", "target_new")
    ]
    scores = [score.mean_logprob for score in score_packed(lm, pairs)]
    return [case for case, true, new in zip(cases, scores[::2], scores[1::2], strict=True) if true > new]


def is_usable(fact: Triple) -> bool:
    """Return whether the fact is usable: no literal, and the answer not in the subject's name."""
    name, answer = fact.subject.label.casefold(), fact.object.label.casefold()
    return not fact.object.is_literal and answer not in name and name not in answer


def build_case(
    store: TripleStore, catalogue: RelationCatalogue, fact: Triple, words: dict[str, Any], known: Sequence[Triple]
) -> dict[str, Any] | None:
    """Return one record, or ``None`` without enough neighbours or another object."""
    new = new_object(fact, known)
    neighbours = choose_neighbours(fact, new, known) if new else []
    if new is None or len(neighbours) < N_NEIGHBOUR:
        return None
    seed = int(digest(*fact.key)[:8], 16)
    edit = FactEdit(
        subject=in_slot(words["prompt"], fact.subject),
        template=words["prompt"],
        new_object=new.label,
        old_object=fact.object.label,
        relation=fact.relation.id,
        subject_id=fact.subject.id,
        new_object_id=new.id,
        old_object_id=fact.object.id,
    )
    found = find_consequences(store, catalogue, edit, config=_CONFIG)
    consequences, used = worded(found, fact, words, seed)
    shown = words["paraphrases"]
    return {
        "requested_rewrite": {
            "prompt": edit.template,
            "relation_id": fact.relation.id,
            "target_new": {"str": new.label, "id": new.id},
            "target_true": {"str": fact.object.label, "id": fact.object.id},
            "subject": edit.subject,
        },
        "paraphrase_prompts": [fill(shown[(seed + n) % len(shown)], fact.subject) for n in range(N_PARAPHRASE)],
        "neighborhood_prompts": [
            fill(words["neighbours"][n % len(words["neighbours"])], other.subject) for n, other in enumerate(neighbours)
        ],
        "neighborhood_answers": [other.object.label for other in neighbours],
        "generation_prompts": [fill(template, fact.subject) for template in words["generation"]],
        "reference_texts": references(store, new, fact, words),
        "consequence_prompts": consequences,
        "triples": triples_of(fact, new, used),
    }


def new_object(fact: Triple, known: Sequence[Triple]) -> Entity | None:
    """Return another object that at least two known subjects have (any other if every object is single)."""
    subjects: dict[Entity, int] = defaultdict(int)
    for other in known:
        subjects[other.object] += 1
    several = [entity for entity, count in subjects.items() if count >= 2]
    pool = several if len(several) >= 5 else list(subjects)
    name = fact.subject.label.casefold()
    fitting = [
        entity
        for entity in pool
        if entity != fact.object
        and entity.label.casefold() not in name
        and not same_start(entity.label, fact.object.label)
    ]
    return min(fitting, key=lambda entity: digest("new", *fact.key, entity.id), default=None)


def same_start(one: str, other: str) -> bool:
    """Return whether the beginnings of the two answers cannot be told apart."""
    return one.casefold().startswith(other.casefold()) or other.casefold().startswith(one.casefold())


def choose_neighbours(fact: Triple, new: Entity, known: Sequence[Triple]) -> list[Triple]:
    """Return ten other known facts whose answer the edit must not change."""
    others = [
        other for other in known if other.subject != fact.subject and other.object != new and other.subject != new
    ]
    order = sorted(others, key=lambda other: digest("near", *fact.key, *other.key))
    near = [other for other in order if other.object == fact.object]
    far = [other for other in order if other.object != fact.object]
    n_near = min(len(near), max(N_NEIGHBOUR // 2, N_NEIGHBOUR - len(far)))
    return near[:n_near] + far[: N_NEIGHBOUR - n_near]


def worded(
    found: EditConsequences, fact: Triple, words: dict[str, Any], seed: int
) -> tuple[list[dict[str, str]], list[Consequence]]:
    """Return prompts for the consequences that have a wording, one of each meaning."""
    rows: dict[str, dict[str, str]] = {}
    used = []
    for item in found.forward:
        meaning = item.relation or item.path_new[-1].relation.id
        templates = words["consequences"].get(meaning)
        if (
            not templates
            or meaning in rows
            or item.old is None
            or item.new is None
            or same_start(item.old.label, item.new.label)
        ):
            continue
        rows[meaning] = {
            "prompt": fill(templates[(seed + len(rows)) % len(templates)], fact.subject),
            "target_new": item.new.label,
            "target_true": item.old.label,
        }
        used.append(item)
        if len(used) == N_CONSEQUENCE:
            break
    return list(rows.values()), used


def references(store: TripleStore, new: Entity, fact: Triple, words: dict[str, Any]) -> list[str]:
    """Return sentences about other subjects that have the new object."""
    others = store.incoming(new.id, relations=[fact.relation.id])
    chosen = sorted(others, key=lambda other: digest("text", *fact.key, *other.key))[:N_REFERENCE]
    return [words["reference"].format(subject=in_slot("{} is", t.subject), object=new.in_text) for t in chosen]


def triples_of(fact: Triple, new: Entity, used: Sequence[Consequence]) -> list[dict[str, str]]:
    """Return the new edge and the triples behind the consequences, by labels."""
    edge = Triple(subject=fact.subject, relation=fact.relation, object=new)
    paths = [triple for item in used for path in (item.path_new, item.path_old) for triple in path]
    triples = {triple.key: triple for triple in (edge, *paths) if triple.key != fact.key}
    return [
        {"subject": t.subject.label, "relation": t.relation.label, "target": t.object.label}
        for t in list(triples.values())[:N_TRIPLE]
    ]


def shuffled(items: Sequence[Any], *, key: Any) -> list[Any]:
    """Shuffle deterministically, by a hash of each item's key."""
    return sorted(items, key=lambda item: digest("case", *key(item)))


def _fact_key(fact: Triple) -> tuple[str, str, str]:
    return fact.key


def _case_key(case: dict[str, Any]) -> tuple[str, str]:
    rewrite = case["requested_rewrite"]
    return rewrite["subject"], rewrite["relation_id"]


if __name__ == "__main__":
    main()
