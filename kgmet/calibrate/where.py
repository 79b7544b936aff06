"""`measure_layers`: around which layers a model keeps its facts, as a causal trace averaged over many of them.

The subject's tokens are disturbed by noise, and what the MLPs of a few layers give at its last token is restored
(`causal_trace`). Where that brings most of the answer's probability back is where the subject is looked up.
Localisation does not say where editing works best (arXiv:2301.04213), so it only proposes; the search decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, zip_longest
from typing import Any

import torch

from kgmet.base.errors import NonFiniteError
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.values import value_from
from kgmet.calibrate.lines import LineBook
from kgmet.calibrate.trials import calibration_folder
from kgmet.forecast.known import AskedFact
from kgmet.inspect.causal_trace import TraceConfig, causal_trace
from kgmet.inspect.sweep import Part
from kgmet.inspect.traced_prompt import TracedPrompt
from kgmet.lm.load.loaded import LoadedLM

__all__ = [
    "TRACES",
    "LayerEffects",
    "LayerProposal",
    "effects_on_disk",
    "facts_to_trace",
    "measure_layers",
    "propose_layers",
]

TRACES = "traces.jsonl"
"""File of the traces in a model's calibration folder."""
_LEAST_RECOVERY = 0.02
"""Mean probability that must come back for a proposal to mean anything."""


@dataclass(frozen=True, kw_only=True)
class LayerEffects:
    """Mean probability of the answer's first token over `n` facts.

    `clean` is the model's own, `disturbed` that with noise on the subject. `restored` is by layer: that after the MLP
    outputs of the layer and those around it, `window` together, are restored at the subject's last token.
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
        """Return plain JSON values."""
        return {**asdict(self), "restored": list(self.restored)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerEffects:
        """Read what `to_json` made."""
        return value_from(cls, data, "These are no effects of layers")


@dataclass(frozen=True, kw_only=True)
class LayerProposal:
    """Layers to write to, the highest of them L*, with the reason in a sentence; none where the trace shows nothing."""

    layers: tuple[int, ...]
    reason: str


def measure_layers(
    lm: LoadedLM,
    prompts: Sequence[TracedPrompt],
    *,
    seed: int = 0,
    book: LineBook | None = None,
    progress: Progress | None = None,
) -> LayerEffects:
    """Trace each fact and average.

    Args:
        lm: the model.
        prompts: facts it knows, with their subjects.
        seed: of the noise.
        book: traces of earlier runs, which are not made again; new ones are added fact by fact.
        progress: hears of each fact; can cancel.

    Raises:
        NonFiniteError: if the model gives NaN or infinity.
        ValueError: if there is no fact.
    """
    if not prompts:
        raise ValueError("there is no fact to trace")
    progress, config = progress or Silent(), TraceConfig(seed=seed)
    rows = []
    for number, prompt in enumerate(prompts):
        progress.report(ProgressEvent(stage=Stage.LAYER_EFFECTS, done=number, total=len(prompts)))
        progress.check()
        rows.append(torch.tensor(_traced(lm, prompt, config, book), dtype=torch.float64))
    progress.report(ProgressEvent(stage=Stage.LAYER_EFFECTS, done=len(prompts), total=len(prompts)))
    mean = torch.stack(rows).mean(0)
    if not bool(mean.isfinite().all()):
        raise NonFiniteError(f"{lm.name} gives NaN or infinity. Load the model in float32 or bfloat16.")
    clean, disturbed, *restored = mean.tolist()
    window = config.layers(lm.n_layer)
    return LayerEffects(n=len(rows), clean=clean, disturbed=disturbed, restored=tuple(restored), window=window)


def facts_to_trace(known: Sequence[AskedFact], *, n: int = 24) -> list[TracedPrompt]:
    """Return known facts to trace, relations in turns, so that no relation decides alone; always the same ones."""
    queues: dict[str, list[TracedPrompt]] = {}
    for fact in known:
        phrase = fact.prompt.phrase
        if phrase is not None and fact.answer:
            queues.setdefault(fact.prompt.relation, []).append(TracedPrompt(phrase=phrase, answer=fact.answer))
    turns = zip_longest(*(queues[relation] for relation in sorted(queues)))
    return list(islice((prompt for turn in turns for prompt in turn if prompt is not None), n))


def effects_on_disk(lm: LoadedLM, prompts: Sequence[TracedPrompt], *, seed: int = 0) -> LayerEffects | None:
    """Average the traces of these facts that were made already; ``None`` if there is none."""
    book, config = LineBook(calibration_folder(lm) / TRACES), TraceConfig(seed=seed)
    done = [prompt for prompt in prompts if _kept(lm, prompt, config, book)]
    return measure_layers(lm, done, seed=seed, book=book) if done else None


def _kept(lm: LoadedLM, prompt: TracedPrompt, config: TraceConfig, book: LineBook) -> list[float]:
    row = (book.find(fingerprint_value([prompt, config])) or {}).get("row", [])
    return [float(value) for value in row] if len(row) == lm.n_layer + 2 else []


def _traced(lm: LoadedLM, prompt: TracedPrompt, config: TraceConfig, book: LineBook | None) -> list[float]:
    """Return the probabilities of one fact: clean, disturbed, and with each layer restored at the subject's end."""
    key = fingerprint_value([prompt, config])
    if book is not None and (kept := _kept(lm, prompt, config, book)):
        return kept
    found = causal_trace(lm, prompt, part=Part.MLP, config=config)
    row = [found.clean, found.corrupted, *found.restored[:, found.source.subject.stop - 1].tolist()]
    if book is not None and all(math.isfinite(value) for value in row):
        book.add(key, {"row": row})
    return row


def propose_layers(effects: LayerEffects, span: Sequence[int], n_layer: int) -> LayerProposal:
    """Return as many layers as `span` has, up to the layer around which most comes back.

    L* is at least the last of so many layers, and at most the last but one layer, after which a shift can be searched.
    """
    found = effects.effects[: n_layer - 1]
    facts = "1 fact" if effects.n == 1 else f"{effects.n} facts"
    peak = max(range(len(found)), key=lambda layer: (found[layer], -layer))
    if found[peak] < _LEAST_RECOVERY:
        reason = (
            f"Restoring the subject's MLP outputs returns {100 * found[peak]:.1f} points of the answer's "
            f"probability at most, averaged over {facts}: too little to say where facts are kept."
        )
        return LayerProposal(layers=(), reason=reason)
    top = max(peak, len(span) - 1)
    taken = 100 * (effects.clean - effects.disturbed)
    reason = (
        f"Restoring the subject's MLP outputs in {effects.window} layers around layer {peak} returns "
        f"{100 * found[peak]:.0f} of the {taken:.0f} points of probability that noise on the subject takes, averaged "
        f"over {facts}: more than around any other layer, so layer {top} is proposed as L*"
        + ("." if top == peak else f", the lowest one for an edit of {len(span)} layers.")
    )
    return LayerProposal(layers=tuple(range(top - len(span) + 1, top + 1)), reason=reason)
