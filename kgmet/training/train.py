"""`train_encoder`: one graph encoder per model, trained across facts of a store, and kept by fingerprint.

Two tasks (`EncoderTask`). SHIFT: edits are drawn from the store and the encoder is trained through the model to shift
their subjects so that the new facts hold, one random prompt of each edit per step; no edit is ever optimised by itself.
STATE: the encoder is trained to say the model's own state of a subject from the subject's facts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, NonFiniteError
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.lm.load.loaded import LoadedLM
from kgmet.search.directions.change import ChangeEncoder
from kgmet.search.directions.config import EncoderTrainingConfig
from kgmet.search.directions.trained import TrainedEncoder, encoder_id, encoder_path
from kgmet.search.objective import length_penalty, limited, ordinary_norm
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.rows import ProblemRows
from kgmet.training.examples import Examples, load_examples

__all__ = ["train_encoder"]

_REPORT_EVERY = 20


def train_encoder(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    config: EncoderTrainingConfig | None = None,
    exclude: Collection[str] = (),
    progress: Progress | None = None,
) -> TrainedEncoder:
    """The encoder for this model, store and settings: from disk if it is there, else trained and put there.

    Args:
        lm: the model, without any patch attached.
        store: whose facts it is trained on.
        catalogue: words for its relations.
        config: see `EncoderTrainingConfig`.
        exclude: ids of entities that are neither subject nor object of a training edit: what it is measured with.
        progress: hears of every step and can cancel; nothing is kept then.

    Raises:
        ConfigError: if the layer is out of range for this model.
        GraphError: if the store has too few facts to train on.
        NonFiniteError: if the training diverges.
        Cancelled: if asked to stop.
    """
    config, progress = config or EncoderTrainingConfig(), progress or Silent()
    if max(config.layer, config.feature_layer) > lm.n_layer - 2:
        raise ConfigError(
            f"An encoder for layer {config.layer} with features from layer {config.feature_layer} does not fit "
            f"{lm.name}: choose layers up to {lm.n_layer - 2}."
        )
    excluded = digest(*sorted(exclude))[:16] if exclude else ""
    path = encoder_path(lm.fingerprint, encoder_id(lm.fingerprint, store.fingerprint, config, excluded))
    if path.is_file():
        return TrainedEncoder.load(path, model_fingerprint=lm.fingerprint)
    examples = load_examples(lm, store, catalogue, config=config, exclude=exclude, progress=progress)
    network = ChangeEncoder(lm.d_model, width=config.width, generator=torch.Generator().manual_seed(config.seed))
    curve = _Trainer(lm, network, examples=examples, config=config).fit(progress)
    encoder = TrainedEncoder(
        model_fingerprint=lm.fingerprint,
        store_fingerprint=store.fingerprint,
        config=config,
        weights={name: value.detach().clone() for name, value in network.state_dict().items()},
        node_mean=examples.node_mean,
        relation_mean=examples.relation_mean,
        spread=examples.spread,
        excluded=excluded,
        curve=tuple(curve),
    )
    encoder.save(path)
    return encoder


class _Trainer:
    """A network and what it is trained on."""

    def __init__(
        self, lm: LoadedLM, network: ChangeEncoder, *, examples: Examples, config: EncoderTrainingConfig
    ) -> None:
        self._lm, self._network, self._examples, self._config = lm, network, examples, config

    def fit(self, progress: Progress) -> list[dict[str, float]]:
        """Train in place and keep the weights that did best on the edits held back.

        Returns:
            The curve: at each `step` the mean `loss` since the last entry, and `checked`, see `_checked`.
        """
        config, generator = self._config, random.Random(self._config.seed)
        optimizer = torch.optim.AdamW(self._network.parameters(), lr=config.rate, weight_decay=config.weight_decay)
        n_train = config.n_edit - config.n_checked
        curve = [{"step": 0.0, "checked": self._checked()}]
        best = curve[0]["checked"], self._weights()
        queue: list[int] = []
        losses: list[float] = []
        for step in range(config.steps):
            progress.check()
            while len(queue) < config.batch:
                queue += generator.sample(range(n_train), n_train)
            chosen, queue = queue[: config.batch], queue[config.batch :]
            optimizer.param_groups[0]["lr"] = config.rate * max(0.05, 1 - step / config.steps)
            losses.append(self._step(optimizer, chosen, generator))
            if not math.isfinite(losses[-1]):
                raise NonFiniteError(f"The encoder's loss became {losses[-1]} at step {step}. Use a smaller rate.")
            detail: dict[str, float | str] = {"total": losses[-1]}
            progress.report(ProgressEvent(stage="train encoder", done=step + 1, total=config.steps, detail=detail))
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 == config.steps:
                curve.append({"step": step + 1.0, "loss": sum(losses) / len(losses), "checked": self._checked()})
                losses = []
                if curve[-1]["checked"] < best[0]:
                    best = curve[-1]["checked"], self._weights()
        self._network.load_state_dict(best[1])
        return curve

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._network.state_dict().items()}

    def _step(self, optimizer: torch.optim.Optimizer, chosen: Sequence[int], generator: random.Random) -> float:
        with torch.enable_grad():
            loss = self._losses(chosen, generator).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    def _checked(self) -> float:
        """Mean loss on edits that are not trained on, each with the same random prompt at every call."""
        config, generator = self._config, random.Random(self._config.seed)
        held_back = range(config.n_edit - config.n_checked, config.n_edit)
        with torch.no_grad():
            parts = [
                self._losses(held_back[begin : begin + config.batch], generator)
                for begin in range(0, config.n_checked, config.batch)
            ]
        return float(torch.cat(parts).mean())

    def _losses(self, chosen: Sequence[int], generator: random.Random) -> Tensor:
        """Of each edit's prediction, (n_chosen,)."""
        examples, config, network = self._examples, self._config, self._network
        if examples.states is not None:
            said = torch.stack([network.state(examples.graphs(number)[1]) for number in chosen])
            return (said - examples.states[list(chosen)]).pow(2).mean(1)
        problems = [_one_prompt(examples.problems[number], config, generator) for number in chosen]
        rows = ProblemRows(self._lm, problems, config.layer)
        norms = ordinary_norm(rows.before)
        shifts = torch.stack([network(*examples.graphs(number)) for number in chosen]).to(rows.before)
        deltas = limited(shifts * (norms / math.sqrt(self._lm.d_model))[:, None], norms * config.max_norm_ratio)
        losses: Tensor = rows.losses(deltas) + config.length_weight * length_penalty(deltas, rows.before)
        return losses


def _one_prompt(problem: ShiftProblem, config: EncoderTrainingConfig, generator: random.Random) -> ShiftProblem:
    """A random prompt of the edit: with one prompt per edit a step sees more edits in the same time."""
    follows = problem.of(Term.CONSEQUENCE)
    wants_more = generator.random() < config.consequence_share
    prompt = generator.choice(follows if follows and wants_more else problem.of(Term.REWRITE))
    return replace(problem, prompts=(prompt,))
