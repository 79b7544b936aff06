"""A straightforward implementation of the published search, as a baseline.

As in the MEMIT and AlphaEdit code: one edit at a time, whole sequences, logits at every position, 25 steps of Adam, one
loss over all contexts, stop when it is below 0.05. Nothing is cached. It has the same objective as `find_target_shifts`
with a free direction, so both can be compared at equal quality.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import locate_all
from kgmet.lm.run.tracing import hooked
from kgmet.search.directions.source import Direction
from kgmet.search.objective import limited
from kgmet.search.problem import ShiftProblem
from kgmet.search.search import Stop, TargetConfig, TargetShift


def straightforward_search(
    lm: LoadedLM, problem: ShiftProblem, *, layer: int, config: TargetConfig, steps: int | None = None
) -> TargetShift:
    """Search one edit's shift over whole sequences, for exactly `steps` steps or with the published stop."""
    spans = locate_all(lm, [prompt.phrase(problem.edit.subject) for prompt in problem.prompts])
    width = max(len(span.input_ids) for span in spans)
    ids = torch.tensor([[*span.input_ids, *[0] * (width - len(span.input_ids))] for span in spans], device=lm.device)
    mask = (torch.arange(width)[None] < torch.tensor([[len(span.input_ids)] for span in spans])).long().to(lm.device)
    lookups = torch.tensor([span.lookup.position for span in spans])
    delta = torch.zeros(lm.d_model, device=lm.device, requires_grad=True)
    before: list[Tensor] = []
    shift = [delta]

    def change(_inputs: object, output: Tensor) -> Tensor:
        rows = torch.arange(output.shape[0])
        if not before:
            before.append(output[0, lookups[0]].detach().clone())
        moved = output.clone()
        moved[rows, lookups] += shift[0]
        return moved

    reference: Tensor | None = None
    optimizer: torch.optim.Optimizer | None = None
    curve: list[dict[str, float]] = []
    stopped = Stop.STEPS
    last = config.max_steps if steps is None else steps
    for step in range(last + 1):
        with hooked(lm.layers[layer], change):  # type: ignore[arg-type]
            logprobs = lm.model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)  # type: ignore[operator]
        if optimizer is None:
            scale = float(before[0].norm()) / math.sqrt(lm.d_model)
            optimizer = torch.optim.Adam([delta], lr=config.rate * scale)
        total, reference = _loss(logprobs, problem, spans, config, shift[0], before[0], reference)
        curve.append({"total": float(total.detach()), "norm_ratio": float(shift[0].detach().norm() / before[0].norm())})
        if steps is None and float(total.detach()) < config.stop_nll:
            stopped = Stop.ANSWER_HOLDS
            break
        if step == last:
            break
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        shift[0] = limited(delta[None], (config.max_norm_ratio * before[0].norm())[None])[0]
    found, start = shift[0].detach().cpu(), before[0].cpu()
    return TargetShift(
        edit_id=problem.edit.id,
        layer=layer,
        before=start,
        direction=Direction(unit=found / found.norm(), source="free, straightforward"),
        length=float(found.norm()),
        steps=len(curve) - 1,
        stopped=stopped,
        curve=tuple(curve),
    )


def _loss(
    logprobs: Tensor,
    problem: ShiftProblem,
    spans: list,
    config: TargetConfig,
    shift: Tensor,
    before: Tensor,
    reference: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    by_term: dict = {}
    for row, (prompt, span) in enumerate(zip(problem.prompts, spans, strict=True)):
        if span.target is not None:
            target = torch.tensor(span.target_ids, device=logprobs.device)
            picked = logprobs[row, span.target.start - 1 : span.target.stop - 1].gather(1, target[:, None])
            by_term.setdefault(prompt.term, []).append(-picked.mean())
        else:
            now = logprobs[row, len(span.input_ids) - 1]
            if reference is None:
                reference = now.detach()
            by_term.setdefault(prompt.term, []).append((reference.exp() * (reference - now)).sum())
    total = config.weights.length * shift.pow(2).sum() / before.pow(2).sum()
    for term, values in by_term.items():
        total = total + config.weights.of(term) * torch.stack(values).mean()
    return total, reference
