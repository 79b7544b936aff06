"""Actions of the Models page that measure: what the model knows, where it keeps facts, which settings suit it.

Every answer, trace and edit is on disk as soon as it is there. So a stopped job goes on when it is started again, after
a restart of the server and in another session too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kgmet.base.errors import KgmetError, UnwritableError
from kgmet.base.files import SETTINGS_FILE, parse_json
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.calibrate.calibrate import CalibrationConfig, calibrate
from kgmet.calibrate.estimate import Estimate, estimate
from kgmet.calibrate.knowledge import answers_state, ask_all, known_on_disk
from kgmet.calibrate.lines import LineBook, book_state
from kgmet.calibrate.results import found_path, kept_profile, last_found
from kgmet.calibrate.trials import TRIALS, TrialBook, calibration_folder, locked_folder
from kgmet.calibrate.where import TRACES, LayerEffects, effects_on_disk, facts_to_trace, measure_layers
from kgmet.editing.editors import editor_named
from kgmet.editing.profile import (
    ModelProfile,
    check_profile,
    find_profile,
    profile_from_json,
    profile_path,
    save_profile,
)
from kgmet.forecast.known import AskedFact, KnownFacts
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import generate
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.state.session import WorkbenchState

__all__ = [
    "ASK",
    "CALIBRATE",
    "FEWEST_TRACED",
    "TRACE",
    "Known",
    "ask",
    "drop_profile",
    "effects_of",
    "estimated",
    "found_profile",
    "known_of",
    "profile_in_use",
    "said_instead",
    "start_calibration",
    "trace",
    "upload_profile",
    "use_profile",
]

ASK, TRACE, CALIBRATE = "knows", "layers", "calibrate"
"""Job kinds."""
FEWEST_TRACED = 4
_SAID_TOKENS = 6


@dataclass(frozen=True, eq=False, kw_only=True)
class Known:
    """What the model was found to know so far, and how many facts are left to ask."""

    facts: KnownFacts
    n_left: int


def known_of(state: WorkbenchState, lm: LoadedLM, *, per_relation: int) -> Known:
    """Return what is on disk; read again only if the answers, the graph or the number changed."""
    made_from = fingerprint_value([lm.fingerprint, store().fingerprint, per_relation, *answers_state(lm)])

    def read() -> Known:
        facts, n_left = known_on_disk(lm, store(), catalogue(), per_relation=per_relation)
        return Known(facts=facts, n_left=n_left)

    return state.remembered("models-known", read, made_from=made_from)


def ask(state: WorkbenchState, lm: LoadedLM, *, per_relation: int) -> str | None:
    """Start the job: ask what is not answered yet."""
    graph, words = store(), catalogue()

    def work(progress: Progress) -> None:
        ask_all(lm, graph, words, per_relation=per_relation, progress=progress)

    return jobs.start(ASK, work, state.session_id, title=f"Ask what {lm.name} knows")


def said_instead(state: WorkbenchState, lm: LoadedLM, facts: Sequence[AskedFact]) -> list[str]:
    """Return how the model continues each prompt: its wrong answers."""
    texts = [fact.prompt.text for fact in facts]

    def read() -> list[str]:
        return [said.strip() for said in generate(lm, texts, max_new_tokens=_SAID_TOKENS)] if texts else []

    return state.remembered("models-said", read, made_from=fingerprint_value([lm.fingerprint, texts]))


def effects_of(state: WorkbenchState, lm: LoadedLM, known: KnownFacts) -> tuple[LayerEffects | None, int]:
    """Return the averaged trace as far as it was made, and how many facts it is made of at the end."""
    prompts = facts_to_trace(known.facts)
    made_from = fingerprint_value([lm.fingerprint, prompts, book_state(calibration_folder(lm) / TRACES)])
    return state.remembered("models-effects", lambda: effects_on_disk(lm, prompts), made_from=made_from), len(prompts)


def trace(state: WorkbenchState, lm: LoadedLM, known: KnownFacts) -> str | None:
    """Start the job: trace the facts that are not traced yet."""
    prompts = facts_to_trace(known.facts)

    def work(progress: Progress) -> None:
        with locked_folder(lm) as folder:
            measure_layers(lm, prompts, book=LineBook(folder / TRACES), progress=progress)

    return jobs.start(TRACE, work, state.session_id, title=f"Trace {len(prompts)} facts")


def start_calibration(
    state: WorkbenchState, resident: Resident, editors: Sequence[str], config: CalibrationConfig
) -> str | None:
    """Start the job ``calibrate``; its value is the reason where the model knows too little, else empty."""
    if not editors:
        return "Choose at least one editor."
    lm, graph, words = resident.lm, store(), catalogue()
    methods = [editor_named(name) for name in editors]

    def work(progress: Progress) -> str:
        return calibrate(
            lm,
            graph,
            words,
            methods,
            config=config,
            statistics=resident.statistics,
            progress=progress,
        ).reason

    return jobs.start(CALIBRATE, work, state.session_id, title=f"Calibrate {', '.join(editors)} for {lm.name}")


def estimated(state: WorkbenchState, lm: LoadedLM, config: CalibrationConfig, *, n_editor: int) -> tuple[Estimate, int]:
    """Return what a calibration takes, and how many edits earlier ones of this model measured."""
    path = calibration_folder(lm) / TRIALS
    return state.remembered(
        "models-estimate",
        lambda: (estimate(lm, config, n_editor=n_editor), len(TrialBook(path))),
        made_from=fingerprint_value([lm.fingerprint, config, n_editor, book_state(path)]),
    )


def found_profile(lm: LoadedLM) -> tuple[ModelProfile | None, str]:
    """Return the result of the model's last calibration, or why it cannot be read."""
    try:
        found = last_found(lm)
        if found is not None:
            check_profile(found, lm, path=found_path(lm))
        return found, ""
    except KgmetError as error:
        return None, str(error)


def profile_in_use(lm: LoadedLM) -> tuple[ModelProfile | None, bool, str]:
    """Return the profile that settings come from, whether it is the user's own, and why an own one is not used."""
    is_own = profile_path(lm).exists()
    try:
        return find_profile(lm), is_own, ""
    except KgmetError as error:
        return None, is_own, str(error)


def use_profile(lm: LoadedLM, profile: ModelProfile) -> str | None:
    """Make a profile the one that settings come from, wherever this model is loaded; editors it lacks stay."""
    try:
        check_profile(profile, lm)
        save_profile(kept_profile(lm, profile), profile_path(lm))
    except KgmetError as error:
        return str(error)
    return None


def upload_profile(lm: LoadedLM, data: bytes, *, name: str) -> str | None:
    """Use a profile from a file; return why it is refused, which names both models or versions."""
    try:
        found = profile_from_json(parse_json(data, where=name, limits=SETTINGS_FILE), where=name)
        check_profile(found, lm)
    except KgmetError as error:
        return str(error)
    return use_profile(lm, found)


def drop_profile(lm: LoadedLM) -> str | None:
    """Go back to what comes with the program; the calibration's result stays and can be used again."""
    try:
        profile_path(lm).unlink(missing_ok=True)
    except OSError as error:
        return str(UnwritableError(f"{profile_path(lm)} cannot be deleted: {error.strerror}."))
    return None


def profile_text(profile: ModelProfile) -> str:
    """Return a profile as the text of its file."""
    return json.dumps(profile.to_json(), ensure_ascii=False, indent=1)
