"""Calibration on a tiny model: what it tries, keeps, reads back, refuses, and that the check is on other facts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import ArtifactError, Cancelled, ConfigError, NonFiniteError
from kgmet.base.progress import Silent, Stage
from kgmet.calibrate import measuring
from kgmet.calibrate.calibrate import calibrate
from kgmet.calibrate.cases import build_cases, usable_relations
from kgmet.calibrate.halving import halve, rounds_of
from kgmet.calibrate.measuring import CaseRunner
from kgmet.calibrate.results import kept_profile
from kgmet.calibrate.settings import settings_to_try
from kgmet.calibrate.trials import Trial, TrialBook, calibration_folder, open_book
from kgmet.calibrate.where import LayerEffects, measure_layers, propose_layers
from kgmet.editing.config import config_from_mapping
from kgmet.editing.defaults import SettingsSource, default_settings, uncalibrated_settings
from kgmet.editing.editors import EDITORS, IN_CONTEXT
from kgmet.editing.profile import load_profile, profile_path, save_profile
from kgmet.forecast.known import known_facts
from kgmet.inspect.causal_trace import causal_trace
from kgmet.inspect.sweep import Part
from kgmet.inspect.traced_prompt import TracedPrompt
from kgmet.lm.load.bundled import cache_root
from kgmet.lm.load.loaded import wrap_lm
from kgmet.lm.run.spans import Phrase
from kgmet.measure.columns import COLUMNS, Counts
from kgmet.measure.question import QuestionKind
from kgmet.write.statistics import KeyStatistics
from tests.calibrate.knowing import CATALOGUE, CONFIG, EDITOR, LM, Undisturbed, knowing_store, run
from tests.progress import Recorded
from tests.tiny_models import tiny_lm, tiny_model, tiny_tokenizer

LOUVRE = TracedPrompt(phrase=Phrase(template="{} is located in the city of", subject="The Louvre"), answer="Paris")


def test_cases_fill_every_column_and_the_check_shares_neither_subjects_nor_wordings() -> None:
    store = knowing_store(LM)
    assert "P131" in usable_relations(store, CATALOGUE)
    known = known_facts(LM, store, CATALOGUE, relations=["P131"], per_relation=48)
    cases = build_cases(store, CATALOGUE, known.facts, n_search=4, n_check=6, seed=0)
    assert (len(cases.search), len(cases.check)) == (4, 6)
    for case in (*cases.search, *cases.check):
        kinds = {question.kind for question in case.questions}
        assert kinds == {
            QuestionKind.REWRITE,
            QuestionKind.PARAPHRASE,
            QuestionKind.NEIGHBOUR,
            QuestionKind.CONSEQUENCE,
        }
        assert case.edit.old_object in {fact.answer for fact in known.facts}
        assert case.edit.new_object != case.edit.old_object
    assert not {case.edit.subject for case in cases.search} & {case.edit.subject for case in cases.check}

    def wordings(cases: object) -> set[str]:
        texts = set()
        for case in cases:  # type: ignore[attr-defined]
            for question in case.questions:
                if question.kind is QuestionKind.PARAPHRASE:
                    texts.add(question.text.replace(case.edit.subject.removeprefix("The "), ""))
        return texts

    assert not wordings(cases.search) & wordings(cases.check)
    assert cases == build_cases(store, CATALOGUE, known.facts, n_search=4, n_check=6, seed=0)
    assert cases != build_cases(store, CATALOGUE, known.facts, n_search=4, n_check=6, seed=1)
    # With fewer facts than wanted both halves shrink, and the search's are still among the first.
    few = build_cases(store, CATALOGUE, known.facts, n_search=400, n_check=600, seed=0)
    assert 4 <= len(few.search) < len(few.search) + len(few.check) <= known.known


@pytest.mark.parametrize("name", list(EDITORS))
def test_every_editor_gets_the_same_number_of_settings_each_another(name: str) -> None:
    editor, lm = EDITORS[name], tiny_lm("llama", seed=1)
    base = default_settings(editor, lm).config
    tried = settings_to_try(editor, base, 18, n=12, seed=0, proposed=(4, 5))
    configs = [config_from_mapping(changes, base=base) for changes in tried]
    assert configs[0] == base
    assert configs[1].write.layers == (4, 5)
    assert len(tried) == 12
    assert all(config not in configs[:n] for n, config in enumerate(configs))
    assert all(0 <= config.write.layers[0] <= config.write.layers[-1] <= 16 for config in configs)
    assert settings_to_try(editor, base, 18, n=6, seed=0, proposed=(4, 5)) == tried[:6]
    assert settings_to_try(editor, base, 18, n=12, seed=1, proposed=(4, 5)) != tried


def test_more_wordings_in_a_shorter_shift_are_tried_before_anything_is_drawn() -> None:
    editor = EDITORS["KGMET"]
    base = config_from_mapping({"write": {"layers": [2, 3, 4, 5]}}, base=editor.config)
    tried = settings_to_try(editor, base, 18, n=3, seed=0, proposed=(4, 5))
    assert tried[:2] == [{}, {"write": {"layers": [4, 5]}}]
    assert tried[2] == {
        "hold": {"paraphrases": 3, "wordings": 3},
        "target": {"max_norm_ratio": 0.78},
        "write": {"layers": [0, 1, 2, 3, 4, 5]},
    }
    without = settings_to_try(EDITORS["AlphaEdit"], EDITORS["AlphaEdit"].config, 18, n=4, seed=0)
    assert not any("hold" in changes for changes in without)


def test_no_kind_of_setting_stays_untried_with_a_small_budget() -> None:
    editor, lm = EDITORS["KGMET"], tiny_lm("llama", seed=1)
    base = default_settings(editor, lm).config
    for seed in range(5):
        tried = settings_to_try(editor, base, 18, n=9, seed=seed)
        changed = {f"{stage}.{name}" for changes in tried for stage, values in changes.items() for name in values}
        assert changed >= {
            "write.layers",
            "target.rate",
            "target.max_steps",
            "target.max_norm_ratio",
            "hold.wordings",
            "cutoff.value",
            "write.ridge",
        }


def test_the_better_half_goes_on_and_the_uncalibrated_settings_always_do() -> None:
    assert (rounds_of(16), rounds_of(24), rounds_of(5)) == ((4, 8, 16), (6, 12, 24), (5,))
    asked: list[tuple[int, int]] = []
    reached = {0: 1, 1: 3, 2: 2, 3: 4, 4: 0, 5: 4}

    def measure(number: int, n: int) -> list[Trial]:
        asked.append((number, n))
        if number == 4:
            return [Trial(failed="does not work here")] * n
        counts = Counts(n=4, preferred=reached[number], first=reached[number])
        return [Trial(columns=dict.fromkeys(COLUMNS, counts))] * n

    ranked = halve(6, 16, measure)
    assert [(number, n) for number, n in asked if n == 4] == [(number, 4) for number in range(6)]
    assert [number for number, n in asked if n == 8] == [0, 3, 5, 1]
    assert [number for number, n in asked if n == 16] == [0, 3, 5]
    assert [(one.number, one.n_case) for one in ranked] == [(3, 16), (5, 16), (0, 16)]
    # Out of time: each round compares two, the uncalibrated ones and the best so far.
    asked.clear()
    assert [one.number for one in halve(6, 16, measure, seconds=0.0)] == [1, 0]
    assert asked == [(0, 4), (1, 4), (0, 8), (1, 8), (0, 16), (1, 16)]


def test_a_calibration_chooses_checks_and_is_found_by_default(undisturbed: Undisturbed) -> None:
    shutil.copytree(undisturbed.cache, cache_root())
    found = undisturbed.found
    assert found.profile is not None
    assert found.n_read == 0
    editor = found.profile.editors["MEMIT"]
    assert (editor.tried, editor.n_search, editor.n_check) == (3, 4, 6)
    assert editor.searched["efficacy"].n == 4
    assert editor.checked["efficacy"].n == editor.checked_default["efficacy"].n == 6
    assert set(editor.checked) == set(COLUMNS)
    if editor.is_default:
        assert editor.config == uncalibrated_settings(EDITOR, LM).config
        assert editor.checked == editor.checked_default
    assert found.profile.knows["known"] == found.knows.known > 0
    assert len(LayerEffects.from_json(found.profile.layers).restored) == LM.n_layer
    save_profile(found.profile, profile_path(LM))
    assert load_profile(profile_path(LM)) == found.profile
    settings = default_settings(EDITOR, LM)
    assert (settings.source, settings.config) == (SettingsSource.CALIBRATED, editor.config)
    # Another editor's calibration keeps this one's; calibrating never starts from what was calibrated.
    other = replace(found.profile, editors={"FT": replace(editor, editor="FT")})
    assert set(kept_profile(LM, other).editors) == {"MEMIT", "FT"}
    again = run()
    assert again.profile == found.profile
    assert again.n_read > 0


def test_a_calibration_that_was_stopped_goes_on_where_it_was() -> None:
    with pytest.raises(Cancelled):
        run(progress=Recorded(lambda so_far: so_far.most(Stage.CALIBRATE) >= 4))
    kept = len(TrialBook(calibration_folder(LM) / "trials.jsonl"))
    assert 4 <= kept < 12
    whole = run()
    assert whole.n_read == kept
    n_trial = len(TrialBook(calibration_folder(LM) / "trials.jsonl"))
    assert run().n_read == n_trial
    assert run().profile == whole.profile
    # A line cut off by a power failure is measured again, nothing else.
    path = calibration_folder(LM) / "trials.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    again = run()
    assert again.n_read == n_trial - 1
    assert again.profile == whole.profile


def test_a_model_that_knows_nothing_keeps_its_settings() -> None:
    found = calibrate(LM, knowing_store(LM, knows=False), CATALOGUE, [EDITOR], config=CONFIG)
    assert found.profile is None
    assert "knows 0 of" in found.reason
    assert "keeps its uncalibrated settings" in found.reason


def test_an_editor_that_writes_nothing_is_refused() -> None:
    (told, *_) = IN_CONTEXT.values()
    with pytest.raises(ConfigError, match=f"{told.name} writes nothing"):
        calibrate(LM, knowing_store(LM), CATALOGUE, [told], config=CONFIG)


def test_settings_that_do_not_work_are_passed_over_and_tried_again_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = measuring.write_edits
    base = uncalibrated_settings(EDITOR, LM).config

    def write(*words: object, **named: object) -> object:
        if words[1].config != base:  # type: ignore[attr-defined]
            raise NonFiniteError("The update holds NaN.")
        return own(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "write_edits", write)
    heard = Recorded()
    found = run(progress=heard)
    assert found.profile is not None
    assert found.profile.editors["MEMIT"].is_default
    assert sum("NonFiniteError: The update holds NaN." in text for text in heard.notes) == 2
    monkeypatch.undo()


def test_a_model_or_keys_that_are_not_finite_are_named() -> None:
    model = tiny_model("llama", seed=1)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(float("nan"))
    broken = wrap_lm(model, tiny_tokenizer(), name="broken")
    with pytest.raises(NonFiniteError, match="broken gives NaN"):
        measure_layers(broken, [LOUVRE])
    with open_book(broken) as book:
        runner = CaseRunner(
            broken, knowing_store(LM), CATALOGUE, statistics=KeyStatistics(broken), book=book, progress=Silent()
        )
        with pytest.raises(NonFiniteError, match="layer 1"):
            runner.prepare([1])


_HOLD = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process() -> Iterator[None]:
    """Another Python that holds the lock, started from nothing: pages of other tests may stand in for `__main__`."""
    folder = calibration_folder(LM)
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", _HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()


@pytest.mark.usefixtures("other_process")
def test_two_processes_do_not_calibrate_one_model() -> None:
    with pytest.raises(ArtifactError, match="Another process is calibrating tiny llama"), open_book(LM):
        pass


def test_the_trace_is_averaged_at_the_subjects_last_token() -> None:
    found = measure_layers(LM, [LOUVRE])
    assert found.n == 1
    assert len(found.restored) == LM.n_layer
    assert found == measure_layers(LM, [LOUVRE])
    assert found != measure_layers(LM, [LOUVRE], seed=1)
    single = causal_trace(LM, LOUVRE, part=Part.MLP)
    assert (found.clean, found.disturbed) == pytest.approx((single.clean, single.corrupted))
    assert found.restored == pytest.approx(single.restored[:, single.source.subject.stop - 1].tolist())
    other = TracedPrompt(phrase=Phrase(template="The capital of {} is", subject="Italy"), answer="Rome")
    both = measure_layers(LM, [LOUVRE, other])
    assert both.n == 2
    assert both.restored == pytest.approx(
        [(a + b) / 2 for a, b in zip(found.restored, measure_layers(LM, [other]).restored, strict=True)]
    )


def test_the_layer_around_which_most_comes_back_is_proposed() -> None:
    effects = LayerEffects(n=9, clean=0.5, disturbed=0.1, restored=(0.1, 0.15, 0.3, 0.4, 0.2, 0.45), window=1)
    found = propose_layers(effects, (0, 1), 6)
    assert found.layers == (2, 3)  # after the last layer nothing can be searched
    assert "in 1 layers around layer 3 returns 30 of the 40 points" in found.reason
    low = propose_layers(replace(effects, restored=(0.4, 0.1, 0.1, 0.1, 0.1, 0.1)), (2, 3, 4), 6)
    assert low.layers == (0, 1, 2)
    nothing = propose_layers(replace(effects, restored=(0.1,) * 6), (0, 1), 6)
    assert nothing.layers == ()
    assert "too little to say" in nothing.reason
