"""`encode_subgraph`: node and relation features from the language model's hidden states of their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kgmet.base.shapes import check_shape
from kgmet.graph.reading.retrieve import Subgraph
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate_all
from kgmet.lm.run.suffixes import left_padded, token_positions
from kgmet.lm.run.tracing import recorded, stopped_after
from kgmet.search.directions.config import DirectionConfig

__all__ = ["GraphFeatures", "encode_labels", "encode_subgraph", "only_anchor"]

_FRAME = "This text is about {}"
"""Frame around a name, so that its first token is not at position 0 (the attention sink). That state is 6 to 9 times
longer than any other and makes all names look alike."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphFeatures:
    """Features of one subgraph: `nodes` (n_node, d_model) and `relations` (n_rel, d_model).

    They are hidden states after decoder layer `layer`; centred if the config says so, not normalised.
    """

    nodes: Tensor
    relations: Tensor
    layer: int

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("relations", self.relations, None, self.nodes.shape[1])

    def to(self, device: torch.device) -> GraphFeatures:
        """Return the features on a device."""
        return replace(self, nodes=self.nodes.to(device), relations=self.relations.to(device))


def encode_subgraph(
    lm: LoadedLM, subgraph: Subgraph, *, config: DirectionConfig, labels: Sequence[str] | None = None
) -> GraphFeatures:
    """Return the features of every entity and relation of a subgraph.

    Args:
        lm: the model.
        subgraph: the subgraph whose names are encoded.
        config: feature layer, attention sink and centring.
        labels: names to use instead of the entities' own, one per node: for the shuffled control.
    """
    names = [entity.label for entity in subgraph.entities] if labels is None else list(labels)
    vectors = encode_labels(lm, [*names, *(relation.label for relation in subgraph.relations)], config=config)
    nodes, relations = vectors[: len(names)], vectors[len(names) :]
    if config.centre:
        nodes = nodes - nodes.mean(0)
        relations = relations - relations.mean(0) if len(relations) > 1 else relations
    return GraphFeatures(nodes=nodes, relations=relations, layer=config.feature_layer)


def encode_labels(lm: LoadedLM, labels: Sequence[str], *, config: DirectionConfig) -> Tensor:
    """Return the mean hidden state over each label's tokens, (n_label, d_model), float32, on the layer's device.

    With `config.drop_sink` the label stands in a short frame, so none of its tokens is at position 0. Without it the
    label stands alone, as published.
    """
    frame = _FRAME if config.drop_sink else "{}"
    spans = locate_all(lm, [Phrase(template=frame, subject=label) for label in labels])
    vectors = []
    for begin in range(0, len(spans), 32):
        chunk = spans[begin : begin + 32]
        ids, mask = left_padded([span.input_ids for span in chunk], device=lm.device)
        positions = token_positions(mask)
        module = lm.layers[config.feature_layer]
        with torch.no_grad(), recorded([module]) as seen, stopped_after(lm, config.feature_layer):
            lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)
        (states,) = seen
        assert states is not None
        for row, span in enumerate(chunk):
            pad = ids.shape[1] - len(span.input_ids)
            vectors.append(states[row, pad + span.subject.start : pad + span.subject.stop].float().mean(0))
    return torch.stack(vectors)


def only_anchor(features: GraphFeatures, anchor: int) -> GraphFeatures:
    """Return the features of the subject's node alone, for the no-graph control."""
    return replace(features, nodes=features.nodes[anchor : anchor + 1], relations=features.relations[:0])
