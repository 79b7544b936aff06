"""`estimate_key_moments`: the second moment E[kkᵀ] of the keys of ordinary text, by layer.

A key is the input of the MLP's down-projection at one token. The moment is accumulated over a text, with one forward
pass per batch that stops after the highest requested layer. It is cached by the fingerprint of model, layer and text;
an interrupted estimation resumes.

Products are summed in float32 on the layer's device for a limited number of tokens, then added to a float64 sum on
the CPU. So no d_key² matrix moves between batches. On the default model this changes no eigenvalue above 1e-3 by more
than 7e-7 of itself (27,872 tokens, layers 0, 3 and 8), and no update of four edits by more than 2e-6 of its length. The
file holds one triangle of the moment, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.cache import cache_dir
from kgmet.base.errors import (
    BrokenArtifactError,
    ConfigError,
    MemoryLimitError,
    NonFiniteError,
    StaleArtifactError,
    UnwritableError,
)
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import digest
from kgmet.base.memory import check_room, free_memory, is_out_of_memory
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage, note
from kgmet.base.shapes import check_shape
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import layer_device
from kgmet.lm.run.suffixes import left_padded, token_positions
from kgmet.lm.run.tracing import recorded, stopped_after
from kgmet.write.corpus import Corpus, bundled_corpus
from kgmet.write.moment_sums import (
    ADVICE,
    FORMAT,
    Checkpoint,
    Estimation,
    band_names,
    bands_of,
    from_bands,
    rounding_remark,
)

__all__ = [
    "KeyMoment",
    "estimate_key_moments",
    "keys_of_text",
    "load_key_moment",
    "make_key_moments",
    "moment_bytes",
    "moments_ready",
    "short_of_text",
]

TOKENS_PER_WIDTH = 5
"""Tokens of text for each dimension of the keys below which statistics are said to rest on too little.

With fewer tokens than dimensions, at least the difference counts as free whatever ordinary text does there. On the
default model neighbours suffer below about five (`benchmarks/moments_text.py`, docs/adding_a_model.md)."""


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
            "format": FORMAT,
            "layer": str(self.layer),
            "n_token": str(self.n_token),
            "corpus": self.corpus,
            "model": self.model_fingerprint,
        }
        save_artifact(path, bands_of(self.second_moment), header)

    @classmethod
    def load(cls, path: Path, *, model_fingerprint: str) -> KeyMoment:
        """Read what `save` wrote.

        Raises:
            StaleArtifactError: if it was made for another model.
            BrokenArtifactError: if the file is damaged.
        """
        read = load_artifact(path, what="key statistics", advice=ADVICE)
        with failures_as(BrokenArtifactError, f"{path} holds no key statistics", advice=ADVICE):
            header, bands = read.header, read.tensors
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']}")
            found = cls(
                layer=int(header["layer"]),
                second_moment=from_bands([bands[name] for name in band_names(bands)]),
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
    """Return the second moments of the keys of `layers`, from disk or estimated, and saved if the place allows it.

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
    unsaved = make_key_moments(lm, layers, corpus=corpus, batch_size=batch_size, progress=progress)
    return {layer: unsaved.get(layer) or load_key_moment(lm, layer, corpus) for layer in layers}


def make_key_moments(
    lm: LoadedLM, layers: Sequence[int], *, corpus: Corpus, batch_size: int = 16, progress: Progress | None = None
) -> dict[int, KeyMoment]:
    """Estimate and save missing moments, with one layer in memory at a time; as `estimate_key_moments`.

    Returns:
        The moments that could not be saved, because the cache folder is read-only, full or gone. Who calls keeps them.
    """
    for layer in layers:
        if not 0 <= layer < lm.n_layer:
            raise ConfigError(f"Layer {layer} is out of range; this model has layers 0 to {lm.n_layer - 1}.")
    missing = [layer for layer in sorted(set(layers)) if not _moment_path(lm, layer, corpus).is_file()]
    unsaved: dict[int, KeyMoment] = {}
    if not missing:
        return unsaved
    progress, at_once = progress or Silent(), _layers_at_once(lm, missing)
    for remark in {rounding_remark(layer_device(lm, layer)) for layer in missing} - {""}:
        note(progress, Stage.KEY_STATISTICS, remark)
    if at_once < len(missing):
        note(
            progress,
            Stage.KEY_STATISTICS,
            f"The sums of {len(missing)} layers do not fit into memory: {at_once} at a time.",
        )
    for begin in range(0, len(missing), at_once):
        part = missing[begin : begin + at_once]
        for moment in _stream(lm, part, corpus, batch_size, progress):
            kept = _saved_or_kept(moment, _moment_path(lm, moment.layer, corpus), progress)
            if kept is not None:
                unsaved[moment.layer] = kept
        Checkpoint(lm, part, corpus).remove()
    return unsaved


