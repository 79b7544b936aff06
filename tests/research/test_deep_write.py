"""Properties of the second write: it reaches prompts that do not name the subject, and keeps protected facts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kgmet.base.errors import ConfigError
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.editing.editors import EDITORS
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import split_templates
from kgmet.graph.reading.consequences import ConsequenceConfig
from kgmet.graph.relations import RelationCatalogue
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.lm.say.score import score_answers
from kgmet.research.deep_write import (
    DeepConfig,
    DeepPlan,
    DeepWrite,
    deep_problem,
    deep_protected,
    deep_settings,
    plan_deep_edits,
    write_deep,
)
from kgmet.search.search import TargetConfig
from kgmet.write.config import WriteConfig
from kgmet.write.corpus import Corpus
from kgmet.write.keys import key_rows, measure_keys
from kgmet.write.nullspace import Cutoff, CutoffKind
from kgmet.write.patch import attached, attached_updates
from kgmet.write.statistics import KeyStatistics
from kgmet.write.writer import NullSpaceWriter
from tests.graph.small_world import edit, fact, world
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import all_free

CATALOGUE = RelationCatalogue.load()
STORE = world(
    fact("Osaka", "P17", "Japan"),
    fact("Seville", "P17", "Spain"),
    fact("Granada", "P17", "Spain"),
    fact("Salvador Dali", "P27", "Spain"),
)
SPAIN = edit("Spain", "P36", "Rome")
JAPAN = edit("Japan", "P36", "Berlin")
DEEP = DeepConfig(
    chains=2,
    wordings=1,
    protected=6,
    protected_wordings=1,
    target=TargetConfig(max_steps=6),
    write=WriteConfig(layers=(2,), keys_per_edit="each", ridge=1e-6),
)
ASKING = EditConfig(consequences=ConsequenceConfig(max_later_hops=40, max_kept_later=40))


def context_of(what: FactEdit = SPAIN, config: EditConfig = ASKING) -> EditContext:
    return prepare_edit(what, store=STORE, catalogue=CATALOGUE, config=config)


def deep(lm: LoadedLM, *contexts: EditContext, config: DeepConfig = DEEP) -> DeepWrite:
    writer = NullSpaceWriter(free=all_free(lm, config.write.layers), ridge=config.write.ridge)
    found = write_deep(lm, contexts or [context_of()], early=(), writer=writer, config=config)
    assert found is not None
    return found


def last_states(lm: LoadedLM, texts: tuple[str, ...]) -> Tensor:
    """State after the top deep layer at the last token of each text."""
    rows = [row for text in texts for row in key_rows(lm, text, [Phrase(template=text)])]
    return measure_keys(lm, rows, layer=2, top=2).states


def written_texts(found: DeepWrite) -> tuple[str, ...]:
    return tuple(prompt.template for problem in found.problems for prompt in problem.prompts)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_every_written_prompt_moves_by_the_one_shift(kind: str) -> None:
    lm = tiny_lm(kind)
    found = deep(lm)
    texts = written_texts(found)
    before = last_states(lm, texts)
    with attached_updates(found.written.updates, lm):
        moved = last_states(lm, texts) - before
    wanted = found.shifts[0].delta.expand_as(moved)
    torch.testing.assert_close(moved, wanted, rtol=0.05, atol=0.05 * float(wanted[0].norm()))


def test_what_is_protected_stays() -> None:
    lm = tiny_lm()
    context = context_of()
    texts = deep_protected([context], DEEP)
    assert texts

    def moved(found: DeepWrite) -> float:
        before = last_states(lm, texts)
        with attached_updates(found.written.updates, lm):
            return float((last_states(lm, texts) - before).norm(dim=1).mean())

    assert context.consequences is not None
    bare = replace(context, consequences=replace(context.consequences, kept_later=(), kept_neighbours=(), kept_own=()))
    assert moved(deep(lm, context)) < 1e-3 * moved(deep(lm, bare))


def test_the_answer_becomes_likelier_where_the_subject_is_not_named() -> None:
    lm = tiny_lm()
    found = deep(lm)
    pairs = [(text, "Rome") for text in written_texts(found)]
    before = [score.logprob for score in score_answers(lm, pairs)]
    with attached_updates(found.written.updates, lm):
        after = [score.logprob for score in score_answers(lm, pairs)]
    assert not any("Spain" in text for text, _ in pairs)
    assert all(now > was for now, was in zip(after, before, strict=True))


def test_no_wording_that_is_probed_is_written_or_protected() -> None:
    context = context_of()
    problem = deep_problem(context, replace(DEEP, chains=20, wordings=20))
    assert problem is not None and context.consequences is not None
    found = context.consequences
    for item in (*found.written_later, *found.kept_later, *found.protected_neighbours, *found.kept_own):
        held = {item.text(template) for template in split_templates(item.templates, 2)[1]}
        assert held
        assert not held & {prompt.template for prompt in problem.prompts}
        assert not held & set(deep_protected([context], replace(DEEP, protected=99, protected_wordings=20)))


def test_no_starting_point_that_is_measured_is_written() -> None:
    context = context_of()
    problem = deep_problem(context, replace(DEEP, chains=20, wordings=20))
    assert problem is not None and context.consequences is not None
    for item in context.consequences.probed_later:
        assert not any(item.subject.label in prompt.template for prompt in problem.prompts)


def test_what_a_person_switched_off_is_not_written() -> None:
    context = context_of()
    assert context.consequences is not None
    items = context.consequences.written_later
    rest = deep_problem(replace(context, left=frozenset(item.id for item in items[1:])), DEEP)
    assert rest is not None
    assert all(items[0].subject.label in prompt.template for prompt in rest.prompts)
    assert deep_problem(replace(context, left=frozenset(item.id for item in items)), DEEP) is None


def test_what_another_edit_of_the_batch_changes_is_not_protected() -> None:
    spain, japan = context_of(), context_of(JAPAN)
    config = replace(DEEP, protected=99, protected_wordings=20)

    def about_japan(texts: tuple[str, ...]) -> set[str]:
        return {text for text in texts if "capital" in text and ("Osaka" in text or "Japan" in text)}

    assert about_japan(deep_protected([spain], config))
    together = deep_protected([spain, japan], config)
    problem = deep_problem(japan, replace(DEEP, chains=20, wordings=20))
    assert problem is not None
    assert not {prompt.template for prompt in problem.prompts} & set(together)
    assert not {text for text in together if text.startswith("The capital of Japan")}


def test_an_edit_that_is_no_later_hop_of_anything_is_not_written_deep() -> None:
    lm = tiny_lm()
    alone = EditContext(edit=SPAIN)
    not_asked = context_of(config=EditConfig())
    writer = NullSpaceWriter(free=all_free(lm, (2,)), ridge=1.0)
    assert write_deep(lm, [alone, not_asked], early=(), writer=writer, config=DEEP) is None


def plans(lm: LoadedLM) -> tuple[EditPlan, DeepPlan]:
    """The same edit without and with the second write."""
    lines = tuple(
        f"The {a} of {b} is located in {c}." for a in ("city", "tower") for b in ("Rome", "Paris") for c in "xyz"
    )
    statistics = KeyStatistics(lm, Corpus(name="test", lines=lines))
    editor = EDITORS["KGMET"]
    cutoff = Cutoff(kind=CutoffKind.RANK, value=0.8)
    config = replace(
        editor.config,
        write=replace(editor.config.write, layers=(0, 1)),
        target=TargetConfig(max_steps=3),
        consequences=ASKING.consequences,
        cutoff=cutoff,
    )
    contexts = [context_of(config=config)]
    plain = plan_edits(lm, contexts, editor=editor, statistics=statistics, config=config)
    deep = replace(DEEP, cutoff=cutoff)
    return plain, plan_deep_edits(lm, contexts, editor=editor, statistics=statistics, config=config, deep=deep)


def test_only_deep_layers_are_added() -> None:
    lm = tiny_lm()
    off, both = plans(lm)
    assert both.deep is not None
    on = both.plan
    assert [update.layer for update in off.patch.updates] == [0, 1]
    assert [update.layer for update in on.patch.updates] == [0, 1, 2]
    for without, with_ in zip(off.patch.updates, on.patch.updates, strict=False):
        torch.testing.assert_close(without.dense(), with_.dense(), rtol=0, atol=0)
    assert set(on.patch.keys) == {0, 1, 2}
    assert set(on.so_far.ledger.written) == {0, 1, 2}
    with attached(on.patch, lm):
        pass


def test_a_layer_is_written_early_or_deep_but_not_both() -> None:
    config = EditConfig(write=WriteConfig(layers=(1, 2)))
    with pytest.raises(ConfigError, match=r"no layer in common, got both with \[2\]"):
        deep_settings(config, replace(DEEP, write=WriteConfig(layers=(2, 3))))


@pytest.mark.parametrize("change", [{"chains": 0}, {"wordings": 0}, {"protected": -1}, {"protected_wordings": 0}])
def test_settings_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(DEEP, **change)


def test_deep_layers_that_the_model_does_not_have_are_refused() -> None:
    lm = tiny_lm()
    config = replace(EDITORS["KGMET"].config, write=WriteConfig(layers=(0, 1)))
    deep = replace(DEEP, write=WriteConfig(layers=(2, 3)))
    with pytest.raises(ConfigError, match=r"deep layers \[2, 3\] do not fit"):
        plan_deep_edits(
            lm, [context_of()], editor=EDITORS["KGMET"], statistics=KeyStatistics(lm), config=config, deep=deep
        )
