"""`calibrate`: an editor's settings for one model, chosen on facts it knows and checked once on others.

What is known and what was measured is kept in the cache folder at once, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from kgmet.base.errors import ConfigError
from kgmet.base.progress import Progress, Silent, Stage, note
from kgmet.calibrate.cases import CalibrationCases, build_cases
from kgmet.calibrate.halving import Budget, Measured, halve, rounds_of
from kgmet.calibrate.knowledge import knowledge_of
from kgmet.calibrate.lines import LineBook
from kgmet.calibrate.measuring import CaseRunner
from kgmet.calibrate.results import found_path
from kgmet.calibrate.settings import changes_text, settings_to_try
from kgmet.calibrate.trials import Trial, calibration_folder, open_book
from kgmet.calibrate.where import TRACES, LayerEffects, measure_layers, propose_layers
from kgmet.editing.config import config_from_mapping
from kgmet.editing.defaults import uncalibrated_settings
from kgmet.editing.editors import Editor, WriterKind
from kgmet.editing.profile import CalibratedEditor, ModelProfile, save_profile
from kgmet.forecast.known import KnownFacts
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.inspect.traced_prompt import TracedPrompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.measure.columns import score_of, summed
from kgmet.write.statistics import KeyStatistics

__all__ = [
    "FEWEST_FACTS",
    "Calibration",
    "CalibrationConfig",
    "calibrate",
    "check_editors",
]

FEWEST_FACTS = 4
"""Fewest facts to choose settings on, and to check them on: with fewer nothing is calibrated."""
_SEARCH_SHARE = 0.4
_MOST_TRACED = 24


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How thorough a calibration is."""

    budget: Budget = field(default_factory=lambda: Budget(settings=12))
    """For each editor."""
    facts: int = 40
    """Facts that are edited: two fifths to choose settings on, the others to check them."""
    per_relation: int = 10
    """Facts of each relation that the model is asked, to find those it knows."""
    seed: int = 0
    """Decides which facts are edited, the new objects, the noise of the trace and the settings tried."""

    @property
    def n_search(self) -> int:
        """Facts that settings are chosen on."""
        return max(FEWEST_FACTS, round(_SEARCH_SHARE * self.facts))

    @property
    def n_check(self) -> int:
        """Facts that the chosen settings are checked on."""
        return max(FEWEST_FACTS, self.facts - self.n_search)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What came out. `profile` is ``None`` where the model knows too little to be calibrated; `reason` says so."""

    knows: KnownFacts
    profile: ModelProfile | None
    reason: str = ""
    n_read: int = 0
    """Measurements of earlier runs that were used again."""


def calibrate(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    editors: Sequence[Editor],
    *,
    config: CalibrationConfig | None = None,
    statistics: KeyStatistics | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Find out what a model knows, where it keeps it, and which settings suit it.

    Args:
        lm: the model, with nothing attached.
        store: the graph whose facts it is asked.
        catalogue: the words.
        editors: the methods; each gets the same budget, facts and seed.
        config: budget, facts and seed.
        statistics: its key statistics, if they are at hand.
        progress: hears of each step and result; can cancel.

    Raises:
        ConfigError: if an editor writes nothing.
        ArtifactError: if another process calibrates the same model.
        NonFiniteError: if the model's keys hold NaN or infinity; names the layer.
        Cancelled: if asked to stop; what was measured is kept.
    """
    config, progress = config or CalibrationConfig(), progress or Silent()
    check_editors(editors)
    with open_book(lm) as book:
        knows = knowledge_of(lm, store, catalogue, per_relation=config.per_relation, progress=progress)
        cases = build_cases(
            store, catalogue, knows.facts, n_search=config.n_search, n_check=config.n_check, seed=config.seed
        )
        if min(len(cases.search), len(cases.check)) < FEWEST_FACTS:
            return Calibration(knows=knows, profile=None, reason=_too_few(knows, cases), n_read=book.n_read)
        traces = LineBook(calibration_folder(lm) / TRACES)
        effects = measure_layers(lm, _traced(cases), seed=config.seed, book=traces, progress=progress)
        runner = CaseRunner(
            lm, store, catalogue, statistics=statistics or KeyStatistics(lm), book=book, progress=progress
        )
        profile = ModelProfile(
            model=lm.name,
            model_fingerprint=lm.fingerprint,
            graph=store.name,
            editors={},
            knows=knows.to_json(),
            layers=effects.to_json(),
        )
        for editor in editors:
            found = _Editor(lm, editor, config, effects).calibrated(runner, cases, progress)
            profile = profile.with_editor(found)
            save_profile(profile, found_path(lm))
        return Calibration(knows=knows, profile=profile, n_read=book.n_read)


