"""`patch_states`: activation patching between the edited and the unedited model.

States of one are put into the other on the same text, and the resulting answer is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, Stage
from kgmet.base.shapes import check_shape
from kgmet.inspect.causal_trace import check_length
from kgmet.inspect.shift import token_texts
from kgmet.inspect.sweep import Part, are_close, checked_layers, embedded, joined_rows, replaced, run_from, swept
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import NextToken
from kgmet.write.patch import EditPatch, attached

__all__ = ["Said", "PatchedStates", "PatchMap", "join_maps", "map_patches", "patch_states"]


@dataclass(frozen=True, kw_only=True)
class Said:
    """Result of a run: likeliest next tokens and the probabilities of answer and rival, ``None`` if absent."""

    top: tuple[NextToken, ...]
    answer: float
    rival: float | None


@dataclass(frozen=True, kw_only=True)
class PatchedStates:
    """Results of the receiver, of the giver, and of the receiver with patched states."""

    source: LocatedPrompt
    cells: tuple[tuple[int, int], ...]
    part: Part
    receiver: Said
    giver: Said
    patched: Said

    @property
    def share(self) -> float | None:
        """Share of the way from the receiver's to the giver's answer probability; ``None`` if those are equal."""
        way = self.giver.answer - self.receiver.answer
        return None if abs(way) < 1e-9 else (self.patched.answer - self.receiver.answer) / way


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchMap:
    """The answer's probability with each single state patched.

    `patched` (n_patched, pos), float32, has a row for each of `layers`.
    """

    source: LocatedPrompt
    part: Part
    receiver: float
    giver: float
    layers: tuple[int, ...]
    patched: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("patched", self.patched, len(self.layers), len(self.source.tokens))

    def at(self, layer: int, position: int) -> float:
        """Return `patched` at one of the patched layers and a position."""
        return float(self.patched[self.layers.index(layer), position])


def patch_states(
    lm: LoadedLM,
    prompt: TracedPrompt,
    cells: Sequence[tuple[int, int]],
    *,
    receiver: Sequence[EditPatch] = (),
    giver: Sequence[EditPatch] = (),
    part: Part = Part.STATE,
    k: int = 3,
) -> PatchedStates:
    """Run the text on `receiver` with the states at some (layer, position) taken from `giver`.

    Args:
        lm: the model; nothing needs to be attached.
        prompt: the text.
        cells: (layer, position) from 0.
        receiver: attached patches of the receiving side.
        giver: attached patches of the giving side.
        part: the patched part of a layer.
        k: number of likeliest tokens to return.

    Raises:
        IndexError: if there is no such layer or position.
        StaleArtifactError: if a patch was made for another model.
    """
    where = locate_prompt(lm, prompt)
    for layer, position in cells:
        if not (0 <= layer < lm.n_layer and 0 <= position < len(where.ids)):
            raise IndexError(f"There is no layer {layer} with a token {position} here.")
    embeddings = embedded(lm, where.ids)
    with attached(list(giver), lm):
        given = run_from(lm, embeddings)
    with attached(list(receiver), lm):
        own = run_from(lm, embeddings)
        with replaced(lm, given, cells, part=part):
            patched = run_from(lm, embeddings)
    return PatchedStates(
        source=where,
        cells=tuple(cells),
        part=part,
        receiver=_said(lm, where, own.logits, k),
        giver=_said(lm, where, given.logits, k),
        patched=_said(lm, where, patched.logits, k),
    )


def map_patches(
    lm: LoadedLM,
    prompt: TracedPrompt,
    *,
    receiver: Sequence[EditPatch] = (),
    giver: Sequence[EditPatch] = (),
    part: Part = Part.STATE,
    layers: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> PatchMap:
    """Patch each single state of the other side, one at a time, at all or some layers; see `patch_states`.

    Raises:
        IndexError: if there is no such layer, or none at all.
        TextError: if the text is too long for this.
        StaleArtifactError: if a patch was made for another model.
        Cancelled: if asked to stop.
    """
    where = locate_prompt(lm, prompt)
    positions = range(len(where.ids))
    check_length(len(positions))
    chosen = checked_layers(lm, layers)
    embeddings = embedded(lm, where.ids)
    with attached(list(giver), lm):
        given = run_from(lm, embeddings)
    with attached(list(receiver), lm):
        own = run_from(lm, embeddings)
        found = swept(
            lm,
            own,
            given,
            part=part,
            positions=positions,
            tokens=[where.answer],
            layers=chosen,
            progress=progress,
            stage=Stage.PATCHING,
        )
    before, after = (float(run.logits.softmax(-1)[0, where.answer]) for run in (own, given))
    return PatchMap(source=where, part=part, receiver=before, giver=after, layers=chosen, patched=found[:, :, 0, 0])


def join_maps(first: PatchMap, second: PatchMap) -> PatchMap:
    """Put the layers of two maps of the same prompt and sides into one; none is run again.

    Raises:
        ConfigError: if they are not of the same prompt and sides.
    """
    ends = ((first.receiver, second.receiver), (first.giver, second.giver))
    is_alike = (first.source, first.part) == (second.source, second.part)
    if not is_alike or not are_close(*ends):
        raise ConfigError("The maps are of different prompts, edits or parts, so they do not make one.")
    layers, patched = joined_rows((first.layers, first.patched), (second.layers, second.patched))
    return replace(first, layers=layers, patched=patched)


def _said(lm: LoadedLM, where: LocatedPrompt, logits: Tensor, k: int) -> Said:
    probabilities = logits[0].double().softmax(-1).cpu()
    top = probabilities.topk(k)
    texts = token_texts(lm, top.indices.tolist())
    return Said(
        top=tuple(
            NextToken(text=text, probability=float(value)) for text, value in zip(texts, top.values, strict=True)
        ),
        answer=float(probabilities[where.answer]),
        rival=None if where.rival is None else float(probabilities[where.rival]),
    )
