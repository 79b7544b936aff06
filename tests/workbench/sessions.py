"""Sessions and edits for tests: the tiny model as the resident one, a vault in a temporary folder, made-up patches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
import torch

from kgmet.editing.report import EditReport, own_question
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.answer import Answer
from kgmet.measure.edit_verdict import judge_edit
from kgmet.measure.question import Question
from kgmet.write.corpus import Corpus
from kgmet.write.patch import EditPatch
from kgmet.write.solve import LayerUpdate
from kgmet.write.statistics import KeyStatistics
from tests.tiny_models import tiny_lm
from workbench import shell
from workbench.running import jobs, resources
from workbench.shared import actions, examples
from workbench.state.kept import keeps
from workbench.state.session import WorkbenchState
from workbench.state.values import FactDraft, StackEntry
from workbench.state.vault import SessionVault, vault

EIFFEL = FactDraft(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo")
SMALL_SETTINGS = {
    "write": {"layers": [1, 2]},
    "target": {"max_steps": 2},
    "hold": {"consequences": 2, "neighbours": 2, "contexts": 2},
}
"""Layers the tiny model has, and a search that ends after two steps."""


def fresh_process(folder: Path, monkeypatch: object) -> resources.Resident:
    """Everything process-wide anew: caches in `folder`, no sessions, the tiny model resident."""
    monkeypatch.setenv("KGMET_CACHE", str(folder))  # type: ignore[attr-defined]
    # The tiny model knows nothing and never says what an edit wants: no work on the side for it.
    monkeypatch.setattr(examples, "known_edits", lambda *_, **__: frozenset())  # type: ignore[attr-defined]
    monkeypatch.setattr(actions.remedies, "look_for", lambda *_: None)  # type: ignore[attr-defined]
    monkeypatch.setattr(actions.ahead, "start", lambda *_, **__: None)  # type: ignore[attr-defined]
    st.cache_resource.clear()
    keeps(*shell.KEPT)  # as the app does when it starts
    lm = tiny_lm()
    corpus = Corpus(
        name="few lines", lines=tuple(f"Line {n} of a short text about towers and rivers." for n in range(40))
    )
    return resources.model_holder().put(lm, KeyStatistics(lm, corpus))


@pytest.fixture
def resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[resources.Resident]:
    """The resident model of a fresh process, with its caches in the test's own folder."""
    yield fresh_process(tmp_path, monkeypatch)


def state_of(known: SessionVault | None = None) -> WorkbenchState:
    """A new session with settings the tiny model can follow."""
    state = WorkbenchState((known or vault()).new())
    state.record.saved = replace(state.record.saved, settings=dict(SMALL_SETTINGS))
    return state


def edited(state: WorkbenchState, resident: resources.Resident, draft: FactDraft = EIFFEL) -> WorkbenchState:
    """The session once an edit was applied in it."""
    state.set_draft(draft)
    assert actions.apply(state, resident) is None
    job = jobs.latest(state.session_id, "edit")
    assert job is not None and wait_for(job.id).error == ""
    return state


def restarted(state: WorkbenchState) -> WorkbenchState:
    """The same session after the server was started again."""
    vault.clear()  # type: ignore[attr-defined]
    found = vault().find(state.session_id)
    assert found is not None
    return WorkbenchState(found)


def patch_for(lm: LoadedLM, *, subject: str = "Paris", new: str = "Rome", seed: int = 0) -> EditPatch:
    """A patch of one layer with random factors."""
    draw = torch.Generator().manual_seed(seed)
    update = LayerUpdate(
        layer=1,
        weight_name="model.layers.1.mlp.down_proj",
        output_factor=torch.randn(1, lm.d_model, generator=draw),
        input_factor=torch.randn(1, lm.d_key, generator=draw),
    )
    edit = FactEdit(subject=subject, template="{} is in", new_object=new, old_object="London")
    keys = {1: ((edit.id,), torch.randn(1, lm.d_key, generator=draw))}
    return EditPatch(edits=(edit,), updates=(update,), model_fingerprint=lm.fingerprint, editor="KGMET", keys=keys)


def answer_to(question: Question, said: str, *, new: float, old: float | None, rank: int = 1) -> Answer:
    """An answer with made-up probabilities, each of one token."""

    def score(answer: str | None, probability: float | None) -> AnswerScore | None:
        if answer is None or probability is None:
            return None
        return AnswerScore(
            prompt=question.text,
            answer=answer,
            logprob=math.log(probability),
            n_token=1,
            is_first=False,
            rank=rank,
            n_hit=0,
        )

    return Answer(
        question=question,
        said=said,
        form=question.form,
        expected=score(question.expected, new),
        rejected=score(question.rejected, old),
    )


def entry_for(lm: LoadedLM, *, seed: int = 0, name: str = "", based_on: tuple[str, ...] = ()) -> StackEntry:
    """A stack entry with a made-up patch and a report."""
    patch = patch_for(lm, subject=f"Paris {seed}", seed=seed)
    question = own_question(patch.edits[0])
    before, after = answer_to(question, "London", new=0.25, old=0.5), answer_to(question, "Rome", new=0.75, old=0.125)
    report = EditReport(
        edit=patch.edits[0],
        editor="KGMET",
        graph={"took_part": False, "notes": []},
        before=before,
        after=after,
        verdict=judge_edit(before, after),
        consequences=(),
    )
    return StackEntry(
        patch=patch, name=name or f"edit {seed}", report=report, based_on=based_on, curve=({"total": 1.0},)
    )


def batch_entry(lm: LoadedLM) -> StackEntry:
    """An imported patch of three edits, each with a key of its own at one layer."""
    draw = torch.Generator().manual_seed(9)
    template = "{} is located in the city of"
    edits = tuple(
        FactEdit(subject=subject, template=template, new_object=new)
        for subject, new in (("The Eiffel Tower", "Tokyo"), ("The Colosseum", "Berlin"), ("Big Ben", "Rome"))
    )
    keys = torch.randn(3, lm.d_key, generator=draw)
    update = LayerUpdate(
        layer=1,
        weight_name="model.layers.1.mlp.down_proj",
        output_factor=torch.randn(3, lm.d_model, generator=draw),
        input_factor=keys / keys.norm(dim=-1, keepdim=True),
    )
    patch = EditPatch(
        edits=edits,
        updates=(update,),
        model_fingerprint=lm.fingerprint,
        editor="KGMET",
        keys={1: (tuple(f"{edit.id}/0" for edit in edits), keys)},
    )
    return StackEntry(patch=patch, name="three towers", note="imported")


def wait_for(job_id: str, *, seconds: float = 300.0) -> jobs.Job:
    """The job once it has ended."""
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = jobs.job(job_id)
        assert job is not None
        if job.is_finished:
            return job
        time.sleep(0.01)
    raise AssertionError(f"job {job_id} did not end in {seconds} s")
