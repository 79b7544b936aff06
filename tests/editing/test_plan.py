from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kgmet.base.errors import Cancelled, ConfigError, ContradictionError
from kgmet.base.progress import ProgressEvent
from kgmet.editing.editors import EDITORS
from kgmet.editing.plan import search_edits, write_edits
from kgmet.editing.report import EditReport, report_edit
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import next_tokens, score_answers
from kgmet.write.patch import attached, load_patch, save_patch
from kgmet.write.statistics import KeyStatistics
from tests.editing.small import CORPUS, GATE, TOWER, context_of, planned, small_editor
from tests.forecast.tiny_world import known_world


def weights_of(lm: LoadedLM) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


@pytest.mark.parametrize("name", EDITORS)
def test_every_editor_makes_the_new_object_likelier_and_leaves_every_weight_alone(
    lm: LoadedLM, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgmet.editing.factories.sample_store", lambda: known_world(lm)[0])
    editor, pair = small_editor(EDITORS[name]), (TOWER.prompt, TOWER.new_object)
    weights = weights_of(lm)
    before = score_answers(lm, [pair])[0].logprob
    plan = planned(lm, editor, TOWER)
    with attached(plan.patch, lm):
        after = score_answers(lm, [pair])[0].logprob
    if name != "random":  # a random direction promises nothing
        assert after > before
    assert score_answers(lm, [pair])[0].logprob == before
    assert all(torch.equal(value, weights[key]) for key, value in lm.model.state_dict().items())


@pytest.mark.parametrize("name", ["KGMET", "KGMET-paper", "AlphaEdit", "MEMIT"])
def test_an_edit_gives_the_same_shift_alone_and_in_a_batch_and_again(lm: LoadedLM, name: str) -> None:
    editor = small_editor(EDITORS[name])
    alone, again = planned(lm, editor, TOWER), planned(lm, editor, TOWER)
    together = planned(lm, editor, GATE, TOWER)
    assert alone.patch.id == again.patch.id
    torch.testing.assert_close(alone.shifts[0].delta, together.shifts[1].delta, rtol=1e-3, atol=1e-4)


def test_plans_apart_are_the_plans_alone(lm: LoadedLM) -> None:
    editor = small_editor(EDITORS["KGMET"])
    contexts = [context_of(edit, editor) for edit in (TOWER, GATE)]
    searched = search_edits(lm, contexts, editor=editor)
    statistics = KeyStatistics(lm, CORPUS)
    apart = [write_edits(lm, one, editor=editor, statistics=statistics) for one in searched.apart()]
    alone = planned(lm, editor, GATE)
    assert [plan.patch.edits for plan in apart] == [(contexts[0].edit,), (contexts[1].edit,)]
    torch.testing.assert_close(apart[1].patch.updates[0].dense(), alone.patch.updates[0].dense(), rtol=1e-2, atol=1e-4)


def test_a_saved_patch_does_what_the_fresh_one_does(lm: LoadedLM, tmp_path: Path) -> None:
    plan = planned(lm, small_editor(EDITORS["KGMET"]), TOWER)
    save_patch(plan.patch, tmp_path / "patch")
    loaded = load_patch(tmp_path / "patch")
    with attached(plan.patch, lm):
        fresh = next_tokens(lm, [TOWER.prompt])
    with attached(loaded, lm):
        assert next_tokens(lm, [TOWER.prompt]) == fresh


def test_later_edits_know_the_keys_of_earlier_ones(lm: LoadedLM) -> None:
    editor = small_editor(EDITORS["AlphaEdit"])
    first = planned(lm, editor, TOWER)
    second = planned(lm, editor, GATE, earlier=first.so_far)
    layer = editor.config.write.layers[0]
    own = f"{first.contexts[0].edit.id}/"
    assert any(name.startswith(own) for name in second.so_far.ledger.at(layer, lm.d_key).names)
    assert second.so_far.ledger.patch_ids == (first.patch.id, second.patch.id)


def test_a_shift_starts_from_the_unedited_model_but_on_top_of_an_edit_of_the_same_subject(lm: LoadedLM) -> None:
    editor = replace(small_editor(EDITORS["KGMET"]), searches_unedited=True)
    first = planned(lm, editor, TOWER)
    rest = {"earlier": first.so_far}
    again = FactEdit(subject="the eiffel tower", template="{} was designed by", new_object="Rome")
    unedited, fresh = planned(lm, editor, GATE, again), planned(lm, editor, again, GATE, **rest)
    shifts = {shift.edit_id: shift for shift in fresh.shifts}
    for plan_shift in unedited.shifts:
        before = shifts[plan_shift.edit_id].before
        is_same = bool(torch.allclose(before, plan_shift.before, atol=1e-5))
        assert is_same is (plan_shift.edit_id == GATE.id)
    assert [shift.edit_id for shift in fresh.shifts] == [again.id, GATE.id]


def test_a_subject_the_graph_does_not_know_is_edited_with_what_follows_from_the_new_object(lm: LoadedLM) -> None:
    editor = small_editor(EDITORS["KGMET"])
    edit = FactEdit(subject="Zorblax", template="{} is located in the city of", new_object="Rome")
    plan = planned(lm, editor, edit)
    assert plan.contexts[0].has_graph and not plan.contexts[0].knows_subject
    report = report_edit(lm, plan)
    assert report.graph["took_part"] is True and report.graph["part"]["is_subject_found"] is False
    assert "Zorblax (not in the graph) · located in city (guessed" in str(report)
    assert report.after.p_expected > report.before.p_expected


def test_contradictions_and_foreign_layers_are_refused(lm: LoadedLM) -> None:
    editor = small_editor(EDITORS["AlphaEdit"])
    other = replace(TOWER, id="", new_object="Berlin")
    with pytest.raises(ContradictionError, match="Berlin"):
        planned(lm, editor, TOWER, other)
    deep = replace(editor, config=replace(editor.config, write=replace(editor.config.write, layers=(2, 3))))
    with pytest.raises(ConfigError, match="4 layers"):
        planned(lm, deep, TOWER)


def test_the_same_edit_twice_is_made_once(lm: LoadedLM) -> None:
    plan = planned(lm, small_editor(EDITORS["AlphaEdit"]), TOWER, TOWER)
    assert len(plan.patch.edits) == 1


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_cancelled_plan_leaves_nothing_attached(lm: LoadedLM, after: int) -> None:
    class StopAfter:
        left = after

        def report(self, event: ProgressEvent) -> None:
            pass

        def check(self) -> None:
            if self.left == 0:
                raise Cancelled("stop")
            self.left -= 1

    before = next_tokens(lm, [TOWER.prompt])
    with pytest.raises(Cancelled):
        planned(lm, small_editor(EDITORS["KGMET"]), TOWER, progress=StopAfter())
    assert next_tokens(lm, [TOWER.prompt]) == before
    assert not any(module._forward_hooks for module in lm.model.modules())


def test_a_report_asks_in_words_that_were_not_optimised(lm: LoadedLM) -> None:
    plan = planned(lm, small_editor(EDITORS["KGMET"]), TOWER)
    optimised = {prompt.phrase(TOWER.subject).prompt for prompt in plan.problems[0].prompts}
    report = report_edit(lm, plan)
    assert report.consequences
    assert not optimised & {item.question.text for item in (*report.consequences, *report.multi_hop)}
    assert len(report.multi_hop) == 3 and all(not item.question.is_cloze for item in report.multi_hop)
    data = report.to_json()
    assert EditReport.from_json(json.loads(json.dumps(data))) == report


def test_every_published_editor_names_its_paper() -> None:
    ours = {"shuffled-facts", "no-graph", "shuffled-graph", "random"}
    for editor in EDITORS.values():
        if editor.name not in ours and not editor.source.startswith("ours"):
            assert re.search(r"arXiv:\d{4}\.\d{5}|emnlp", editor.source), editor.name
    for name in ("MEMIT_rect", "MEMIT_prune"):
        naive, compensated = EDITORS[name].config, EDITORS[f"{name}-ec"].config
        assert replace(compensated, write=replace(compensated.write, compensates=False)) == naive
