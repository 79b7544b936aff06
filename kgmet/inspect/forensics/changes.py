"""`read_changes`: how a patch, an adapter or another checkpoint differs from a base model, weight by weight.

A checkpoint is read one tensor at a time, so two whole models are never in memory. Files are checked like all others:
safetensors only, finite values, the base model's names and shapes. Nothing in them is executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor

from kgmet.base.artifact import iterate_tensors
from kgmet.base.errors import BrokenArtifactError, NonFiniteError
from kgmet.base.files import SETTINGS_FILE, Limits, is_file, read_json_object
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.lm.load.family import Layout
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.adapter import LoraFactors, read_lora
from kgmet.write.export import ADAPTER_CONFIG
from kgmet.write.patch import is_patch, load_patch, merged_patch
from kgmet.write.solve import LayerUpdate

__all__ = ["ChangedModel", "EditedKind", "WeightChange", "read_changes"]

_MODEL_FILE = Limits(n_bytes=128 << 30)
_ADVICE = "Choose a model folder with safetensors files, a LoRA adapter, or a patch."
_WEIGHT = ".weight"
_EXACT = 2048
"""Smaller dimension up to which all singular values are computed; above it the largest `_EXACT // 8`."""
_RELATIVE = 1e-4
"""Singular values below this share of the largest are rounding."""
_TINY = 1e-12


class EditedKind(Enum):
    """What was compared with the base model."""

    PATCH = "patch"
    ADAPTER = "LoRA adapter"
    MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class WeightChange:
    """Change ΔW of one weight.

    `layer` is its decoder layer, ``None`` outside the layers; `part` is its path inside the layer. `norm` is ‖ΔW‖
    (Frobenius) and `relative` is ‖ΔW‖ / ‖W‖. `rank` counts singular values above rounding, and is ``None`` for vectors;
    it is a lower bound if `is_rank_bound`. `singular` are the largest ones, descending. `untouched` is the share of
    entries that are exactly 0, `clipped` the share at the largest absolute value, `untouched_columns` the share of
    input directions without any change.
    """

    name: str
    layer: int | None
    part: str
    shape: tuple[int, ...]
    norm: float
    relative: float
    rank: int | None
    is_rank_bound: bool
    singular: tuple[float, ...]
    untouched: float
    clipped: float
    untouched_columns: float


@dataclass(frozen=True, eq=False, kw_only=True)
class ChangedModel:
    """All changes of one edited model.

    `updates` are those of the down-projections, ascending, and `others` those of other linear modules of an adapter;
    attached together they give the edited model, unless `is_partly_attached`: a checkpoint with further changes.
    `stated` are the subjects that the files themselves name.
    """

    source: str
    kind: EditedKind
    changes: tuple[WeightChange, ...]
    updates: tuple[LayerUpdate, ...]
    others: tuple[LoraFactors, ...] = ()
    stated: tuple[str, ...] = ()
    dtype: str = ""

    @property
    def is_partly_attached(self) -> bool:
        """Whether a weight changed that is neither in `updates` nor in `others`."""
        attached = {update.weight_name for update in self.updates} | {factors.module for factors in self.others}
        return any(change.name not in attached for change in self.changes)

    @property
    def layers(self) -> tuple[int, ...]:
        """Decoder layers with a change, ascending."""
        return tuple(sorted({change.layer for change in self.changes if change.layer is not None}))

    @property
    def parts(self) -> tuple[str, ...]:
        """Paths of the changed weights inside their layers, and full names outside, sorted."""
        return tuple(sorted({change.part for change in self.changes}))


def read_changes(lm: LoadedLM, edited: Path, *, progress: Progress | None = None) -> ChangedModel:
    """Compare a patch folder, an adapter folder or a model folder with the base model.

    Args:
        lm: the base model, with nothing attached.
        edited: the folder; what it holds is recognised by its files.
        progress: receives every weight of a checkpoint and can cancel.

    Raises:
        BrokenArtifactError: if a file is missing, damaged, or does not fit the base model.
        StaleArtifactError: if a patch or adapter names another base model.
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    if is_patch(edited):
        return _of_patch(lm, edited)
    if is_file(edited / ADAPTER_CONFIG):
        return _of_adapter(lm, edited)
    return _of_model(lm, edited, progress)


