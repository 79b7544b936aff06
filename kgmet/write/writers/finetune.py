"""`finetune_updates`: constrained fine-tuning (FT), the baseline without a target hidden state.

FT-L as compared against in ROME (arXiv:2202.05262, §3.4): gradient steps on the answer's likelihood, in the
down-projections only, with every entry of the change, or its norm, kept below a bound. The change is learned beside the
weight, which is never written to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from kgmet.base.errors import ConfigError, MemoryLimitError, NonFiniteError, RequestError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import locate_all
from kgmet.lm.run.suffixes import base_states, left_padded, token_positions
from kgmet.lm.run.tracing import added
from kgmet.search.adam import Adam
from kgmet.search.objective import answer_nll
from kgmet.search.problem import ShiftProblem, Term
from kgmet.write.layers import check_layers
from kgmet.write.solve import LayerUpdate

__all__ = ["Bound", "FineTuneConfig", "finetune_updates"]


class Bound(Enum):
    """The bounded quantity."""

    ENTRY = "entry"
    """Every entry's absolute value (L∞), as published."""
    NORM = "norm"
    """The Frobenius norm of the whole change of a layer."""


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """Step count, bound and stopping rule of fine-tuning."""

    steps: int = 25
    """Most gradient steps; at least 1."""
    rate: float = 2e-3
    """Adam's learning rate, in units of the weights; above 0. The default model needs more than GPT-2 XL (5e-4)."""
    kind: Bound = Bound.ENTRY
    """The bounded quantity."""
    bound: float = 2e-2
    """The bound, in units of the weights; above 0. 5e-4 as published leaves the default model as it is."""
    stop_nll: float = 1e-2
    """Stop when every edit's answer has at most this negative log-likelihood per token, in nats; above 0."""
    contexts: int = 1
    """How many of each edit's rewriting prompts are used, the bare one first; at least 1. As published only that."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("steps", "contexts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"finetune.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "bound", "stop_nll"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"finetune.{name} must be above 0, got {getattr(self, name)}")

    def limit_(self, change: Tensor) -> None:
        """Bring a change (d_model, d_key) back within the bound."""
        with torch.no_grad():
            if self.kind is Bound.ENTRY:
                change.clamp_(-self.bound, self.bound)
            else:
                change.mul_((self.bound / change.norm().clamp(min=1e-30)).clamp(max=1.0))


def finetune_updates(
    lm: LoadedLM,
    problems: Sequence[ShiftProblem],
    *,
    layers: Sequence[int],
    config: FineTuneConfig,
    progress: Progress | None = None,
) -> tuple[LayerUpdate, ...]:
    """Tune the down-projections of `layers` until every rewriting prompt gives its answer.

    Args:
        lm: the model, with whatever earlier patches attached; its weights stay as they are.
        problems: the edits; of their prompts only the first `config.contexts` REWRITE ones are used.
        layers: decoder layers to tune.
        config: see `FineTuneConfig`.
        progress: receives every step and can cancel between steps.

    Returns:
        One update per layer, ascending: factors identity × matrix of d_model rows. The last loss was measured with it.

    Raises:
        ConfigError: if a layer is out of range.
        NonFiniteError: if the loss becomes NaN or infinite.
        MemoryLimitError: if the batch does not fit.
        Cancelled: if asked to stop.
    """
    progress, chosen = progress or Silent(), sorted(set(layers))
    check_layers(lm, chosen)
    batch = _Answers(lm, problems, config.contexts)
    changes = {
        layer: nn.Parameter(torch.zeros(lm.d_model, lm.d_key, dtype=torch.float32, device=lm.device))
        for layer in chosen
    }
    optimizer = Adam(list(changes.values()), rate=config.rate)
    try:
        for step in range(config.steps + 1):
            progress.check()
            nll = batch.nll(changes)
            loss = float(nll.detach().mean())
            if not math.isfinite(loss):
                raise NonFiniteError(
                    f"The fine-tuning loss became {loss} at step {step}. Load the model in float32 or use a smaller "
                    "finetune.rate."
                )
            progress.report(ProgressEvent(stage=Stage.SEARCH, done=step, total=config.steps, detail={"total": loss}))
            if step == config.steps or float(nll.detach().max()) <= config.stop_nll:
                break
            optimizer.zero_grad()
            nll.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            for change in changes.values():
                config.limit_(change)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryLimitError(
            f"Tuning {len(chosen)} layers on {len(problems)} edits at once does not fit. Try one layer or fewer edits."
        ) from error
    return tuple(_update(lm, layer, change) for layer, change in changes.items())


class _Answers:
    """The rewriting prompts with their answers and answer positions."""

    def __init__(self, lm: LoadedLM, problems: Sequence[ShiftProblem], n_context: int) -> None:
        phrases = [prompt.phrase(p.edit.subject) for p in problems for prompt in p.of(Term.REWRITE)[:n_context]]
        if not phrases:
            raise RequestError("There is no edit with a rewriting prompt to tune on. Give at least one.")
        self._lm = lm
        spans = locate_all(lm, phrases)
        rows = [span.input_ids[:-1] for span in spans]
        self._ids, self._mask = left_padded(rows, device=lm.device)
        width = self._ids.shape[1]
        asked = [
            (row, width - len(rows[row]) + position - 1, span.input_ids[position])
            for row, span in enumerate(spans)
            for position in (span.target or ())
        ]
        self._asked = torch.tensor(asked, dtype=torch.long, device=lm.device)
        self._n_row = len(spans)

    def nll(self, changes: dict[int, nn.Parameter]) -> Tensor:
        """Return the negative log-likelihood per answer token of each row, (n_row,), with the changes in place."""
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for layer, change in changes.items():
                module = self._lm.family.write_module(self._lm.model, layer)
                stack.enter_context(added(module, input_factor=change, output_factor=None))
            positions = token_positions(self._mask)
            states = base_states(
                self._lm, self._ids, attention_mask=self._mask, position_ids=positions, use_cache=False
            )
            logits = self._lm.vocabulary_logits(states[self._asked[:, 0], self._asked[:, 1]])
            return answer_nll(logits.log_softmax(-1), self._asked[:, 2], self._asked[:, 0], self._n_row)


def _update(lm: LoadedLM, layer: int, change: Tensor) -> LayerUpdate:
    return LayerUpdate(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        output_factor=torch.eye(lm.d_model, dtype=torch.float32),
        input_factor=change.detach().float().cpu(),
    )
