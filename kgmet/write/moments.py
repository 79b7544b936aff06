"""`estimate_key_moments`: E[kkᵀ], what the keys of ordinary text look like, layer by layer.

A key is the input of the MLP's down-projection at one token. The second moment is streamed over a text in one forward
pass per batch that stops after the highest layer asked for. It is kept by fingerprint of model, layer and text; an
estimation that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kgmet.base.cache import cache_dir, written_whole
from kgmet.base.errors import BrokenArtifactError, ConfigError, StaleArtifactError
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Silent
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.suffixes import left_padded
from kgmet.lm.run.tracing import recorded, stopped_after

__all__ = ["Corpus", "KeyMoment", "bundled_corpus", "estimate_key_moments", "moments_ready"]

_CHECKPOINT_EVERY = 8


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
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The corpus {path} cannot be read as UTF-8 text: {error}") from error
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
        d_key = self.second_moment.shape[0]
        check_shape("second_moment", self.second_moment, d_key, d_key)
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
        with written_whole(path) as temporary:
            save_file({"second_moment": self.second_moment.contiguous()}, temporary, metadata=header)

    @classmethod
    def load(cls, path: Path, *, model_fingerprint: str) -> KeyMoment:
        """Read what `save` wrote.

        Raises:
            StaleArtifactError: if it was made for another model.
            BrokenArtifactError: if the file is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                moment = file.get_tensor("second_moment")
                found = cls(
                    layer=int(header["layer"]),
                    second_moment=moment,
                    n_token=int(header["n_token"]),
                    corpus=header["corpus"],
                    model_fingerprint=header["model"],
                )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise BrokenArtifactError(
                f"{path} holds no key statistics ({error}). Delete it to estimate it again."
            ) from error
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
    if missing:
        for moment in _stream(lm, missing, corpus, batch_size, progress):
            moment.save(_moment_path(lm, moment.layer, corpus))
    return {
        layer: KeyMoment.load(_moment_path(lm, layer, corpus), model_fingerprint=lm.fingerprint) for layer in layers
    }


def _stream(lm: LoadedLM, layers: list[int], corpus: Corpus, batch_size: int, progress: Progress) -> list[KeyMoment]:
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
        if (begin // batch_size) % _CHECKPOINT_EVERY == 0:
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
            with safe_open(self._path, framework="pt") as file:
                header = file.metadata() or {}
                sums = {layer: file.get_tensor(str(layer)) for layer in self._zeros}
                return sums, int(header["begin"]), int(header["n_token"])
        except (SafetensorError, OSError, KeyError, ValueError):
            return self._zeros, 0, 0

    def write(self, sums: dict[int, Tensor], begin: int, n_token: int) -> None:
        """Keep the sums."""
        with written_whole(self._path) as temporary:
            tensors = {str(layer): value for layer, value in sums.items()}
            save_file(tensors, temporary, metadata={"begin": str(begin), "n_token": str(n_token)})

    def remove(self) -> None:
        """Forget them."""
        self._path.unlink(missing_ok=True)


def _moment_id(model: str, layer: int, corpus: str) -> str:
    return digest("key moment", model, str(layer), corpus)[:16]


def _moment_path(lm: LoadedLM, layer: int, corpus: Corpus) -> Path:
    return cache_dir() / "moments" / f"{_moment_id(lm.fingerprint, layer, corpus.fingerprint)}.safetensors"
