"""``python -m kgmet graph``: an edit's subgraph, its consequences and the probes made from them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kgmet.base.errors import RequestError
from kgmet.cli.common import add_fact_options, add_graph_options, open_store, positive, print_json, typed_fact, whole
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue

if TYPE_CHECKING:
    from kgmet.graph.consequence import EditConsequences
    from kgmet.graph.reading.probe_prompts import GeneratedPrompt
    from kgmet.graph.reading.retrieve import Subgraph
    from kgmet.graph.store import TripleStore
    from kgmet.graph.wording.linking import LinkedEdit

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "graph",
        help="show the subgraph of an edit, its consequences and the probes made from them",
        description=__doc__,
    )
    add_fact_options(parser, required=("subject", "new_object"))
    parser.add_argument("--max-triples", type=positive, default=35, help="size of the subgraph (default: %(default)s)")
    parser.add_argument(
        "--hops", type=whole(0), default=2, help="hops from the new object, 0 to 3 (default: %(default)s)"
    )
    parser.add_argument(
        "--exclude", nargs="+", default=(), metavar="RELATION", help="relations to switch off: id, label or wording"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    add_graph_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the subgraph, the consequences and the probes of one edit."""
    result = _look(options)
    if options.json:
        print_json(result)
    else:
        print("\n".join(_readable(result)))
    return 0


def _look(options: argparse.Namespace) -> dict[str, Any]:
    from kgmet.graph.reading.consequences import ConsequenceConfig, find_consequences
    from kgmet.graph.reading.probe_prompts import QuestionConfig, generate_probes
    from kgmet.graph.reading.resolved_edit import find_ends
    from kgmet.graph.reading.retrieve import SubgraphConfig, retrieve_subgraph
    from kgmet.graph.wording.choose_relation import relation_named
    from kgmet.graph.wording.linking import link_edit

    start = time.perf_counter()
    catalogue = RelationCatalogue.load()
    edit = _edit(options, catalogue)
    config = SubgraphConfig(max_triples=options.max_triples, hops=options.hops)
    store = open_store(options)
    if store is None:
        raise RequestError("This command shows a graph. Leave --no-graph out.")
    loaded = time.perf_counter()
    linked = link_edit(store, edit, catalogue)
    edit = linked.edit
    ends = find_ends(store, edit, catalogue)
    off = {found for name in options.exclude for found in (name, relation_named(catalogue, name, store=store))}
    consequences = find_consequences(store, catalogue, edit, config=ConsequenceConfig(), exclude=off, ends=ends)
    subgraph = retrieve_subgraph(store, edit, config=config, exclude=off, consequences=consequences, ends=ends)
    probes = generate_probes(store, catalogue, edit, consequences, config=QuestionConfig(), ends=ends)
    seconds = {"load": loaded - start, "look": time.perf_counter() - loaded}
    return _result(store, linked, subgraph, consequences, probes, seconds=seconds)


def _result(
    store: TripleStore,
    linked: LinkedEdit,
    subgraph: Subgraph,
    consequences: EditConsequences,
    probes: Sequence[GeneratedPrompt],
    *,
    seconds: dict[str, float],
) -> dict[str, Any]:
    return {
        "edit": linked.edit.to_json(),
        "notes": list(linked.notes),
        "graph": {"name": store.name, "fingerprint": store.fingerprint, "n_triples": len(store)},
        "subgraph": subgraph.to_json(),
        "consequences": {key: value for key, value in consequences.to_json().items() if key != "edit"},
        "probes": [probe.to_json() for probe in probes],
        "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
    }


def _edit(options: argparse.Namespace, catalogue: RelationCatalogue) -> FactEdit:
    from kgmet.graph.wording.choose_relation import relation_named

    if options.template is None:
        if options.relation is None:
            raise RequestError("Neither a relation nor a template was given. Add --relation 'located in city'.")
        options.template = catalogue.spec(relation_named(catalogue, options.relation)).cloze[0]
    return typed_fact(options, catalogue=catalogue)


def _readable(result: dict[str, Any]) -> Iterator[str]:
    edit, graph, around = FactEdit.from_json(result["edit"]), result["subgraph"], result["consequences"]
    yield f"{edit.prompt} … {edit.old_object or '?'} → {edit.new_object}"
    yield from (f"note: {note}" for note in result["notes"])
    yield ""
    n, left_out = len(graph["triples"]), graph["n_left_out"]
    yield f"Subgraph: {n} triples of {result['graph']['name']}, {left_out} more left out"
    for position, row in enumerate(graph["triples"]):
        yield f"  {'+' if position == graph['edited_edge'] else ' '} {_line(row)}"
    yield from (f"  - {_line(row)}" for row in graph["replaced"])
    for title, key in _CHANGES:
        if around[key]:
            yield ""
            yield f"{title}:"
            yield from (f"  {_ends(row)}. {row['reason']}" for row in around[key])
    for title, key in (("Must stay, of the subject", "kept_own"), ("Must stay, of others", "kept_neighbours")):
        if around[key]:
            yield ""
            yield f"{title}:"
            yield from (f"  {_line(row['triple'])}" for row in around[key])
    if around["undecided"]:
        yield ""
        yield "The graph cannot tell:"
        yield from (f"  {_line(row)}" for row in around["undecided"])
    yield ""
    yield f"Probes: {len(result['probes'])}"
    for row in result["probes"]:
        instead = f", not {row['rejected']}" if row["rejected"] else ""
        yield f"  {row['kind']:<11} {row['text']} → {row['expected']}{instead}"


_CHANGES = (
    ("Follows", "forward"),
    ("Now also true", "inverse_gained"),
    ("No longer true", "inverse_lost"),
    ("Follows from afar", "later_hops"),
)


def _line(row: dict[str, Any]) -> str:
    return f"{row['subject']['label']} –{row['relation']['label']}→ {row['object']['label']}"


def _ends(row: dict[str, Any]) -> str:
    old, new = (row[key]["label"] if row[key] else "?" for key in ("old", "new"))
    return f"{row['subject']['label']}: {old} → {new}"
