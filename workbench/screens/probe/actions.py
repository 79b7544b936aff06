"""Actions of the Probe page: probe sets, chains hop by hop, and the run that asks them before and after."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from kgmet.base.progress import Progress
from kgmet.editing.context import EditContext
from kgmet.editing.report import own_question
from kgmet.graph.consequence import EditConsequences
from kgmet.graph.phrasing import fill
from kgmet.graph.reading.probe_prompts import QuestionConfig, first_questions, generate_probes
from kgmet.graph.triple import Triple
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.ask import Decoding, SideAnswers, ask_each_side
from kgmet.measure.compare import Comparison, compare_answers
from kgmet.measure.divergence import divergences
from kgmet.measure.question import Question, QuestionKind
from kgmet.measure.sides import before_and_after
from kgmet.measure.told import ask_told
from kgmet.write.patch import EditPatch, attached
from workbench.drawing.probe_story import RESULT
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.screens.probe.tables import probe_story
from workbench.screens.probe.values import Chain, ProbeRun
from workbench.shared.inspect_actions import seen_from
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["chain_prompts", "generated", "probe", "probe_fingerprint"]


def generated(context: EditContext, config: QuestionConfig | None = None) -> tuple[Question, ...]:
    """Return the graph's probe set for an edit, or only the edit's own prompt if the graph does not know it."""
    if context.consequences is None:
        edit = context.edit
        return (own_question(edit, context),)
    config = config or QuestionConfig()
    made = generate_probes(store(), catalogue(), context.edit, context.consequences, config=config, ends=context.ends)
    return tuple(Question.from_generated(item) for item in made)


def chain_prompts(context: EditContext) -> tuple[Chain, ...]:
    """Return the forward consequences as chains; chains with a hop without wording are left out."""
    wholes = {} if context.consequences is None else dict(_whole_questions(context.consequences))
    chains = []
    for item in context.consequences.forward if context.consequences is not None else ():
        hops = []
        for triple in item.path_new:
            if triple.relation.id not in catalogue():
                break
            is_edit = triple.relation.id == context.edit.relation and triple.subject == item.subject
            hops.append((triple, own_question(context.edit, context) if is_edit else _hop_question(triple)))
        if len(hops) == len(item.path_new):
            chains.append(Chain(consequence=item, hops=tuple(hops), whole=wholes.get(item.id)))
    return tuple(chains)


def _whole_questions(found: EditConsequences) -> Iterator[tuple[str, Question]]:
    for item, made in first_questions(found):
        yield item.id, Question.from_generated(made)


def _hop_question(triple: Triple) -> Question:
    return Question(
        kind=QuestionKind.OWN,
        text=fill(catalogue().spec(triple.relation.id).cloze[0], triple.subject),
        expected=triple.object.label,
        aliases=(triple.object.in_text, *triple.object.aliases),
        source_id=" ".join(triple.key),
    )


def probe_fingerprint(
    state: WorkbenchState,
    lm: LoadedLM,
    entry: StackEntry,
    prompts: Sequence[Question],
    decoding: Decoding,
    *,
    told: Sequence[str] = (),
) -> str:
    """Return the fingerprint of everything the answers depend on."""
    return state.fingerprint(lm.fingerprint, entry.id, [prompt.to_json() for prompt in prompts], decoding, list(told))


def probe(
    state: WorkbenchState,
    resident: Resident,
    entry: StackEntry,
    prompts: Sequence[Question],
    chains: Sequence[Chain],
    *,
    decoding: Decoding,
    told: Sequence[str] = (),
) -> str | None:
    """Start the job ``probe``: ask the prompts and chains without and with one edit, and with the fact told.

    `told` are the sentences told instead of the edit; without any, the told model is not asked.
    """
    lm = resident.lm
    earlier = state.live_patches(lm, before=entry.id)
    made_from = probe_fingerprint(state, lm, entry, prompts, decoding, told=told)
    seen = seen_from(state, resident, entry)
    hops = list(dict.fromkeys(question for chain in chains for question in chain.questions))

    def work(progress: Progress) -> None:
        begin = time.perf_counter()
        with attached(earlier, lm):
            (before, after), hop_by_hop = _asked(lm, entry.patch, prompts, hops, decoding, progress)
            answers = ask_told(lm, prompts, told, decoding=decoding, progress=progress) if told else None
        progress.check()
        run = ProbeRun(
            entry_id=entry.id,
            comparison=compare_answers(before.answers, after.answers),
            divergence=tuple(divergences(before.logits, after.logits)),
            chains=tuple(chains),
            hops=hop_by_hop,
            decoding=decoding,
            told=answers,
            seconds=time.perf_counter() - begin,
        )
        state.keep("probe", run, made_from=made_from)
        state.keep(RESULT, probe_story(run), made_from=seen)

    return jobs.start("probe", work, state.session_id, title=f"Probe {entry.name}")


def _asked(
    lm: LoadedLM,
    patch: EditPatch,
    prompts: Sequence[Question],
    hops: Sequence[Question],
    decoding: Decoding,
    progress: Progress,
) -> tuple[list[SideAnswers], Comparison]:
    """Return the answers to the prompts before and after, and to the hops (always greedy).

    If the prompts are greedy too, all share one pass, because a few more answers cost almost nothing.
    """
    sides = before_and_after(patch, lm)
    short = replace(decoding, temperature=0.0, seed=0)
    if decoding != short:
        found = ask_each_side(lm, prompts, sides, decoding=decoding, progress=progress)
        asked = ask_each_side(lm, hops, sides, decoding=short, progress=progress)
        return found, compare_answers(*(side.answers for side in asked))
    both = ask_each_side(lm, [*prompts, *hops], sides, decoding=short, progress=progress)
    n = len(prompts)
    found = [SideAnswers(answers=side.answers[:n], logits=side.logits[:n]) for side in both]
    return found, compare_answers(*(side.answers[n:] for side in both))
