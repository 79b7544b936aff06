"""Resources shared by all sessions: the resident model with its key statistics, the graph, the relation catalogue.

They are read-only. Patches are attached per thread, so two sessions can use the model at the same time; only loading
and replacing it takes the lock.
"""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass

import streamlit as st
import torch

from kgmet.base.errors import MemoryLimitError
from kgmet.base.memory import free_memory
from kgmet.base.progress import Progress
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.write.statistics import KeyStatistics
from workbench.running.threads import Threads, limit_threads

__all__ = [
    "GraphHolder",
    "ModelHolder",
    "Resident",
    "catalogue",
    "graph_holder",
    "model_holder",
    "rest_from_collection",
    "store",
    "threads",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Resident:
    """The loaded model and its key statistics."""

    lm: LoadedLM
    statistics: KeyStatistics

    @property
    def n_bytes(self) -> int:
        """Memory of the weights in bytes."""
        return sum(p.numel() * p.element_size() for p in self.lm.model.parameters())


class ModelHolder:
    """Holder of the one resident model. A failed switch keeps the old one."""

    def __init__(self) -> None:
        self._resident: Resident | None = None
        self.lock = threading.Lock()
        """Lock held while a model is loaded or replaced."""

    @property
    def resident(self) -> Resident | None:
        """The resident model, or ``None``."""
        return self._resident

    def put(self, lm: LoadedLM, statistics: KeyStatistics | None = None) -> Resident:
        """Make an already loaded model the resident one."""
        self._resident = Resident(lm=lm, statistics=statistics or KeyStatistics(lm))
        rest_from_collection()
        return self._resident

    def load(
        self,
        source: str = DEFAULT_MODEL,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        progress: Progress | None = None,
    ) -> Resident:
        """Load a model and make it the resident one; nothing is done if it already is.

        Raises:
            ModelError: as `load_lm`; the previous model stays resident.
        """
        with self.lock:
            present = self._resident
            if present is not None and present.lm.name == source:
                is_same_place = device in (None, str(present.lm.device))
                if is_same_place and dtype in (None, present.lm.dtype):
                    return present
            return self.put(load_lm(source, device=device, dtype=dtype, progress=progress))


@st.cache_resource(show_spinner=False)
def model_holder() -> ModelHolder:
    """Return the holder of this process."""
    return ModelHolder()


class GraphHolder:
    """Holds the one graph that is asked. A graph that cannot be read leaves the one at hand in place."""

    def __init__(self, graph: TripleStore) -> None:
        self._graph = graph

    @property
    def graph(self) -> TripleStore:
        """The graph that is asked."""
        return self._graph

    @property
    def is_sample(self) -> bool:
        """Whether it is the one that comes with the program."""
        return self._graph is sample_store()

    def put(self, graph: TripleStore) -> None:
        """Ask this graph from now on."""
        self._graph = graph
        rest_from_collection()


@st.cache_resource(show_spinner=False)
def graph_holder() -> GraphHolder:
    """Return the process's one holder; at first of the graph that comes with the program."""
    found = GraphHolder(sample_store())
    rest_from_collection()
    return found


def store() -> TripleStore:
    """Return the graph that is asked: the one that comes with the program, or one loaded on the Graph page."""
    return graph_holder().graph


@st.cache_resource(show_spinner=False)
def catalogue() -> RelationCatalogue:
    """Return the relation catalogue."""
    return RelationCatalogue.load()


@st.cache_resource(show_spinner=False)
def threads() -> Threads:
    """Return the number of torch threads; the first call sets it for the whole process."""
    return limit_threads()


def rest_from_collection() -> None:
    """Exclude all existing objects from garbage collection.

    By default (`runner.postScriptGC`) Streamlit collects all generations after every script run. With torch, a model
    and a graph in memory this blocks the interpreter for half a second each time a page polls a job (measured: an edit
    took ten times as long).
    """
    gc.collect()
    gc.freeze()


def check_fits(n_bytes: int, *, device: str = "cpu") -> None:
    """Refuse a model that would not fit beside the resident one.

    Raises:
        MemoryLimitError: if so; gives needed and free memory.
    """
    free = free_memory(torch.device(device))
    if free is not None and n_bytes > free:
        raise MemoryLimitError(
            f"The weights need {n_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on {device}. Choose bfloat16, a "
            "smaller model, or another device. The current model stays loaded."
        )
