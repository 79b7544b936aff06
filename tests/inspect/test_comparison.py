"""Properties of the comparison: the same prompts for all, the best by value, nothing left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from kgmet.base.errors import ConfigError
from kgmet.editing import context as preparing
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS, IN_CONTEXT, editor_named
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.editing.told import sentences_of
from kgmet.fact import FactEdit
from kgmet.inspect.compare_editors import compare_editors, contest_prompts
from kgmet.inspect.comparison import Candidate, ComparisonRow, EditorComparison
from kgmet.inspect.matrix import answer_matrix
from kgmet.lm.say.score import score_answers
from kgmet.measure.ask import ask_each_side
from kgmet.measure.general import perplexity
from kgmet.measure.metrics import MetricValue, wilson_interval
from kgmet.measure.question import Question, QuestionKind
from kgmet.search.search import find_target_shifts
from kgmet.write.corpus import Corpus
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics
from tests.graph.small_world import CATALOGUE, world
from tests.inspect.compared import by_hand
from tests.tiny_models import tiny_lm

EDIT = FactEdit(
    subject="The Eiffel Tower", template="{} is located in the city of", new_object="Tokyo", old_object="Paris"
)
CORPUS = Corpus(
    name="few", lines=tuple(f"Line {n} of a short text about towers, rivers and cities." for n in range(30))
)


def candidate(name: str, *, layers: tuple[int, ...] = (1, 2), label: str = "") -> Candidate:
    config = EDITORS[name].config
    config = replace(
        config,
        write=replace(config.write, layers=layers),
        target=replace(config.target, max_steps=2),
        hold=replace(config.hold, contexts=1),
    )
    return Candidate(label=label or name, editor=EDITORS[name], config=config)


def comparison(*candidates: Candidate, heard: list[EditorComparison] | None = None) -> EditorComparison:
    lm = tiny_lm()
    return compare_editors(
        lm,
        EDIT,
        candidates,
        store=world(),
        catalogue=CATALOGUE,
        statistics=KeyStatistics(lm, CORPUS),
        on_result=None if heard is None else heard.append,
    )


def test_every_rival_is_asked_the_same_and_the_model_stays_as_it_was() -> None:
    lm, heard = tiny_lm(), []
    ids = torch.tensor([lm.tokenizer(EDIT.prompt)["input_ids"]])
    with torch.no_grad():
        before = lm.model(ids).logits
    found = comparison(candidate("KGMET"), candidate("AlphaEdit"), heard=heard)
    with torch.no_grad():
        assert torch.equal(lm.model(ids).logits, before)
    texts = [
        [pair.after.question for pair in outcome.comparison.pairs] for outcome in found.results if outcome.comparison
    ]
    assert len(texts) == 2 and texts[0] == texts[1] == [answer.question for answer in found.before]
    assert [len(item.results) for item in heard] == [1, 2, 2]
    assert [outcome.perplexity for item in heard[:2] for outcome in item.results] == [None] * 3
    assert heard[-1].results == found.results and all(outcome.perplexity for outcome in found.results)
    keys = [row.key for row in found.rows()]
    assert keys[0] == "probability" and keys[-3:] == ["neighbours_moved", "perplexity", "seconds"]
    assert {"rewrite", "neighbour", "consequence"} <= set(keys)


def test_a_column_says_what_its_own_patch_does() -> None:
    lm = tiny_lm()
    found = comparison(candidate("AlphaEdit"))
    (outcome,) = found.results
    assert outcome.plan is not None and outcome.comparison is not None
    pair = outcome.comparison.of(QuestionKind.REWRITE)[0]
    from kgmet.lm.say.score import score_answers

    with attached(outcome.plan.patch, lm):
        (score,) = score_answers(lm, [(EDIT.prompt, "Tokyo")])
    assert pair.after.expected is not None
    assert pair.after.expected.probability == pytest.approx(score.probability, rel=1e-4)
    assert found.rows()[0].values[0] == MetricValue(value=pair.after.expected.probability, n=1, interval=None)


def test_candidates_asked_together_are_measured_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, statistics = tiny_lm(), KeyStatistics(tiny_lm(), CORPUS)
    told = Candidate(label="told", editor=IN_CONTEXT["in-context"], config=EditConfig())
    every = [candidate("KGMET"), told, candidate("AlphaEdit", layers=(1, 9), label="too high"), candidate("AlphaEdit")]
    sides: list[int] = []
    texts: list[int] = []

    def asked(*arguments: Any, **settings: Any) -> Any:
        sides.append(len(arguments[2]))
        return ask_each_side(*arguments, **settings)

    def measured(*arguments: Any, **settings: Any) -> Any:
        texts.append(1)
        return perplexity(*arguments, **settings)

    def made(*candidates: Candidate) -> EditorComparison:
        return compare_editors(lm, EDIT, candidates, store=world(), catalogue=CATALOGUE, statistics=statistics)

    monkeypatch.setattr("kgmet.inspect.compare_editors.ask_each_side", asked)
    monkeypatch.setattr("kgmet.inspect.compare_editors.perplexity", measured)
    together = made(*every)
    assert sides == [2, 1]  # unedited and KGMET; then AlphaEdit, without the unedited model
    assert len(texts) == 3  # unedited, KGMET, AlphaEdit
    assert [item.candidate.label for item in together.results] == [item.label for item in every]
    for place, one in enumerate(every):
        (apart,) = made(one).results
        result = together.results[place]
        assert result.error == apart.error
        assert (result.comparison is None) == (apart.comparison is None) == bool(apart.error)
        assert result.perplexity == (None if apart.error else pytest.approx(apart.perplexity, rel=1e-5))
        for pair, other in zip(
            result.comparison.pairs if result.comparison else (),
            apart.comparison.pairs if apart.comparison else (),
            strict=True,
        ):
            assert (pair.before.said, pair.holds) == (other.before.said, other.holds)
            assert pair.after.expected is not None and other.after.expected is not None
            assert pair.after.expected.logprob == pytest.approx(other.after.expected.logprob, abs=1e-3)
    assert len(texts) == 3 + 2  # of the unedited model once in all
    sides.clear()
    alone = made(every[0], every[2], every[3], told)
    assert sides == [3]  # the fourth writes nothing: no side is left for it
    assert [bool(item.comparison) for item in alone.results] == [True, False, True, True]


def test_a_search_that_is_known_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, statistics, ours = tiny_lm(), KeyStatistics(tiny_lm(), CORPUS), candidate("KGMET")
    searches: list[str] = []

    def counted(lm_: Any, problems: Any, *arguments: Any, **settings: Any) -> Any:
        searches.extend(problem.edit.new_object for problem in problems)
        return find_target_shifts(lm_, problems, *arguments, **settings)

    def made(*candidates: Candidate, known: EditPlan | None = None) -> EditorComparison:
        searches.clear()
        searched = None if known is None else {known.patch.editor: known.searched}
        rest = {"store": world(), "catalogue": CATALOGUE, "statistics": statistics, "searched": searched}
        return compare_editors(lm, EDIT, candidates, **rest)

    monkeypatch.setattr("kgmet.editing.plan.find_target_shifts", counted)
    plain = made(ours, candidate("AlphaEdit"))
    n = len(searches)
    plan = plain.results[0].plan
    assert plan is not None
    again = made(ours, candidate("AlphaEdit"), known=plan)
    assert len(searches) == n - 1
    for one, other in zip(plain.results, again.results, strict=True):
        assert one.plan is not None and other.plan is not None
        for update, same in zip(one.plan.patch.updates, other.plan.patch.updates, strict=True):
            assert torch.equal(update.dense(), same.dense())
        assert one.comparison == other.comparison
    assert set(plan.searched.seconds) == {"direction", "search"}, "the write is timed anew"
    # Other settings, another fact, another editor: searched.
    fewer = replace(ours, config=replace(ours.config, target=replace(ours.config.target, max_steps=1)))
    made(fewer, known=plan)
    assert len(searches) == 1
    context = replace(plan.contexts[0], edit=replace(EDIT, new_object="Rome"))
    other_fact = plan_edits(lm, [context], editor=ours.editor, statistics=statistics, config=ours.config)
    made(ours, known=other_fact)
    assert searches == ["Tokyo"]
    made(candidate("AlphaEdit"), known=plan)
    assert len(searches) == 1


def test_a_rival_that_fails_is_a_column_with_its_reason() -> None:
    found = comparison(candidate("AlphaEdit", layers=(1, 9), label="too high"), candidate("AlphaEdit"))
    broken, fine = found.results
    assert "9" in broken.error and broken.plan is None and broken.answer == ""
    assert fine.error == "" and fine.plan is not None
    for row in found.rows():
        if row.key != "seconds":
            assert row.values[0] is None
            assert row.best is None


def prompts_of(edit: FactEdit, *, has_graph: bool = True) -> tuple[Question, ...]:
    store = world() if has_graph else None
    found = prepare_edit(edit, store=store, catalogue=CATALOGUE, config=EditConfig())
    return contest_prompts(found, store=store, catalogue=CATALOGUE)


def test_candidates_share_what_the_graph_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edit is linked once, not once more for each candidate."""
    linked = []
    link = preparing.link_edit
    monkeypatch.setattr(preparing, "link_edit", lambda *given, **rest: linked.append(given[1]) or link(*given, **rest))
    found = comparison(candidate("AlphaEdit", layers=(1, 9)), candidate("AlphaEdit", layers=(1, 9), label="again"))
    assert len(found.results) == 2 and linked == [EDIT]


