"""`EDITORS`: every method is a composition of direction source, search prompts, residual schedule and writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig, HoldConfig
from kgmet.search.directions.config import DirectionConfig, SourceKind
from kgmet.search.objective import TermWeights
from kgmet.search.search import TargetConfig
from kgmet.write.config import WriteConfig
from kgmet.write.nullspace import Cutoff
from kgmet.write.priced import PriceConfig
from kgmet.write.residual import ResidualSchedule
from kgmet.write.spectral import FilterKind, SpectralConfig
from kgmet.write.writers.finetune import Bound, FineTuneConfig

__all__ = ["DEFAULT_EDITOR", "EDITORS", "IN_CONTEXT", "Editor", "WriterKind", "editor_named"]

DEFAULT_EDITOR = "KGMET"


class WriterKind(Enum):
    """The published ways to write one layer."""

    NULL_SPACE = "null space"
    """AlphaEdit: confined to the free directions."""
    LEAST_SQUARES = "least squares"
    """MEMIT: least squares, with ordinary keys as a penalty."""
    LEAST_SQUARES_SPARSE = "least squares, sparse"
    """RECT: MEMIT's update, reduced to its relatively largest entries."""
    LEAST_SQUARES_CONDITIONED = "least squares, conditioned"
    """PRUNE: MEMIT's update with its largest singular values reduced."""
    NEURONS = "loudest neurons"
    """NSE: MEMIT's update, confined to the neurons that carry a key."""
    RANK_ONE = "rank one"
    """ROME: rank one, exact for one key."""
    NORMALISED_GRADIENTS = "normalised gradients"
    """UltraEdit: one least-squares step along normalised gradients, without a target hidden state."""
    TOLD = "nothing"
    """In context: the facts are put before every prompt, and nothing is written."""
    FINE_TUNE = "fine-tuning"
    """Fine-tuning: gradient steps on the weights, without a target hidden state."""

    @property
    def searches(self) -> bool:
        """Whether it writes a shift that a search found; the others work on the answers' gradients."""
        return self not in (WriterKind.NORMALISED_GRADIENTS, WriterKind.FINE_TUNE, WriterKind.TOLD)


@dataclass(frozen=True, kw_only=True)
class Editor:
    """An editing method: its name, its writer and its settings for the default model."""

    name: str
    summary: str
    writer: WriterKind
    config: EditConfig
    keeps_earlier: bool = True
    """Whether the solve protects the keys of earlier edits."""
    searches_unedited: bool = False
    """Whether shifts are searched on the unedited model, so that changes of earlier edits at this subject are reverted.
    Does not apply where an earlier edit has the same subject: that edit must stay. So do SimIE and RLSEdit
    (arXiv:2601.15686)."""
    source: str = ""
    """The paper, as an arXiv or ACL Anthology id."""

    @property
    def can_price(self) -> bool:
        """Whether its write can price facts (`write.price`): only least squares in a key metric can."""
        return self.writer in (WriterKind.NULL_SPACE, WriterKind.LEAST_SQUARES)

    @property
    def uses_graph(self) -> bool:
        """Whether the method uses the graph at all."""
        hold = self.config.hold
        held = hold.consequences or hold.neighbours or hold.kept or hold.paraphrases
        return bool(held) or self.config.direction.source.uses_graph


def _for_many(config: EditConfig) -> EditConfig:
    """Return the variant for long sequences; tuned on own cases from the 201st on (`benchmarks/sequence.py`)."""
    write = replace(
        config.write,
        layers=tuple(range(8)),
        ordinary_weight=6000.0,
        protected_weight=0.15,
        earlier_weight=16.0,
        even_remaining=0.4,
        keys_per_edit="each",
    )
    target = replace(config.target, short_norm_ratio=0.6, short_nll=0.3)
    hold = replace(config.hold, contexts=4, paraphrases=3)
    free = DirectionConfig(source=SourceKind.FREE)
    return replace(config, hold=hold, direction=free, target=target, write=write, cutoff=Cutoff(value=0.2))


def _filtered(config: EditConfig, spectral: SpectralConfig) -> EditConfig:
    return replace(config, write=replace(config.write, spectral=spectral))


