"""`estimate_key_moments`: the second moment E[kkᵀ] of the keys of ordinary text, by layer.

A key is the input of the MLP's down-projection at one token. The moment is accumulated over a text, with one forward
pass per batch that stops after the highest requested layer. It is cached by the fingerprint of model, layer and text;
an interrupted estimation resumes.

Products are summed in float32 on the layer's device for at most `_FOLD_EVERY` tokens, then added to a float64 sum on
the CPU. So no d_key² matrix moves between batches. On the default model this changes no eigenvalue above 1e-3 by more
than 7e-7 of itself (27,872 tokens, layers 0, 3 and 8), and no update of four edits by more than 2e-6 of its length. The
file holds one triangle of the moment, in float32.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.cache import cache_dir
from kgmet.base.errors import (
    BrokenArtifactError,
    ConfigError,
    ConfigFileError,
    MemoryLimitError,
    NonFiniteError,
    StaleArtifactError,
    UnwritableError,
)
from kgmet.base.files import Limits, failures_as, read_text
from kgmet.base.fingerprint import digest
from kgmet.base.memory import check_room, free_memory, is_out_of_memory
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage, note
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import layer_device
from kgmet.lm.run.suffixes import left_padded
from kgmet.lm.run.tracing import recorded, stopped_after

__all__ = [
    "Corpus",
    "KeyMoment",
    "bundled_corpus",
    "estimate_key_moments",
    "load_key_moment",
    "make_key_moments",
    "moment_bytes",
    "moments_ready",
]

_FOLD_EVERY = 1 << 17
"""Tokens summed in float32 before they are added to the float64 sum."""
_CHECKPOINT_SECONDS = 120.0
"""Seconds between checkpoints: the most that a killed process loses. A cancelled one loses nothing."""
_BAND = 256
"""Rows per stored band of a symmetric matrix; each band starts at its diagonal."""
_FORMAT = "2"
_CORPUS = Limits(n_bytes=1 << 30)
_ADVICE = "Delete it to estimate it again."


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text to estimate from: one passage per line, each cut at `n_token` tokens; `name` is for display."""

    name: str
    lines: tuple[str, ...]
    n_token: int = 96

    @property
    def fingerprint(self) -> str:
        """16 hex digits for the text and the cut."""
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
    """Return the bundled text: 320 passages sampled from the default model."""
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
        """Write one triangle of the matrix, in float32, as safetensors, atomically."""
        header = {
            "format": _FORMAT,
            "layer": str(self.layer),
            "n_token": str(self.n_token),
            "corpus": self.corpus,
            "model": self.model_fingerprint,
        }
        save_artifact(path, _bands(self.second_moment), header)

    @classmethod
    def load(cls, path: Path, *, model_fingerprint: str) -> KeyMoment:
        """Read what `save` wrote.

        Raises:
            StaleArtifactError: if it was made for another model.
            BrokenArtifactError: if the file is damaged.
        """
        read = load_artifact(path, what="key statistics", advice=_ADVICE)
        with failures_as(BrokenArtifactError, f"{path} holds no key statistics", advice=_ADVICE):
            header, bands = read.header, read.tensors
            if header["format"] != _FORMAT:
                raise ValueError(f"format {header['format']}")
            found = cls(
                layer=int(header["layer"]),
                second_moment=_unbanded([bands[name] for name in _band_names(bands)]),
                n_token=int(header["n_token"]),
                corpus=header["corpus"],
                model_fingerprint=header["model"],
            )
        if found.model_fingerprint != model_fingerprint:
            raise StaleArtifactError(
                f"{path} was made for model {found.model_fingerprint}, not for {model_fingerprint}. "
                "Estimate the statistics of this model."
            )
        return found


def moments_ready(lm: LoadedLM, layers: Sequence[int], corpus: Corpus | None = None) -> bool:
    """Return whether the moments of all these layers are on disk."""
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
    """Return the second moments of the keys of `layers`, from disk or estimated and saved.

    Args:
        lm: the model, without any patch attached.
        layers: decoder layers.
        corpus: the text; by default the bundled one.
        batch_size: passages per forward pass; halved when memory runs out.
        progress: receives each batch and can cancel; finished work is kept for the next call.

    Returns:
        layer → moment.

    Raises:
        ConfigError: if a layer is out of range.
        NonFiniteError: if a key is NaN or infinite; names the layer and the passage.
        MemoryLimitError: if not even one passage at a time fits.
        Cancelled: if asked to stop.
    """
    corpus = corpus or bundled_corpus()
    make_key_moments(lm, layers, corpus=corpus, batch_size=batch_size, progress=progress)
    return {layer: load_key_moment(lm, layer, corpus) for layer in layers}