def _of_patch(lm: LoadedLM, folder: Path) -> ChangedModel:
    patch = merged_patch([load_patch(folder)], lm)
    weights = lm.model.state_dict()
    return ChangedModel(
        source=str(folder),
        kind=EditedKind.PATCH,
        changes=tuple(
            _described(lm, update.weight_name, update.dense(), weights[update.weight_name + _WEIGHT])
            for update in patch.updates
        ),
        updates=patch.updates,
        stated=tuple(edit.subject for edit in patch.edits),
        dtype="float32",
    )


def _of_adapter(lm: LoadedLM, folder: Path) -> ChangedModel:
    adapter = read_lora(folder, lm)
    weights = lm.model.state_dict()
    down = {lm.family.write_name(layer): layer for layer in range(lm.n_layer)}
    updates, others = [], []
    for factors in adapter.factors:
        if factors.module in down:
            layer = down[factors.module]
            output = factors.output.T.contiguous()
            updates.append(
                LayerUpdate(layer=layer, weight_name=factors.module, output_factor=output, input_factor=factors.input)
            )
        else:
            others.append(factors)
    return ChangedModel(
        source=str(folder),
        kind=EditedKind.ADAPTER,
        changes=tuple(
            _described(lm, factors.module, factors.output @ factors.input, weights[factors.module + _WEIGHT])
            for factors in adapter.factors
        ),
        updates=tuple(sorted(updates, key=lambda update: update.layer)),
        others=tuple(others),
        stated=tuple(edit.subject for edit in adapter.edits),
        dtype=str(adapter.factors[0].input.dtype).removeprefix("torch."),
    )


def _of_model(lm: LoadedLM, folder: Path, progress: Progress) -> ChangedModel:
    files = _weight_files(folder)
    weights = lm.model.state_dict()
    down = {lm.family.write_name(layer) + _WEIGHT: layer for layer in range(lm.n_layer)}
    changes, updates, seen, dtypes = [], [], set[str](), set[str]()
    for done, (raw, tensor) in enumerate(_tensors(files, folder)):
        name = _name_in(weights, raw, lm, folder)
        progress.report(ProgressEvent(stage=Stage.COMPARE_WEIGHTS, done=done, total=len(weights)))
        progress.check()
        seen.add(name)
        base = weights[name]
        _check_shape(name, tensor, base, folder, lm)
        dtypes.add(str(tensor.dtype).removeprefix("torch."))
        change = _difference(base, tensor)
        if change is None:
            continue
        dense = change.T if name in down and lm.family.layout is Layout.IN_OUT else change
        changes.append(_described(lm, name.removesuffix(_WEIGHT), dense, base, stored=tensor.dtype))
        if name in down:
            updates.append(_update(lm, down[name], dense))
    missing = sorted(set(weights) - seen - set(getattr(lm.model, "all_tied_weights_keys", {})))
    if missing:
        raise BrokenArtifactError(
            f"{folder} lacks {len(missing)} weights of {lm.name}, {missing[0]} for one. Were all files copied, and is "
            "it a version of this base model?"
        )
    return ChangedModel(
        source=str(folder),
        kind=EditedKind.MODEL,
        changes=tuple(
            sorted(changes, key=lambda change: (change.layer if change.layer is not None else -1, change.name))
        ),
        updates=tuple(sorted(updates, key=lambda update: update.layer)),
        dtype=", ".join(sorted(dtypes)),
    )


