"""A graph of one's own: files, a folder of them, or a SPARQL address → a store, with what was read and what refused."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgmet.base.errors import ConfigError, GraphFileError, KgmetError
from kgmet.base.files import expanded, is_file, is_folder
from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.graph.sparql.store import SparqlStore
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.rdf import RDF_FORMATS
from kgmet.graph.stores.readers import load_graph
from workbench import wording
from workbench.running import jobs
from workbench.running.access import access
from workbench.running.resources import GraphHolder
from workbench.state.session import WorkbenchState

__all__ = [
    "SUFFIXES",
    "Reading",
    "ask_endpoint",
    "files_in",
    "read_files",
    "start_endpoint",
    "start_files",
    "start_folder",
]

SUFFIXES = ("tsv", "csv", "json", *(suffix.removeprefix(".") for suffix in RDF_FORMATS), "gz")
"""Endings of files that are read."""
_ENTITIES = "entities"
"""A table of this name holds the names of entities, not triples."""
_MOST_FILES = 200


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """A graph that was read: `read` has a line a file or relation, `refused` one for each thing that was left out."""

    graph: TripleStore
    read: tuple[str, ...]
    refused: tuple[str, ...]


def files_in(folder: str) -> list[Path]:
    """Return the files of triples in a folder, by name.

    Raises:
        GraphFileError: if there is no such folder, or no file of triples in it.
    """
    path = expanded(folder.strip())
    if is_file(path):
        return [path]
    if not is_folder(path):
        raise GraphFileError(f"There is no folder {str(path)!r}. Type a path on this server's machine.")
    found = sorted(item for item in path.iterdir() if item.is_file() and item.name.lower().endswith(SUFFIXES))
    if not found:
        raise GraphFileError(f"{path} holds no file of triples. Known endings: {', '.join(SUFFIXES)}.")
    if len(found) > _MOST_FILES:
        raise GraphFileError(f"{path} holds {len(found)} files of triples; at most {_MOST_FILES} are read at once.")
    return found


def read_files(paths: Sequence[Path], progress: Progress | None = None) -> Reading:
    """Read files of triples into one graph. A file that cannot be right is refused whole, with its reason.

    A table called ``entities`` gives the names of what the triples only number.

    Raises:
        GraphFileError: if no file could be read; with the reason of the first.
    """
    named = [path for path in paths if path.name.casefold().split(".")[0] == _ENTITIES]
    names = named[0] if named else None
    triples = [path for path in paths if path not in named]
    good: list[Path] = []
    read, refused = [], [f"{path.name}: only one file of entities is read" for path in named[1:]]
    single: TripleStore | None = None
    for number, path in enumerate(triples):
        if progress is not None:
            progress.report(ProgressEvent(stage=Stage.GRAPH, done=number, total=len(triples)))
            progress.check()
        try:
            single = load_graph(path, entities=names)
        except KgmetError as error:
            refused.append(f"{path.name}: {str(error).replace(str(path), 'the file')}")
        else:
            good.append(path)
            read.append(f"{path.name}: {wording.count(len(single), 'triple')}")
    if single is None or not good:
        raise GraphFileError("No file could be read. " + (refused[0] if refused else "Give a file of triples."))
    if names is not None:
        read.append(f"{names.name}: names of entities")
    name = " + ".join(path.name for path in good[:3]) + (" + …" if len(good) > 3 else "")
    graph = load_graph(good, entities=names, name=name)
    return Reading(graph=graph, read=tuple(read), refused=tuple(refused))


def ask_endpoint(address: str) -> Reading:
    """Ask a SPARQL endpoint which relations it has, and for a few triples of one of them.

    Raises:
        EndpointError: if it is not an address, or no endpoint answers there.
    """
    graph = SparqlStore(address)
    relations = graph.relations()
    lines = [wording.count(len(relations), "relation")]
    for relation in relations[:1]:
        lines += [f"for example: {triple}" for triple in graph.with_relation(relation.id, limit=3)]
    return Reading(graph=graph, read=tuple(lines), refused=() if relations else ("The endpoint has no relation.",))


def start_files(state: WorkbenchState, holder: GraphHolder, files: Mapping[str, bytes]) -> str | None:
    """Start the job ``graph``: read uploaded files. A failure leaves the graph at hand."""

    def read(progress: Progress) -> Reading:
        with tempfile.TemporaryDirectory(prefix="kgmet-graph-") as folder:
            paths = []
            for name, data in files.items():
                path = Path(folder) / (re.sub(r"[^\w.-]+", "_", Path(name).name).lstrip(".") or "graph.tsv")
                path.write_bytes(data)
                paths.append(path)
            return read_files(paths, progress)

    return _start(state, holder, read, title="Read uploaded files")


def start_folder(state: WorkbenchState, holder: GraphHolder, folder: str) -> str | None:
    """Start the job ``graph``: read the files of a folder, or one file."""
    try:
        access().check_folder(folder)
    except ConfigError as error:
        return str(error)
    return _start(state, holder, lambda progress: read_files(files_in(folder), progress), title=f"Read {folder}")


def start_endpoint(state: WorkbenchState, holder: GraphHolder, address: str) -> str | None:
    """Start the job ``graph``: ask an endpoint."""
    try:
        access().check_endpoint(address)
    except ConfigError as error:
        return str(error)
    return _start(state, holder, lambda _: ask_endpoint(address), title=f"Ask {address}")


def _start(
    state: WorkbenchState, holder: GraphHolder, read: Callable[[Progress], Reading], *, title: str
) -> str | None:
    def work(progress: Progress) -> Reading:
        progress.report(ProgressEvent(stage=Stage.GRAPH, done=0))
        reading = read(progress)
        progress.check()
        holder.put(reading.graph)
        return reading

    return jobs.start("graph", work, state.session_id, title=title)
