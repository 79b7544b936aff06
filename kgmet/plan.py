"""`plan_edits`: from edits to a patch, stage by stage. The only module that knows every stage."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from kgmet.config import EditConfig, config_to_mapping
from kgmet.context import EditContext, build_problem, protected_facts
from kgmet.deep import DeepWrite, write_deep
from kgmet.direction.config import SourceKind
from kgmet.direction.features import encode_subgraph
from kgmet.direction.graph import GraphDirection
from kgmet.direction.source import DirectionSource, FreeDirection, RandomDirection
from kgmet.editors import Editor, WriterKind
from kgmet.errors import ConfigError
from kgmet.fingerprint import digest
from kgmet.graph.phrasing import in_slot
from kgmet.lm.loaded import LoadedLM
from kgmet.lm.spans import Phrase
from kgmet.progress import Progress, Silent
from kgmet.request import check_batch
from kgmet.statistics import KeyStatistics
from kgmet.target.problem import ShiftProblem
from kgmet.target.search import TargetShift, find_target_shifts
from kgmet.write.condition import ConditionedWriter
from kgmet.write.finetune import finetune_updates
from kgmet.write.keys import KeyRow, key_rows
from kgmet.write.layers import WrittenLayers, solve_layers
from kgmet.write.least_squares import LeastSquaresWriter
from kgmet.write.ledger import EditLedger
from kgmet.write.neurons import NeuronWriter
from kgmet.write.patch import EditPatch, attached
from kgmet.write.rank_one import RankOneWriter
from kgmet.write.solve import LayerUpdate
from kgmet.write.sparsify import SparseWriter
from kgmet.write.writer import NullSpaceWriter, Writer

__all__ = ["EditPlan", "plan_each", "plan_edits"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EditPlan:
    """A patch with everything it came from.

    Contexts, problems and shifts go by position (fine-tuning has no shifts). `remaining` is what is missing of each
    shift at the top layer, by edit id: ‖missing‖ / ‖shift‖. `ledger` is for later edits, `seconds` are wall-clock, by
    stage.
    """

    patch: EditPatch
    contexts: tuple[EditContext, ...]
    problems: tuple[ShiftProblem, ...]
    shifts: tuple[TargetShift, ...]
    remaining: Mapping[str, float]
    ledger: EditLedger
    seconds: Mapping[str, float] = field(default_factory=dict)
    deep: DeepWrite | None = None
    """The second write, where there is one."""


def plan_edits(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    config: EditConfig | None = None,
    ledger: EditLedger | None = None,
    earlier: Sequence[EditPatch] = (),
    progress: Progress | None = None,
) -> EditPlan:
    """Search the shifts of all edits together and write them together. No weight of the model changes.

    Args:
        lm: the model, with nothing attached.
        contexts: the edits with what the graph says (`prepare_edit`).
        editor: the method.
        statistics: key statistics of this model.
        config: settings; by default the editor's own.
        ledger: keys that earlier edits have written (`EditPlan.ledger` of the last one).
        earlier: patches these edits come after; they are attached while it works.
        progress: hears of every stage; can cancel.

    Raises:
        ContradictionError: if two edits contradict each other.
        ConfigError: if a layer is out of range for this model.
        SearchError: if the search fails.
        Cancelled: if asked to stop; nothing is attached then.
    """
    config, progress, ledger = config or editor.config, progress or Silent(), ledger or EditLedger()
    clock = _Clock()
    with attached([] if editor.searches_unedited else list(earlier), lm):
        found = _search(
            lm, contexts, editor=editor, statistics=statistics, config=config, progress=progress, clock=clock
        )
    with attached(list(earlier), lm):
        found = replace(found, writer=_aware_of(found.writer, earlier))
        return _write(lm, found, editor=editor, config=config, ledger=ledger, progress=progress, clock=clock)


def plan_each(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    config: EditConfig | None = None,
    progress: Progress | None = None,
) -> list[EditPlan]:
    """One plan per edit, as if each were the only one: searched together, which is faster, but written apart.

    Raises:
        As `plan_edits`.
    """
    config, progress = config or editor.config, progress or Silent()
    clock = _Clock()
    found = _search(lm, contexts, editor=editor, statistics=statistics, config=config, progress=progress, clock=clock)
    share = {stage: seconds / len(found.contexts) for stage, seconds in clock.seconds.items()}
    return [
        _write(
            lm,
            replace(
                found,
                contexts=(found.contexts[n],),
                problems=(found.problems[n],),
                shifts=found.shifts[n : n + 1],
            ),
            editor=editor,
            config=config,
            ledger=EditLedger(),
            progress=progress,
            clock=_Clock(share),
        )
        for n in range(len(found.contexts))
    ]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Found:
    """What the search left to be written."""

    contexts: tuple[EditContext, ...]
    problems: tuple[ShiftProblem, ...]
    shifts: tuple[TargetShift, ...]
    writer: Writer | None
    """``None`` for fine-tuning, which aims at no hidden state."""
    deep_writer: Writer | None = None
    """For the second write, where there is one."""


def _search(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    config: EditConfig,
    progress: Progress,
    clock: _Clock,
) -> _Found:
    contexts = _unrepeated(contexts)
    _check_layers(lm, config)
    with clock.stage("direction"):
        problems = [build_problem(context, config) for context in contexts]
    if editor.writer is WriterKind.FINE_TUNE:
        if config.deep.enabled:
            raise ConfigError(f"the editor {editor.name} cannot write deep: {editor.writer.value} solves nothing")
        return _Found(contexts=tuple(contexts), problems=tuple(problems), shifts=(), writer=None)
    with clock.stage("statistics"):
        writer = make_writer(editor, config, statistics, progress)
        deep_writer = make_writer(editor, _deep_settings(config), statistics, progress) if config.deep.enabled else None
    with clock.stage("direction"):
        sources = [make_source(lm, context, config) for context in contexts]
    with clock.stage("search"):
        shifts = find_target_shifts(
            lm, problems, sources, layer=config.write.layers[-1], config=config.target, progress=progress
        )
    return _Found(
        contexts=tuple(contexts),
        problems=tuple(problems),
        shifts=tuple(shifts),
        writer=writer,
        deep_writer=deep_writer,
    )


def _write(
    lm: LoadedLM,
    found: _Found,
    *,
    editor: Editor,
    config: EditConfig,
    ledger: EditLedger,
    progress: Progress,
    clock: _Clock,
) -> EditPlan:
    with clock.stage("write"):
        if found.writer is None:
            updates = finetune_updates(
                lm, found.problems, layers=config.write.layers, config=config.finetune, progress=progress
            )
            written = WrittenLayers(updates=updates, keys={}, remaining={})
        else:
            written = solve_layers(
                lm,
                found.shifts,
                [row for problem in found.problems for row in _edit_rows(lm, problem)],
                writer=found.writer,
                config=config.write,
                ledger=ledger,
                protected=_protected_rows(lm, found.contexts, config),
                progress=progress,
            )
    deep = None
    if found.deep_writer is not None:
        with clock.stage("deep"):
            deep = write_deep(
                lm,
                found.contexts,
                early=written.updates,
                writer=found.deep_writer,
                config=config.deep,
                ledger=ledger,
                progress=progress,
            )
            written = written if deep is None else _both(written, deep.written)
    patch = EditPatch(
        edits=tuple(context.edit for context in found.contexts),
        updates=written.updates,
        model_fingerprint=lm.fingerprint,
        editor=editor.name,
        config=config_to_mapping(config),
        versions=_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        keys=written.keys,
    )
    return EditPlan(
        patch=patch,
        contexts=found.contexts,
        problems=found.problems,
        shifts=found.shifts,
        remaining=written.remaining,
        ledger=ledger.appended(patch.id, patch.keys),
        seconds=clock.seconds,
        deep=deep,
    )


def _both(early: WrittenLayers, deep: WrittenLayers) -> WrittenLayers:
    updates = sorted((*early.updates, *deep.updates), key=lambda update: update.layer)
    return WrittenLayers(updates=tuple(updates), keys={**early.keys, **deep.keys}, remaining=early.remaining)


def _deep_settings(config: EditConfig) -> EditConfig:
    """The settings of the second write in the place of the first's."""
    off = replace(config.deep, enabled=False)
    return replace(config, write=config.deep.write, cutoff=config.deep.cutoff, deep=off)