def make_key_moments(
    lm: LoadedLM, layers: Sequence[int], *, corpus: Corpus, batch_size: int = 16, progress: Progress | None = None
) -> None:
    """Estimate and save missing moments, with one layer in memory at a time; as `estimate_key_moments`."""
    for layer in layers:
        if not 0 <= layer < lm.n_layer:
            raise ConfigError(f"Layer {layer} is out of range; this model has layers 0 to {lm.n_layer - 1}.")
    missing = [layer for layer in sorted(set(layers)) if not _moment_path(lm, layer, corpus).is_file()]
    if not missing:
        return
    progress, at_once = progress or Silent(), _layers_at_once(lm, missing)
    if at_once < len(missing):
        note(
            progress,
            Stage.KEY_STATISTICS,
            f"The sums of {len(missing)} layers do not fit into memory: {at_once} at a time.",
        )
    for begin in range(0, len(missing), at_once):
        part = missing[begin : begin + at_once]
        for moment in _stream(lm, part, corpus, batch_size, progress):
            moment.save(_moment_path(lm, moment.layer, corpus))
        _Checkpoint(lm, part, corpus).remove()


def moment_bytes(lm: LoadedLM, n_layer: int) -> tuple[int, int]:
    """Return the bytes an estimation of so many layers takes: on their device, and on the CPU."""
    return 4 * n_layer * lm.d_key**2, 24 * lm.d_key**2


def _layers_at_once(lm: LoadedLM, layers: Sequence[int]) -> int:
    """Return how many layers can be summed in one pass over the text.

    Raises:
        MemoryLimitError: if not even one can.
    """
    cpu = torch.device("cpu")
    each, beside = moment_bytes(lm, 1)
    advice = "Close other programs, or edit a smaller model."
    check_room(beside, cpu, what=f"The key statistics of one layer of {lm.name}", advice=advice)
    at_once = len(layers)
    for device in {layer_device(lm, layer) for layer in layers}:
        free = free_memory(device)
        if free is not None:
            mine = sum(layer_device(lm, layer) == device for layer in layers)
            share = int((0.9 * free - (beside if device == cpu else 0)) // each)
            at_once = min(at_once, max(1, share * len(layers) // mine))
    return at_once


def load_key_moment(lm: LoadedLM, layer: int, corpus: Corpus) -> KeyMoment:
    """Load the moment of one layer that `make_key_moments` saved."""
    return KeyMoment.load(_moment_path(lm, layer, corpus), model_fingerprint=lm.fingerprint)


def _stream(
    lm: LoadedLM, layers: list[int], corpus: Corpus, batch_size: int, progress: Progress
) -> Iterator[KeyMoment]:
    rows = lm.tokenizer(list(corpus.lines), truncation=True, max_length=corpus.n_token)["input_ids"]
    rows = sorted((tuple(row) for row in rows if row), key=lambda row: (len(row), row))
    state = _Checkpoint(lm, layers, corpus).read(lm, layers, progress)
    try:
        _run_batches(lm, layers, rows, state, batch_size, progress)
    except BaseException:
        state.checkpoint()
        raise
    progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=len(rows), total=len(rows)))
    for layer in layers:
        total = state.sums.pop(layer).folded()
        yield KeyMoment(
            layer=layer,
            second_moment=(total + total.T) / (2 * state.n_token),
            n_token=state.n_token,
            corpus=corpus.fingerprint,
            model_fingerprint=lm.fingerprint,
        )


def _run_batches(
    lm: LoadedLM,
    layers: list[int],
    rows: Sequence[Sequence[int]],
    state: _State,
    batch_size: int,
    progress: Progress,
) -> None:
    while state.begin < len(rows):
        progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=state.begin, total=len(rows)))
        progress.check()
        batch = rows[state.begin : state.begin + batch_size]
        try:
            keys = _keys_of(lm, batch, layers)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            batch_size = _smaller(batch_size, progress, error)
            continue
        _check_keys(lm, keys, batch)
        for layer, found in keys.items():
            state.sums[layer].add(found)
        state.begin, state.n_token = state.begin + len(batch), state.n_token + sum(map(len, batch))
        state.checkpoint_if_due()