def test_prompts_hold_nothing_a_search_sees_or_a_solve_protects() -> None:
    from kgmet.editing.problem import build_problem, protected_facts

    prompts = prompts_of(EDIT)
    asked = {prompt.text for prompt in prompts if prompt.kind is not QuestionKind.REWRITE}
    config = EDITORS["KGMET"].config
    context = prepare_edit(EDIT, store=world(), catalogue=CATALOGUE, config=config)
    searched = {
        held.template.replace("{}", held.subject or EDIT.subject)
        for held in build_problem(context, config).prompts
        if held.wants_answer
    }
    assert not asked & searched
    protected = {fact.triple.subject.label for fact in protected_facts(context, config)}
    neighbours = [prompt.text for prompt in prompts if prompt.kind is QuestionKind.NEIGHBOUR]
    assert not any(name in text for name in protected for text in neighbours)


def test_without_a_graph_only_the_edit_itself_is_asked() -> None:
    unknown = FactEdit(subject="Zorblax", template="{} is located in", new_object="Tokyo")
    for prompts in (prompts_of(EDIT, has_graph=False), prompts_of(unknown)):
        assert [prompt.kind for prompt in prompts] == [QuestionKind.REWRITE]


Ends = tuple[float, float]


def row_of(better: str, *intervals: Ends | None) -> ComparisonRow:
    values = tuple(None if ends is None else MetricValue(value=sum(ends) / 2, n=9, interval=ends) for ends in intervals)
    return ComparisonRow(key="k", label="l", definition="d", unit="u", better=better, values=values)


