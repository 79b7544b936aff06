"""`write_deep`: a second write, for prompts with the edited fact as a later hop.

"The capital of the country of Barcelona is" does not name Spain, so an update at Spain's token is never used. The query
is assembled at the prompt's last token, and deeper layers look up the answer there (IFMET, arXiv:2410.06331). So the
edit is written again into deep layers, with the keys of such prompts at their last tokens. The graph's inverse edges
supply the prompts; every second starting point is held out for measurement. The same chains through other subjects
supply the protected facts.

No editor uses it: gains on later hops are lost on neighbours (``benchmarks/later_hop.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, Silent
from kgmet.base.ranges import check_numbers
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.editors import Editor
from kgmet.editing.factories import make_writer
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.graph.phrasing import N_PROBE_WORDINGS, split_templates
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.placement import layer_device
from kgmet.lm.run.spans import Phrase
from kgmet.search.directions.source import FreeDirection
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term
from kgmet.search.search import TargetConfig, TargetShift, find_target_shifts
from kgmet.write.config import WriteConfig
from kgmet.write.keys import KeyRow, key_rows
from kgmet.write.layers import WrittenLayers, solve_layers
from kgmet.write.ledger import PROTECTED, EditLedger
from kgmet.write.nullspace import Cutoff
from kgmet.write.patch import attached, attached_updates
from kgmet.write.so_far import EditsSoFar
from kgmet.write.solve import LayerUpdate
from kgmet.write.statistics import KeyStatistics
from kgmet.write.writer import Writer

__all__ = [
    "DeepConfig",
    "DeepPlan",
    "DeepWrite",
    "asks_for_later_hops",
    "deep_problem",
    "deep_protected",
    "deep_settings",
    "plan_deep_edits",
    "write_deep",
]


def _deep_target() -> TargetConfig:
    return TargetConfig(max_norm_ratio=0.6, stop_nll=0.15)


def _deep_write() -> WriteConfig:
    return WriteConfig(layers=(16, 18), keys_per_edit="each", ridge=3.0)


@dataclass(frozen=True, kw_only=True)
class DeepConfig:
    """Settings of the second write, in deep layers, for prompts with the edited fact as a later hop (IFMET).

    The graph supplies the prompts only if `consequences.max_kept_later` is above 0 (`asks_for_later_hops`).
    """

    chains: int = 16
    """Most starting points whose prompts are written; at least 1."""
    wordings: int = 3
    """Prompts per starting point; the others are held out for probing. At least 1."""
    protected: int = 64
    """Most facts over two hops whose keys are protected."""
    protected_wordings: int = 1
    """Prompts per protected fact; at least 1."""
    target: TargetConfig = field(default_factory=_deep_target)
    """Search for the shift at the last token, one for all prompts of an edit."""
    write: WriteConfig = field(default_factory=_deep_write)
    """Deep layers, none of them among `write.layers`."""
    cutoff: Cutoff = field(default_factory=Cutoff)
    """Free directions of the deep layers."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_numbers(self, "DeepConfig", "chains", "wordings", "protected_wordings", least=1)
        check_numbers(self, "DeepConfig", "protected", least=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepWrite:
    """The second write of edits with later hops: problems and shifts by position."""

    problems: tuple[ShiftProblem, ...]
    shifts: tuple[TargetShift, ...]
    written: WrittenLayers


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepPlan:
    """A plan whose patch has both writes, and the second write; ``None`` if no edit has later hops."""

    plan: EditPlan
    deep: DeepWrite | None


def asks_for_later_hops(config: EditConfig) -> EditConfig:
    """Return settings under which the graph also supplies what a deep write needs."""
    asked = replace(config.consequences, max_later_hops=40, max_kept_later=64, max_neighbours=80)
    return replace(config, consequences=asked)


def deep_settings(config: EditConfig, deep: DeepConfig) -> EditConfig:
    """Return the settings of the second write.

    Raises:
        ConfigError: if the two writes have a layer in common.
    """
    both = sorted(set(config.write.layers) & set(deep.write.layers))
    if both:
        raise ConfigError(f"the deep layers and write.layers must have no layer in common, got both with {both}")
    return replace(config, write=deep.write, cutoff=deep.cutoff)


def plan_deep_edits(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    deep: DeepConfig | None = None,
    config: EditConfig | None = None,
    earlier: EditsSoFar | None = None,
    progress: Progress | None = None,
) -> DeepPlan:
    """Plan edits as `plan_edits` does, with the second write added to the first.

    `contexts` must be prepared with settings that ask for later hops (`asks_for_later_hops`).

    Raises:
        ConfigError: if the editor solves nothing, or a deep layer does not fit the model or the first write.
        KgmetError: as `plan_edits`.
    """
    deep, config, so_far = deep or DeepConfig(), config or editor.config, earlier or EditsSoFar()
    if deep.write.layers[-1] > lm.n_layer - 2:
        raise ConfigError(
            f"The deep layers {list(deep.write.layers)} do not fit {lm.name}: it has {lm.n_layer} layers, and a shift "
            f"can be searched after layer {lm.n_layer - 2} at most."
        )
    writer = make_writer(editor, deep_settings(config, deep), statistics, progress or Silent())
    plan = plan_edits(
        lm, contexts, editor=editor, statistics=statistics, config=config, earlier=earlier, progress=progress
    )
    with attached(so_far.patches, lm):
        second = write_deep(
            lm,
            plan.contexts,
            early=plan.patch.updates,
            writer=writer,
            config=deep,
            ledger=so_far.ledger,
            progress=progress,
        )
    if second is None:
        return DeepPlan(plan=plan, deep=None)
    updates = sorted((*plan.patch.updates, *second.written.updates), key=lambda update: update.layer)
    patch = replace(plan.patch, updates=tuple(updates), keys={**plan.patch.keys, **second.written.keys})
    return DeepPlan(plan=replace(plan, patch=patch, so_far=so_far.then(patch)), deep=second)


def write_deep(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    early: Sequence[LayerUpdate],
    writer: Writer,
    config: DeepConfig,
    ledger: EditLedger | None = None,
    progress: Progress | None = None,
) -> DeepWrite | None:
    """Search and write the second shift of every edit with later hops in the graph.

    Args:
        lm: the model, with earlier patches attached.
        contexts: the edits; those without `EditConsequences.written_later` are skipped.
        early: the first write of these edits; attached while the second is searched and written.
        writer: solves one deep layer.
        config: see `DeepConfig`.
        ledger: keys that earlier edits have written.
        progress: receives every step; can cancel.

    Returns:
        The second write, or ``None`` if no edit has later hops.

    Raises:
        KgmetError: as `find_target_shifts` and `solve_layers`.
    """
    progress = progress or Silent()
    problems = [problem for context in contexts if (problem := deep_problem(context, config)) is not None]
    if not problems:
        return None
    layer = config.write.layers[-1]
    with attached_updates(early, lm):
        shifts = find_target_shifts(
            lm,
            problems,
            [FreeDirection(lm.d_model, device=layer_device(lm, layer)) for _ in problems],
            layer=layer,
            config=config.target,
            progress=progress,
        )
        rows = [row for problem in problems for row in _rows(lm, problem)]
        written = solve_layers(
            lm,
            shifts,
            rows,
            writer=writer,
            config=config.write,
            ledger=ledger,
            protected=_protected_rows(lm, contexts, rows, config),
            progress=progress,
        )
    return DeepWrite(problems=tuple(problems), shifts=tuple(shifts), written=written)


def deep_problem(context: EditContext, config: DeepConfig) -> ShiftProblem | None:
    """Return the prompts whose last token must give the new object; ``None`` if the graph has none."""
    if context.consequences is None:
        return None
    items = [item for item in context.consequences.written_later if item.id not in context.left]
    prompts = [
        SearchPrompt(term=Term.REWRITE, template=item.text(template), answer=item.new.label)
        for item in items[: config.chains]
        for template in _for_search(item.templates)[: config.wordings]
        if item.new is not None
    ]
    return ShiftProblem(edit=context.edit, prompts=tuple(prompts)) if prompts else None


def deep_protected(contexts: Sequence[EditContext], config: DeepConfig) -> tuple[str, ...]:
    """Return prompts whose last-token keys are protected: two-hop facts, and facts of protected neighbours.

    Facts that another edit of the same batch changes are left out.
    """
    edited = {(context.edit.subject_id, context.edit.relation) for context in contexts}
    texts: dict[str, None] = {}
    for context in contexts:
        if context.consequences is None:
            continue
        found = context.consequences
        for fact in (*found.kept_later[: config.protected], *found.protected_neighbours, *found.kept_own):
            resting = fact.path or (fact.triple,)
            if fact.id in context.left or any((t.subject.id, t.relation.id) in edited for t in resting):
                continue
            for template in _for_search(fact.templates)[: config.protected_wordings]:
                texts.setdefault(fact.text(template))
    return tuple(texts)


def _rows(lm: LoadedLM, problem: ShiftProblem) -> tuple[KeyRow, ...]:
    phrases = [Phrase(template=prompt.template) for prompt in problem.prompts]
    return key_rows(lm, problem.edit.id, phrases)


def _protected_rows(
    lm: LoadedLM, contexts: Sequence[EditContext], rows: Sequence[KeyRow], config: DeepConfig
) -> list[KeyRow]:
    written = {row.input_ids for row in rows}
    found = [
        row
        for text in deep_protected(contexts, config)
        for row in key_rows(lm, f"{PROTECTED}deep/{text}", [Phrase(template=text)])
    ]
    return [row for row in found if row.input_ids not in written]


def _for_search(templates: tuple[str, ...]) -> tuple[str, ...]:
    return split_templates(templates, N_PROBE_WORDINGS)[0]
