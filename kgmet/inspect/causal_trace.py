"""`causal_trace`: the states that carry a fact, found by corrupting the subject and restoring one state at a time.

Causal tracing (Meng et al. 2022, "Locating and Editing Factual Associations in GPT", arXiv:2202.05262, section 2).
Noise is added to the embeddings of the subject's tokens. The part of the answer's probability that a single clean state
restores is its indirect effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kgmet.base.errors import ConfigError, SubjectNotFoundError, TextError
from kgmet.base.progress import Progress, Silent
from kgmet.base.shapes import check_shape
from kgmet.inspect.sweep import Part, are_close, checked_layers, embedded, joined_rows, run_from, swept
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch, attached

__all__ = ["CausalTrace", "TraceConfig", "causal_trace", "check_length", "join_traces"]

MOST_TOKENS = 80
"""Most tokens in a traced text; the work is quadratic in them."""
_ROWS_AT_ONCE = 8192
_TOKENS_FOR_SPREAD = 4096


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Noise on the subject, and the restored layers."""

    n_sample: int = 2
    """Number of averaged noise samples; at least 1."""
    noise: float = 3.0
    """Standard deviation of the noise, in standard deviations of the embeddings; above 0."""
    seed: int = 0
    """Seed of the noise."""
    window: int | None = None
    """Layers over which MLP or attention outputs are restored together; by default a fifth of the depth."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.n_sample < 1:
            raise ConfigError(f"n_sample must be at least 1, got {self.n_sample}.")
        if not 0 < self.noise < float("inf"):
            raise ConfigError(f"noise must be above 0, got {self.noise}.")
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window must be at least 1 layer, got {self.window}.")

    def layers(self, n_layer: int) -> int:
        """Return the number of layers in the window, for a model of this depth."""
        return self.window or max(1, round(n_layer / 5))


@dataclass(frozen=True, eq=False, kw_only=True)
class CausalTrace:
    """Result of causal tracing.

    `clean` is the answer's probability on the text as it is, `corrupted` that under noise, mean of `n_sample` draws
    with standard deviation `sigma` each. `restored` (n_restored, pos), float32, is the mean with one state restored, a
    row for each of `layers`; before the subject nothing is corrupted, so it is `corrupted` there. `window` is the
    number of layers restored together, 1 for hidden states.
    """

    source: LocatedPrompt
    part: Part
    window: int
    n_sample: int
    sigma: float
    clean: float
    corrupted: float
    layers: tuple[int, ...]
    restored: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("restored", self.restored, len(self.layers), len(self.source.tokens))

    @property
    def effect(self) -> Tensor:
        """(n_restored, pos): indirect effect, `restored` − `corrupted`."""
        return self.restored - self.corrupted

    @property
    def strongest(self) -> tuple[int, int]:
        """(layer, position) of the largest effect before the last token (of all tokens, if there is only one)."""
        n = max(1, self.effect.shape[1] - 1)
        place = int(self.effect[:, :n].argmax())
        return self.layers[place // n], place % n

    def at(self, layer: int, position: int) -> float:
        """Return `restored` at one of the restored layers and a position."""
        return float(self.restored[self.layers.index(layer), position])


def causal_trace(
    lm: LoadedLM,
    prompt: TracedPrompt,
    *,
    patches: EditPatch | Sequence[EditPatch] = (),
    part: Part = Part.STATE,
    config: TraceConfig | None = None,
    layers: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> CausalTrace:
    """Trace the answer of a prompt through layers and tokens.

    Args:
        lm: the model; nothing needs to be attached.
        prompt: the text; its phrase must have a subject.
        patches: attached edits.
        part: the restored part of a layer.
        config: noise and number of samples.
        layers: the restored layers, in any order; by default all. Half of them take half of the time.
        progress: receives every token; can cancel.

    Raises:
        IndexError: if there is no such layer, or none at all.
        SubjectNotFoundError: if no subject is marked in the prompt.
        TextError: if the text is too long for this.
        StaleArtifactError: if a patch was made for another model.
        Cancelled: if asked to stop.
    """
    config, progress = config or TraceConfig(), progress or Silent()
    where = locate_prompt(lm, prompt)
    if not where.subject:
        raise SubjectNotFoundError(
            f"No subject is marked in {prompt.text!r}, so there is nothing to corrupt. Name the subject."
        )
    positions = range(where.subject.start, len(where.ids))
    check_length(len(positions))
    window = 1 if part is Part.STATE else config.layers(lm.n_layer)
    restored_layers = checked_layers(lm, layers)
    clean_embeddings = embedded(lm, where.ids)
    sigma = config.noise * _spread(lm)
    with attached(patches, lm):
        clean = run_from(lm, clean_embeddings)
        base = run_from(lm, _with_noise(clean_embeddings, where.subject, sigma, config))
        at_once = max(1, _ROWS_AT_ONCE // (len(restored_layers) * len(positions)))
        parts = [
            swept(
                lm,
                base.rows(slice(begin, begin + at_once)),
                clean,
                part=part,
                positions=positions,
                tokens=[where.answer],
                layers=restored_layers,
                window=window,
                progress=progress,
            )
            for begin in range(0, config.n_sample, at_once)
        ]
    corrupted = float(base.logits.softmax(-1)[:, where.answer].mean())
    restored = torch.full((len(restored_layers), len(where.ids)), corrupted, dtype=torch.float32)
    restored[:, positions.start :] = torch.cat(parts, dim=2)[..., 0].mean(-1)
    return CausalTrace(
        source=where,
        part=part,
        window=window,
        n_sample=config.n_sample,
        sigma=sigma,
        clean=float(clean.logits.softmax(-1)[0, where.answer]),
        corrupted=corrupted,
        layers=restored_layers,
        restored=restored,
    )


def join_traces(first: CausalTrace, second: CausalTrace) -> CausalTrace:
    """Put the layers of two traces of the same prompt, patches and settings into one; none is run again.

    Raises:
        ConfigError: if they are not of the same prompt, patches and settings.
    """
    alike = (first.source, first.part, first.window, first.n_sample) == (
        second.source,
        second.part,
        second.window,
        second.n_sample,
    )
    ends = ((first.sigma, second.sigma), (first.clean, second.clean), (first.corrupted, second.corrupted))
    if not alike or not are_close(*ends):
        raise ConfigError("The traces are of different prompts, edits or settings, so they do not make one map.")
    layers, restored = joined_rows((first.layers, first.restored), (second.layers, second.restored))
    return replace(first, layers=layers, restored=restored)


def check_length(n_position: int) -> None:
    """Refuse a text for which a sweep takes minutes.

    Raises:
        TextError: if there are too many tokens.
    """
    if n_position > MOST_TOKENS:
        raise TextError(
            f"{n_position} tokens would have to be traced; at most {MOST_TOKENS} are, for each state is tried on its "
            "own. Shorten the text."
        )


def _spread(lm: LoadedLM) -> float:
    """Return the standard deviation of the embeddings, over tokens spread evenly over the vocabulary."""
    n = min(lm.n_token, _TOKENS_FOR_SPREAD)
    ids = torch.linspace(0, lm.n_token - 1, n, dtype=torch.float32).long().tolist()
    return float(embedded(lm, ids).float().std())


def _with_noise(embeddings: Tensor, subject: range, sigma: float, config: TraceConfig) -> Tensor:
    """Return embeddings (n_sample, pos, d_model) with noise on the subject's tokens, from a separate generator."""
    draw = torch.Generator().manual_seed(config.seed)
    shape = (config.n_sample, len(subject), embeddings.shape[-1])
    noise = sigma * torch.randn(shape, dtype=torch.float32, generator=draw)
    noisy = embeddings.repeat(config.n_sample, 1, 1)
    noisy[:, subject.start : subject.stop] += noise.to(noisy)
    return noisy
