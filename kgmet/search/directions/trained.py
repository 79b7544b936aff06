"""`TrainedEncoder`: a graph encoder trained once per model across a store's facts, and the direction it gives an edit.

An encoder that is trained anew on each edit's own loss can reach any direction and so carries nothing from the graph.
This one is held fixed while an edit is searched: the edit learns the length, and a free remainder as long as
`DirectionConfig.remainder` allows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.cache import cache_dir
from kgmet.base.errors import BrokenArtifactError, ConfigError, StaleArtifactError
from kgmet.base.files import failures_as, parse_json
from kgmet.base.fingerprint import fingerprint_value, plain
from kgmet.graph.reading.retrieve import Subgraph
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.directions.change import ChangeEncoder, ChangeGraph
from kgmet.search.directions.config import DirectionConfig, EncoderTask, EncoderTrainingConfig
from kgmet.search.directions.features import encode_labels
from kgmet.search.directions.source import DirectionSource, FreeDirection

__all__ = ["TrainedDirection", "TrainedEncoder", "UnchangedGraph", "encoder_path", "find_encoder", "trained_source"]

_NO_SHIFT = 1e-6
"""A shift this short, in units of the hidden state, is rounding."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedEncoder:
    """The weights of a `ChangeEncoder` and what they were made from.

    `node_mean` and `relation_mean` (d_model,) are subtracted from the states of names, `spread` divides them: one
    number that makes a coordinate 1 on average. `excluded` is a digest of the entities that took no part. `curve` has
    one mapping per report of the training.
    """

    model_fingerprint: str
    store_fingerprint: str
    config: EncoderTrainingConfig
    weights: Mapping[str, Tensor]
    node_mean: Tensor
    relation_mean: Tensor
    spread: float
    excluded: str = ""
    curve: tuple[Mapping[str, float], ...] = field(default=())

    @property
    def id(self) -> str:
        """16 hex digits for model, store, settings and exclusions."""
        return encoder_id(self.model_fingerprint, self.store_fingerprint, self.config, self.excluded)

    @property
    def checked(self) -> tuple[float, float]:
        """Loss on edits that were held back: untrained, and with these weights, the best of the curve."""
        values = [entry["checked"] for entry in self.curve if "checked" in entry]
        return values[0], min(values)

    def network(self) -> ChangeEncoder:
        """The encoder with its weights, which nothing may train further."""
        d_model = self.node_mean.shape[0]
        network = ChangeEncoder(d_model, width=self.config.width, generator=torch.Generator())
        network.load_state_dict(dict(self.weights))
        return network.requires_grad_(False)

    def graph(self, lm: LoadedLM, subgraph: Subgraph, labels: Sequence[str] | None = None) -> ChangeGraph:
        """The subgraph with vectors for its names, or for other `labels`, one per node."""
        names = [entity.label for entity in subgraph.entities] if labels is None else list(labels)
        relations = [relation.label for relation in subgraph.relations]
        settings = DirectionConfig(feature_layer=self.config.feature_layer)
        vectors = encode_labels(lm, [*names, *relations], config=settings)
        nodes = (vectors[: len(names)] - self.node_mean) / self.spread
        return ChangeGraph.of(
            subgraph, nodes=nodes, relations=(vectors[len(names) :] - self.relation_mean) / self.spread
        )

    def save(self, path: Path) -> None:
        """Write as safetensors, whole or not at all."""
        header = {
            "model": self.model_fingerprint,
            "store": self.store_fingerprint,
            "config": json.dumps(plain(self.config)),
            "excluded": self.excluded,
            "spread": repr(self.spread),
            "curve": json.dumps([dict(entry) for entry in self.curve]),
        }
        tensors = {f"weights.{name}": value.contiguous() for name, value in self.weights.items()}
        save_artifact(path, tensors | {"node_mean": self.node_mean, "relation_mean": self.relation_mean}, header)

    @classmethod
    def load(cls, path: Path, *, model_fingerprint: str) -> TrainedEncoder:
        """Read what `save` wrote.

        Raises:
            StaleArtifactError: if it was trained for another model.
            BrokenArtifactError: if the file is damaged.
        """
        advice = "Delete it and train anew."
        read = load_artifact(path, what="trained encoder", advice=advice)
        header, tensors = read.header, read.tensors
        with failures_as(BrokenArtifactError, f"{path} holds no trained encoder", advice=advice):
            settings = parse_json(header["config"], where=f"{path}, config")
            found = cls(
                model_fingerprint=header["model"],
                store_fingerprint=header["store"],
                config=EncoderTrainingConfig(**settings | {"task": EncoderTask(settings["task"])}),
                weights={n.removeprefix("weights."): v for n, v in tensors.items() if n.startswith("weights.")},
                node_mean=tensors["node_mean"],
                relation_mean=tensors["relation_mean"],
                spread=float(header["spread"]),
                excluded=header["excluded"],
                curve=tuple(parse_json(header["curve"], where=f"{path}, curve")),
            )
            found.network()
        if found.model_fingerprint != model_fingerprint:
            raise StaleArtifactError(
                f"{path} was trained for model {found.model_fingerprint}, not for {model_fingerprint}. "
                "Train an encoder for this model: python -m kgmet train-encoder --model …"
            )
        return found