def make_writer(editor: Editor, config: EditConfig, statistics: KeyStatistics, progress: Progress) -> Writer:
    """The editor's writer with the statistics it needs.

    Raises:
        ConfigError: for fine-tuning, which solves nothing.
    """
    write, kind = config.write, editor.writer
    if kind is WriterKind.NULL_SPACE:
        free = statistics.free(write.layers, config.cutoff, progress=progress)
        return NullSpaceWriter(free=free, ridge=write.ridge, keeps_earlier=editor.keeps_earlier)
    moments = statistics.moments(write.layers, progress=progress)
    if kind is WriterKind.RANK_ONE:
        return RankOneWriter(moments=moments)
    if kind is WriterKind.NEURONS:
        return NeuronWriter(
            moments=moments,
            weight=write.moment_weight,
            share=write.neuron_share,
            keeps_earlier=editor.keeps_earlier,
        )
    inner = LeastSquaresWriter(moments=moments, weight=write.moment_weight, keeps_earlier=editor.keeps_earlier)
    if kind is WriterKind.LEAST_SQUARES:
        return inner
    if kind is WriterKind.LEAST_SQUARES_SPARSE:
        return SparseWriter(inner=inner, share=write.kept_share)
    if kind is WriterKind.LEAST_SQUARES_CONDITIONED:
        return ConditionedWriter(inner=inner, base=write.log_base)
    raise ConfigError(f"the editor {editor.name} has no writer: {kind.value} solves nothing")


