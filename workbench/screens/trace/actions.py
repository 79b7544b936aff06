"""Actions of the Trace page: computing its maps, and patching single states when a cell is clicked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kgmet.base.progress import Progress, ProgressEvent, Stage
from kgmet.inspect.attribution import Component, Removal, attribute_with_states, largest, take_out
from kgmet.inspect.causal_trace import CausalTrace, TraceConfig, causal_trace, join_traces
from kgmet.inspect.patching import PatchedStates, PatchMap, join_maps, map_patches, patch_states
from kgmet.inspect.recall import find_break, read_recall, read_recalls
from kgmet.inspect.sweep import every_nth_layer
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import EditPatch
from workbench.drawing.traced import READING, Choice, Contributions, Map, Reading, Side, TracedMap
from workbench.running.resources import Resident
from workbench.shared.inspect_actions import seen_from
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["Sides", "map_of", "patched_at", "reading_of", "removed", "sides_of", "with_reading"]

N_CHECKED = 10
"""Number of parts that are actually removed."""
N_STEP = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class Sides:
    """Attached patches before and after."""

    lm: LoadedLM
    before: tuple[EditPatch, ...]
    after: tuple[EditPatch, ...]

    def of(self, side: Side) -> tuple[EditPatch, ...]:
        """Return the patches of one side."""
        return self.after if side is Side.EDITED else self.before


def sides_of(state: WorkbenchState, resident: Resident, entry: StackEntry) -> Sides:
    """Return both sides: without and with an edit, with earlier live edits on in both."""
    earlier = tuple(state.live_patches(resident.lm, before=entry.id))
    return Sides(lm=resident.lm, before=earlier, after=(*earlier, entry.patch))


def reading_of(sides: Sides, choice: Choice) -> Callable[[Progress], Reading]:
    """Compute contributions and ranks."""
    lm, prompt, sources = sides.lm, choice.edited, (sides.before, sides.after)

    def work(progress: Progress) -> Reading:
        _step(progress, 0)
        (before, old_states), (after, states) = (attribute_with_states(lm, prompt, patches=each) for each in sources)
        _step(progress, 1)
        parts = largest(after, N_CHECKED)
        removed_before = take_out(lm, before, parts, patches=sides.before)
        _step(progress, 2)
        removed_after = take_out(lm, after, parts, patches=sides.after)
        _step(progress, 3)
        now = read_recall(lm, prompt, patches=sides.after, states=states)
        _step(progress, 4)
        asked = [prompt, *([] if choice.unedited is None else [choice.unedited])]
        was, *old = read_recalls(lm, asked, patches=sides.before, states=old_states)
        breaks = [(Side.EDITED, find_break(now)), *((Side.UNEDITED, find_break(each)) for each in old)]
        _step(progress, N_STEP)
        return Reading(
            choice=choice,
            contributions=Contributions(
                before=before, after=after, removed_before=removed_before, removed_after=removed_after
            ),
            before=was,
            after=now,
            breaks=tuple(breaks),
            n_token=lm.n_token,
        )

    return work


def _step(progress: Progress, done: int) -> None:
    progress.report(ProgressEvent(stage=Stage.CONTRIBUTIONS, done=done, total=N_STEP))
    progress.check()


def with_reading(
    state: WorkbenchState,
    entry: StackEntry,
    read: Callable[[Progress], Reading],
    made: Callable[[Progress], TracedMap],
    *,
    made_from: str,
) -> Callable[[Progress], TracedMap]:
    """Compute a map after contributions and ranks, which are stored where they are missing: one job for both."""

    def work(progress: Progress) -> TracedMap:
        if state.measured(entry, READING, made_from) is None:
            state.keep(READING, read(progress), made_from=made_from)
        return made(progress)

    return work


def map_of(
    sides: Sides,
    choice: Choice,
    side: Side,
    kind: Map,
    config: TraceConfig,
    *,
    step: int = 1,
    known: CausalTrace | PatchMap | None = None,
) -> Callable[[Progress], TracedMap]:
    """Compute one map of every `step`-th layer; those that are `known` of the same map are not tried again."""
    prompt = choice.on(side)
    assert prompt is not None
    wanted = every_nth_layer(sides.lm.n_layer, step)

    def work(progress: Progress) -> TracedMap:
        causal = config if kind.is_causal else None
        return TracedMap(choice=choice, side=side, kind=kind, config=causal, step=step, found=found(progress))

    def found(progress: Progress) -> CausalTrace | PatchMap:
        missing = [layer for layer in wanted if known is None or layer not in known.layers]
        if known is not None and not missing:
            return _only(known, wanted)
        if kind.is_causal:
            trace = causal_trace(
                sides.lm,
                prompt,
                patches=sides.of(side),
                part=kind.part,
                config=config,
                layers=missing,
                progress=progress,
            )
            return join_traces(known, trace) if isinstance(known, CausalTrace) else trace
        made = map_patches(
            sides.lm,
            prompt,
            receiver=sides.of(side),
            giver=sides.of(side.other),
            part=kind.part,
            layers=missing,
            progress=progress,
        )
        return join_maps(known, made) if isinstance(known, PatchMap) else made

    return work


def _only(found: CausalTrace | PatchMap, layers: tuple[int, ...]) -> CausalTrace | PatchMap:
    """Return the part of a map that is of these layers."""
    rows = [found.layers.index(layer) for layer in layers]
    if isinstance(found, CausalTrace):
        return replace(found, layers=layers, restored=found.restored[rows])
    return replace(found, layers=layers, patched=found.patched[rows])


def patched_at(
    state: WorkbenchState,
    resident: Resident,
    entry: StackEntry,
    choice: Choice,
    *,
    side: Side,
    kind: Map,
    cell: tuple[int, int],
) -> PatchedStates:
    """Patch one state from the other side; cached until another is requested."""
    prompt = choice.on(side)
    assert prompt is not None
    made_from = seen_from(state, resident, entry, prompt, side, kind.part, cell)

    def make() -> PatchedStates:
        sides = sides_of(state, resident, entry)
        return patch_states(
            resident.lm, prompt, [cell], receiver=sides.of(side), giver=sides.of(side.other), part=kind.part
        )

    return state.remembered("trace-patch", make, made_from=made_from)


def removed(
    state: WorkbenchState,
    resident: Resident,
    entry: StackEntry,
    contributions: Contributions,
    component: Component,
) -> tuple[Removal, Removal]:
    """Measure the removal of one part, before and after; cached until another is requested."""
    made_from = seen_from(state, resident, entry, contributions.after.source.source, component)

    def make() -> tuple[Removal, Removal]:
        sides = sides_of(state, resident, entry)
        (before,) = take_out(resident.lm, contributions.before, [component], patches=sides.before)
        (after,) = take_out(resident.lm, contributions.after, [component], patches=sides.after)
        return before, after

    return state.remembered("trace-removal", make, made_from=made_from)
