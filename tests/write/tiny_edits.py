"""Edits of tiny random models: shifts that are given, not searched, and patches that are random."""

from __future__ import annotations

import torch
from torch import Tensor

from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.lm.run.suffixes import left_padded
from kgmet.search.directions.source import Direction
from kgmet.search.search import Stop, TargetShift
from kgmet.write.keys import KeyRow, key_rows, measure_keys
from kgmet.write.nullspace import Cutoff, CutoffKind, NullSpace
from kgmet.write.patch import EditPatch
from kgmet.write.solve import LayerUpdate

TOP = 2
EDITS = (
    FactEdit(id="tower", subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome"),
    FactEdit(id="rome", subject="Rome", template="{} is located in", new_object="France"),
)
NEIGHBOUR = Phrase(template="{} is located in the city of", subject="Big Ben")


def rows_of(lm: LoadedLM, edits: tuple[FactEdit, ...] = EDITS, *, prefixes: tuple[str, ...] = ("",)) -> list[KeyRow]:
    """The texts of each edit in each prefix, cut after the subject."""
    return [
        row
        for edit in edits
        for row in key_rows(
            lm, edit.id, [Phrase(template=edit.template, subject=edit.subject, prefix=prefix) for prefix in prefixes]
        )
    ]


def states_of(lm: LoadedLM, rows: list[KeyRow], layer: int = TOP) -> Tensor:
    """State after `layer` at the last token of each row."""
    return measure_keys(lm, rows, layer=layer, top=layer).states


def shifts_of(lm: LoadedLM, rows: list[KeyRow], *, ratio: float = 0.5, layer: int = TOP) -> list[TargetShift]:
    """A random shift for each edit that occurs in `rows`, `ratio` times as long as its state.

    Where the layer normalises what is written, not every shift can be had; then one that can: the difference between
    what comes out now and what would come out for another, random, output of the down-projection.
    """
    owners = list(dict.fromkeys(row.owner for row in rows))
    first = [next(row for row in rows if row.owner == owner) for owner in owners]
    batch = measure_keys(lm, first, layer=layer, top=layer)
    drawn = torch.randn(batch.states.shape, generator=torch.Generator().manual_seed(7))
    deltas = drawn * (ratio * batch.states.norm(dim=1) / drawn.norm(dim=1))[:, None]
    norm = lm.family.norm_after_write(lm.model, layer)
    if norm is not None:
        other = batch.outputs + 0.5 * drawn * (batch.outputs.norm(dim=1) / drawn.norm(dim=1))[:, None]
        with torch.no_grad():
            deltas = norm(other) - norm(batch.outputs)
    return [
        TargetShift(
            edit_id=owner,
            layer=layer,
            before=before,
            direction=Direction(unit=delta / delta.norm(), source="given"),
            length=float(delta.norm()),
            steps=0,
            stopped=Stop.STEPS,
        )
        for owner, before, delta in zip(owners, batch.states, deltas, strict=True)
    ]


def all_free(lm: LoadedLM, layers: tuple[int, ...]) -> dict[int, NullSpace]:
    """Every direction of each layer may be written in."""
    values = torch.linspace(1, 2, lm.d_key, dtype=torch.float64)
    vectors = torch.eye(lm.d_key, dtype=torch.float64)
    cutoff = Cutoff(kind=CutoffKind.RANK, value=1.0)
    return {
        layer: NullSpace.from_eigen(values, vectors, layer=layer, cutoff=cutoff, source=str(layer)) for layer in layers
    }


def random_patch(
    lm: LoadedLM, *, layers: tuple[int, ...] = (1, 2), n_key: int = 2, seed: int = 0, size: float = 0.3
) -> EditPatch:
    """A patch that means nothing but changes what the model says."""
    generator = torch.Generator().manual_seed(seed)
    updates = tuple(
        LayerUpdate(
            layer=layer,
            weight_name=lm.family.write_name(layer),
            output_factor=size * torch.randn(n_key + number, lm.d_model, generator=generator),
            input_factor=size * torch.randn(n_key + number, lm.d_key, generator=generator),
        )
        for number, layer in enumerate(layers)
    )
    keys = {layer: (("tower/0",), torch.randn(1, lm.d_key, generator=generator)) for layer in layers}
    return EditPatch(
        edits=EDITS[:1], updates=updates, model_fingerprint=lm.fingerprint, editor="random", config={"a": 1}, keys=keys
    )


def logits_of(lm: LoadedLM, text: str = "The Eiffel Tower is located in the city of") -> Tensor:
    """Logits at every token of one text, (pos, d_vocab), float32, by the model's own forward."""
    ids, mask = left_padded([lm.tokenizer(text)["input_ids"]], device=lm.device)
    with torch.no_grad():
        return lm.model(ids, attention_mask=mask, use_cache=False).logits[0].float()  # type: ignore[no-any-return]