def _smaller(batch_size: int, progress: Progress, error: BaseException) -> int:
    if batch_size == 1:
        raise MemoryLimitError(
            "Not even one passage at a time fits into memory. Use a text of shorter lines, device='cpu', a model in "
            "8 bits, or one that is spread over devices (device_map='auto')."
        ) from error
    half = batch_size // 2
    note(progress, Stage.KEY_STATISTICS, f"{batch_size} passages at once do not fit into memory; going on with {half}.")
    return half


def _keys_of(lm: LoadedLM, rows: Sequence[Sequence[int]], layers: Sequence[int]) -> dict[int, Tensor]:
    """Return all keys of real tokens, (n_token, d_key) float32, by layer, each on its layer's device."""
    ids, mask = left_padded(rows, device=lm.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    modules = [lm.family.write_module(lm.model, layer) for layer in layers]
    with torch.no_grad(), recorded(modules, inputs=True) as seen, stopped_after(lm, max(layers)):
        lm.base(ids, attention_mask=mask, position_ids=positions, use_cache=False)
    # Computed on the CPU: reading the mask from the device would synchronise once per layer.
    width = ids.shape[1]
    places = [(row, place) for row, text in enumerate(rows) for place in range(width - len(text), width)]
    row, place = torch.tensor(places, dtype=torch.long, device="cpu").T
    return {
        layer: keys[row.to(keys.device), place.to(keys.device)].float()
        for layer, keys in zip(layers, seen, strict=True)
        if keys is not None
    }


def _check_keys(lm: LoadedLM, keys: Mapping[int, Tensor], rows: Sequence[Sequence[int]]) -> None:
    """Raise `NonFiniteError` where a key is NaN or infinite, before anything is added to a sum."""
    by_device: dict[torch.device, list[int]] = {}
    for layer, found in keys.items():
        by_device.setdefault(found.device, []).append(layer)
    broken: list[int] = []
    for mine in by_device.values():  # one synchronisation per device
        finite = torch.stack([keys[layer].isfinite().all() for layer in mine]).tolist()
        broken += [layer for layer, is_fine in zip(mine, finite, strict=True) if not is_fine]
    for layer in sorted(broken)[:1]:
        found = keys[layer].cpu()
        bad = int((~found.isfinite().all(1)).nonzero()[0])
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long, device="cpu").cumsum(0)
        text = lm.tokenizer.decode(list(rows[int((lengths <= bad).sum())]))
        raise NonFiniteError(
            f"The keys of layer {layer} are NaN or infinite in the text {text[:80]!r}. Load the model in float32 or "
            "bfloat16; if they still are, its weights are damaged."
        )


class _LayerSum:
    """Σ kkᵀ of one layer: recent tokens in float32 on the layer's device, earlier ones in float64 on the CPU."""

    def __init__(self, width: int, device: torch.device, progress: Progress) -> None:
        self._progress = progress
        try:
            self._latest = torch.zeros(width, width, dtype=torch.float32, device=device)
        except (torch.OutOfMemoryError, MemoryError):
            self._to_cpu(width, device)
        self._n_latest = 0
        self._total: Tensor | None = None

    def _to_cpu(self, width: int, device: torch.device) -> None:
        text = f"A sum of {width}² numbers does not fit on {device}; it is kept on the CPU."
        note(self._progress, Stage.KEY_STATISTICS, text)
        self._latest = torch.zeros(width, width, dtype=torch.float32, device="cpu")

    def add(self, keys: Tensor) -> None:
        """Add keys, (n_token, d_key)."""
        here = keys.to(self._latest.device)
        self._latest.addmm_(here.T, here)
        self._n_latest += len(keys)
        if self._n_latest >= _FOLD_EVERY:
            self.set(self.folded())

    def set(self, total: Tensor | None) -> None:
        """Start from this sum, float64 on the CPU, or from zero."""
        self._latest.zero_()
        self._total, self._n_latest = total, 0

    def folded(self) -> Tensor:
        """Return the total, float64 on the CPU."""
        latest = self._latest.cpu().double()
        return latest if self._total is None else latest.add_(self._total)


