"""`estimate_key_moments`: E[kkᵀ], what the keys of ordinary text look like, layer by layer.

A key is the input of the MLP's down-projection at one token. The second moment is streamed over a text in one forward
pass per batch that stops after the highest layer asked for. It is kept by fingerprint of model, layer and text; an
estimation that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.cache import cache_dir, check_writable
from kgmet.base.errors import (
    BrokenArtifactError,
    ConfigError,
    ConfigFileError,
    FileError,
    StaleArtifactError,
    UnwritableError,
)
from kgmet.base.files import Limits, failures_as, read_text
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import left_padded
from kgmet.lm.run.tracing import recorded, stopped_after

__all__ = ["Corpus", "KeyMoment", "bundled_corpus", "estimate_key_moments", "moments_ready"]

LOG = logging.getLogger(__name__)
_CHECKPOINT_EVERY = 8
_CORPUS = Limits(n_bytes=1 << 30)
_ADVICE = "Delete it to estimate it again."


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text to estimate from: one passage a line, each cut at `n_token` tokens; `name` is for people."""

    name: str
    lines: tuple[str, ...]
    n_token: int = 96

    @property
    def fingerprint(self) -> str:
        """16 hex digits for the text and where it is cut."""
        return digest(str(self.n_token), *self.lines)[:16]

    @classmethod
    def from_file(cls, path: Path, *, n_token: int = 96) -> Corpus:
        """Read a UTF-8 text file.

        Raises:
            ConfigError: if it cannot be read or holds fewer than 16 passages.
        """
        text = read_text(path, limits=_CORPUS, error=ConfigFileError)
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(lines) < 16:
            raise ConfigError(f"The corpus {path} has {len(lines)} passages; at least 16 lines of text are needed.")
        return cls(name=path.name, lines=lines, n_token=n_token)


def bundled_corpus() -> Corpus:
    """The text that comes with the library: 320 passages sampled from the default model."""
    text = (resources.files("kgmet.write") / "corpus.txt").read_text(encoding="utf-8")
    return Corpus(name="bundled", lines=tuple(line for line in text.splitlines() if line))


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyMoment:
    """Second moment of the keys of one layer: `second_moment` (d_key, d_key), float64, mean over `n_token` tokens."""

    layer: int
    second_moment: Tensor
    n_token: int
    corpus: str
    model_fingerprint: str

    def __post_init__(self) -> None:
        """Check shape, dtype and symmetry."""
        d_key = self.second_moment.shape[0] if self.second_moment.ndim else 0
        check_shape("second_moment", self.second_moment, d_key, d_key)
        if self.n_token < 1:
            raise ValueError(f"n_token must be at least 1, got {self.n_token}")
        if self.second_moment.dtype != torch.float64:
            raise ValueError("second_moment must be float64")
        if not torch.equal(self.second_moment, self.second_moment.T):
            raise ValueError("second_moment must be symmetric")

    @property
    def fingerprint(self) -> str:
        """16 hex digits for model, layer and text."""
        return _moment_id(self.model_fingerprint, self.layer, self.corpus)

    def save(self, path: Path) -> None:
        """Write as safetensors, whole or not at all."""
        header = {
            "layer": str(self.layer),
            "n_token": str(self.n_token),
            "corpus": self.corpus,
            "model": self.model_fingerprint,
        }
        save_artifact(path, {"second_moment": self.second_moment}, header)

    @classmethod
    def load(cls, path: Path, *, model_fingerprint: str) -> KeyMoment:
        """Read what `save` wrote.

        Raises:
            StaleArtifactError: if it was made for another model.
            BrokenArtifactError: if the file is damaged.
        """
        read = load_artifact(path, what="key statistics", advice=_ADVICE)
        with failures_as(BrokenArtifactError, f"{path} holds no key statistics", advice=_ADVICE):
            found = cls(
                layer=int(read.header["layer"]),
                second_moment=read.tensors["second_moment"],
                n_token=int(read.header["n_token"]),
                corpus=read.header["corpus"],
                model_fingerprint=read.header["model"],
            )
        if found.model_fingerprint != model_fingerprint:
            raise StaleArtifactError(
                f"{path} was made for model {found.model_fingerprint}, not for {model_fingerprint}. "
                "Estimate the statistics of this model."
            )
        return found


def moments_ready(lm: LoadedLM, layers: Sequence[int], corpus: Corpus | None = None) -> bool:
    """Whether the statistics of all these layers are on disk."""
    corpus = corpus or bundled_corpus()
    return all(_moment_path(lm, layer, corpus).is_file() for layer in layers)


