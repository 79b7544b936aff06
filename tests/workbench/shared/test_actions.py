"""What the buttons do, on the tiny model and the sample graph."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kgmet.editing.plan import SearchedEdits
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import attached
from tests.workbench.sessions import EIFFEL, entry_for, state_of, wait_for
from workbench.running import jobs
from workbench.running.jobs import JobState
from workbench.running.resources import Resident
from workbench.screens.probe import actions as probe_actions
from workbench.shared import actions, inspect_actions
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, StackEntry


def applied(state: WorkbenchState, resident: Resident, draft: FactDraft = EIFFEL) -> jobs.Job:
    state.set_draft(draft)
    assert actions.apply(state, resident) is None
    job = jobs.latest(state.session_id, "edit")
    assert job is not None
    return wait_for(job.id)


def test_undo_gives_back_every_probability_to_the_bit(resident: Resident) -> None:
    state, lm = state_of(), resident.lm
    pair = [("The Eiffel Tower is located in the city of", "Tokyo")]
    before = score_answers(lm, pair)[0].logprob
    job = applied(state, resident)
    assert (job.state, job.error) == (JobState.DONE, "")
    (entry,) = state.stack
    with attached(state.live_patches(lm), lm):
        assert score_answers(lm, pair)[0].logprob != before
    assert entry.report is not None and entry.curve and entry.context is not None
    assert actions.undo(state) is None
    checked = actions.undo_check(state, lm, entry)
    assert checked is not None and checked[1]
    with attached(state.live_patches(lm), lm):
        assert score_answers(lm, pair)[0].logprob == before
    assert actions.redo(state) is None
    assert [item.id for item in state.stack] == [entry.id]


def test_two_sessions_do_not_see_each_others_edits(resident: Resident) -> None:
    one, two = state_of(), state_of()
    applied(one, resident)
    applied(two, resident, replace(EIFFEL, new_object="Rome"))
    assert [entry.edit.new_object for entry in one.stack if entry.edit] == ["Tokyo"]
    assert [entry.edit.new_object for entry in two.stack if entry.edit] == ["Rome"]
    assert two.live(resident.lm)[0].based_on == ()


def test_a_second_edit_comes_on_top_of_the_first(resident: Resident) -> None:
    state = state_of()
    applied(state, resident)
    applied(state, resident, FactDraft(subject="Germany", template="The capital of {} is", new_object="Rome"))
    first, second = state.stack
    assert second.based_on == (first.id,)
    assert [patch.id for patch in state.live_patches(resident.lm)] == [first.id, second.id]


def test_another_editor_prepares_what_it_needs(resident: Resident) -> None:
    """The shuffled-facts control needs names of unrelated entities, which a preparation for KGMET leaves out."""
    state = state_of()
    state.set_draft(EIFFEL)
    assert actions.prepare(state) is None and state.context is not None and state.context.unrelated_names == ()
    state.set_editor("shuffled-facts", state.settings)
    assert actions.prepare(state) is None and state.context is not None and state.context.unrelated_names


def test_an_unknown_subject_is_edited_without_a_graph(resident: Resident) -> None:
    state = state_of()
    job = applied(state, resident, FactDraft(subject="Zorbulon Nine", template="{} is ruled by", new_object="Quuxo"))
    assert job.state is JobState.DONE
    assert state.context is not None and not state.context.has_graph
    report = state.stack[0].report
    assert report is not None and report.graph["took_part"] is False


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (FactDraft(subject="Paris", template="no place", new_object="Rome"), "Paris"),
        (FactDraft(subject="Paris", template="{} and {}", new_object="Rome"), "2 places"),
        (FactDraft(subject=" ", template="{} is in", new_object="Rome"), "subject is empty"),
        (FactDraft(subject="Paris", template="{} is in", new_object=""), "new object is empty"),
        (
            FactDraft(subject="Paris", template="{} is in", new_object="rome", old_object="Rome"),
            "Give another new object",
        ),
        (FactDraft(subject="x" * 300, template="{} is in", new_object="Rome"), "300 characters"),
        (FactDraft(subject="Pa\nris", template="{} is in", new_object="Rome"), "line break"),
    ],
)
def test_what_cannot_be_edited_gets_a_sentence_and_changes_nothing(
    resident: Resident, draft: FactDraft, said: str
) -> None:
    state = state_of()
    state.set_draft(draft)
    message = actions.apply(state, resident)
    assert message is not None and said in message
    assert state.context is None and not state.stack and not state.is_busy


@pytest.mark.parametrize("subject", ["Эйфелева башня", "東京タワー", "برج إيفل", "🗼 Tower", "<b>Tower</b>", "{Tower}"])
def test_any_script_can_be_edited(resident: Resident, subject: str) -> None:
    state = state_of()
    job = applied(state, resident, FactDraft(subject=subject, template="{} is in", new_object="東京"))
    assert (job.state, job.error) == (JobState.DONE, "")


def test_a_second_click_is_refused_and_a_cancelled_edit_applies_nothing(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of()
    state.set_editor("KGMET", {**state.settings, "target": {"max_steps": 200, "stop_nll": 1e-9}})
    state.set_draft(EIFFEL)
    assert actions.apply(state, resident) is None
    said = actions.apply(state, resident)
    assert said is not None and "still running" in said
    assert actions.undo(state) is not None
    job = jobs.latest(state.session_id, "edit")
    assert job is not None
    jobs.cancel(job.id)
    assert wait_for(job.id).state is JobState.CANCELLED
    assert not state.stack


def test_unticked_consequences_and_switched_triples_reach_the_context(resident: Resident) -> None:
    state = state_of()
    state.set_draft(EIFFEL)
    assert actions.prepare(state) is None
    context = state.context
    assert context is not None and context.consequences is not None and context.subgraph is not None
    item = context.consequences.forward[0]
    gone = next(triple for triple in context.subgraph.triples if triple != context.subgraph.edited)
    state.set_draft(replace(state.draft, leave=frozenset({item.id}), exclude=(gone.key,)))
    assert actions.prepare(state) is None
    assert state.context is not None and state.context is not context
    assert item.id in state.context.left
    assert state.context.subgraph is not None and gone not in state.context.subgraph.triples


def test_probes_compare_this_edit_with_what_was_under_it(resident: Resident) -> None:
    state = state_of()
    applied(state, resident)
    entry = state.stack[0]
    context = actions.context_of(entry, state.config)
    prompts = probe_actions.generated(context)[:6]
    chains = probe_actions.chain_prompts(context)[:1]
    decoding = probe_actions.Decoding(max_new_tokens=3)
    assert probe_actions.probe(state, resident, entry, prompts, chains, decoding=decoding) is None
    job = jobs.latest(state.session_id, "probe")
    assert job is not None
    ended = wait_for(job.id)
    assert ended.error == ""
    kept = state.result("probe")
    assert kept is not None
    run = kept.value
    assert [pair.after.question for pair in run.comparison.pairs] == list(prompts)
    assert len(run.divergence) == len(prompts) and run.divergence[0] > 0 and min(run.divergence) >= 0
    assert not kept.is_stale(probe_actions.probe_fingerprint(state, resident.lm, entry, prompts, decoding))
    assert kept.is_stale(probe_actions.probe_fingerprint(state, resident.lm, entry, prompts[:2], decoding))
    assert all(run.hop(prompt) is not None for chain in run.chains for _, prompt in chain.hops)


def test_a_comparison_takes_the_search_of_the_applied_edit_only_where_nothing_changed_below_it(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, SearchedEdits]] = []
    monkeypatch.setattr(inspect_actions, "compare_editors", lambda *_given, searched, **_rest: given.append(searched))
    state = state_of()
    applied(state, resident, replace(EIFFEL, subject="The Colosseum", new_object="Berlin"))
    applied(state, resident)
    below, entry = state.stack
    assert entry.edit is not None

    def compared(chosen: str) -> dict[str, SearchedEdits]:
        assert inspect_actions.compare(state, resident, entry.patch.edits[0], [], chosen=chosen) is None
        job = jobs.latest(state.session_id, "compare")
        assert job is not None and wait_for(job.id).error == ""
        return given[-1]

    (searched,) = compared(entry.id).values()
    assert searched is entry.searched and list(compared(entry.id)) == [entry.patch.editor]
    assert compared("") == {}
    state.record.saved = state.record.saved.changed(below.id, is_on=False)
    assert compared(entry.id) == {}


def test_edits_that_share_no_layer_all_together_are_not_compared_all_together(resident: Resident) -> None:
    def at(entry: StackEntry, layers: tuple[int, ...]) -> StackEntry:
        patch, update = entry.patch, entry.patch.updates[0]
        keys = {layer: next(iter(patch.keys.values())) for layer in layers}
        updates = tuple(replace(update, layer=layer) for layer in layers)
        return replace(entry, patch=replace(patch, updates=updates, keys=keys))

    state = state_of()
    only_two, only_one, both = (
        at(entry_for(resident.lm, seed=seed), layers) for seed, layers in enumerate(((2,), (1,), (1, 2)))
    )
    for entry in (only_two, only_one, both):
        state.record.saved = replace(state.record.saved, stack=(*state.stack, entry))
    assert inspect_actions.comparable(state, resident.lm, both) == [only_one, both]
    assert inspect_actions.comparable(state, resident.lm, only_two) == [only_two, both]