def _editors() -> dict[str, Editor]:
    plain = TermWeights(consequence=0.0)
    free = EditConfig(hold=HoldConfig(contexts=3), target=TargetConfig(weights=plain, max_steps=20, rate=0.2))
    # Tuned by `benchmarks/tune.py`: for AlphaEdit, for MEMIT (whose search the MEMIT-like methods share) …
    tuned = replace(free, hold=HoldConfig(contexts=6), target=replace(free.target, max_norm_ratio=1.3))
    memit = replace(tuned, write=WriteConfig(layers=(5, 6, 7), schedule=ResidualSchedule.FRONT))
    alpha = replace(tuned, write=WriteConfig(ridge=2.0))
    one_layer = WriteConfig(layers=(6,), schedule=ResidualSchedule.LAST)
    # … and for ours.
    ours = EditConfig(
        hold=HoldConfig(contexts=2, paraphrases=2, consequences=4, wordings=1, neighbours=20),
        # The same as a free shift on the model it was tuned on, which bounds nothing after its down-projections.
        direction=DirectionConfig(source=SourceKind.REACHABLE),
        target=TargetConfig(max_steps=8, rate=0.8, momentum=0.3, memory=0.7, max_norm_ratio=1.3),
        write=WriteConfig(restores=True),
    )
    paper = DirectionConfig(source=SourceKind.GRAPH, drop_sink=False, centre=False)
    late = WriteConfig(layers=(18, 19, 20))
    located = FineTuneConfig(
        steps=25, rate=1e-3, kind=Bound.NONE, stop_nll=0.05, contexts=1, batch_size=8, end_of_text=True
    )
    editors = [
        Editor(
            name="KGMET",
            summary="The default: the graph's consequences in the objective, its neighbours' keys protected.",
            writer=WriterKind.NULL_SPACE,
            config=ours,
            searches_unedited=True,
            source="KGMET (2025.findings-emnlp.261), with this project's additions",
        ),
        Editor(
            name="KGMET-many",
            summary="For long sequences of edits: shorter shifts in more layers, and larger weights of kept keys.",
            writer=WriterKind.NULL_SPACE,
            config=_for_many(ours),
            searches_unedited=True,
            source="ours: KGMET's write with MEMIT's price for ordinary keys (arXiv:2210.07229)",
        ),
        Editor(
            name="KGMET-priced",
            summary="KGMET with a price on known facts: a first-order forecast of their answers is part of the write.",
            writer=WriterKind.NULL_SPACE,
            config=replace(ours, write=replace(ours.write, price=PriceConfig(weight=10.0))),
            searches_unedited=True,
            source="ours: first-order forecast of every known answer, priced in the write (docs/forecast.md)",
        ),
        Editor(
            name="KGMET-paper",
            summary="As published: a fresh graph encoder gives a unit direction; the length is learned.",
            writer=WriterKind.NULL_SPACE,
            config=replace(free, direction=paper, write=WriteConfig(schedule=ResidualSchedule.FRONT)),
            source="2025.findings-emnlp.261",
        ),
        Editor(
            name="GLAME",
            summary="The output of a fresh graph encoder is the shift; one layer, rank one.",
            writer=WriterKind.RANK_ONE,
            config=replace(free, direction=replace(paper, source=SourceKind.GRAPH_FREE_LENGTH), write=one_layer),
            source="arXiv:2402.13593",
        ),
        Editor(
            name="AlphaEdit",
            summary="Free shift, null-space write, earlier keys kept.",
            writer=WriterKind.NULL_SPACE,
            config=alpha,
            source="arXiv:2410.02355",
        ),
        Editor(
            name="MEMIT",
            summary="Free shift, least squares against the second moment of ordinary keys.",
            writer=WriterKind.LEAST_SQUARES,
            config=memit,
            keeps_earlier=False,
            source="arXiv:2210.07229",
        ),
        Editor(
            name="MEMIT_seq",
            summary="MEMIT that also keeps the keys of earlier edits.",
            writer=WriterKind.LEAST_SQUARES,
            config=memit,
            source="arXiv:2210.07229, as AlphaEdit's authors extend it",
        ),
        Editor(
            name="MEMIT_rect",
            summary="MEMIT, then only the relatively largest changes (RECT).",
            writer=WriterKind.LEAST_SQUARES_SPARSE,
            config=memit,
            keeps_earlier=False,
            source="arXiv:2401.04700",
        ),
        Editor(
            name="MEMIT_prune",
            summary="MEMIT, then singular values restrained (PRUNE).",
            writer=WriterKind.LEAST_SQUARES_CONDITIONED,
            config=memit,
            keeps_earlier=False,
            source="arXiv:2405.16821",
        ),
        Editor(
            name="MEMIT_rect-ec",
            summary="MEMIT_rect with error compensation: later edits correct what the treatment left undone.",
            writer=WriterKind.LEAST_SQUARES_SPARSE,
            config=replace(memit, write=replace(memit.write, compensates=True)),
            source="arXiv:2605.26670, on arXiv:2401.04700",
        ),
        Editor(
            name="MEMIT_prune-ec",
            summary="MEMIT_prune with error compensation: the least-squares solution for all edits is restrained.",
            writer=WriterKind.LEAST_SQUARES_CONDITIONED,
            config=replace(memit, write=replace(memit.write, compensates=True)),
            source="arXiv:2605.26670, on arXiv:2405.16821",
        ),
        Editor(
            name="AlphaEdit-NAS",
            summary="AlphaEdit with every wanted state at the length of pilot edits' (norm anchor).",
            writer=WriterKind.NULL_SPACE,
            config=replace(alpha, target=replace(alpha.target, anchor_pilots=24)),
            source="arXiv:2602.02543, on arXiv:2410.02355",
        ),
        Editor(
            name="AlphaEdit-REVIVE",
            summary="AlphaEdit without its part in the weight's strongest singular directions.",
            writer=WriterKind.NULL_SPACE,
            config=_filtered(alpha, SpectralConfig(kind=FilterKind.REVIVE, energy=0.2)),
            source="arXiv:2601.11042, on arXiv:2410.02355",
        ),
        Editor(
            name="AlphaEdit-SPHERE",
            summary="AlphaEdit with less in the key directions that the weight amplifies most.",
            writer=WriterKind.NULL_SPACE,
            config=_filtered(alpha, SpectralConfig(kind=FilterKind.SPHERE, energy=0.5, strength=0.5)),
            source="arXiv:2510.01172, on arXiv:2410.02355",
        ),
        Editor(
            name="AlphaEdit-FE",
            summary="AlphaEdit with forward replay: shift at the first layer, each layer its own target.",
            writer=WriterKind.NULL_SPACE,
            config=replace(alpha, write=replace(alpha.write, schedule=ResidualSchedule.REPLAY)),
            source="arXiv:2605.00358, on arXiv:2410.02355",
        ),
        Editor(
            name="MEMIT-FE",
            summary="MEMIT with forward replay: shift at the first layer, each layer its own target.",
            writer=WriterKind.LEAST_SQUARES,
            config=replace(memit, write=replace(memit.write, schedule=ResidualSchedule.REPLAY)),
            keeps_earlier=False,
            source="arXiv:2605.00358, on arXiv:2210.07229",
        ),
        Editor(
            name="NSE",
            summary="Free shift found on the unedited model; most active neurons only; repeated until it fits.",
            writer=WriterKind.NEURONS,
            config=replace(free, write=WriteConfig(repeats=3, tolerance=0.1)),
            searches_unedited=True,
            source="arXiv:2410.04045",
        ),
        Editor(
            name="ROME",
            summary="Free shift, one layer, rank one.",
            writer=WriterKind.RANK_ONE,
            config=replace(free, write=one_layer),
            keeps_earlier=False,
            source="arXiv:2202.05262",
        ),
        Editor(
            name="FT",
            summary="Constrained fine-tuning of one down-projection.",
            writer=WriterKind.FINE_TUNE,
            config=replace(free, write=one_layer),
            keeps_earlier=False,
            source="arXiv:2202.05262 §3.4",
        ),
        Editor(
            name="SUIT",
            summary="Keys without what entities have in common; the shift swaps two coefficients of the state.",
            writer=WriterKind.NULL_SPACE,
            config=replace(
                alpha,
                direction=DirectionConfig(source=SourceKind.TWO_DIRECTIONS),
                # Its loss has no term for the shift's length: the two directions bound it.
                target=replace(alpha.target, weights=TermWeights(consequence=0.0, anchor=0.0, length=0.0)),
                write=replace(alpha.write, common_energy=0.5),
            ),
            source="arXiv:2509.24502",
        ),
        Editor(
            name="UltraEdit",
            summary="No search: one step along gradients, normalised over all edits so far.",
            writer=WriterKind.NORMALISED_GRADIENTS,
            config=replace(free, hold=HoldConfig(contexts=6), write=WriteConfig(layers=(23, 24, 25, 26, 27))),
            source="arXiv:2505.14679",
        ),
        Editor(
            name="LocFT-BF",
            summary="Fine-tuning of late down-projections in epochs over all edits; end-of-text after each answer.",
            writer=WriterKind.FINE_TUNE,
            config=replace(free, write=late, finetune=located),
            keeps_earlier=False,
            source="arXiv:2509.22072",
        ),
        Editor(
            name="CrispEdit",
            summary="Fine-tuning confined to where the loss on ordinary text hardly curves (K-FAC).",
            writer=WriterKind.FINE_TUNE,
            config=replace(free, write=late, finetune=replace(located, curvature=0.8)),
            keeps_earlier=False,
            source="arXiv:2602.15823",
        ),
        Editor(
            name="shuffled-facts",
            summary="Control: KGMET with as many prompts and protected keys, but unrelated names.",
            writer=WriterKind.NULL_SPACE,
            config=replace(ours, hold=replace(ours.hold, shuffled=True)),
            searches_unedited=True,
        ),
        Editor(
            name="no-graph",
            summary="Control: the encoder sees only the subject's node.",
            writer=WriterKind.NULL_SPACE,
            config=replace(free, direction=DirectionConfig(source=SourceKind.NO_GRAPH)),
        ),
        Editor(
            name="shuffled-graph",
            summary="Control: KGMET-paper on the same triples with other entities' labels.",
            writer=WriterKind.NULL_SPACE,
            config=replace(
                free,
                direction=replace(paper, source=SourceKind.SHUFFLED),
                write=WriteConfig(schedule=ResidualSchedule.FRONT),
            ),
        ),
        Editor(
            name="random",
            summary="Control: a random direction; only its length is learned.",
            writer=WriterKind.NULL_SPACE,
            config=replace(free, direction=DirectionConfig(source=SourceKind.RANDOM)),
        ),
    ]
    return {editor.name: editor for editor in editors}


