"""What the tests of the inspecting package look at: texts, patches and writes of tiny random models."""

from __future__ import annotations

import torch
from torch import Tensor

from kgmet.editing.config import EditConfig, config_to_mapping
from kgmet.fact import FactEdit
from kgmet.inspect.texts import InspectedText, TextKind
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.write.ledger import WrittenKeys
from kgmet.write.moments import KeyMoment
from kgmet.write.nullspace import Cutoff, CutoffKind, NullSpace
from kgmet.write.patch import EditPatch
from kgmet.write.solve import LayerUpdate, solve_layer_update

TOWER = FactEdit(id="tower", subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome")
GATE = FactEdit(id="gate", subject="Big Ben", template="{} is located in the city of", new_object="Paris")
RANK = CutoffKind.RANK


def text_of(edit: FactEdit = TOWER, *, kind: TextKind = TextKind.EDIT, old: str | None = "Paris") -> InspectedText:
    return InspectedText(
        kind=kind, phrase=Phrase(template=edit.template, subject=edit.subject), new=edit.new_object, old=old
    )


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moment_of(lm: LoadedLM, layer: int) -> KeyMoment:
    """Of keys whose spread falls off over two orders of magnitude."""
    keys = drawn(300, lm.d_key, seed=layer) * torch.logspace(0, -1, lm.d_key, dtype=torch.float64)
    square = keys.T @ keys / 300
    return KeyMoment(
        layer=layer, second_moment=(square + square.T) / 2, n_token=300, corpus="c", model_fingerprint=lm.fingerprint
    )


def config_of(share: float, ridge: float = 0.5) -> EditConfig:
    from dataclasses import replace

    config = EditConfig(cutoff=Cutoff(kind=RANK, value=share))
    return replace(config, write=replace(config.write, layers=(1,), ridge=ridge))


def written_patch(
    lm: LoadedLM,
    *,
    share: float = 0.5,
    ridge: float = 0.5,
    edits: tuple[FactEdit, ...] = (TOWER,),
    n_kept: int = 3,
    seed: int = 0,
    editor: str = "KGMET",
    keys: Tensor | None = None,
) -> EditPatch:
    """A patch of layer 1 that was really solved for in a share of the directions, with keys that had to stay."""
    free = NullSpace.from_moment(moment_of(lm, 1), Cutoff(kind=RANK, value=share))
    own = drawn(len(edits), lm.d_key, seed=seed + 10) if keys is None else keys
    kept = drawn(n_kept, lm.d_key, seed=seed + 20).float()
    residuals = drawn(len(edits), lm.d_model, seed=seed + 30)
    names = tuple(f"kept/{n}" for n in range(n_kept))
    written = WrittenKeys(names=names, keys=kept)
    update = solve_layer_update(
        own.float(),
        residuals.float(),
        written=written.system(free, ridge),
        layer=1,
        weight_name=lm.family.write_name(1),
    )
    stored = torch.cat([own.float(), kept])
    return EditPatch(
        edits=edits,
        updates=(update,),
        model_fingerprint=lm.fingerprint,
        editor=editor,
        config=config_to_mapping(config_of(share, ridge)),
        keys={1: ((*(f"{edit.id}/{n}" for n, edit in enumerate(edits)), *names), stored)},
    )


def random_patch(lm: LoadedLM, *, layer: int = 1, seed: int = 0, size: float = 0.3) -> EditPatch:
    update = LayerUpdate(
        layer=layer,
        weight_name=lm.family.write_name(layer),
        output_factor=size * drawn(2, lm.d_model, seed=seed).float(),
        input_factor=size * drawn(2, lm.d_key, seed=seed + 1).float(),
    )
    return EditPatch(edits=(TOWER,), updates=(update,), model_fingerprint=lm.fingerprint, editor="by hand")