def check_editors(editors: Sequence[Editor]) -> None:
    """Make sure that every editor has settings to calibrate.

    Raises:
        ConfigError: if one writes nothing.
    """
    for editor in editors:
        if editor.writer is WriterKind.TOLD:
            raise ConfigError(
                f"{editor.name} writes nothing, so it has no settings to calibrate. Choose another editor."
            )


class _Editor:
    """One editor's search and check."""

    def __init__(self, lm: LoadedLM, editor: Editor, config: CalibrationConfig, effects: LayerEffects) -> None:
        self._lm, self._editor, self._config = lm, editor, config
        self._base = uncalibrated_settings(editor, lm).config
        proposal = propose_layers(effects, self._base.write.layers, lm.n_layer)
        self._tried = settings_to_try(
            editor, self._base, lm.n_layer, n=config.budget.settings, seed=config.seed, proposed=proposal.layers
        )
        self._configs = [config_from_mapping(changes, base=self._base) for changes in self._tried]

    def calibrated(self, runner: CaseRunner, cases: CalibrationCases, progress: Progress) -> CalibratedEditor:
        """Choose settings on the search's facts, and check them and the uncalibrated ones on the others."""
        if self._editor.writer.searches:  # so that NaN is named before anything is edited
            runner.prepare(sorted({layer for config in self._configs for layer in config.write.layers}))
        total = self._edits(len(cases.search)) + 2 * len(cases.check)

        def measure(number: int, n: int) -> list[Trial]:
            return runner.trials(self._editor, self._configs[number], cases.search[:n], total=total)

        ranked = halve(
            len(self._configs),
            len(cases.search),
            measure,
            seconds=self._config.budget.seconds,
            heard=partial(self._tell, progress),
        )
        best, default = ranked[0], next(one for one in ranked if one.number == 0)
        checked = [
            summed(
                trial.columns for trial in runner.trials(self._editor, self._configs[number], cases.check, total=total)
            )
            for number in dict.fromkeys((0, best.number))
        ]
        is_default, reason = _kept(best, default, *(score_of(columns) for columns in (checked[0], checked[-1])))
        number = 0 if is_default else best.number
        kept = default if is_default else best
        return CalibratedEditor(
            editor=self._editor.name,
            config=self._configs[number],
            changes=changes_text(self._tried[number]),
            reason=reason,
            is_default=is_default,
            tried=len(self._configs),
            seed=self._config.seed,
            n_search=len(cases.search),
            n_check=len(cases.check),
            searched=kept.columns,
            searched_default=default.columns,
            checked=checked[0 if is_default else -1],
            checked_default=checked[0],
        )

    def _edits(self, n_search: int) -> int:
        """Return the most edits of the search; those of an earlier round count again, as they are read back."""
        alive, total = len(self._configs), 0
        for n in rounds_of(n_search):
            total += alive * n
            alive = min(alive, 1 + -(-alive // 2))
        return total

    def _tell(self, progress: Progress, found: Measured) -> None:
        columns = ", ".join(
            f"{kind} {100 * counts.preferred / counts.n:.0f}/{100 * counts.first / counts.n:.0f}"
            for kind, counts in found.columns.items()
        )
        what = found.failed or columns
        words = (
            f"{self._editor.name}, {found.n_case} facts: {found.score:.3f}  {changes_text(self._tried[found.number])}"
        )
        note(progress, Stage.CALIBRATE, f"{words}  ({what})")


def _kept(best: Measured, default: Measured, check_default: float, check_best: float) -> tuple[bool, str]:
    """Return whether the uncalibrated settings stay, and why."""
    if best.number == 0:
        return True, f"No settings tried scored better than the uncalibrated ones ({default.score:.3f})."
    scores = (
        f"{best.score:.3f} to {default.score:.3f} in the search, {check_best:.3f} to {check_default:.3f} in the check"
    )
    if check_best < check_default:
        return True, f"The best settings of the search were not better on other facts ({scores}), so none are taken."
    return False, f"Best of the search, and not worse on other facts (score against the uncalibrated: {scores})."


def _traced(cases: CalibrationCases) -> list[TracedPrompt]:
    """Return facts to trace: those of the search, with the answers the model gives."""
    return [
        TracedPrompt(
            phrase=Phrase(template=case.edit.template, subject=case.edit.subject), answer=case.edit.old_object or ""
        )
        for case in cases.search[:_MOST_TRACED]
    ]


def _too_few(knows: KnownFacts, cases: CalibrationCases) -> str:
    n = len(cases.search) + len(cases.check)
    return (
        f"{knows.model} knows {knows.known} of the {knows.asked} facts it was asked, and {n} of them can be tried; "
        f"{2 * FEWEST_FACTS} are needed. It keeps its uncalibrated settings. Ask more with --per-relation, or give a "
        "graph of what it knows with --graph."
    )
