"""Factories for the parts an editor's settings name: its writer, its prices and one direction source per edit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, with_consequences
from kgmet.editing.editors import Editor, WriterKind
from kgmet.editing.key_texts import edit_rows, protected_rows
from kgmet.editing.stated import with_stated
from kgmet.fact import FactEdit
from kgmet.forecast.facts import facts_of
from kgmet.forecast.index import FactIndex, build_index
from kgmet.forecast.leave_out import priced_rows
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.contexts import NEUTRAL_PREFIXES
from kgmet.lm.run.placement import layer_device
from kgmet.lm.run.spans import Phrase
from kgmet.search.directions.config import SourceKind
from kgmet.search.directions.features import encode_subgraph
from kgmet.search.directions.graph import GraphDirection
from kgmet.search.directions.reach import ReachableDirection, reach_of
from kgmet.search.directions.source import DirectionSource, FreeDirection, RandomDirection
from kgmet.search.directions.swap import SwapDirection
from kgmet.search.priced import ShiftPrice
from kgmet.search.problem import ShiftProblem
from kgmet.write.common import common_directions
from kgmet.write.keys import key_rows, measure_keys
from kgmet.write.nullspace import DampedNullSpace, NullSpace
from kgmet.write.patch import attached
from kgmet.write.priced import FactPrice
from kgmet.write.so_far import EditsSoFar
from kgmet.write.solve import LayerUpdate
from kgmet.write.spectral import FilterKind, SpectralFilter, WeightDirections, weight_directions
from kgmet.write.spread import SpreadEdit, shift_costs, shift_spread
from kgmet.write.statistics import KeyStatistics
from kgmet.write.writer import NullSpaceWriter, Writer
from kgmet.write.writers.compensate import CompensatedWriter
from kgmet.write.writers.condition import ConditionedWriter
from kgmet.write.writers.least_squares import LeastSquaresWriter
from kgmet.write.writers.neurons import NeuronWriter
from kgmet.write.writers.rank_one import RankOneWriter
from kgmet.write.writers.sparsify import SparseWriter

__all__ = [
    "aware_of",
    "edit_seed",
    "known_facts",
    "make_common",
    "make_filter",
    "make_price",
    "make_shift_prices",
    "make_source",
    "make_writer",
]

_MOST_ENTITIES = 500
"""Facts of the sample graph whose entities are read for what keys have in common; 10,000 entities in SUIT's paper."""
_NAMED = "{} is"
_TREATED = (WriterKind.LEAST_SQUARES_SPARSE, WriterKind.LEAST_SQUARES_CONDITIONED)
"""Writers that treat a solved update before it is written."""


def make_writer(editor: Editor, config: EditConfig, statistics: KeyStatistics, progress: Progress) -> Writer:
    """Make the editor's writer with the statistics it needs.

    Raises:
        ConfigError: for fine-tuning, which solves nothing.
    """
    write, kind = config.write, editor.writer
    if write.compensates and kind not in _TREATED:
        raise ConfigError(
            f"write.compensates corrects a treatment of solved updates; {editor.name} treats none ({kind.value}). "
            "Use it with MEMIT_rect or MEMIT_prune."
        )
    if kind is WriterKind.NULL_SPACE:
        free: Mapping[int, NullSpace | DampedNullSpace]
        if write.ordinary_weight:
            ratio = write.ordinary_weight / write.ridge
            free = statistics.damped(write.layers, config.cutoff, ratio=ratio, progress=progress)
        else:
            free = statistics.free(write.layers, config.cutoff, progress=progress)
        return NullSpaceWriter(
            free=free,
            ridge=write.ridge,
            keeps_earlier=editor.keeps_earlier,
            earlier_weight=write.earlier_weight,
        )
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
    least = LeastSquaresWriter(
        moments=moments, weight=write.moment_weight, keeps_earlier=editor.keeps_earlier or write.compensates
    )
    if kind is WriterKind.LEAST_SQUARES:
        return least
    inner: Writer = CompensatedWriter(inner=least) if write.compensates else least
    if kind is WriterKind.LEAST_SQUARES_SPARSE:
        return SparseWriter(inner=inner, share=write.kept_share)
    if kind is WriterKind.LEAST_SQUARES_CONDITIONED:
        return ConditionedWriter(inner=inner, base=write.log_base)
    raise ConfigError(f"the editor {editor.name} has no writer: {kind.value} solves nothing")


