"""`RunSettings`: everything that determines the results of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from kgmet.base.fingerprint import fingerprint_value, plain
from kgmet.base.ranges import check_numbers
from kgmet.base.versions import installed_versions
from kgmet.editing.config import EditConfig, config_to_mapping
from kgmet.editing.editors import Editor, editor_named
from kgmet.evaluate.datasets.cases import Dataset
from kgmet.evaluate.runs.graphs import GraphSource
from kgmet.evaluate.runs.score import ScoreConfig
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM

__all__ = ["RunMode", "RunSettings", "run_header"]


class RunMode(Enum):
    """Treatment of earlier batches."""

    SEQUENTIAL = "sequential"
    """Every batch is added to the earlier ones; all cases are scored after all edits, as in the MEMIT code."""
    ALONE = "alone"
    """Every batch starts from the unedited model and is scored immediately."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of one run. `config` replaces the editor's own."""

    editor: str
    config: EditConfig | None = None
    num_edits: int = 1
    """Cases edited together."""
    mode: RunMode = RunMode.SEQUENTIAL
    graph: GraphSource = GraphSource.AUTO
    score: ScoreConfig = field(default_factory=ScoreConfig)
    downstream_eval_steps: int = 0
    """Batches between measurements of general ability; 0 measures only perplexity and drift, before and after."""
    downstream_folder: Path | None = None
    """Folder of cola.json, mrpc.json, rte.json, sst2.json, nli.json and mmlu.json."""
    downstream_limit: int = 100
    """Most examples per task; the default is the AlphaEdit code's."""

    def __post_init__(self) -> None:
        """Check the ranges and the editor's name."""
        check_numbers(self, "", "num_edits", "downstream_limit", least=1)
        check_numbers(self, "", "downstream_eval_steps", least=0)
        object.__setattr__(self, "editor", editor_named(self.editor).name)

    @property
    def method(self) -> Editor:
        """The editor."""
        return editor_named(self.editor)

    @property
    def edit_config(self) -> EditConfig:
        """The settings of the edits."""
        return self.config or self.method.config


def run_header(
    settings: RunSettings,
    *,
    lm: LoadedLM,
    dataset: Dataset,
    store: TripleStore | None,
    catalogue: RelationCatalogue,
    corpus: str | None = None,
) -> dict[str, Any]:
    """Return the contents of ``settings.json``: settings, fingerprints, versions, records left out.

    `corpus` is the fingerprint of the statistics' text, if it is not the bundled one.
    """
    own_text = {} if corpus is None else {"corpus": corpus}
    return {
        "settings": {
            "editor": settings.editor,
            "dataset": dataset.name,
            "n_cases": len(dataset.cases),
            "num_edits": settings.num_edits,
            "mode": settings.mode.value,
            "graph": settings.graph.value,
            "score": plain(settings.score),
            "downstream_eval_steps": settings.downstream_eval_steps,
            "downstream_limit": settings.downstream_limit,
            "config": config_to_mapping(settings.edit_config),
        },
        "fingerprints": {
            "model": lm.fingerprint,
            "dataset": dataset.fingerprint,
            "graph": None if store is None else store.fingerprint,
            "catalogue": catalogue.fingerprint,
            "config": fingerprint_value(settings.edit_config),
            **own_text,
        },
        "model": lm.name,
        "data": None if dataset.path is None else str(dataset.path),
        "downstream_folder": None if settings.downstream_folder is None else str(settings.downstream_folder),
        "left_out": plain(list(dataset.left_out)),
        "notes": plain(list(dataset.notes)),
        "versions": installed_versions(),
        "seed": settings.score.seed,
    }