class TrainedDirection:
    """A fixed direction from a trained encoder; the length is learned, and a free remainder beside it.

    The remainder is at most `remainder` times as long as the directed part; 0 leaves nothing but the length to learn.
    The length starts where the encoder puts it.
    """

    def __init__(self, shift: Tensor, *, name: str, remainder: float, influence: Tensor | None = None) -> None:
        self.name = name
        self._unit = shift / shift.norm()
        self._length = nn.Parameter(shift.norm() / math.sqrt(shift.numel()))
        self._free = nn.Parameter(torch.zeros_like(shift))
        self._remainder = remainder
        self._influence = influence

    def parameters(self) -> Sequence[nn.Parameter]:
        """The length, and the remainder where there may be one."""
        return [self._length, self._free] if self._remainder else [self._length]

    def shift(self) -> Tensor:
        """(d_model,) in units of ‖h‖/√d_model."""
        directed: Tensor = self._length * math.sqrt(self._unit.numel()) * self._unit
        if not self._remainder:
            return directed
        longest = self._remainder * directed.norm()
        free: Tensor = self._free * (longest / torch.maximum(self._free.norm(), longest).clamp(min=1e-12))
        return directed + free

    def influence(self) -> Tensor | None:
        """Share of each node of the graph after the edit in the encoder's shift."""
        return self._influence


class UnchangedGraph(FreeDirection):
    """What an edit gets whose graph is the same before and after: the encoder has nothing to say, the shift is free."""

    name = "free (the graph says the same before and after)"


def trained_source(
    lm: LoadedLM,
    encoder: TrainedEncoder,
    *,
    after: Subgraph,
    before: Subgraph,
    config: DirectionConfig,
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
) -> DirectionSource:
    """The direction an encoder gives one edit; a free one, whose name says so, where the graphs do not differ.

    Args:
        lm: the model.
        encoder: trained for this model.
        after: the subgraph with the edit.
        before: the subgraph without it.
        config: the name of the source, and how long the free remainder may be.
        labels: names in place of the entities' own, for `after` and for `before`: for the nonsense control.

    Raises:
        StaleArtifactError: if the encoder was trained for another model.
    """
    if encoder.model_fingerprint != lm.fingerprint:
        raise StaleArtifactError(
            f"This encoder was trained for model {encoder.model_fingerprint}, not for {lm.fingerprint}. "
            "Train one for this model: python -m kgmet train-encoder --model …"
        )
    network = encoder.network()
    for_after, for_before = labels or (None, None)
    graph, earlier = encoder.graph(lm, after, for_after), encoder.graph(lm, before, for_before)
    shift = network(graph, earlier)
    if float(shift.norm()) <= _NO_SHIFT * math.sqrt(shift.numel()):
        return UnchangedGraph(lm.d_model)
    influence = _influence(network, graph, shift)
    return TrainedDirection(shift, name=config.source.value, remainder=config.remainder, influence=influence)


def encoder_id(model: str, store: str, config: EncoderTrainingConfig, excluded: str) -> str:
    """16 hex digits for what an encoder is made from."""
    return fingerprint_value(["trained encoder", model, store, config, excluded])


def encoder_path(model: str, identity: str) -> Path:
    """Where an encoder of a model is kept."""
    return cache_dir() / "encoders" / model / f"{identity}.safetensors"


def find_encoder(lm: LoadedLM, identity: str = "") -> TrainedEncoder:
    """The kept encoder with this id, or, without an id, the only one of this model.

    Raises:
        ConfigError: if there is none, or several and none was named.
        StaleArtifactError, BrokenArtifactError: if the file does not fit.
    """
    folder = encoder_path(lm.fingerprint, "").parent
    kept = sorted(path.stem for path in folder.glob("*.safetensors"))
    if identity and identity not in kept:
        raise ConfigError(
            f"There is no trained encoder {identity!r} for {lm.name}; there is {', '.join(kept) or 'none'}. "
            "Train one: python -m kgmet train-encoder"
        )
    if not identity and len(kept) != 1:
        what = f"{len(kept)} trained encoders: {', '.join(kept)}. Set direction.encoder to one of them"
        raise ConfigError(
            f"{lm.name} has {what if kept else 'no trained encoder. Train one: python -m kgmet train-encoder'}."
        )
    return TrainedEncoder.load(encoder_path(lm.fingerprint, identity or kept[0]), model_fingerprint=lm.fingerprint)


def _influence(network: ChangeEncoder, graph: ChangeGraph, shift: Tensor) -> Tensor:
    """|gradient · value| of each node's vector along the shift, normalised to 1."""
    values: dict[str, Any] = {name: getattr(graph, name) for name in ("relations", "edge_index", "edge_relation")}
    nodes = graph.nodes.clone().requires_grad_()
    with torch.enable_grad():
        again = ChangeGraph(nodes=nodes, anchor=graph.anchor, edited_edge=graph.edited_edge, **values)
        (gradient,) = torch.autograd.grad((network.state(again) * shift).sum(), nodes)
    share = (gradient * nodes.detach()).sum(-1).abs()
    return share / share.sum().clamp(min=1e-12)