def aware_of(writer: Writer, so_far: EditsSoFar) -> Writer:
    """Return the writer with what it must know of earlier edits.

    Error compensation needs what they asked for; PRUNE the attached updates, because it conditions the sum of all.
    """
    if isinstance(writer, SparseWriter | ConditionedWriter) and isinstance(writer.inner, CompensatedWriter):
        writer = replace(writer, inner=replace(writer.inner, asked=so_far.ledger.asked))
    if not isinstance(writer, ConditionedWriter):
        return writer
    by_layer: dict[int, list[LayerUpdate]] = {}
    for patch in so_far.patches:
        for update in patch.updates:
            by_layer.setdefault(update.layer, []).append(update)
    return replace(writer, earlier=by_layer)


def make_filter(lm: LoadedLM, config: EditConfig, statistics: KeyStatistics) -> SpectralFilter | None:
    """Return the filter of the solved updates, or ``None`` where `write.spectral.kind` is none."""
    spectral = config.write.spectral
    if spectral.kind is FilterKind.NONE:
        return None

    def directions(layer: int) -> WeightDirections:
        def make() -> WeightDirections:
            return weight_directions(lm.family.weight_out_in(lm.model, layer), spectral.energy)

        return statistics.remembered(("weight directions", layer, spectral.energy), make)

    return SpectralFilter(config=spectral, directions={layer: directions(layer) for layer in config.write.layers})


def make_common(lm: LoadedLM, config: EditConfig, statistics: KeyStatistics) -> Mapping[int, Tensor] | None:
    """Return what the keys of the sample graph's entities have in common; ``None`` where `write.common_energy` is 0."""
    layers, energy = config.write.layers, config.write.common_energy
    if not energy:
        return None

    def make() -> Mapping[int, Tensor]:
        facts = itertools.islice(facts_of(sample_store(), RelationCatalogue.load()), _MOST_ENTITIES)
        names = dict.fromkeys(thing.in_text for _, subject, objects in facts for thing in (subject, *objects))
        phrases = [Phrase(template=_NAMED, subject=name, prefix=NEUTRAL_PREFIXES[1]) for name in names]
        rows = key_rows(lm, "entity", phrases)
        keys = {layer: measure_keys(lm, rows, layer=layer, top=layer).keys for layer in layers}
        return {layer: common_directions(found, energy) for layer, found in keys.items()}

    return statistics.remembered(("common directions", layers, energy), make)


def make_price(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    config: EditConfig,
    statistics: KeyStatistics,
    *,
    earlier: EditsSoFar,
    index: FactIndex | None,
    progress: Progress,
) -> FactPrice | None:
    """Return the price on moving known facts, or ``None`` where `write.price.weight` is 0.

    Without an `index`, one of the sample graph is loaded or built; it must be of the unedited model. With
    `write.price.earlier`, what the earlier edits made true is measured with them attached, and priced too.

    Raises:
        StaleArtifactError: if the index is of another model.
        ConfigError: if the index lacks a layer.
    """
    price = config.write.price
    if not price.weight:
        return None
    index = known_facts(lm, contexts, config, statistics, earlier=earlier, index=index, progress=progress)
    rows = set(priced_rows(index, with_consequences(contexts), earlier=_edits_of(earlier)))
    without = [number for number in range(len(index)) if number not in rows]
    return index.price(price, lm=lm, without=without, is_first=not earlier.patches)