def _saved_or_kept(moment: KeyMoment, path: Path, progress: Progress) -> KeyMoment | None:
    """Save a moment; if that fails, say so and return it with the values that a saved one has."""
    try:
        moment.save(path)
    except UnwritableError as error:
        note(
            progress,
            Stage.KEY_STATISTICS,
            f"The key statistics of layer {moment.layer} are kept in memory until the program ends: {error}",
        )
        return replace(moment, second_moment=from_bands(list(bands_of(moment.second_moment).values())))
    return None


def short_of_text(n_token: int, d_key: int) -> str:
    """Return what to say where too little text stands behind statistics of keys this wide; else nothing."""
    if n_token >= TOKENS_PER_WIDTH * d_key:
        return ""
    return (
        f"The key statistics rest on {n_token:,} tokens for keys of width {d_key:,}; edits may change more than they "
        f"should. Give ordinary text of at least {TOKENS_PER_WIDTH * d_key:,} tokens, one passage a line: "
        "--corpus FILE (Corpus.from_file in Python)."
    )


def moment_bytes(d_key: int, n_layer: int) -> tuple[int, int]:
    """Return the bytes an estimation of so many layers takes: on their device, and on the CPU."""
    return 4 * n_layer * d_key**2, 24 * d_key**2


def _layers_at_once(lm: LoadedLM, layers: Sequence[int]) -> int:
    """Return how many layers can be summed in one pass over the text.

    Raises:
        MemoryLimitError: if not even one can.
    """
    cpu = torch.device("cpu")
    each, beside = moment_bytes(lm.d_key, 1)
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
    state = Checkpoint(lm, layers, corpus).read(lm, layers, progress)
    try:
        _run_batches(lm, layers, rows, state, batch_size, progress)
    except BaseException:
        state.checkpoint()
        raise
    progress.report(ProgressEvent(stage=Stage.KEY_STATISTICS, done=len(rows), total=len(rows)))
    if warning := short_of_text(state.n_token, lm.d_key):
        note(progress, Stage.KEY_STATISTICS, warning)
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
    state: Estimation,
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


def keys_of_text(
    lm: LoadedLM, lines: Sequence[str], layers: Sequence[int], *, n_token: int = 96, batch_size: int = 16
) -> dict[int, Tensor]:
    """Return the keys of all tokens of some passages, (n_token, d_key) float32 on the CPU, by layer; passage order.

    Args:
        lm: the model, without any patch attached.
        lines: passages, each cut at `n_token` tokens.
        layers: decoder layers.
        n_token: where a passage is cut.
        batch_size: passages per forward pass.
    """
    rows = [tuple(row) for row in lm.tokenizer(list(lines), truncation=True, max_length=n_token)["input_ids"] if row]
    parts = [_keys_of(lm, rows[begin : begin + batch_size], layers) for begin in range(0, len(rows), batch_size)]
    return {layer: torch.cat([part[layer].cpu() for part in parts]) for layer in layers}


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
    positions = token_positions(mask)
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


def _moment_id(model: str, layer: int, corpus: str) -> str:
    return digest("key moment", FORMAT, model, str(layer), corpus)[:16]


def _moment_path(lm: LoadedLM, layer: int, corpus: Corpus) -> Path:
    return cache_dir() / "moments" / f"{_moment_id(lm.fingerprint, layer, corpus.fingerprint)}.safetensors"