def _aware_of(writer: Writer | None, earlier: Sequence[EditPatch]) -> Writer | None:
    """PRUNE restrains the sum of all updates, so it must know those that are attached."""
    if not isinstance(writer, ConditionedWriter):
        return writer
    by_layer: dict[int, list[LayerUpdate]] = {}
    for patch in earlier:
        for update in patch.updates:
            by_layer.setdefault(update.layer, []).append(update)
    return replace(writer, earlier=by_layer)


def make_source(lm: LoadedLM, context: EditContext, config: EditConfig) -> DirectionSource:
    """The direction source of one edit, seeded by the edit alone: the same alone, in a batch, today or tomorrow."""
    kind = config.direction.source
    if kind is SourceKind.RANDOM:
        return RandomDirection(lm.d_model, seed=edit_seed(context, config))
    if kind is SourceKind.FREE or context.subgraph is None:
        return FreeDirection(lm.d_model)
    labels = context.strangers if kind is SourceKind.NONSENSE else None
    features = encode_subgraph(lm, context.subgraph, config=config.direction, labels=labels)
    return GraphDirection(context.subgraph, features, config=config.direction, seed=edit_seed(context, config))


def edit_seed(context: EditContext, config: EditConfig) -> int:
    """A seed that depends on the edit and on the configured seed, on nothing else."""
    return int(digest(str(config.seed), context.edit.id)[:12], 16)


def _unrepeated(contexts: Sequence[EditContext]) -> list[EditContext]:
    kept = {edit.id for edit in check_batch(context.edit for context in contexts)}
    by_id = {context.edit.id: context for context in contexts if context.edit.id in kept}
    return list(by_id.values())


def _check_layers(lm: LoadedLM, config: EditConfig) -> None:
    for name, layers in (("write", config.write.layers), ("deep.write", config.deep.write.layers)):
        if layers[-1] > lm.n_layer - 2 and (name == "write" or config.deep.enabled):
            raise ConfigError(
                f"{name}.layers {list(layers)} do not fit {lm.name}: it has {lm.n_layer} layers, and a shift can be "
                f"searched after layer {lm.n_layer - 2} at most."
            )


def _edit_rows(lm: LoadedLM, problem: ShiftProblem) -> tuple[KeyRow, ...]:
    phrases = [prompt.phrase(problem.edit.subject) for prompt in problem.prompts if prompt.wants_answer]
    return key_rows(lm, problem.edit.id, phrases)


def _protected_rows(lm: LoadedLM, contexts: Sequence[EditContext], config: EditConfig) -> list[KeyRow]:
    edited = {context.edit.subject_id for context in contexts}
    rows: dict[str, KeyRow] = {}
    for context in contexts:
        for fact in protected_facts(context, config):
            subject = fact.triple.subject
            if subject.id in edited:
                continue
            phrase = Phrase(template=context.edit.template, subject=in_slot(context.edit.template, subject))
            for row in key_rows(lm, f"kept/{subject.id}", [phrase]):
                rows.setdefault(row.owner, row)
    return list(rows.values())


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "dgl")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class _Clock:
    """Wall-clock seconds by stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