def estimate_key_moments(
    lm: LoadedLM,
    layers: Sequence[int],
    *,
    corpus: Corpus | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> dict[int, KeyMoment]:
    """Second moments of the keys of `layers`, from disk where they are, else estimated and put there.

    Args:
        lm: the model, without any patch attached.
        layers: decoder layers.
        corpus: the text; by default the bundled one.
        batch_size: passages per forward pass.
        progress: receives each batch and can cancel; what was done so far is kept for the next time.

    Returns:
        layer → moment.

    Raises:
        ConfigError: if a layer is out of range.
        Cancelled: if asked to stop.
    """
    progress, corpus = progress or Silent(), corpus or bundled_corpus()
    for layer in layers:
        if not 0 <= layer < lm.n_layer:
            raise ConfigError(f"Layer {layer} is out of range; this model has layers 0 to {lm.n_layer - 1}.")
    missing = [layer for layer in sorted(set(layers)) if not _moment_path(lm, layer, corpus).is_file()]
    made = _estimated(lm, missing, corpus, batch_size, progress) if missing else {}
    return {
        layer: made.get(layer) or KeyMoment.load(_moment_path(lm, layer, corpus), model_fingerprint=lm.fingerprint)
        for layer in layers
    }


def _estimated(
    lm: LoadedLM, layers: list[int], corpus: Corpus, batch_size: int, progress: Progress
) -> dict[int, KeyMoment]:
    """Estimated and kept on disk; where the disk takes nothing, a warning says so before the work and they are used."""
    advice = "The statistics are used, not kept. Free some room or set KGMET_CACHE to another folder to keep them."
    is_kept = True
    try:
        check_writable(cache_dir() / "moments", advice=advice)
    except UnwritableError as error:
        LOG.warning("%s", error)
        is_kept = False
    made = {moment.layer: moment for moment in _stream(lm, layers, corpus, batch_size, progress, is_kept=is_kept)}
    for layer, moment in made.items() if is_kept else ():
        try:
            moment.save(_moment_path(lm, layer, corpus))
        except UnwritableError as error:
            LOG.warning("%s %s", error, advice)
    return made


def _stream(
    lm: LoadedLM, layers: list[int], corpus: Corpus, batch_size: int, progress: Progress, *, is_kept: bool
) -> list[KeyMoment]:
    rows = lm.tokenizer(list(corpus.lines), truncation=True, max_length=corpus.n_token)["input_ids"]
    rows = sorted((tuple(row) for row in rows if row), key=lambda row: (len(row), row))
    checkpoint = _Checkpoint(lm, layers, corpus)
    sums, begin, n_token = checkpoint.read()
    total = len(rows)
    while begin < total:
        progress.report(ProgressEvent(stage="key statistics", done=begin, total=total))
        progress.check()
        batch = rows[begin : begin + batch_size]
        for layer, keys in _keys_of(lm, batch, layers).items():
            sums[layer] += (keys.T @ keys).double().cpu()
        n_token += sum(len(row) for row in batch)
        begin += batch_size
        if is_kept and (begin // batch_size) % _CHECKPOINT_EVERY == 0:
            checkpoint.write(sums, begin, n_token)
    progress.report(ProgressEvent(stage="key statistics", done=total, total=total))
    checkpoint.remove()
    return [
        KeyMoment(
            layer=layer,
            second_moment=(sums[layer] + sums[layer].T) / (2 * n_token),
            n_token=n_token,
            corpus=corpus.fingerprint,
            model_fingerprint=lm.fingerprint,
        )
        for layer in layers
    ]


def _keys_of(lm: LoadedLM, rows: Sequence[Sequence[int]], layers: Sequence[int]) -> dict[int, Tensor]:
    """All keys of real tokens, (n_token, d_key) float32, by layer."""
    ids, mask = left_padded(rows, device=lm.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    with torch.no_grad(), recorded(modules, inputs=True) as seen, stopped_after(lm, max(layers)):
        lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)
    real = mask.bool()
    return {
        layer: keys[real.to(keys.device)].float() for layer, keys in zip(layers, seen, strict=True) if keys is not None
    }


class _Checkpoint:
    """Sums so far, on disk."""

    def __init__(self, lm: LoadedLM, layers: list[int], corpus: Corpus) -> None:
        self._zeros = {layer: torch.zeros(lm.d_key, lm.d_key, dtype=torch.float64) for layer in layers}
        name = digest(lm.fingerprint, corpus.fingerprint, json.dumps(layers))[:16]
        self._path = cache_dir() / "moments" / f"partial-{name}.safetensors"

    def read(self) -> tuple[dict[int, Tensor], int, int]:
        """Sums by layer, passages done, tokens seen; zeros if there is nothing usable."""
        try:
            read = load_artifact(self._path, what="key statistics", advice=_ADVICE)
            with failures_as(BrokenArtifactError, str(self._path)):
                sums = {layer: read.tensors[str(layer)].double() for layer in self._zeros}
                begin, n_token = int(read.header["begin"]), int(read.header["n_token"])
                fits = all(sums[layer].shape == zeros.shape for layer, zeros in self._zeros.items())
        except FileError:
            return self._zeros, 0, 0
        return (sums, begin, n_token) if fits and min(begin, n_token) >= 0 else (self._zeros, 0, 0)

    def write(self, sums: dict[int, Tensor], begin: int, n_token: int) -> None:
        """Keep the sums."""
        tensors = {str(layer): value for layer, value in sums.items()}
        try:
            save_artifact(self._path, tensors, {"begin": str(begin), "n_token": str(n_token)})
        except UnwritableError as error:  # a full disk costs time if the work is stopped, not the work
            LOG.warning("%s", error)

    def remove(self) -> None:
        """Forget them."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _moment_id(model: str, layer: int, corpus: str) -> str:
    return digest("key moment", model, str(layer), corpus)[:16]


def _moment_path(lm: LoadedLM, layer: int, corpus: Corpus) -> Path:
    return cache_dir() / "moments" / f"{_moment_id(lm.fingerprint, layer, corpus.fingerprint)}.safetensors"
