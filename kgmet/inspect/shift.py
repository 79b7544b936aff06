"""`trace_shifts`: the change of the residual stream per layer and token, split into direction and magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.base.shapes import check_shape
from kgmet.inspect.texts import InspectedText
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan, locate
from kgmet.lm.run.tracing import recorded
from kgmet.write.patch import EditPatch, attached

__all__ = ["Quantity", "ShiftTrace", "layer_states", "token_texts", "trace_shifts"]


class Quantity(Enum):
    """Quantities of a pair of states h (before) and h′ (after)."""

    LENGTH = "relative length"
    """‖h′ − h‖ / ‖h‖, at least 0."""
    ANGLE = "angle"
    """Angle between h and h′ in degrees, 0 to 180: the change of direction, regardless of magnitude."""
    COSINE = "cosine"
    """Cosine of that angle, −1 to 1."""
    MAGNITUDE = "magnitude"
    """‖h′‖ / ‖h‖ − 1: the relative change of magnitude, regardless of direction; at least −1."""
    ALONG = "shift along the state"
    """Component of the shift along h, in units of ‖h‖; signed."""
    ACROSS = "shift across the state"
    """Component of the shift orthogonal to h, in units of ‖h‖. ALONG² + ACROSS² is LENGTH²."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftTrace:
    """Lengths and angles of one text's states before and after.

    `before` and `after` hold ‖h‖ and ‖h′‖, `length` holds ‖h′ − h‖: each (n_layer, pos), float64, of the residual
    stream after each decoder layer (the last one before the final norm). `along` (n_layer, pos) is the signed component
    of the shift along h. `lookup` is the position of the subject's last token, ``None`` without a subject.
    """

    source: InspectedText
    tokens: tuple[str, ...]
    lookup: int | None
    before: Tensor
    after: Tensor
    length: Tensor
    along: Tensor

    def __post_init__(self) -> None:
        """Check shapes."""
        for name in ("before", "after", "length", "along"):
            check_shape(name, getattr(self, name), None, len(self.tokens))

    @property
    def n_layer(self) -> int:
        """Number of decoder layers."""
        return self.before.shape[0]

    def of(self, quantity: Quantity) -> Tensor:
        """Return one quantity, (n_layer, pos), float64; a zero shift gives exactly 0 (cosine: 1)."""
        tiny = torch.finfo(torch.float64).tiny
        size = self.before.clamp(min=tiny)
        across = (self.length.square() - self.along.square()).clamp(min=0).sqrt()
        if quantity is Quantity.LENGTH:
            return self.length / size
        if quantity is Quantity.ALONG:
            return self.along / size
        if quantity is Quantity.ACROSS:
            return across / size
        if quantity is Quantity.MAGNITUDE:
            return self.after / size - 1
        # atan2 stays exact for small angles, where the cosine rounds to 1
        angle = torch.atan2(across, self.before + self.along)
        return angle.rad2deg() if quantity is Quantity.ANGLE else angle.cos()


def trace_shifts(
    lm: LoadedLM,
    patches: EditPatch | Sequence[EditPatch],
    texts: Sequence[InspectedText],
    *,
    earlier: Sequence[EditPatch] = (),
    progress: Progress | None = None,
) -> list[ShiftTrace]:
    """Run each text with the patches off and on and compare the states.

    Args:
        lm: the model; nothing needs to be attached.
        patches: the patches to inspect.
        texts: the prompts.
        earlier: patches that are attached in both cases.
        progress: receives every text; can cancel.

    Raises:
        StaleArtifactError: if a patch was made for another model.
        SubjectNotFoundError: if a subject has no token of its own.
        Cancelled: if asked to stop.
    """
    progress = progress or Silent()
    several = [patches] if isinstance(patches, EditPatch) else list(patches)
    found = []
    for number, text in enumerate(texts):
        progress.report(ProgressEvent(stage=Stage.TRACE, done=number, total=len(texts), detail={"text": text.text}))
        progress.check()
        span = locate(lm, text.phrase)
        with attached(list(earlier), lm):
            before = layer_states(lm, span.input_ids)
        with attached([*earlier, *several], lm):
            after = layer_states(lm, span.input_ids)
        found.append(_trace(lm, text, span, before, after))
    progress.report(ProgressEvent(stage=Stage.TRACE, done=len(texts), total=len(texts)))
    return found


def layer_states(lm: LoadedLM, input_ids: Sequence[int]) -> Tensor:
    """Return the residual stream after each decoder layer, (n_layer, pos, d_model), float32, on the CPU."""
    ids = torch.tensor([list(input_ids)], dtype=torch.long, device=lm.device)
    with torch.no_grad(), recorded(list(lm.layers)) as seen:
        lm.base(ids, use_cache=False)
    return stacked(seen)


def stacked(states: Sequence[Tensor | None]) -> Tensor:
    """Return a text's recorded layer outputs, (1, pos, d_model) each, as those of `layer_states`."""
    return torch.stack([state[0].detach().float().cpu() for state in states if state is not None])


def token_texts(lm: LoadedLM, input_ids: Sequence[int]) -> tuple[str, ...]:
    """Return the text of each token, including blanks."""
    return tuple(str(lm.tokenizer.decode([token])) for token in input_ids)


def _trace(lm: LoadedLM, text: InspectedText, span: EditSpan, before: Tensor, after: Tensor) -> ShiftTrace:
    was, now = before.double(), after.double()
    moved = now - was
    size = was.norm(dim=-1)
    unit = was / size.clamp(min=torch.finfo(torch.float64).tiny)[..., None]
    return ShiftTrace(
        source=text,
        tokens=token_texts(lm, span.input_ids),
        lookup=span.lookup.position if text.has_subject else None,
        before=size,
        after=now.norm(dim=-1),
        length=moved.norm(dim=-1),
        along=(moved * unit).sum(-1),
    )
