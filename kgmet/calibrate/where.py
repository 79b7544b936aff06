"""`measure_layers`: around which layers a model keeps its facts, as a causal trace averaged over many of them.

The subject's tokens are disturbed by noise, and what the MLPs of a few layers give at its last token is put back
(ROME, arXiv:2202.05262 §2). Where that brings most of the answer's probability back is where the subject is looked up.
Localisation does not say where editing works best (arXiv:2301.04213), so it only proposes; the search decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kgmet.base.errors import NonFiniteError
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan, Phrase, locate_all
from kgmet.lm.run.suffixes import base_states
from kgmet.lm.run.tracing import hooked, recorded

__all__ = ["LayerEffects", "LayerProposal", "measure_layers", "propose_layers"]

_NOISE = 3.0
"""Standard deviations of the noise, in units of the embeddings'; as published."""
_WINDOW_SHARE = 0.1
"""Layers on each side that are put back together, as a share of all: ten of GPT-2 XL's 48, as published."""
_LEAST_RECOVERY = 0.02
"""Mean probability that must come back for a proposal to mean anything."""


@dataclass(frozen=True, kw_only=True)
class LayerEffects:
    """Mean probability of the answer over `n` facts.

    `clean` is the model's own, `disturbed` that with noise on the subject. `restored` is by layer: that after the MLPs
    of the layer and of `window` layers on each side are put back at the subject's last token.
    """

    n: int
    clean: float
    disturbed: float
    restored: tuple[float, ...]
    window: int

    @property
    def effects(self) -> tuple[float, ...]:
        """How much probability comes back, by layer."""
        return tuple(value - self.disturbed for value in self.restored)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "restored": list(self.restored)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerEffects:
        """Inverse of `to_json`."""
        restored = tuple(float(value) for value in data["restored"])
        return cls(
            n=int(data["n"]),
            clean=float(data["clean"]),
            disturbed=float(data["disturbed"]),
            restored=restored,
            window=int(data["window"]),
        )


@dataclass(frozen=True, kw_only=True)
class LayerProposal:
    """Layers to write to, the highest of them L*, with the reason in a sentence; none where the trace shows nothing."""

    layers: tuple[int, ...]
    reason: str


def measure_layers(
    lm: LoadedLM, phrases: Sequence[Phrase], *, seed: int = 0, progress: Progress | None = None
) -> LayerEffects:
    """Trace each fact and average.

    Args:
        lm: the model.
        phrases: facts it knows, with subject and target.
        seed: of the noise.
        progress: hears of each fact; can cancel.

    Raises:
        NonFiniteError: if the model gives NaN or infinity.
        ValueError: if there is no fact.
    """
    if not phrases:
        raise ValueError("there is no fact to trace")
    progress, window = progress or Silent(), max(1, round(_WINDOW_SHARE * lm.n_layer))
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number, span in enumerate(locate_all(lm, phrases)):
        progress.report(ProgressEvent(stage="layer effects", done=number, total=len(phrases)))
        progress.check()
        rows.append(_traced(lm, span, window, generator))
    progress.report(ProgressEvent(stage="layer effects", done=len(phrases), total=len(phrases)))
    mean = torch.stack(rows).mean(0)
    if not bool(mean.isfinite().all()):
        raise NonFiniteError(f"{lm.name} gives NaN or infinity. Load the model in float32 or bfloat16.")
    clean, disturbed, *restored = mean.tolist()
    return LayerEffects(n=len(rows), clean=clean, disturbed=disturbed, restored=tuple(restored), window=window)


def propose_layers(effects: LayerEffects, span: Sequence[int], n_layer: int) -> LayerProposal:
    """As many layers as `span` has, up to the layer around which most comes back.

    L* is at least the last of so many layers, and at most the last but one layer, after which a shift can be searched.
    """
    found = effects.effects[: n_layer - 1]
    peak = max(range(len(found)), key=lambda layer: (found[layer], -layer))
    if found[peak] < _LEAST_RECOVERY:
        reason = (
            f"Putting the subject's MLP outputs back returns {100 * found[peak]:.1f} points of the answer's "
            f"probability at most, averaged over {effects.n} facts: too little to say where facts are kept."
        )
        return LayerProposal(layers=(), reason=reason)
    top = max(peak, len(span) - 1)
    low, high = max(peak - effects.window, 0), min(peak + effects.window, n_layer - 1)
    reason = (
        f"Putting back the subject's MLP outputs of layers {low} to {high} returns {100 * found[peak]:.0f} of the "
        f"{100 * (effects.clean - effects.disturbed):.0f} points of probability that noise on the subject takes, "
        f"averaged over {effects.n} facts: more than around any other layer, so layer {peak} is proposed as L*."
    )
    return LayerProposal(layers=tuple(range(top - len(span) + 1, top + 1)), reason=reason)


def _traced(lm: LoadedLM, span: EditSpan, window: int, generator: torch.Generator) -> Tensor:
    """Probability of one answer: clean, disturbed, and restored around each layer, (2 + n_layer,), float64."""
    modules = [lm.family.write_module(lm.model, layer) for layer in range(lm.n_layer)]
    ids = torch.tensor([span.input_ids], dtype=torch.long, device=lm.device)
    with torch.no_grad():
        with recorded([lm.embedding, *modules]) as seen:
            clean = _answer_probability(lm, ids, span)
        embedded, outputs = seen[0], seen[1:]
        assert embedded is not None
        noise = torch.randn(len(span.subject), lm.d_model, generator=generator)
        noise = (noise * _NOISE * float(embedded.float().std())).to(embedded)

        def disturb(_inputs: tuple[Any, ...], output: Any) -> Any:
            moved = output.clone()
            moved[:, span.subject.start : span.subject.stop] += noise
            return moved

        with ExitStack() as stack:
            stack.enter_context(hooked(lm.embedding, disturb))
            for layer, (module, output) in enumerate(zip(modules, outputs, strict=True)):
                assert output is not None
                stack.enter_context(hooked(module, _Restore(span.lookup.position, layer, window, output)))
            # Row 0 stays disturbed; row 1 + l has the layers around l put back.
            rest = _answer_probability(lm, ids.repeat(1 + lm.n_layer, 1), span)
    return torch.cat([clean, rest])


class _Restore:
    """Puts back what one layer's down-projection gave at one token, in the rows whose window holds the layer."""

    def __init__(self, position: int, layer: int, window: int, clean: Tensor) -> None:
        self._position, self._layer, self._window = position, layer, window
        self._clean = clean[0, position]

    def __call__(self, _inputs: tuple[Any, ...], output: Any) -> Any:
        changed = output.clone()
        begin = 1 + max(self._layer - self._window, 0)
        changed[begin : 2 + self._layer + self._window, self._position] = self._clean.to(output)
        return changed


def _answer_probability(lm: LoadedLM, ids: Tensor, span: EditSpan) -> Tensor:
    """Probability of the whole answer in each row, (n_row,), float64 on the CPU."""
    assert span.target is not None
    states = base_states(lm, ids, use_cache=False)
    logits = lm.vocabulary_logits(states[:, span.target.start - 1 : span.target.stop - 1])
    answer = ids[:, span.target.start : span.target.stop].to(logits.device)
    return logits.log_softmax(-1).gather(-1, answer[..., None]).squeeze(-1).double().sum(-1).exp().cpu()
