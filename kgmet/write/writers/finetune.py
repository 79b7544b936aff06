"""`finetune_updates`: fine-tuning of down-projections, the baselines without a target hidden state.

FT-L as compared against in ROME (arXiv:2202.05262, §3.4): gradient steps on the answer's likelihood, in the
down-projections only, with every entry of the change, or its norm, kept below a bound. The change is learned beside the
weight, which is never written to.

LocFT-BF (arXiv:2509.22072): plain fine-tuning of late down-projections, in epochs over all edits in mini-batches, with
an end-of-text token after the answer and no bound.

CrispEdit (arXiv:2602.15823): gradients are confined to where the capability loss curves little (`Curvature`). The
authors' code (zarifikram/CrispEdit) projects the gradient and then takes Adam's step, which leaves that subspace; here
the change is projected after each step as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from kgmet.base.errors import MemoryLimitError, NonFiniteError, RequestError
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.ranges import check_numbers
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import locate_all
from kgmet.lm.run.tracing import added
from kgmet.search.adam import Adam
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.search import MOST_STEPS
from kgmet.write.config import check_layers
from kgmet.write.curvature import Curvature
from kgmet.write.solve import LayerUpdate
from kgmet.write.writers.answers import answers_nll

__all__ = ["Bound", "FineTuneConfig", "finetune_updates"]


class Bound(Enum):
    """The bounded quantity."""

    ENTRY = "entry"
    """Every entry's absolute value (L∞), as published."""
    NORM = "norm"
    """The Frobenius norm of the whole change of a layer."""
    NONE = "none"
    """Nothing is bounded."""


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """Step count, bound and stopping rule of fine-tuning."""

    steps: int = 25
    """Most gradient steps; 1 to 1,000."""
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
    batch_size: int = 0
    """Prompts per gradient step; at least 0. 0: all at once. Otherwise `steps` counts epochs over all prompts."""
    end_of_text: bool = False
    """Whether an end-of-text token must follow the answer."""
    curvature: float = 0.0
    """CrispEdit: share of the capability loss's curvature whose directions are left alone; from 0, below 1. 0: none."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "finetune", "steps", least=1, most=MOST_STEPS)
        check_numbers(self, "finetune", "contexts", least=1)
        check_numbers(self, "finetune", "batch_size", least=0)
        check_numbers(self, "finetune", "curvature", least=0, below=1)
        check_numbers(self, "finetune", "rate", "bound", "stop_nll", above=0)

    def limit_(self, change: Tensor) -> None:
        """Bring a change (d_model, d_key) back within the bound."""
        with torch.no_grad():
            if self.kind is Bound.ENTRY:
                change.clamp_(-self.bound, self.bound)
            elif self.kind is Bound.NORM:
                change.mul_((self.bound / change.norm().clamp(min=1e-30)).clamp(max=1.0))


def finetune_updates(
    lm: LoadedLM,
    problems: Sequence[ShiftProblem],
    *,
    layers: Sequence[int],
    config: FineTuneConfig,
    curvatures: Mapping[int, Curvature] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[LayerUpdate, ...]:
    """Tune the down-projections of `layers` until every rewriting prompt gives its answer.

    Args:
        lm: the model, with whatever earlier patches attached; its weights stay as they are.
        problems: the edits; of their prompts only the first `config.contexts` REWRITE ones are used.
        layers: decoder layers to tune.
        config: see `FineTuneConfig`.
        curvatures: by layer, where the capability loss curves; changes are confined to the rest.
        seed: order of the mini-batches.
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
    batch = _Answers(lm, problems, config)
    batches = _Batches(batch.n_row, config.batch_size, seed)
    changes = {
        layer: nn.Parameter(torch.zeros(lm.d_model, lm.d_key, dtype=torch.float32, device=lm.device))
        for layer in chosen
    }
    optimizer = Adam(list(changes.values()), rate=config.rate)
    try:
        for step in range(config.steps + 1):
            progress.check()
            loss, worst = 0.0, 0.0
            for rows in batches.epoch():
                optimizer.zero_grad()
                nll = batch.nll(changes, rows)
                loss += float(nll.detach().sum()) / batch.n_row
                worst = max(worst, float(nll.detach().max()))
                if step == config.steps or not math.isfinite(loss) or (batches.is_one and worst <= config.stop_nll):
                    continue
                nll.mean().backward()  # type: ignore[no-untyped-call]
                _step(optimizer, changes, config, curvatures or {})
            if not math.isfinite(loss):
                raise NonFiniteError(
                    f"The fine-tuning loss became {loss} at step {step}. Load the model in float32 or use a smaller "
                    "finetune.rate."
                )
            progress.report(ProgressEvent(stage=Stage.SEARCH, done=step, total=config.steps, detail={"total": loss}))
            if step == config.steps or worst <= config.stop_nll:
                break
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryLimitError(
            f"Tuning {len(chosen)} layers on {len(problems)} edits at once does not fit. Try one layer or fewer edits."
        ) from error
    return tuple(_update(lm, layer, change) for layer, change in changes.items())


