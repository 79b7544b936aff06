"""Properties of the fact index: what it holds is known, it comes back from disk, it is stopped and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kgmet.base.errors import Cancelled, ConfigError, StaleArtifactError
from kgmet.forecast import index as index_module
from kgmet.forecast.facts import FactPrompt, own_facts, prompts_of, read_own_facts
from kgmet.forecast.index import (
    MOST_BYTES,
    PAIRS_PER_FACT,
    FactIndex,
    FactScope,
    build_index,
    index_bytes,
    measured_index,
)
from kgmet.forecast.known import known_facts
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from tests.forecast.tiny_world import CATALOGUE, PROMPTS, RELATIONS, entity, known_world
from tests.progress import StopsAfter
from tests.tiny_models import tiny_lm

LAYERS = (1, 2)


def built(lm: LoadedLM, **rest: object) -> FactIndex:
    return build_index(lm, known_world(lm)[0], CATALOGUE, LAYERS, **{"limit": 100, **rest})  # type: ignore[arg-type]


def keys_of(index: FactIndex) -> set[tuple[str, str]]:
    return {fact.prompt.fact for fact in index.facts}


def test_exactly_the_known_facts_are_in_it_with_their_own_probability(lm: LoadedLM) -> None:
    _, known = known_world(lm)
    index = built(lm)
    assert known
    assert keys_of(index) == known
    scores = score_answers(lm, [(fact.prompt.text, fact.answer) for fact in index.facts])
    assert all(score.is_first for score in scores)
    for fact, score in zip(index.facts, scores, strict=True):
        assert fact.logprob == pytest.approx(score.logprob, abs=1e-4)


def test_known_facts_are_counted_by_relation(lm: LoadedLM) -> None:
    store, known = known_world(lm)
    found = known_facts(lm, store, CATALOGUE)
    first_wording = {row.relation: 0 for row in found.relations} | {
        relation: sum(r == relation for _, r in known) for relation in RELATIONS
    }
    asked = {row.relation: row.asked for row in found.relations}
    assert asked == {relation: len(store.with_relation(relation)) for relation in RELATIONS}
    assert all(row.known >= first_wording[row.relation] for row in found.relations)
    assert [row.share for row in found.relations] == sorted((row.share for row in found.relations), reverse=True)
    assert found.to_json()["known"] == len(found.facts) == found.known
    assert known <= {fact.prompt.fact for fact in found.facts}


def test_an_index_comes_back_from_disk_and_nothing_is_asked_again(
    lm: LoadedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(lm)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(index_module, "answers_of", refuse)
    monkeypatch.setattr(index_module, "measure_facts", refuse)
    again = built(lm)
    assert again.facts == first.facts
    for layer in LAYERS:
        assert torch.equal(again.pairs[layer].keys, first.pairs[layer].keys)
        assert torch.equal(again.pairs[layer].fact, first.pairs[layer].fact)


def test_a_stopped_index_goes_on_where_it_was(lm: LoadedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_AHEAD", 0)
    whole = built(lm)
    monkeypatch.setenv("KGMET_CACHE", str(index_module.cache_dir() / "other"))
    rounds: list[int] = []
    ask = index_module.answers_of

    def counted(lm: LoadedLM, prompts: list[FactPrompt], **rest: object) -> list[str | None]:
        found = ask(lm, prompts, **rest)  # type: ignore[arg-type]
        rounds.append(len(prompts))
        return found

    monkeypatch.setattr(index_module, "answers_of", counted)
    for check in range(1, 100):
        try:
            resumed = built(lm, progress=StopsAfter(check))
        except Cancelled:
            continue
        break
    assert resumed.facts == whole.facts
    # 8 facts a relation, then 4: once the first round is on disk it is never asked again.
    assert rounds == sorted(rounds, reverse=True)
    assert set(rounds) == {24, 12}


def test_rounds_that_are_needed_in_any_case_are_asked_at_once_and_the_index_is_the_same(
    lm: LoadedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[int, list[int]] = {}
    found: dict[int, FactIndex] = {}
    ask = index_module.answers_of
    for ahead in (0, 30, 256):
        rounds = counts.setdefault(ahead, [])

        def counted(
            lm: LoadedLM, prompts: list[FactPrompt], rounds: list[int] = rounds, **rest: object
        ) -> list[str | None]:
            rounds.append(len(prompts))
            return ask(lm, prompts, **rest)  # type: ignore[arg-type]

        monkeypatch.setattr(index_module, "answers_of", counted)
        monkeypatch.setattr(index_module, "_AHEAD", ahead)
        monkeypatch.setenv("KGMET_CACHE", str(index_module.cache_dir() / f"ahead-{ahead}"))
        found[ahead] = built(lm, scope=FactScope(per_round=3))
        assert built(lm, scope=FactScope(per_round=3)).facts == found[ahead].facts
    assert counts == {0: [9, 9, 9, 9], 30: [36], 256: [36]}
    for other in (30, 256):
        assert [fact.prompt for fact in found[other].facts] == [fact.prompt for fact in found[0].facts]
        for layer in LAYERS:
            one, same = found[other].pairs[layer], found[0].pairs[layer]
            assert torch.equal(one.fact, same.fact) and torch.equal(one.token, same.token)
            torch.testing.assert_close(one.keys.float(), same.keys.float(), rtol=0.01, atol=1e-5)


def test_no_more_is_asked_than_an_index_can_need(lm: LoadedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ask = index_module.answers_of

    def counted(lm: LoadedLM, prompts: list[FactPrompt], **rest: object) -> list[str | None]:
        asked.append(len(prompts))
        return ask(lm, prompts, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(index_module, "answers_of", counted)
    index = built(lm, limit=4, scope=FactScope(per_round=1))
    assert len(index) == 4
    assert asked[0] == 6, "two rounds of three facts, of which four must be known"
    assert asked == sorted(asked, reverse=True)


def test_a_damaged_part_is_made_again(lm: LoadedLM) -> None:
    whole = built(lm)
    for path in (index_module.cache_dir() / "forecast").rglob("*.safetensors"):
        path.write_bytes(b"no tensors")
    assert built(lm).facts == whole.facts


def test_the_limit_holds_and_own_facts_come_on_top(lm: LoadedLM) -> None:
    own = own_facts(PROMPTS)
    index = built(lm, limit=3, own=own)
    assert len(index) == 3 + len(own)
    assert [fact.prompt.must_hold for fact in index.facts] == [False] * 3 + [True] * len(own)
    assert index.facts[-1].answer == PROMPTS[-1][1]
    for layer in LAYERS:
        assert set(index.pairs[layer].fact.tolist()) == set(range(len(index)))


def test_the_size_said_before_is_never_exceeded(lm: LoadedLM) -> None:
    index = built(lm)
    assert 0 < index.n_bytes <= index_bytes(lm, len(index))
    assert index_bytes(lm, 100_000) <= MOST_BYTES < index_bytes(lm, 100_000, per_fact=PAIRS_PER_FACT)


def test_facts_taken_out_take_their_pairs_along(lm: LoadedLM) -> None:
    index = built(lm)
    gone = index.facts[1].prompt.fact
    less = index.without([gone])
    assert len(less) == len(index) - 1
    pairs, rest = index.pairs[1], less.pairs[1]
    assert torch.equal(rest.keys, pairs.keys[pairs.fact != 1])
    assert rest.fact.tolist() == sorted(rest.fact.tolist())
    assert less.without([gone]) is less


def test_an_index_of_another_model_or_other_layers_is_refused(lm: LoadedLM) -> None:
    index = built(lm)
    other = tiny_lm(seed=1)
    with pytest.raises(StaleArtifactError):
        index.check(other, LAYERS)
    with pytest.raises(ConfigError, match="lacks 0"):
        index.check(lm, (0, 1))
    with pytest.raises(StaleArtifactError):
        index.extended(measured_index(other, [(own_facts(PROMPTS)[0], "Paris")], LAYERS))


def test_relations_the_model_knows_nothing_of_are_given_up(lm: LoadedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_AHEAD", 0)
    monkeypatch.setattr(index_module, "_PATIENCE", 8)
    monkeypatch.setattr(index_module, "_FEWEST", 1.1)
    asked: list[str] = []
    ask = index_module.answers_of

    def counted(lm: LoadedLM, prompts: list[FactPrompt], **rest: object) -> list[str | None]:
        asked.extend(prompt.relation for prompt in prompts)
        return ask(lm, prompts, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(index_module, "answers_of", counted)
    built(lm)
    assert {relation: asked.count(relation) for relation in RELATIONS} == dict.fromkeys(RELATIONS, 8)


def test_wordings_kept_for_probing_and_those_that_say_the_answer_are_not_asked() -> None:
    spec = CATALOGUE.spec("P36")
    prompts = prompts_of(spec, entity("Ghana"), [entity("Accra")])
    assert prompts
    assert len(prompts) == len(spec.cloze) - 2
    assert not prompts_of(spec, entity("Mexico"), [entity("Mexico")])


def test_own_facts_are_read_from_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('prompt,answer\n"Big Ben, in the city of",London\n', encoding="utf-8")
    assert [(fact.text, fact.answers) for fact in read_own_facts(path)] == [("Big Ben, in the city of", ("London",))]
    path.write_text("prompt,answer\nBig Ben,\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2"):
        read_own_facts(path)
    path.write_text("text\nBig Ben\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="columns"):
        read_own_facts(path)
