"""Example facts of the Edit page: those the model knows first, then where it gets hard."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.editing.examples import known_edits, read_known_edits
from kgmet.fact import FactEdit, load_edits
from kgmet.graph.stores.sample import SAMPLE_FOLDER
from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.running import jobs
from workbench.running.jobs import JobState

__all__ = ["Examples", "examples", "sorted_examples"]

_KIND = "examples"
"""Kind of the job that asks which examples a model knows."""


def examples() -> list[FactEdit]:
    """Return example facts: `sample_data/edits.json`, or a few built-in ones."""
    path = SAMPLE_FOLDER / "edits.json"
    if path.is_file():
        return list(load_edits(path))
    return [FactEdit(subject=s, template=t, new_object=n) for s, t, n in wording.EXAMPLES]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Example facts in the order in which they are offered: those the model knows, and where it gets hard."""

    known: tuple[FactEdit, ...]
    hard: tuple[FactEdit, ...] = ()


def sorted_examples(lm: LoadedLM) -> Examples:
    """Return the examples, sorted once the model was asked; until then in the order of the file.

    The model is asked on the side, once; any other job stops it, and a later run of the page starts it again.
    """
    edits = examples()
    found = read_known_edits(lm, edits)
    if found is None:
        job = jobs.latest(jobs.SERVER, _KIND)
        if job is None or (job.is_finished and job.state is not JobState.FAILED):
            jobs.start(_KIND, lambda progress: known_edits(lm, edits, progress=progress), jobs.SERVER, is_aside=True)
        return Examples(known=tuple(edits))
    return Examples(
        known=tuple(edit for edit in edits if edit.id in found),
        hard=tuple(edit for edit in edits if edit.id not in found),
    )