@pytest.mark.parametrize(
    ("better", "intervals", "best"),
    [
        ("higher", ((0.1, 0.3), (0.4, 0.8), None), 1),
        ("lower", ((0.1, 0.3), (0.4, 0.8), None), 0),
        ("higher", ((0.1, 0.5), (0.4, 0.8)), None),
        ("higher", ((0.6, 1.0), (0.0, 0.2), (0.6, 1.0)), None),
        ("higher", ((0.1, 0.3), (0.3, 0.8)), None),
        ("higher", ((0.5, 0.6), None), None),
        ("lower", (None, None), None),
    ],
)
def test_only_what_lies_apart_from_all_others_is_best(
    better: str, intervals: tuple[Ends | None, ...], best: int | None
) -> None:
    assert row_of(better, *intervals).best == best


def test_a_single_measurement_without_interval_is_never_best() -> None:
    values = tuple(MetricValue(value=value, n=1, interval=None) for value in (0.1, 0.9))
    assert replace(row_of("higher"), values=values).best is None


def test_the_matrix_has_every_answer_with_its_verdict_and_a_share_a_group() -> None:
    matrix = answer_matrix(by_hand())
    hops, stays = matrix.groups
    assert (hops.kind, stays.kind) == (QuestionKind.MULTI_HOP, QuestionKind.NEIGHBOUR)
    assert [row.question.expected for row in hops.rows] == ["Japan", "Asia"]
    assert (hops.before.value, hops.before.n) == (0.5, 2)
    assert [None if share is None else share.value for share in hops.shares] == [1.0, None, 0.5]
    first = hops.rows[0].pairs
    assert first[0] is not None and first[0].holds and not first[0].was_so_before
    assert first[1] is None
    assert first[2] is not None and first[2].holds is False, "an empty answer never holds"
    second = hops.rows[1].pairs[0]
    assert second is not None and second.was_so_before
    # A neighbour that keeps the unedited model's wrong answer is unchanged, one that says the new object is not.
    assert [None if share is None else share.value for share in stays.shares] == [1.0, None, 0.0]
    assert stays.before.value == 0.0
    assert hops.shares[0] is not None and hops.shares[0].interval == wilson_interval(2, 2)
    assert hops.best is None, "two questions cannot tell two editors apart"
    assert json.loads(json.dumps(matrix.to_json()))["groups"][0]["shares"]["MEMIT"] is None


def test_in_context_is_a_column_that_writes_nothing() -> None:
    told, graph = (
        Candidate(label=name, editor=IN_CONTEXT[name], config=IN_CONTEXT[name].config)
        for name in ("in-context", "in-context-graph")
    )
    found = comparison(candidate("AlphaEdit"), told, graph)
    outcome, long = found.results[1:]
    assert "Shorten it" in long.error and long.comparison is None  # more than the tiny model reads
    assert outcome.plan is None and not outcome.error and outcome.comparison is not None
    assert outcome.perplexity == found.perplexity
    lm = tiny_lm()
    context = prepare_edit(EDIT, store=world(), catalogue=CATALOGUE, config=told.config)
    sentences = sentences_of(told.editor, context, CATALOGUE)
    assert sentences == ("The Eiffel Tower is located in the city of Tokyo.",)
    retrieved = sentences_of(graph.editor, context, CATALOGUE)
    assert retrieved[:1] == sentences and len(retrieved) > 1
    prompt = f"{sentences[0]} {EDIT.prompt}"
    own = next(pair.after for pair in outcome.comparison.pairs if pair.after.question.text == EDIT.prompt)
    assert own.expected is not None
    wanted = score_answers(lm, [(prompt, EDIT.new_object)])[0].logprob
    assert own.expected.logprob == pytest.approx(wanted, abs=1e-3)


def test_in_context_cannot_edit() -> None:
    editor = IN_CONTEXT["in-context"]
    with pytest.raises(ConfigError, match="writes nothing"):
        plan_edits(tiny_lm(), [EditContext(edit=EDIT)], editor=editor, statistics=KeyStatistics(tiny_lm(), CORPUS))
    assert editor_named("In context") is editor
