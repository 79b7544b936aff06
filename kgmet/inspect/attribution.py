"""`attribute`: first-order contribution of each attention head and MLP to the answer; `take_out` checks it.

Gradient × activation: with z what a head or an MLP adds to the residual stream and m the measure (the logit of the
answer minus that of its rival), the contribution is Σ over tokens of ⟨∂m/∂z, z⟩. It estimates how far m would fall
without the part. The measure is not linear in z, so contributions need not add up to it, and `take_out` measures the
actual effect (Nanda 2023, "Attribution patching"; Syed et al. 2023, arXiv:2310.10348).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kgmet.base.shapes import check_shape
from kgmet.inspect.shift import stacked
from kgmet.inspect.sweep import Part, embedded, part_module, with_states
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import entering, hooked, recorded
from kgmet.write.patch import EditPatch, attached

__all__ = ["Attribution", "Component", "Removal", "attribute", "attribute_with_states", "largest", "take_out"]


@dataclass(frozen=True, kw_only=True, order=True)
class Component:
    """One attention head of a layer or, without a `head`, its MLP."""

    layer: int
    head: int | None = None

    @property
    def label(self) -> str:
        """Display name."""
        return f"layer {self.layer}, MLP" if self.head is None else f"layer {self.layer}, head {self.head}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Attribution:
    """Contributions to the measure, in its unit, summed over tokens.

    `heads` (n_layer, n_head), `attention` (n_layer) of the whole attention output, its bias included, `mlps`
    (n_layer), `embedding` of the token embeddings. `measure` is the logit of the answer minus that of its rival;
    without a rival, the answer's log-probability in nats.
    """

    source: LocatedPrompt
    heads: Tensor
    attention: Tensor
    mlps: Tensor
    embedding: float
    measure: float

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("attention", self.attention, self.heads.shape[0])
        check_shape("mlps", self.mlps, self.heads.shape[0])

    @property
    def total(self) -> float:
        """Sum of all contributions; equal to `measure` only if that were linear in each of them."""
        return float(self.attention.sum() + self.mlps.sum()) + self.embedding

    def of(self, component: Component) -> float:
        """Return one part's contribution."""
        values = self.mlps[component.layer] if component.head is None else self.heads[component.layer, component.head]
        return float(values)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Actual effect of removing a component, beside the first-order estimate.

    `fall` is the measure with the component minus the measure without it; both are in the unit of the measure.
    """

    component: Component
    estimate: float
    fall: float


def attribute(lm: LoadedLM, prompt: TracedPrompt, *, patches: EditPatch | Sequence[EditPatch] = ()) -> Attribution:
    """Compute the contribution of every head and MLP by one forward and one backward pass.

    A normalisation between attention and residual stream keeps its scale while the output is split among the heads.

    Args:
        lm: the model; nothing needs to be attached.
        prompt: the text, the answer and its rival.
        patches: attached edits; their output counts for the MLP.

    Raises:
        StaleArtifactError: if a patch was made for another model.
    """
    return attribute_with_states(lm, prompt, patches=patches)[0]


def attribute_with_states(
    lm: LoadedLM, prompt: TracedPrompt, *, patches: EditPatch | Sequence[EditPatch] = ()
) -> tuple[Attribution, Tensor]:
    """Do `attribute`; return also the states of its forward pass, as `kgmet.inspect.shift.layer_states` does."""
    where = locate_prompt(lm, prompt)
    layers = range(lm.n_layer)
    attend = [part_module(lm, Part.ATTENTION, layer) for layer in layers]
    added_attend = [lm.family.norm_after_attend(lm.model, layer) or attend[layer] for layer in layers]
    added_mlp = [lm.family.norm_after_write(lm.model, layer) or part_module(lm, Part.MLP, layer) for layer in layers]
    embeddings = embedded(lm, where.ids).requires_grad_()
    with torch.enable_grad(), attached(patches, lm), recorded([*attend, *added_attend, *added_mlp]) as outputs:
        with recorded(attend, inputs=True) as inputs, recorded(list(lm.layers)) as states:
            lm.base(inputs_embeds=embeddings, use_cache=False)
        (measure,) = _measures(lm, where, _there(states[-1]))
        out = [_there(output) for output in outputs]
        n = lm.n_layer
        projected, to_residual, mlp = out[:n], out[n : 2 * n], out[2 * n :]
        slopes = torch.autograd.grad(measure, [embeddings, *to_residual, *mlp], retain_graph=True)
        heads = [
            _by_head(lm, _there(inputs[layer]), projected[layer], to_residual[layer], slopes[1 + layer])
            for layer in layers
        ]
    found = Attribution(
        source=where,
        heads=torch.stack(heads),
        attention=torch.stack([_sum(slopes[1 + layer], to_residual[layer]) for layer in layers]),
        mlps=torch.stack([_sum(slopes[1 + n + layer], mlp[layer]) for layer in layers]),
        embedding=float(_sum(slopes[0], embeddings)),
        measure=float(measure.detach()),
    )
    return found, stacked(states)


def largest(attribution: Attribution, n: int) -> tuple[Component, ...]:
    """Return the components with the largest contributions in size, largest first."""
    n_layer, n_head = attribution.heads.shape
    every = [Component(layer=layer, head=head) for layer in range(n_layer) for head in (*range(n_head), None)]
    return tuple(sorted(every, key=lambda one: (-abs(attribution.of(one)), one.layer, one.head or 0))[:n])


def take_out(
    lm: LoadedLM,
    attribution: Attribution,
    components: Sequence[Component],
    *,
    patches: EditPatch | Sequence[EditPatch] = (),
) -> tuple[Removal, ...]:
    """Run the text again with each component's output removed from the residual stream, a row of one batch for each.

    A row begins at its component's layer: what is below does not change.

    Args:
        lm: the model; nothing needs to be attached.
        attribution: made with the same patches.
        components: the components to remove, one at a time.
        patches: attached edits.

    Raises:
        IndexError: if the model has no such component.
        StaleArtifactError: if a patch was made for another model.
    """
    where = attribution.source
    for component in components:
        if not (0 <= component.layer < lm.n_layer and 0 <= (component.head or 0) < lm.n_head):
            raise IndexError(f"The model has no {component.label}.")
    if not components:
        return ()
    # Below its component a row is the text as it is, which is run once, in a row of its own.
    order = sorted(range(len(components)), key=lambda number: components[number].layer)
    n_new = Counter(component.layer for component in components)
    with torch.no_grad(), attached(patches, lm), ExitStack() as stack:
        for layer, count in n_new.items():
            stack.enter_context(entering(lm.layers[layer], with_states(partial(_with_copies, count=count))))
        for row, number in enumerate(order, start=1):
            component = components[number]
            part = Part.MLP if component.head is None else Part.ATTENTION
            module = part_module(lm, part, component.layer)
            stack.enter_context(hooked(module, _without(module, lm.n_head, component.head, row)))
        with recorded([lm.layers[-1]]) as last:
            lm.base(inputs_embeds=embedded(lm, where.ids), use_cache=False)
        found = dict(zip(order, _measures(lm, where, _there(last[0])[1:]).tolist(), strict=True))
    left = [found[number] for number in range(len(components))]
    return tuple(
        Removal(component=one, estimate=attribution.of(one), fall=attribution.measure - value)
        for one, value in zip(components, left, strict=True)
    )


def _measures(lm: LoadedLM, where: LocatedPrompt, states: Tensor) -> Tensor:
    """Return the measure of each row, (n_row,), from last-layer states (n_row, pos, d_model)."""
    logits = lm.vocabulary_logits(states[:, -1])
    if where.rival is None:
        return logits[:, where.answer] - logits.logsumexp(-1)
    return logits[:, where.answer] - logits[:, where.rival]


def _by_head(lm: LoadedLM, given: Tensor, projected: Tensor, to_residual: Tensor, slope: Tensor) -> Tensor:
    """Return one layer's contributions, (n_head,); `given` are the concatenated heads, (1, pos, n_head · d_head)."""
    if to_residual is not projected:
        # ⟨slope, norm(z)⟩ with the norm's scale held: norm(z) is z times that scale, element by element.
        safe = torch.where(projected == 0, torch.ones_like(projected), projected)
        slope = slope * (to_residual / safe).detach()
    (to_heads,) = torch.autograd.grad(projected, given, grad_outputs=slope, retain_graph=True)
    products = to_heads.detach().double() * given.detach().double()
    return products.reshape(*products.shape[:-1], lm.n_head, -1).sum((0, 1, 3)).float().cpu()


def _sum(slope: Tensor, value: Tensor) -> Tensor:
    return (slope.detach().double() * value.detach().double()).sum().float().cpu()


def _with_copies(hidden: Tensor, *, count: int) -> Tensor:
    """Add rows that are copies of the first."""
    return torch.cat([hidden, hidden[:1].repeat(count, 1, 1)])


def _without(module: nn.Module, n_head: int, head: int | None, row: int) -> Any:
    """Replace one row of a module's output by that without one head, or by zero."""

    def change(inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        changed = output.clone()
        if head is None:
            changed[row] = 0
            return changed
        given = inputs[0][row : row + 1]
        width = given.shape[-1] // n_head
        alone = torch.zeros_like(given)
        alone[..., head * width : (head + 1) * width] = given[..., head * width : (head + 1) * width]
        part: Tensor = module.forward(alone) - module.forward(torch.zeros_like(given))
        changed[row] -= part[0]
        return changed

    return change


def _there(state: Tensor | None) -> Tensor:
    assert state is not None
    return state