def known_facts(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    config: EditConfig,
    statistics: KeyStatistics,
    *,
    earlier: EditsSoFar,
    index: FactIndex | None,
    progress: Progress,
) -> FactIndex:
    """Return the known facts that a price is about: the index, or one of the sample graph, with what edits made true.

    Arguments and errors are those of `make_price`.
    """
    price, layers = config.write.price, config.write.layers
    if index is None:

        def make() -> FactIndex:
            catalogue = RelationCatalogue.load()
            return build_index(lm, sample_store(), catalogue, layers, limit=price.facts, progress=progress)

        index = statistics.remembered(("fact index", layers, price.facts), make)
    index.check(lm, layers)
    if price.earlier and earlier.patches:
        new = [context.edit for context in contexts]
        index = with_stated(lm, index, earlier, edits=new, most=price.earlier, check=progress.check)
    return index


def make_shift_prices(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    problems: Sequence[ShiftProblem],
    *,
    editor: Editor,
    config: EditConfig,
    statistics: KeyStatistics | None,
    earlier: EditsSoFar,
    index: FactIndex | None,
    progress: Progress,
) -> list[ShiftPrice]:
    """Return the price of each edit's shift in the search.

    Each edit is priced as if it were written alone, on top of the earlier ones. Nothing may be attached.

    Raises:
        StaleArtifactError: if the index is of another model.
        ConfigError: if the index lacks a layer, or the model's writes are not linear in the shift.
    """
    statistics = statistics or KeyStatistics(lm)
    writer = aware_of(make_writer(editor, config, statistics, progress), earlier)
    index = known_facts(lm, contexts, config, statistics, earlier=earlier, index=index, progress=progress)
    common = make_common(lm, config, statistics)
    edits = [
        SpreadEdit(
            id=context.edit.id,
            rows=edit_rows(lm, problem),
            protected=protected_rows(lm, [context], config, earlier.patches),
        )
        for context, problem in zip(contexts, problems, strict=True)
    ]
    with attached(list(earlier.patches), lm):
        spreads = shift_spread(lm, edits, writer=writer, config=config.write, ledger=earlier.ledger, common=common)
    found = []
    for context, costs in zip(contexts, shift_costs(index.pairs, spreads, len(index)), strict=True):
        rows = priced_rows(index, with_consequences([context]), earlier=_edits_of(earlier))
        found.append(ShiftPrice(costs=costs[rows], weight=config.target.price))
    return found


def _edits_of(earlier: EditsSoFar) -> list[FactEdit]:
    return [edit for patch in earlier.patches for edit in patch.edits]


def make_source(lm: LoadedLM, context: EditContext, config: EditConfig) -> DirectionSource:
    """Make the direction source of one edit, seeded by the edit alone: the result does not depend on the batch."""
    kind, device = config.direction.source, layer_device(lm, config.write.shift_layer)
    if kind is SourceKind.RANDOM:
        return RandomDirection(lm.d_model, seed=edit_seed(context, config), device=device)
    if kind is SourceKind.TWO_DIRECTIONS:
        return SwapDirection(lm.d_model, seed=edit_seed(context, config), device=device)
    if kind is SourceKind.REACHABLE:
        reach = reach_of(lm, config.write.layers, device=device)
        if reach is not None:
            return ReachableDirection(reach)
    if kind in (SourceKind.FREE, SourceKind.REACHABLE) or context.subgraph is None:
        return FreeDirection(lm.d_model, device=device)
    labels = context.unrelated_labels()[0] if kind.is_shuffled else None
    features = encode_subgraph(lm, context.subgraph, config=config.direction, labels=labels)
    return GraphDirection(
        context.subgraph, features.to(device), config=config.direction, seed=edit_seed(context, config)
    )


def edit_seed(context: EditContext, config: EditConfig) -> int:
    """Return a seed that depends on the edit and the configured seed only."""
    return int(digest(str(config.seed), context.edit.id)[:12], 16)
