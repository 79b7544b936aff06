"""`edit`: one edit in one call. `EditSession`: a model with all edits made to it so far."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from kgmet.base.cache import written_whole
from kgmet.base.errors import BrokenArtifactError, RequestError, StaleArtifactError
from kgmet.base.files import failures_as, parse_json, read_text
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.editing.config import EditConfig, config_from_mapping
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.defaults import default_settings
from kgmet.editing.editors import DEFAULT_EDITOR, Editor, editor_named
from kgmet.editing.plan import EditPlan, SearchedEdits, plan_edits, search_edits
from kgmet.editing.profile import ModelProfile
from kgmet.editing.report import EditReport, OnAnswer, report_edit
from kgmet.fact import FactEdit
from kgmet.forecast.index import FactIndex
from kgmet.graph.reading.retrieve import Switch
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import generate
from kgmet.measure.ask import Decoding, ask
from kgmet.measure.compare import Comparison, compare_answers
from kgmet.measure.question import Question
from kgmet.write.patch import EditPatch, attached, check_patch, load_patch, save_patch
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["SAMPLE", "Edited", "EditSession", "MadeEdit", "edit"]

SAMPLE: Final = "sample"
"""Sentinel for the bundled sample graph."""
Graph = TripleStore | Literal["sample"] | None
_FILE = "edits.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class Edited:
    """Result of an edit: the plan with its patch, and one report per fact.

    `reports` compare the model with the earlier edits to the model with these edits as well.
    """

    plan: EditPlan
    reports: tuple[EditReport, ...]

    @property
    def patch(self) -> EditPatch:
        """The weight update as factors; attach it to see the edited model."""
        return self.plan.patch

    @property
    def report(self) -> EditReport:
        """The report of the first fact."""
        return self.reports[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class MadeEdit:
    """One patch of a session; `reports` is empty if the patch was loaded without them."""

    patch: EditPatch
    is_on: bool = True
    reports: tuple[EditReport, ...] = ()


def edit(
    lm: LoadedLM,
    fact: FactEdit,
    *,
    editor: str | Editor = DEFAULT_EDITOR,
    config: EditConfig | None = None,
    profile: ModelProfile | None = None,
    graph: Graph = SAMPLE,
    progress: Progress | None = None,
) -> Edited:
    """Edit one fact. No weight of the model is written: attach the returned patch to see the edit.

    Args:
        lm: the model (`load_lm`).
        fact: the fact to change.
        editor: the method, by name or as a value (`EDITORS`).
        config: settings; by default those for this model (`default_settings`).
        profile: settings calibrated for this model; by default those in the cache folder, if it was calibrated here.
        graph: source of consequences and neighbours; by default the sample graph, ``None`` for no graph.
        progress: receives every stage; can cancel.

    Raises:
        KgmetError: if the fact, the settings or the model are invalid; the message says what to do next.

    For several edits of one model use `EditSession`, which also reuses the model's statistics.
    """
    session = EditSession(lm, editor=editor, config=config, profile=profile, graph=graph)
    return session.edit(fact, progress=progress)


class EditSession:
    """A model, its key statistics, a graph, and the edits made so far.

    The model's weights stay as they are; `attached` adds the enabled edits for the length of a ``with``. Each edit is
    made with the earlier ones attached and protects the keys they wrote. Use one session from one thread only.
    """

    def __init__(
        self,
        lm: LoadedLM,
        *,
        editor: str | Editor = DEFAULT_EDITOR,
        config: EditConfig | None = None,
        profile: ModelProfile | None = None,
        settings: str = "",
        graph: Graph = SAMPLE,
        catalogue: RelationCatalogue | None = None,
        statistics: KeyStatistics | None = None,
        patches: Sequence[EditPatch] = (),
        index: FactIndex | None = None,
    ) -> None:
        """Begin with the enabled `patches`; `index` holds the known facts for a price in the write."""
        self.lm, self.index = lm, index
        self.editor = editor_named(editor) if isinstance(editor, str) else editor
        self.profile = profile
        self._choose(config, settings)
        self.graph: TripleStore | None = sample_store() if graph == SAMPLE else graph
        self.catalogue = catalogue or RelationCatalogue.load()
        self.statistics = statistics or KeyStatistics(lm)
        for patch in patches:
            check_patch(patch, lm)
        self._made: tuple[MadeEdit, ...] = tuple(MadeEdit(patch=patch) for patch in patches)
        self._so_far = EditsSoFar.of(patches)

    @property
    def edits(self) -> tuple[MadeEdit, ...]:
        """All patches, oldest first, including those switched off."""
        return self._made

    @property
    def patches(self) -> tuple[EditPatch, ...]:
        """The enabled patches, oldest first."""
        return tuple(made.patch for made in self._made if made.is_on)

    def use(self, editor: str | Editor, settings: Mapping[str, Any] | None = None) -> None:
        """Choose the method for the next edits.

        Args:
            editor: the method, by name or as a value.
            settings: changes to its settings for this model, nested as in `EditPatch.config`.

        Raises:
            ConfigError: if the editor or a setting is unknown or out of range.
        """
        self.editor = editor_named(editor) if isinstance(editor, str) else editor
        self._choose(None)
        if settings:
            self._choose(config_from_mapping(settings, base=self.config), f"{self.settings}; changed")

    def _choose(self, config: EditConfig | None, settings: str = "") -> None:
        """Take settings and words for where they come from; by default those for this model."""
        if config is not None:
            self.config, self.settings = config, settings or "as given"
            return
        found = default_settings(self.editor, self.lm, profile=self.profile)
        self.config, self.settings = found.config, found.words

    def prepare(self, fact: FactEdit, *, exclude: Collection[Switch] = (), leave: Collection[str] = ()) -> EditContext:
        """Retrieve a fact's subgraph, its consequences and the facts that must stay.

        Args:
            fact: the fact to change.
            exclude: triples and relations to leave out.
            leave: ids of consequences and kept facts to leave out of the search.
        """
        return prepare_edit(
            fact, store=self.graph, catalogue=self.catalogue, config=self.config, exclude=exclude, leave=leave
        )

    def edit(self, fact: FactEdit, *, progress: Progress | None = None) -> Edited:
        """Edit one fact, measure it before and after, and keep the patch."""
        return self.edit_many([fact], progress=progress)

    def edit_many(self, facts: Sequence[FactEdit], *, progress: Progress | None = None) -> Edited:
        """Edit several facts in one patch.

        Raises:
            ContradictionError: if two of the facts contradict each other.
            RequestError: if there is no fact.
        """
        return self.edit_prepared([self.prepare(fact) for fact in facts], progress=progress)

    def search(self, contexts: Sequence[EditContext], *, progress: Progress | None = None) -> SearchedEdits:
        """Make the first half of `edit_prepared` alone; nothing is kept."""
        return search_edits(
            self.lm,
            contexts,
            editor=self.editor,
            config=self.config,
            earlier=self._so_far,
            statistics=self.statistics,
            index=self.index,
            progress=progress,
        )

    def edit_prepared(
        self,
        contexts: Sequence[EditContext],
        *,
        searched: SearchedEdits | None = None,
        on_answer: OnAnswer = None,
        progress: Progress | None = None,
    ) -> Edited:
        """Edit the facts of these contexts (`prepare`) in one patch, measure them, and keep the patch.

        Args:
            contexts: the facts with their graph contexts.
            searched: what `search` found for them with these settings and edits; by default it is searched now.
            on_answer: receives the answers to each fact's own prompt while its other questions are being answered.
            progress: receives every stage; can cancel.
        """
        if not contexts:
            raise RequestError("There is no fact to edit. Give at least one.")
        earlier = self._so_far
        plan = plan_edits(
            self.lm,
            contexts,
            editor=self.editor,
            statistics=self.statistics,
            config=self.config,
            earlier=earlier,
            index=self.index,
            searched=searched,
            progress=progress,
        )
        reports = self._reports(plan, earlier, on_answer, progress or Silent())
        self._made = (*self._made, MadeEdit(patch=plan.patch, reports=reports))
        self._so_far = plan.so_far
        return Edited(plan=plan, reports=reports)

    def _reports(
        self, plan: EditPlan, earlier: EditsSoFar, on_answer: OnAnswer, progress: Progress
    ) -> tuple[EditReport, ...]:
        reports = []
        for position in range(len(plan.contexts)):
            progress.report(ProgressEvent(stage=Stage.MEASURE, done=position, total=len(plan.contexts)))
            progress.check()
            report = report_edit(
                self.lm,
                plan,
                earlier=earlier.patches,
                position=position,
                settings=self.settings,
                on_answer=on_answer,
                progress=progress,
            )
            reports.append(report)
        progress.report(ProgressEvent(stage=Stage.MEASURE, done=len(reports), total=len(reports)))
        return tuple(reports)

    def probe(self, prompts: Sequence[str | Question], *, decoding: Decoding | None = None) -> Comparison:
        """Ask the unedited and the edited model the same prompts; plain texts have no expected answer."""
        asked = [Question.typed(item) if isinstance(item, str) else item for item in prompts]
        before = ask(self.lm, asked, decoding=decoding)
        with self.attached():
            after = ask(self.lm, asked, decoding=decoding)
        return compare_answers(before, after)

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 20, chat: bool = False) -> list[str]:
        """Continue each prompt greedily with the enabled edits."""
        with self.attached():
            return generate(self.lm, prompts, max_new_tokens=max_new_tokens, chat=chat)

    @contextmanager
    def attached(self) -> Iterator[LoadedLM]:
        """Attach the enabled edits for the length of a ``with``, in this thread only."""
        with attached(self.patches, self.lm):
            yield self.lm

    def undo(self) -> EditPatch:
        """Remove the newest patch and return it.

        Raises:
            RequestError: if there is no edit.
        """
        if not self._made:
            raise RequestError("There is no edit to undo. Make an edit first.")
        last = self._made[-1].patch
        self._change(self._made[:-1])
        return last

    def toggle(self, patch_id: str, *, on: bool | None = None) -> bool:
        """Switch one patch on or off (without `on`: toggle it) and return whether it is on now.

        Later edits do not change: they were made with the patches that were on then.

        Raises:
            RequestError: if the session has no such patch.
        """
        found = next((made for made in self._made if made.patch.id == patch_id), None)
        if found is None:
            known = ", ".join(made.patch.id for made in self._made) or "none"
            raise RequestError(f"There is no patch {patch_id!r} in this session. There are: {known}.")
        is_on = (not found.is_on) if on is None else on
        self._change([replace(made, is_on=is_on) if made is found else made for made in self._made])
        return is_on

    def save(self, folder: str | Path) -> Path:
        """Write all patches and their on/off state into a folder, without reports; return the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for made in self._made:
            if not (folder / made.patch.id).exists():
                save_patch(made.patch, folder / made.patch.id)
        data = {
            "format": 1,
            "model_fingerprint": self.lm.fingerprint,
            "edits": [{"id": made.patch.id, "is_on": made.is_on} for made in self._made],
        }
        with written_whole(folder / _FILE) as temporary:
            temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
        return folder

    def load(self, folder: str | Path) -> None:
        """Replace the edits of this session with those that `save` wrote.

        Raises:
            BrokenArtifactError: if the folder holds no session, or a damaged one.
            StaleArtifactError: if it was made for another model.
        """
        folder = Path(folder)
        where = f"{folder} holds no saved session: {_FILE}"
        data = parse_json(read_text(folder / _FILE, within=folder), where=where)
        with failures_as(BrokenArtifactError, where, advice="Give a folder that EditSession.save made."):
            rows = [(str(row["id"]), bool(row["is_on"])) for row in data["edits"]]
            fingerprint = str(data["model_fingerprint"])
        if fingerprint != self.lm.fingerprint:
            raise StaleArtifactError(
                f"{folder} was made for model {fingerprint}; loaded is {self.lm.name} ({self.lm.fingerprint})."
            )
        made = [MadeEdit(patch=load_patch(folder / Path(name).name), is_on=is_on) for name, is_on in rows]
        for item in made:
            check_patch(item.patch, self.lm)
        self._change(made)

    def _change(self, made: Sequence[MadeEdit]) -> None:
        self._made = tuple(made)
        self._so_far = EditsSoFar.of(self.patches)