@dataclass(eq=False, kw_only=True)
class _State:
    """Progress of an estimation."""

    sums: dict[int, _LayerSum]
    begin: int
    n_token: int
    path: Path
    kept_begin: int
    kept_at: float

    def checkpoint_if_due(self) -> None:
        """Save the sums if the last checkpoint is old enough."""
        if time.monotonic() - self.kept_at > _CHECKPOINT_SECONDS:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the sums; a full disk only means that no checkpoint is kept."""
        if self.begin == self.kept_begin:
            return
        tensors: dict[str, Tensor] = {}
        for layer, one in self.sums.items():
            total = one.folded() / self.n_token
            tensors |= {f"{layer}.{name}": band for name, band in _bands((total + total.T) / 2).items()}
        header = {"format": _FORMAT, "begin": str(self.begin), "n_token": str(self.n_token)}
        try:
            save_artifact(self.path, tensors, header)
        except UnwritableError:
            return
        self.kept_begin, self.kept_at = self.begin, time.monotonic()


class _Checkpoint:
    """An interrupted estimation on disk."""

    def __init__(self, lm: LoadedLM, layers: Sequence[int], corpus: Corpus) -> None:
        name = digest(_FORMAT, lm.fingerprint, corpus.fingerprint, json.dumps(sorted(layers)))[:16]
        self._path = cache_dir() / "moments" / f"partial-{name}.safetensors"

    def read(self, lm: LoadedLM, layers: Sequence[int], progress: Progress) -> _State:
        """Return the saved state; the initial state if nothing usable is saved."""
        sums = {layer: _LayerSum(lm.d_key, layer_device(lm, layer), progress) for layer in layers}
        begin = n_token = 0
        try:
            read = load_artifact(self._path, what="key statistics", advice=_ADVICE)
            with failures_as(BrokenArtifactError, str(self._path)):
                begin, n_token = int(read.header["begin"]), int(read.header["n_token"])
                for layer, one in sums.items():
                    names = _band_names(name for name in read.tensors if name.startswith(f"{layer}."))
                    one.set(_unbanded([read.tensors[name] for name in names]) * n_token)
        except BrokenArtifactError:
            begin = n_token = 0
            for one in sums.values():
                one.set(None)
        return _State(
            sums=sums, begin=begin, n_token=n_token, path=self._path, kept_begin=begin, kept_at=time.monotonic()
        )

    def remove(self) -> None:
        """Delete the checkpoint."""
        self._path.unlink(missing_ok=True)


def _bands(matrix: Tensor) -> dict[str, Tensor]:
    """Split a symmetric matrix (n, n) into float32 bands of `_BAND` rows, each from its diagonal on."""
    starts = range(0, len(matrix), _BAND)
    return {f"band.{n}": matrix[begin : begin + _BAND, begin:].float().contiguous() for n, begin in enumerate(starts)}


def _band_names(names: Iterable[str]) -> list[str]:
    """Return the names of a matrix's bands, in order."""
    return sorted((name for name in names if "band." in name), key=lambda name: int(name.rpartition(".")[2]))


def _unbanded(bands: Sequence[Tensor]) -> Tensor:
    """Rebuild the symmetric matrix from its bands, float64.

    Raises:
        ValueError: if they do not fit together.
    """
    width = bands[0].shape[1] if bands else 0
    matrix = torch.zeros(width, width, dtype=torch.float64, device="cpu")
    for number, band in enumerate(bands):
        begin = number * _BAND
        check_shape(f"band {number}", band, min(_BAND, width - begin), width - begin)
        matrix[begin : begin + _BAND, begin:] = band
        matrix[begin:, begin : begin + _BAND] = band.T
    if not bands or len(bands) * _BAND < width:
        raise ValueError(f"{len(bands)} bands are too few")
    return matrix


def _moment_id(model: str, layer: int, corpus: str) -> str:
    return digest("key moment", _FORMAT, model, str(layer), corpus)[:16]


def _moment_path(lm: LoadedLM, layer: int, corpus: Corpus) -> Path:
    return cache_dir() / "moments" / f"{_moment_id(lm.fingerprint, layer, corpus.fingerprint)}.safetensors"
