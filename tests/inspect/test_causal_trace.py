"""Properties of causal tracing, on every family: it is what running each restored state on its own would give."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from kgmet.base.errors import Cancelled, ConfigError, EmptyTextError, SubjectNotFoundError, TextError
from kgmet.base.progress import CancelFlag, ProgressEvent
from kgmet.inspect.causal_trace import TraceConfig, _spread, _with_noise, causal_trace, join_traces
from kgmet.inspect.patching import join_maps, map_patches, patch_states
from kgmet.inspect.sweep import Part, Run, embedded, every_nth_layer, replaced, run_from, swept
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt, locate_prompt
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase
from kgmet.lm.say.score import next_tokens
from kgmet.write.patch import attached
from tests.inspect.looked import random_patch
from tests.passes import passes
from tests.tiny_models import FAMILY_KINDS, N_LAYER, tiny_lm

every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)
every_part = pytest.mark.parametrize("part", list(Part), ids=lambda part: part.name)
PROMPT = TracedPrompt(
    phrase=Phrase(template="The city of {} is located in", subject="Big Ben"), answer="London", rival="Paris"
)
TOWER = TracedPrompt(phrase=Phrase(template="{} is in", subject="The Eiffel Tower"), answer="Rome", rival="Paris")


def looked_at(kind: str, source: LocatedPrompt) -> Iterable[int]:
    """Every token of one family; of the others two of the subject and the last one, as all tokens are swept alike."""
    n = len(source.ids)
    return range(n) if kind == FAMILY_KINDS[0] else (source.subject.start, source.subject.stop - 1, n - 1)


def clean_and_noisy(lm: LoadedLM, prompt: TracedPrompt, config: TraceConfig) -> tuple[Run, Run]:
    where = locate_prompt(lm, prompt)
    embeddings = embedded(lm, where.ids)
    noisy = _with_noise(embeddings, where.subject, config.noise * _spread(lm), config)
    return run_from(lm, embeddings), run_from(lm, noisy)


@every_family
def test_a_run_from_embeddings_is_the_run_of_the_text(kind: str) -> None:
    lm = tiny_lm(kind)
    where = locate_prompt(lm, PROMPT)
    run = run_from(lm, embedded(lm, where.ids))
    with torch.no_grad():
        logits = lm.model(torch.tensor([where.ids]), use_cache=False).logits
    torch.testing.assert_close(run.logits, logits[:, -1].float())


@every_family
@every_part
@pytest.mark.parametrize("prompt", [PROMPT, TOWER], ids=["inside", "at the beginning"])
def test_each_cell_is_what_a_whole_run_with_that_state_gives(kind: str, part: Part, prompt: TracedPrompt) -> None:
    lm, config = tiny_lm(kind), TraceConfig(n_sample=2, window=2)
    trace = causal_trace(lm, prompt, part=part, config=config)
    clean, noisy = clean_and_noisy(lm, prompt, config)
    answer = trace.source.answer
    assert trace.clean == pytest.approx(float(clean.logits.softmax(-1)[0, answer]))
    assert trace.corrupted == pytest.approx(float(noisy.logits.softmax(-1)[:, answer].mean()))
    assert trace.window == (1 if part is Part.STATE else 2)
    for layer in range(N_LAYER):
        window = range(layer, min(N_LAYER, layer + trace.window))
        for position in looked_at(kind, trace.source):
            with replaced(lm, clean, [(each, position) for each in window], part=part):
                whole = run_from(lm, noisy.embeddings)
            expected = float(whole.logits.softmax(-1)[:, answer].mean())
            assert float(trace.restored[layer, position]) == pytest.approx(expected, rel=2e-3, abs=1e-7)


@every_family
@every_part
def test_a_map_of_some_layers_has_the_numbers_of_the_whole_one_and_is_made_whole_without_trying_them_again(
    kind: str, part: Part
) -> None:
    lm, config = tiny_lm(kind), TraceConfig(n_sample=2, window=2)
    whole = causal_trace(lm, PROMPT, part=part, config=config)
    coarse = causal_trace(lm, PROMPT, part=part, config=config, layers=every_nth_layer(N_LAYER, 2))
    assert coarse.layers == (1, 3) and whole.layers == (0, 1, 2, 3)
    torch.testing.assert_close(coarse.restored, whole.restored[[1, 3]], rtol=1e-5, atol=1e-9)
    rest = causal_trace(lm, PROMPT, part=part, config=config, layers=[2, 0])
    joined = join_traces(coarse, rest)
    assert joined.layers == whole.layers
    assert torch.equal(joined.restored[[1, 3]], coarse.restored)
    assert torch.equal(joined.restored[[0, 2]], rest.restored)
    assert joined.at(3, 1) == coarse.at(3, 1) == float(coarse.restored[1, 1])
    assert joined.strongest[0] in joined.layers and coarse.strongest[0] in coarse.layers


def test_the_strongest_state_of_some_layers_is_named_by_its_layer() -> None:
    trace = causal_trace(tiny_lm(), PROMPT, layers=[3, 1])
    layer, position = trace.strongest
    assert layer in (1, 3)
    assert trace.at(layer, position) - trace.corrupted == float(trace.effect[:, :-1].max())


def test_layers_are_counted_down_from_the_last_one() -> None:
    assert every_nth_layer(30, 2)[:2] == (1, 3) and every_nth_layer(30, 2)[-1] == 29
    assert every_nth_layer(12, 1) == tuple(range(12))
    assert every_nth_layer(4, 9) == (3,)


def test_traces_that_differ_in_more_than_layers_are_not_joined() -> None:
    lm = tiny_lm()
    first = causal_trace(lm, PROMPT, layers=[1])
    for other in (
        causal_trace(lm, TOWER, layers=[2]),
        causal_trace(lm, PROMPT, layers=[2], part=Part.MLP),
        causal_trace(lm, PROMPT, layers=[2], config=TraceConfig(seed=1)),
        causal_trace(lm, PROMPT, layers=[2], patches=[random_patch(lm)]),
    ):
        with pytest.raises(ConfigError, match="do not make one map"):
            join_traces(first, other)
    one, other_side = map_patches(lm, PROMPT, layers=[1], giver=[random_patch(lm)]), map_patches(lm, PROMPT, layers=[2])
    with pytest.raises(ConfigError, match="do not make one"):
        join_maps(one, other_side)
    for layers in ([], [-1], [N_LAYER]):
        with pytest.raises(IndexError, match="Choose layers from 0"):
            causal_trace(lm, PROMPT, layers=layers)


@pytest.mark.parametrize("part", list(Part), ids=lambda part: part.name)
def test_a_sweep_runs_each_token_once_and_each_state_only_from_its_layer_on(part: Part) -> None:
    lm, config = tiny_lm(), TraceConfig(n_sample=2, window=1)
    for layers, rows in (([1, 3], [2, 2, 2, 2]), ([0, 1, 2, 3], [2, 2, 4, 6])):
        if part is not Part.STATE:
            rows = [2 * max(1, sum(layer <= at for layer in layers)) for at in range(N_LAYER)]
        seen: dict[int, list[int]] = {}
        with passes(lm) as shapes:
            for at in range(N_LAYER):
                with passes(lm, at) as above:
                    causal_trace(lm, PROMPT, part=part, config=config, layers=layers)
                seen[at] = [n_row for n_row, _ in above[2:]]
        n = len(locate_prompt(lm, PROMPT).ids) - locate_prompt(lm, PROMPT).subject.start
        assert len(shapes) == N_LAYER * (2 + n), "the clean text, the noisy ones, and each token once"
        assert seen == {at: [rows[at]] * n for at in range(N_LAYER)}


@every_family
def test_restoring_everything_gives_the_clean_answer_and_restoring_nothing_the_corrupted_one(kind: str) -> None:
    lm, config = tiny_lm(kind), TraceConfig(n_sample=1)
    clean, noisy = clean_and_noisy(lm, PROMPT, config)
    every = [(layer, position) for layer in range(N_LAYER) for position in range(clean.embeddings.shape[1])]
    with replaced(lm, clean, every, part=Part.STATE):
        torch.testing.assert_close(run_from(lm, noisy.embeddings).logits, clean.logits)
    with replaced(lm, clean, [], part=Part.STATE):
        assert torch.equal(run_from(lm, noisy.embeddings).logits, noisy.logits)
    trace = causal_trace(lm, PROMPT, config=config)
    assert not torch.allclose(clean.logits, noisy.logits)
    assert float(trace.restored[-1, -1]) == pytest.approx(trace.clean, rel=1e-4)
    assert torch.equal(trace.restored[:, : trace.source.subject.start].unique(), torch.tensor([trace.corrupted]))
    assert trace.source.subject.start > 0
    last_layer = trace.restored[-1, :-1]  # nothing reads these states any more
    torch.testing.assert_close(last_layer, torch.full_like(last_layer, trace.corrupted), rtol=1e-3, atol=1e-6)


@every_family
def test_nothing_stays_attached_and_no_weight_differs(kind: str) -> None:
    lm = tiny_lm(kind)
    before = [(name, value.clone()) for name, value in lm.model.state_dict().items()]
    said = next_tokens(lm, [PROMPT.text], k=5)
    state = torch.get_rng_state()
    for part in Part:
        causal_trace(lm, PROMPT, patches=[random_patch(lm)], part=part, config=TraceConfig(n_sample=1))
    assert not [module for module in lm.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert all(torch.equal(value, lm.model.state_dict()[name]) for name, value in before)
    assert next_tokens(lm, [PROMPT.text], k=5) == said
    assert torch.equal(torch.get_rng_state(), state), "the noise has a generator of its own"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gptj", "gemma2", "mistral-sliding"])
@every_part
def test_bfloat16_is_traced_too(kind: str, part: Part) -> None:
    trace = causal_trace(tiny_lm(kind, dtype=torch.bfloat16), PROMPT, part=part, config=TraceConfig(n_sample=2))
    exact = causal_trace(tiny_lm(kind), PROMPT, part=part, config=TraceConfig(n_sample=2))
    assert torch.isfinite(trace.restored).all()
    assert trace.clean == pytest.approx(exact.clean, rel=0.3)
    torch.testing.assert_close(trace.restored, exact.restored, rtol=0.5, atol=2e-3)


@pytest.mark.parametrize("bos", [False, True])
def test_the_clean_probability_is_that_of_the_likeliest_token_where_that_is_the_answer(bos: bool) -> None:
    lm = tiny_lm(bos=bos)
    said = next(token for token in next_tokens(lm, [PROMPT.text], k=9)[0] if token.text.strip().isalpha())
    asked = TracedPrompt(phrase=PROMPT.phrase, answer=said.text.strip())
    trace = causal_trace(lm, asked, config=TraceConfig(n_sample=1))
    if trace.source.answer_text == said.text.strip() and said.text.startswith(" "):
        assert trace.clean == pytest.approx(said.probability, rel=1e-4)
    assert "".join(trace.source.tokens).endswith(PROMPT.text)
    assert trace.source.tokens[0] == ("<s>" if bos else "The")


def test_the_same_seed_gives_the_same_trace_and_another_one_another() -> None:
    lm = tiny_lm()
    first, again = (causal_trace(lm, PROMPT, config=TraceConfig(n_sample=2)) for _ in range(2))
    other = causal_trace(lm, PROMPT, config=TraceConfig(n_sample=2, seed=1))
    assert torch.equal(first.restored, again.restored)
    assert first.corrupted != other.corrupted and first.clean == other.clean
    longer = causal_trace(lm, PROMPT, config=TraceConfig(n_sample=2, noise=1e-6))
    assert longer.corrupted == pytest.approx(longer.clean, rel=1e-3)


def test_the_strongest_state_is_the_largest_before_the_last_token() -> None:
    trace = causal_trace(tiny_lm(), PROMPT, config=TraceConfig(n_sample=2))
    layer, position = trace.strongest
    assert position < len(trace.source.ids) - 1
    assert float(trace.effect[layer, position]) == float(trace.effect[:, :-1].max())


@every_family
def test_patching_every_layer_at_the_last_token_gives_the_other_sides_answer(kind: str) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    last = len(locate_prompt(lm, TOWER).ids) - 1
    cells = [(layer, last) for layer in range(N_LAYER)]
    with attached(patch, lm):
        said = next_tokens(lm, [TOWER.text], k=3)[0]
    for receiver, giver in (([], [patch]), ([patch], [])):
        found = patch_states(lm, TOWER, cells, receiver=receiver, giver=giver)
        assert found.patched.answer == pytest.approx(found.giver.answer, rel=1e-4)
        assert [token.text for token in found.patched.top] == [token.text for token in found.giver.top]
        assert found.share == pytest.approx(1, abs=1e-2)
        nothing = patch_states(lm, TOWER, [], receiver=receiver, giver=giver)
        assert nothing.patched == nothing.receiver
    assert [token.text for token in patch_states(lm, TOWER, cells, giver=[patch]).patched.top] == [t.text for t in said]


@every_family
@every_part
def test_the_map_of_patches_has_what_each_single_patch_gives(kind: str, part: Part) -> None:
    lm = tiny_lm(kind)
    patch = random_patch(lm)
    made = map_patches(lm, PROMPT, receiver=[patch], giver=[], part=part)
    for layer in range(N_LAYER):
        for position in looked_at(kind, made.source):
            one = patch_states(lm, PROMPT, [(layer, position)], receiver=[patch], giver=[], part=part)
            assert float(made.patched[layer, position]) == pytest.approx(one.patched.answer, rel=2e-3, abs=1e-7)
    some = map_patches(lm, PROMPT, receiver=[patch], giver=[], part=part, layers=[3, 1])
    torch.testing.assert_close(some.patched, made.patched[[1, 3]], rtol=1e-5, atol=1e-9)
    joined = join_maps(some, map_patches(lm, PROMPT, receiver=[patch], giver=[], part=part, layers=[0, 2]))
    assert joined.layers == made.layers and torch.equal(joined.patched[[1, 3]], some.patched)
    assert joined.at(3, 0) == some.at(3, 0)
    assert made.receiver == pytest.approx(one.receiver.answer) and made.giver == pytest.approx(one.giver.answer)


def test_a_cell_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match="layer 4"):
        patch_states(tiny_lm(), TOWER, [(N_LAYER, 0)])
    with pytest.raises(IndexError, match="token -1"):
        patch_states(tiny_lm(), TOWER, [(0, -1)])


def test_what_cannot_be_traced_is_said() -> None:
    lm = tiny_lm()
    with pytest.raises(SubjectNotFoundError, match="No subject is marked"):
        causal_trace(lm, TracedPrompt(phrase=Phrase(template="Rome is in"), answer="Italy"))
    with pytest.raises(EmptyTextError, match="prompt is empty"):
        causal_trace(lm, TracedPrompt(phrase=Phrase(template="  "), answer="Italy"))
    with pytest.raises(EmptyTextError, match="answer"):
        causal_trace(lm, TracedPrompt(phrase=Phrase(template="{} is in", subject="Rome"), answer=" "))
    with pytest.raises(TextError, match="tokens"):
        causal_trace(lm, TracedPrompt(phrase=Phrase(template="{} is" + " in the" * 90, subject="Rome"), answer="Italy"))
    for wrong in ({"n_sample": 0}, {"noise": 0.0}, {"noise": float("nan")}, {"window": 0}):
        with pytest.raises(ConfigError):
            TraceConfig(**wrong)  # type: ignore[arg-type]


def test_a_trace_can_be_stopped() -> None:
    class Stops:
        def __init__(self) -> None:
            self.flag, self.events = CancelFlag(), []

        def report(self, event: ProgressEvent) -> None:
            self.events.append(event)
            if event.done == 2:
                self.flag.set()

        def check(self) -> None:
            self.flag.check()

    progress, lm = Stops(), tiny_lm()
    with pytest.raises(Cancelled):
        causal_trace(lm, PROMPT, progress=progress)
    assert [event.done for event in progress.events] == [0, 1, 2]
    assert not [module for module in lm.model.modules() if module._forward_hooks]


def test_draws_that_do_not_fit_at_once_are_swept_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, config = tiny_lm(), TraceConfig(n_sample=3)
    whole = causal_trace(lm, PROMPT, config=config)
    monkeypatch.setattr("kgmet.inspect.causal_trace._ROWS_AT_ONCE", 1)
    torch.testing.assert_close(causal_trace(lm, PROMPT, config=config).restored, whole.restored)


def test_a_sweep_reads_every_token_it_is_asked_for() -> None:
    lm = tiny_lm()
    clean, noisy = clean_and_noisy(lm, PROMPT, TraceConfig(n_sample=2))
    found = swept(lm, noisy, clean, part=Part.STATE, positions=[3, 5], tokens=[7, 8, 9])
    assert found.shape == (N_LAYER, 2, 2, 3)
    every = swept(lm, noisy, clean, part=Part.STATE, positions=[3], tokens=range(lm.n_token))
    torch.testing.assert_close(every.sum(-1), torch.ones(N_LAYER, 1, 2))