EDITORS: Mapping[str, Editor] = _editors()
"""Every editor by name, in display order."""


IN_CONTEXT: Mapping[str, Editor] = {
    editor.name: editor
    for editor in (
        Editor(
            name="in-context",
            summary="Writes nothing: the new fact is put before every prompt.",
            writer=WriterKind.TOLD,
            config=EditConfig(),
            source="arXiv:2305.12740 (IKE), without its demonstrations",
        ),
        Editor(
            name="in-context-graph",
            summary="Writes nothing: the new fact and what the graph retrieves for it are put before every prompt.",
            writer=WriterKind.TOLD,
            config=EditConfig(hold=HoldConfig(consequences=4)),
            source="arXiv:2305.12740 (IKE), with the graph as retriever",
        ),
    )
}
"""Rows of an evaluation or comparison that write nothing, by name. They make no patch, so no session uses them."""


def editor_named(name: str) -> Editor:
    """Return the editor with this name; case and the separator between words do not matter.

    Raises:
        ConfigError: if there is none; the message lists those that exist.
    """
    folded = name.casefold().replace("-", "_").replace(" ", "_")
    for editor in (*EDITORS.values(), *IN_CONTEXT.values()):
        if editor.name.casefold().replace("-", "_").replace(" ", "_") == folded:
            return editor
    raise ConfigError(f"There is no editor {name!r}; there are {', '.join((*EDITORS, *IN_CONTEXT))}.")