def _step(
    optimizer: Adam, changes: Mapping[int, nn.Parameter], config: FineTuneConfig, curvatures: Mapping[int, Curvature]
) -> None:
    """Take one step within the bound and outside what must not curve."""
    for layer, curvature in curvatures.items():
        gradient = changes[layer].grad
        if gradient is not None:
            gradient.copy_(curvature.flat_part(gradient))
    optimizer.step()
    for layer, change in changes.items():
        config.limit_(change)
        if layer in curvatures:
            with torch.no_grad():
                change.copy_(curvatures[layer].flat_part(change))


class _Batches:
    """The rows of each gradient step; in another order each epoch, the same for the same seed."""

    def __init__(self, n_row: int, size: int, seed: int) -> None:
        self._n_row, self._size = n_row, size or n_row
        self._generator = torch.Generator().manual_seed(seed)
        self.is_one = self._size >= n_row

    def epoch(self) -> list[list[int]]:
        """Return the row numbers of every step of one epoch."""
        if self.is_one:
            return [list(range(self._n_row))]
        order = torch.randperm(self._n_row, generator=self._generator, device="cpu").tolist()
        return [order[begin : begin + self._size] for begin in range(0, self._n_row, self._size)]


class _Answers:
    """The rewriting prompts with their answers and answer positions."""

    def __init__(self, lm: LoadedLM, problems: Sequence[ShiftProblem], config: FineTuneConfig) -> None:
        n_context = config.contexts
        phrases = [prompt.phrase(p.edit.subject) for p in problems for prompt in p.of(Term.REWRITE)[:n_context]]
        if not phrases:
            raise RequestError("There is no edit with a rewriting prompt to tune on. Give at least one.")
        self._lm = lm
        end = lm.tokenizer.eos_token_id if config.end_of_text else None
        self._texts: list[tuple[tuple[int, ...], range]] = []
        """Tokens of each row, and the positions of its answer."""
        for span in locate_all(lm, phrases):
            target = span.target or range(0)
            if end is None or target.stop != len(span.input_ids):
                self._texts.append((span.input_ids, target))
            else:
                self._texts.append(((*span.input_ids, int(end)), range(target.start, target.stop + 1)))
        self.n_row = len(self._texts)

    def nll(self, changes: dict[int, nn.Parameter], chosen: Sequence[int]) -> Tensor:
        """Return the negative log-likelihood per answer token of the chosen rows, (n_chosen,), with the changes."""
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for layer, change in changes.items():
                module = self._lm.family.write_module(self._lm.model, layer)
                stack.enter_context(added(module, input_factor=change, output_factor=None))
            return answers_nll(self._lm, [self._texts[row] for row in chosen])[0]


def _update(lm: LoadedLM, layer: int, change: Tensor) -> LayerUpdate:
    return LayerUpdate(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        output_factor=torch.eye(lm.d_model, dtype=torch.float32),
        input_factor=change.detach().float().cpu(),
    )
