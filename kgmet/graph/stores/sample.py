"""The bundled sample graph."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from kgmet.base.errors import GraphFileError
from kgmet.base.fingerprint import digest
from kgmet.base.shipped import shipped
from kgmet.graph.stores.rdf import RdfStore
from kgmet.graph.stores.readers import load_graph

__all__ = ["SAMPLE_FOLDER", "sample_store"]

SAMPLE_FOLDER = shipped("sample_data")


def sample_store(folder: Path = SAMPLE_FOLDER) -> RdfStore:
    """Load the sample graph: `triples.tsv` and `entities.tsv` of `folder`.

    It is read once per process unless the files change.

    Raises:
        GraphFileError: if the files are missing or malformed.
    """
    triples, entities = folder / "triples.tsv", folder / "entities.tsv"
    try:
        contents = digest(triples.read_bytes(), entities.read_bytes())
    except OSError as error:
        raise GraphFileError(
            f"The embedded graph is not at {folder} ({error}). Install the program again, or load a graph of your own."
        ) from error
    return _load(folder, contents)


@lru_cache(maxsize=2)
def _load(folder: Path, contents: str) -> RdfStore:
    # `contents` is the cache key, so that a changed file is read again.
    return load_graph(folder / "triples.tsv", entities=folder / "entities.tsv", name="sample")