def _weight_files(folder: Path) -> list[Path]:
    read_json_object(folder / "config.json", limits=SETTINGS_FILE, within=folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        why = f" {pickled[0]} is a pickle, which can run code, so it is not read." if pickled else ""
        raise BrokenArtifactError(f"{folder} holds no safetensors file.{why} {_ADVICE}")
    return files


def _tensors(files: Iterable[Path], folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in files:
        yield from iterate_tensors(path, what="weights", advice=_ADVICE, limits=_MODEL_FILE, within=folder)


def _name_in(weights: dict[str, Tensor], name: str, lm: LoadedLM, folder: Path) -> str:
    """Return the base model's name of a weight in a file; older files leave out the model's prefix."""
    prefix = f"{getattr(lm.model, 'base_model_prefix', '')}."
    for candidate in (name, prefix + name):
        if candidate in weights:
            return candidate
    raise BrokenArtifactError(
        f"{folder} holds the weight {name[:120]!r}, which {lm.name} does not have. Choose a version of this base model."
    )


def _check_shape(name: str, tensor: Tensor, base: Tensor, folder: Path, lm: LoadedLM) -> None:
    if tensor.shape != base.shape or not tensor.is_floating_point():
        raise BrokenArtifactError(
            f"{name} in {folder} is {'x'.join(map(str, tensor.shape))} of {str(tensor.dtype).removeprefix('torch.')}; "
            f"in {lm.name} it is {'x'.join(map(str, base.shape))}. Choose a version of this base model, unquantised."
        )


def _difference(base: Tensor, edited: Tensor) -> Tensor | None:
    """Return edited − base in float32, in the narrower of the two dtypes; ``None`` if nothing differs there.

    A checkpoint in bfloat16 rounds every weight. Only what differs after equal rounding is a change.
    """
    own = base.detach().cpu()
    narrow = edited.dtype if edited.element_size() <= own.element_size() else own.dtype
    before, after = own.to(narrow), edited.to(narrow)
    return None if torch.equal(before, after) else after.float() - before.float()


def _update(lm: LoadedLM, layer: int, change: Tensor) -> LayerUpdate:
    """Return ΔW (d_model, d_key) as an update with the identity as its output factor."""
    return LayerUpdate(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        output_factor=torch.eye(lm.d_model, dtype=torch.float32, device="cpu"),
        input_factor=change.contiguous(),
    )


def _described(
    lm: LoadedLM, name: str, change: Tensor, base: Tensor, *, stored: torch.dtype = torch.float32
) -> WeightChange:
    place = re.fullmatch(re.escape(lm.family.layers) + r"\.(\d+)\.(.+)", name)
    norm = float(change.norm())
    if not math.isfinite(norm):
        raise NonFiniteError(f"The change of {name} is too large to be measured: its norm overflows. It is no edit.")
    singular, is_bound = _singular(change) if change.ndim == 2 else (torch.zeros(0, dtype=torch.float32), False)
    rank = int((singular > _floor(singular, change, base, stored)).sum()) if change.ndim == 2 else None
    size = change.abs()
    largest = float(size.max())
    return WeightChange(
        name=name,
        layer=int(place[1]) if place else None,
        part=place[2] if place else name,
        shape=tuple(change.shape),
        norm=norm,
        relative=norm / max(float(base.detach().float().norm()), 1e-30),
        rank=rank,
        is_rank_bound=is_bound and rank == len(singular),
        singular=tuple(singular[:16].tolist()),
        untouched=float((change == 0).float().mean()),
        clipped=float((size >= largest * (1 - 1e-4)).float().mean()),
        untouched_columns=float((size.amax(0) == 0).float().mean()) if change.ndim == 2 else 0.0,
    )


def _singular(change: Tensor) -> tuple[Tensor, bool]:
    """Return singular values, descending, and whether there may be more than were computed."""
    if min(change.shape) <= _EXACT:
        wide = change if change.shape[0] <= change.shape[1] else change.T
        values = torch.linalg.eigvalsh(wide.double() @ wide.double().T).flip(0).clamp(min=0).sqrt()
        return values.float(), False
    generator = torch.Generator(device="cpu").manual_seed(0)
    count = _EXACT // 8
    probe = torch.randn(change.shape[1], count, generator=generator, dtype=torch.float32, device="cpu")
    basis, _ = torch.linalg.qr(change @ (change.T @ (change @ probe)))
    return torch.linalg.svdvals(basis.T @ change), True


def _floor(singular: Tensor, change: Tensor, base: Tensor, stored: torch.dtype) -> float:
    """Return the singular value below which a change is rounding.

    Two rounded weights differ by an error of about ``eps · |w| · √(2/12)``, and a random matrix of m x n errors σ has a
    largest singular value of ``σ (√m + √n)``.
    """
    if not len(singular):
        return 0.0
    rows, columns = change.shape
    size = float(base.detach().float().square().mean() + change.square().mean()) ** 0.5
    noise = size * torch.finfo(stored).eps / 6**0.5
    rounding = 2 * noise * (rows**0.5 + columns**0.5) if stored != torch.float32 else 0.0
    return max(_RELATIVE * float(singular[0]), rounding, _TINY)
