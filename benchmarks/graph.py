"""Load time, query time and memory of a large graph.

The graph is synthetic and shaped like Wikidata: few relations, names made of words, a skewed number of facts per
entity, and one hub with a tenth of all triples. Each file format is loaded in a separate process, so that memory peaks
do not mix.

    OMP_NUM_THREADS=1 python benchmarks/graph.py [--triples 1000000] [--queries 2000]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

N_RELATION = 80
HUB_SHARE = 0.1


def names(count: int, *, rng: random.Random) -> list[str]:
    syllables = ["ka", "ri", "to", "mon", "vel", "sa", "du", "lor", "en", "mi", "ber", "za", "pho", "qui", "sto", "ña"]
    words = ["".join(rng.choices(syllables, k=rng.randint(2, 4))).capitalize() for _ in range(20_000)]
    return [" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(count)]


def write_graph(folder: Path, n_triple: int) -> None:
    """Write the same facts as labelled TSV and as N-Triples."""
    rng, numbers = random.Random(0), np.random.default_rng(0)
    n_entity = max(n_triple // 4, 10)
    labels = names(n_entity, rng=rng)
    subjects = numbers.integers(n_entity, size=n_triple)
    objects = np.minimum((n_entity * numbers.random(n_triple) ** 3).astype(int), n_entity - 1)
    objects[numbers.random(n_triple) < HUB_SHARE] = 7
    relations = (N_RELATION * numbers.random(n_triple) ** 2).astype(int)
    wd, wdt = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
    with (folder / "graph.tsv").open("w") as table, (folder / "graph.nt").open("w") as triples:
        table.write("subject_id\tsubject\trelation_id\trelation\tobject_id\tobject\tsource\n")
        for number, label in enumerate(labels):
            triples.write(f'<{wd}Q{number + 1}> <http://www.w3.org/2000/01/rdf-schema#label> "{label}"@en .\n')
        for s, r, o in zip(subjects.tolist(), relations.tolist(), objects.tolist(), strict=True):
            table.write(f"Q{s + 1}\t{labels[s]}\tP{r + 1}\trelation {r}\tQ{o + 1}\t{labels[o]}\tsynthetic\n")
            triples.write(f"<{wd}Q{s + 1}> <{wdt}P{r + 1}> <{wd}Q{o + 1}> .\n")


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def spread(seconds: list[float]) -> dict[str, float]:
    """Return the median, 95th percentile and largest, in milliseconds."""
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50_ms": 1e3 * float(p50), "p95_ms": 1e3 * float(p95), "max_ms": 1e3 * max(seconds), "n": len(seconds)}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path, n_query: int) -> dict[str, object]:
    """Measure one file in this process."""
    from kgmet.fact import FactEdit
    from kgmet.graph.reading.retrieve import SubgraphConfig, retrieve_subgraph
    from kgmet.graph.stores.readers import load_graph

    before = peak_mb()
    start = time.perf_counter()
    store = load_graph(path, relation_labels={})
    result: dict[str, object] = {"load_s": time.perf_counter() - start, "load_mb": peak_mb(), "before_mb": before}
    result["triples"] = len(store)
    rng = random.Random(1)
    triples = [
        next(iter(store.outgoing(e))) for e in rng.sample(list(store.columns.entity_ids), n_query) if store.count(e)
    ]
    ids = store.columns.entity_ids

    def edit(old) -> FactEdit:
        new = store.entity(rng.choice(ids))
        return FactEdit(
            subject=old.subject.label,
            template="{} is",
            new_object=new.label + " new",
            relation=old.relation.id,
            subject_id=old.subject.id,
            new_object_id=new.id,
            old_object_id=old.object.id,
        )

    edits = [edit(old) for old in triples]
    config = SubgraphConfig()
    result["retrieve"] = spread([timed(lambda e=e: retrieve_subgraph(store, e, config=config)) for e in edits])
    # The hub as subject, with all that points to it, and as new object by turns.
    ends = [{"subject_id": "Q8", "subject": "hub", "old_object_id": None}, {"new_object_id": "Q8"}]
    at_hub = [FactEdit.from_json({**e.to_json(), **ends[n % 2]}) for n, e in enumerate(edits[:200])]
    result["retrieve_hub"] = spread([timed(lambda e=e: retrieve_subgraph(store, e, config=config)) for e in at_hub])
    result["hub"] = store.count("Q8", direction="in")
    result["first_search_s"] = timed(lambda: store.search("Kari"))
    asked = [store.entity(rng.choice(ids)).label for _ in range(n_query)]
    result["search_label"] = spread([timed(lambda a=a: store.search(a)) for a in asked])
    begun = [a[: rng.randint(2, 5)] for a in asked]
    result["search_prefix"] = spread([timed(lambda a=a: store.search(a)) for a in begun])
    words = [" ".join(reversed(a.split())) for a in asked]
    result["search_words"] = spread([timed(lambda a=a: store.search(a)) for a in words])
    result["searched_mb"] = peak_mb()
    result["sparql_copy_s"] = timed(lambda: store.sparql("ASK { ?s ?p ?o }"))
    query = "SELECT ?s ?r ?o ?x WHERE { ?s ?r ?o . ?o ?q ?x } LIMIT 35"
    result["sparql"] = spread([timed(lambda t=t: store.sparql(query, {"s": t.subject})) for t in triples[:200]])
    result["all_mb"] = peak_mb()
    return result


def table(results: dict[str, dict]) -> str:
    rows = [
        ("load", "load_s", "s", "60"),
        ("peak memory after loading", "load_mb", "MB", "1500"),
        ("subgraph of an edit, p50", ("retrieve", "p50_ms"), "ms", ""),
        ("subgraph of an edit, p95", ("retrieve", "p95_ms"), "ms", "20"),
        ("subgraph of an edit at the hub, p95", ("retrieve_hub", "p95_ms"), "ms", "20"),
        ("first search (names are indexed)", "first_search_s", "s", ""),
        ("search by label, p95", ("search_label", "p95_ms"), "ms", ""),
        ("search by 2-5 letters, p95", ("search_prefix", "p95_ms"), "ms", ""),
        ("search by words in another order, p95", ("search_words", "p95_ms"), "ms", ""),
        ("peak memory after searching", "searched_mb", "MB", ""),
        ("first SPARQL query (copy into pyoxigraph)", "sparql_copy_s", "s", ""),
        ("two-hop SPARQL query, p95", ("sparql", "p95_ms"), "ms", ""),
        ("peak memory with the SPARQL copy", "all_mb", "MB", ""),
    ]
    lines = ["| | " + " | ".join(results) + " | needed |", "|---|" + "---:|" * (len(results) + 1)]
    for title, key, unit, need in rows:
        cells = [r[key] if isinstance(key, str) else r[key[0]][key[1]] for r in results.values()]
        shown = " | ".join(f"{cell:.0f} {unit}" if cell >= 100 else f"{cell:.2f} {unit}" for cell in cells)
        lines.append(f"| {title} | {shown} | {'≤ ' + need + ' ' + unit if need else ''} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triples", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.queries)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_graph(Path(folder), given.triples)
        for name in ("graph.tsv", "graph.nt"):
            command = [sys.executable, __file__, "--measure", str(Path(folder) / name), "--queries", str(given.queries)]
            results[f"`.{name.split('.')[1]}`"] = json.loads(subprocess.check_output(command))
    some = next(iter(results.values()))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    print(
        f"{some['triples']:,} triples (hub with {some['hub']:,} incoming), {given.queries} edits, 200 at the hub; "
        f"{platform.machine()}, {os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} thread(s), "
        f"Python {platform.python_version()}, commit {commit.strip() or 'unknown'}.\n"
    )
    print(table(results))


if __name__ == "__main__":
    main()
