"""`load_examples`: training edits as tensors."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent
from kgmet.editing.config import EditConfig, HoldConfig
from kgmet.editing.context import EditContext, build_problem, prepare_edit
from kgmet.graph.reading.retrieve import Subgraph
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.directions.change import ChangeGraph
from kgmet.search.directions.config import DirectionConfig, EncoderTask, EncoderTrainingConfig
from kgmet.search.directions.features import encode_labels
from kgmet.search.problem import ShiftProblem
from kgmet.search.rows import ProblemRows
from kgmet.training.edits import draw_training_edits

__all__ = ["Examples", "load_examples"]

_LABELS_AT_ONCE = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Training edits with what an encoder is shown of them.

    `nodes` and `relations` hold the vector (d_model,) of every name, less the mean and divided by `spread`; `states`
    (n_edit, d_model), for the STATE task alone, the model's state of each subject, centred and scaled alike.
    """

    contexts: tuple[EditContext, ...]
    problems: tuple[ShiftProblem, ...]
    nodes: dict[str, Tensor]
    relations: dict[str, Tensor]
    states: Tensor | None
    node_mean: Tensor
    relation_mean: Tensor
    spread: float

    def graphs(self, number: int) -> tuple[ChangeGraph, ChangeGraph]:
        """After and before."""
        context = self.contexts[number]
        assert context.subgraph is not None and context.subgraph_before is not None
        return self._graph(context.subgraph), self._graph(context.subgraph_before)

    def _graph(self, subgraph: Subgraph) -> ChangeGraph:
        nodes = torch.stack([self.nodes[entity.label] for entity in subgraph.entities])
        # A subject of which nothing else is known has no edges before the edit.
        empty = nodes.new_zeros(0, nodes.shape[1])
        relations = [self.relations[relation.label] for relation in subgraph.relations]
        return ChangeGraph.of(subgraph, nodes=nodes, relations=torch.stack(relations) if relations else empty)


def load_examples(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    config: EncoderTrainingConfig,
    exclude: Collection[str],
    progress: Progress,
) -> Examples:
    """Draw the edits, cut out their graphs, and encode every name once."""
    hold = HoldConfig(contexts=2, paraphrases=1, consequences=2, wordings=1)
    settings = EditConfig(hold=hold, seed=config.seed)
    contexts = []
    edits = draw_training_edits(store, catalogue, count=config.n_edit, seed=config.seed, exclude=exclude)
    for number, edit in enumerate(edits):
        progress.report(ProgressEvent(stage="training edits", done=number, total=len(edits)))
        progress.check()
        contexts.append(prepare_edit(edit, store=store, catalogue=catalogue, config=settings))
    subgraphs = [graph for c in contexts for graph in (c.subgraph, c.subgraph_before) if graph is not None]
    nodes = sorted({entity.label for graph in subgraphs for entity in graph.entities})
    relations = sorted({relation.label for graph in subgraphs for relation in graph.relations})
    vectors = _encoded(lm, nodes, config.feature_layer, progress)
    kinds = _encoded(lm, relations, config.feature_layer, progress)
    node_mean, relation_mean = vectors.mean(0), kinds.mean(0)
    spread = float((vectors - node_mean).norm(dim=1).mean()) / math.sqrt(lm.d_model)
    scaled = (vectors - node_mean) / spread
    problems = [build_problem(context, settings) for context in contexts]
    return Examples(
        contexts=tuple(contexts),
        problems=tuple(_answers_only(problem) for problem in problems),
        nodes=dict(zip(nodes, scaled, strict=True)),
        relations=dict(zip(relations, (kinds - relation_mean) / spread, strict=True)),
        states=_subject_states(lm, contexts, config) if config.task is EncoderTask.STATE else None,
        node_mean=node_mean,
        relation_mean=relation_mean,
        spread=spread,
    )


def _answers_only(problem: ShiftProblem) -> ShiftProblem:
    return replace(problem, prompts=tuple(prompt for prompt in problem.prompts if prompt.wants_answer))


def _encoded(lm: LoadedLM, labels: Sequence[str], layer: int, progress: Progress) -> Tensor:
    settings = DirectionConfig(feature_layer=layer)
    parts = []
    for begin in range(0, len(labels), _LABELS_AT_ONCE):
        progress.report(ProgressEvent(stage="names", done=begin, total=len(labels)))
        progress.check()
        parts.append(encode_labels(lm, labels[begin : begin + _LABELS_AT_ONCE], config=settings))
    return torch.cat(parts)


def _subject_states(lm: LoadedLM, contexts: Sequence[EditContext], config: EncoderTrainingConfig) -> Tensor:
    """The model's state of each subject after `config.layer`, (n_edit, d_model), centred and scaled to 1 on average."""
    problems = [build_problem(context, EditConfig()) for context in contexts]
    first = [replace(problem, prompts=problem.prompts[:1]) for problem in problems]
    states = torch.cat(
        [ProblemRows(lm, first[begin : begin + 32], config.layer).before.cpu() for begin in range(0, len(first), 32)]
    )
    states = states - states.mean(0)
    spread = float(states.norm(dim=1).mean()) / math.sqrt(states.shape[1])
    return states / spread
