"""Edited models for a card: patches made by an editor, a saved session, or a run of ``evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from kgmet.base.errors import BrokenArtifactError, StaleArtifactError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import digest, fingerprint_source, fingerprint_value
from kgmet.base.progress import Progress
from kgmet.editing.context import prepare_edit
from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import Editor
from kgmet.editing.plan import plan_edits, search_edits, write_edits
from kgmet.editing.session import EditSession
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.runs.folder import Table, read_settings
from kgmet.evaluate.runs.settings import RunMode
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch, is_patch, load_patch, save_patch
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["PatchMaker", "SavedEdits", "saved_run", "saved_session"]


@cache
def _program() -> str:
    """Return a hash of the code that a patch depends on: another version of it keeps its patches apart."""
    return fingerprint_source("graph", "lm", "search", "write", "forecast", "editing", "research")


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchMaker:
    """What patches are made from, with settings for this model; `folder` keeps patches, to be made only once."""

    lm: LoadedLM
    store: TripleStore | None
    catalogue: RelationCatalogue
    statistics: KeyStatistics
    folder: Path | None = None

    def patch(
        self,
        editor: Editor,
        facts: Sequence[FactEdit],
        *,
        earlier: EditsSoFar | None = None,
        progress: Progress | None = None,
    ) -> EditPatch:
        """Make one patch of these facts on top of the `earlier` edits, or take the kept one.

        Raises:
            KgmetError: if a fact or a setting is invalid.
            Cancelled: if asked to stop.
        """
        earlier = earlier or EditsSoFar()
        config = default_settings(editor, self.lm).config
        kept = self._kept(editor, facts, earlier, fingerprint_value(config))
        if kept is not None and is_patch(kept):
            return load_patch(kept)
        contexts = [prepare_edit(fact, store=self.store, catalogue=self.catalogue, config=config) for fact in facts]
        plan = plan_edits(
            self.lm,
            contexts,
            editor=editor,
            statistics=self.statistics,
            config=config,
            earlier=earlier,
            progress=progress,
        )
        if kept is not None:
            save_patch(plan.patch, kept)
        return plan.patch

    def patches_apart(
        self, editor: Editor, facts: Sequence[FactEdit], *, progress: Progress | None = None
    ) -> list[EditPatch]:
        """Make one patch of each fact on the unedited model, or take the kept ones; their searches share a batch.

        Raises:
            KgmetError: if a fact or a setting is invalid.
            Cancelled: if asked to stop.
        """
        config = default_settings(editor, self.lm).config
        places = [self._kept(editor, [fact], EditsSoFar(), fingerprint_value(config)) for fact in facts]
        missing = [n for n, kept in enumerate(places) if kept is None or not is_patch(kept)]
        made: dict[int, EditPatch] = {}
        if missing:
            contexts = [
                prepare_edit(facts[n], store=self.store, catalogue=self.catalogue, config=config) for n in missing
            ]
            searched = search_edits(
                self.lm, contexts, editor=editor, config=config, statistics=self.statistics, progress=progress
            )
            for n, one in zip(missing, searched.apart(), strict=True):
                plan = write_edits(self.lm, one, editor=editor, statistics=self.statistics, progress=progress)
                made[n] = plan.patch
                if (kept := places[n]) is not None:
                    save_patch(plan.patch, kept)
        made |= {n: load_patch(kept) for n, kept in enumerate(places) if kept is not None and n not in made}
        return [made[n] for n in range(len(facts))]

    def _kept(self, editor: Editor, facts: Sequence[FactEdit], earlier: EditsSoFar, settings: str) -> Path | None:
        if self.folder is None:
            return None
        graph = "" if self.store is None else self.store.fingerprint
        made_from = [_program(), self.lm.fingerprint, graph, self.catalogue.fingerprint, editor.name, settings]
        made_from += [*(patch.id for patch in earlier.patches), "", *(fingerprint_value(fact) for fact in facts)]
        return self.folder / digest(*made_from)[:16]


@dataclass(frozen=True, eq=False, kw_only=True)
class SavedEdits:
    """Models to score, each with its own edits, and what the card should say about them."""

    models: tuple[EditedModel, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_edit(self) -> int:
        """The number of edits of all models."""
        return sum(len(model.edits) for model in self.models)


def saved_session(lm: LoadedLM, folder: Path) -> SavedEdits:
    """Read the enabled edits that `EditSession.save` wrote, oldest first, as one model.

    Raises:
        BrokenArtifactError: if the folder holds no session, a damaged one, or none that is enabled.
        StaleArtifactError: if it was made for another model.
    """
    session = EditSession(lm, graph=None)
    session.load(folder)
    if not session.patches:
        raise BrokenArtifactError(f"No edit of the session in {folder} is on. Switch one on and save it again.")
    return SavedEdits(models=(EditedModel.of_patches(lm, session.patches),))


def saved_run(lm: LoadedLM, folder: Path) -> SavedEdits:
    """Read the patches of a run of ``evaluate``: one model, or one of each batch if batches were made alone.

    A run that was stopped half way is read as far as it got; the notes say so.

    Raises:
        BrokenArtifactError: if it is no run, or holds no patch, or a damaged one.
        StaleArtifactError: if it was made with another model.
    """
    header = read_settings(folder)
    with failures_as(BrokenArtifactError, f"{folder} is not a run folder", advice="Give a folder that evaluate made."):
        settings, made_for = header["settings"], str(header["fingerprints"]["model"])
        mode, editor, n_case = RunMode(settings["mode"]), str(settings["editor"]), int(settings["n_cases"])
    if made_for != lm.fingerprint:
        raise StaleArtifactError(
            f"{folder} was made with {header.get('model', made_for)}; loaded is {lm.name} ({lm.fingerprint}). Give "
            "--model the model of the run."
        )
    numbered = sorted((folder / "patches").glob("[0-9]*")) if (folder / "patches").is_dir() else []
    patches = [load_patch(path) for path in numbered if is_patch(path)]
    if not patches:
        raise BrokenArtifactError(f"The run in {folder} holds no patch yet. Continue it with evaluate.")
    name = f"{editor}, {folder.name}"
    if mode is RunMode.ALONE:
        models = tuple(EditedModel.of_patches(lm, [patch], name=name) for patch in patches)
    else:
        models = (replace(EditedModel.of_patches(lm, patches, name=name), is_in_order=True),)
    return SavedEdits(models=models, notes=_about_run(folder, patches, n_case))


def _about_run(folder: Path, patches: Sequence[EditPatch], n_case: int) -> tuple[str, ...]:
    """Say what of the run is missing."""
    notes = []
    rows = Table(folder / "batches.jsonl", looked_at=True).rows
    n_scored = len(Table(folder / "cases.jsonl", looked_at=True).rows)
    failed = sum(bool(row.get("failed")) for row in rows)
    if failed:
        notes.append(f"{failed} batches of the run failed and are not in the model.")
    if n_scored < n_case:
        n_edit = sum(len(patch.edits) for patch in patches)
        notes.append(f"The run was not finished: {n_edit} edits of its {n_case} cases are scored here.")
    return tuple(notes)
