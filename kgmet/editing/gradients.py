"""`make_tuner`: the writes that follow the answers' gradients instead of a searched shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kgmet.base.progress import Progress
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import Editor, WriterKind
from kgmet.editing.pilot import pilot_contexts
from kgmet.editing.problem import build_problem
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.problem import ShiftProblem
from kgmet.write.curvature import Curvature, output_moments
from kgmet.write.layers import WrittenLayers
from kgmet.write.ledger import EditLedger
from kgmet.write.running import RunningMoments
from kgmet.write.statistics import KeyStatistics
from kgmet.write.writers.finetune import finetune_updates
from kgmet.write.writers.ultra import answer_features, ultra_update

__all__ = ["make_tuner"]

Tuner = Callable[[Sequence[ShiftProblem]], WrittenLayers]


def make_tuner(
    lm: LoadedLM,
    editor: Editor,
    config: EditConfig,
    statistics: KeyStatistics,
    ledger: EditLedger,
    progress: Progress,
) -> Tuner:
    """Return the write of an editor that does not search, with the statistics of the unedited model it needs.

    Args:
        lm: the model, with nothing attached; the write is called with the earlier patches attached.
        editor: fine-tuning or UltraEdit.
        config: its settings.
        statistics: key statistics of this model.
        ledger: the edits so far.
        progress: receives every stage; can cancel.
    """
    if editor.writer is WriterKind.NORMALISED_GRADIENTS:
        return _ultra(lm, config, statistics, ledger)
    curvatures = _curvatures(lm, config, statistics, progress) if config.finetune.curvature else None

    def tuned(problems: Sequence[ShiftProblem]) -> WrittenLayers:
        updates = finetune_updates(
            lm,
            problems,
            layers=config.write.layers,
            config=config.finetune,
            curvatures=curvatures,
            seed=config.seed,
            progress=progress,
        )
        return WrittenLayers(updates=updates, keys={}, remaining={})

    return tuned


def _curvatures(
    lm: LoadedLM, config: EditConfig, statistics: KeyStatistics, progress: Progress
) -> Mapping[int, Curvature]:
    layers, share = config.write.layers, config.finetune.curvature

    def make() -> Mapping[int, Curvature]:
        keys = statistics.moments(layers, progress=progress)
        outputs = output_moments(lm, layers, corpus=statistics.corpus, progress=progress)
        return {
            layer: Curvature.of(outputs[layer], keys[layer].second_moment, share=share, device=lm.device)
            for layer in layers
        }

    return statistics.remembered(("curvature", layers, share), make)


def _ultra(lm: LoadedLM, config: EditConfig, statistics: KeyStatistics, ledger: EditLedger) -> Tuner:
    layers, pilots = config.write.layers, config.ultra.pilots

    def first() -> Mapping[int, RunningMoments]:
        contexts = pilot_contexts(pilots, seed=config.seed)
        found = answer_features(lm, [build_problem(context, config) for context in contexts], layers)
        return {layer: RunningMoments.of(features) for layer, features in found.items()}

    told = layers, pilots, config.hold.contexts, config.seed
    begun = statistics.remembered(("ultra pilots", *told), first) if pilots else {}
    earlier = EditLedger().seeing(begun).seeing(ledger.features)

    def stepped(problems: Sequence[ShiftProblem]) -> WrittenLayers:
        features = answer_features(lm, problems, layers)
        own = {layer: RunningMoments.of(found) for layer, found in features.items()}
        seen = earlier.seeing(own).features
        updates = tuple(
            ultra_update(
                features[layer],
                seen[layer],
                d_key=lm.d_key,
                rate=config.ultra.rate,
                layer=layer,
                weight_name=lm.family.write_name(layer),
            )
            for layer in layers
        )
        return WrittenLayers(updates=updates, keys={}, remaining={}, features=own)

    return stepped
