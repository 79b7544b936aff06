"""Properties of the search: it returns what it measured, alone or in a batch, within its limits, repeatably."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import Cancelled, ConfigError, NonFiniteError, SearchError
from kgmet.base.progress import Progress
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM, wrap_lm
from kgmet.lm.run.spans import locate
from kgmet.lm.run.suffixes import left_padded
from kgmet.lm.run.tracing import shifted
from kgmet.search.directions.source import FreeDirection, RandomDirection
from kgmet.search.objective import TermWeights, answer_nll, kept_divergence, length_penalty, limited, ordinary_norm
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term
from kgmet.search.search import Stop, TargetConfig, TargetShift, find_target_shifts
from tests.progress import StopsAfter
from tests.tiny_models import FAMILY_KINDS, N_LAYER, tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import EDITS

LAYER = 1
CONFIG = TargetConfig(max_steps=6, rate=0.1)
every_family = pytest.mark.parametrize("kind", FAMILY_KINDS)


def problem(edit: FactEdit, *, answer: str | None = None) -> ShiftProblem:
    """Rewrite in two contexts, one consequence, one fact to keep and the anchor."""
    said = answer or edit.new_object
    return ShiftProblem(
        edit=edit,
        prompts=(
            SearchPrompt(term=Term.REWRITE, template=edit.template, answer=said),
            SearchPrompt(term=Term.REWRITE, template=edit.template, answer=said, prefix="In the news today: "),
            SearchPrompt(term=Term.CONSEQUENCE, template="The language spoken around {} is", answer="Italian"),
            SearchPrompt(term=Term.KEPT, template="{} is what follows"),
            SearchPrompt(term=Term.ANCHOR, template="{} is a"),
        ),
    )


PROBLEMS = [problem(edit) for edit in EDITS]


def find(
    lm: LoadedLM,
    problems: list[ShiftProblem],
    config: TargetConfig = CONFIG,
    *,
    layer: int = LAYER,
    progress: Progress | None = None,
) -> list[TargetShift]:
    """Free shifts of several edits."""
    sources = [FreeDirection(lm.d_model) for _ in problems]
    return find_target_shifts(lm, problems, sources, layer=layer, config=config, progress=progress)


def rewrite_nll(lm: LoadedLM, one: ShiftProblem, shift: TargetShift) -> float:
    """Mean negative log-likelihood per answer token over the rewriting prompts, each in a full forward of its own."""
    values = []
    for prompt in one.of(Term.REWRITE):
        span = locate(lm, prompt.phrase(one.edit.subject))
        assert span.target is not None
        ids, mask = left_padded([span.input_ids], device=lm.device)
        lookup = torch.tensor([span.lookup.position])
        with torch.no_grad(), shifted(lm, layer=shift.layer, positions=lookup, by=shift.delta):
            table = lm.model(ids, attention_mask=mask, use_cache=False).logits[0].float().log_softmax(-1)
        values.append(-sum(float(table[p - 1, span.input_ids[p]]) for p in span.target) / len(span.target))
    return sum(values) / len(values)


@every_family
def test_the_last_entry_of_the_curve_is_what_the_shift_does(kind: str) -> None:
    lm = tiny_lm(kind)
    for one, shift in zip(PROBLEMS, find(lm, PROBLEMS), strict=True):
        assert (shift.edit_id, shift.layer) == (one.edit.id, LAYER)
        assert shift.curve[-1]["rewrite"] == pytest.approx(rewrite_nll(lm, one, shift), abs=2e-3)
        assert shift.curve[-1]["norm_ratio"] == pytest.approx(shift.norm_ratio, rel=1e-4)
        assert min(row["total"] for row in shift.curve) < shift.curve[0]["total"]


@every_family
@pytest.mark.parametrize("bos", [False, True])
def test_a_batch_finds_what_each_finds_alone(kind: str, bos: bool) -> None:
    lm = tiny_lm(kind, bos=bos)
    config = replace(CONFIG, max_steps=3)
    for one, shift in zip(PROBLEMS, find(lm, PROBLEMS, config), strict=True):
        (alone,) = find(lm, [one], config)
        torch.testing.assert_close(shift.before, alone.before, rtol=1e-4, atol=1e-4)
        assert float(torch.cosine_similarity(shift.delta, alone.delta, dim=0)) > 0.999
        assert shift.length == pytest.approx(alone.length, rel=1e-2)


def test_the_same_search_finds_the_same() -> None:
    one, two = (find(tiny_lm(), PROBLEMS) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first.delta, second.delta)
        assert first.curve == second.curve


def test_the_first_entry_is_the_unshifted_model() -> None:
    lm = tiny_lm()
    (shift,) = find(lm, PROBLEMS[:1], replace(CONFIG, max_steps=1))
    unshifted = replace(shift, length=0.0)
    first = shift.curve[0]
    assert first["rewrite"] == pytest.approx(rewrite_nll(lm, PROBLEMS[0], unshifted), abs=1e-3)
    assert first["kept"] == pytest.approx(0, abs=1e-5)
    assert first["anchor"] == pytest.approx(0, abs=1e-5)
    assert first["length"] == 0
    assert set(first) >= {"rewrite", "consequence", "kept", "anchor", "length", "total", "norm_ratio"}


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    weights = TermWeights(consequence=0.5, kept=2.0, anchor=0.25, length=3.0)
    (shift,) = find(tiny_lm(), PROBLEMS[:1], replace(CONFIG, weights=weights))
    for row in shift.curve:
        total = row["rewrite"] + 0.5 * row["consequence"] + 2 * row["kept"] + 0.25 * row["anchor"] + 3 * row["length"]
        assert row["total"] == pytest.approx(total, rel=1e-4)
        assert row["length"] == pytest.approx(row["norm_ratio"] ** 2, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("ratio", [0.05, 0.3])
def test_no_shift_is_longer_than_allowed(ratio: float) -> None:
    for shift in find(tiny_lm(), PROBLEMS, TargetConfig(max_steps=8, rate=1.0, max_norm_ratio=ratio)):
        assert shift.norm_ratio == pytest.approx(ratio, rel=1e-3), "at this rate it reaches the limit"
        assert max(row["norm_ratio"] for row in shift.curve) <= ratio * 1.0001


def test_a_shift_stays_short_where_that_is_enough_and_is_let_longer_where_not() -> None:
    lm, steps = tiny_lm(), 6
    config = TargetConfig(max_steps=steps, rate=1.0, max_norm_ratio=0.05)
    short = find(lm, PROBLEMS, config)
    needed = [max(shift.curve[-1]["rewrite"], shift.curve[-1]["consequence"] / 2) for shift in short]
    easy, hard = sorted(range(len(needed)), key=needed.__getitem__)
    enough = (needed[easy] + needed[hard]) / 2
    both = replace(config, short_norm_ratio=0.05, max_norm_ratio=0.5, short_nll=enough)
    found = find(lm, PROBLEMS, both)
    assert (found[easy].steps, found[easy].norm_ratio) == (steps, pytest.approx(0.05, rel=1e-3))
    assert found[hard].steps > steps
    assert found[hard].norm_ratio > 0.06
    for n, shift in enumerate(found):
        assert [row["norm_ratio"] <= 0.0501 for row in shift.curve[: steps + 1]] == [True] * (steps + 1)
        (alone,) = find(lm, [PROBLEMS[n]], both)
        assert (alone.steps, alone.length) == (shift.steps, pytest.approx(shift.length, rel=1e-2))


def test_a_short_limit_above_the_full_one_means_nothing() -> None:
    config = replace(CONFIG, max_norm_ratio=0.1, rate=1.0)
    (plain,), (same,) = (find(tiny_lm(), PROBLEMS[:1], replace(config, short_norm_ratio=short)) for short in (0.0, 0.6))
    assert torch.equal(plain.delta, same.delta)


def test_it_stops_when_the_answer_holds_and_not_before() -> None:
    easy = TargetConfig(max_steps=5, stop_nll=1e3, stop_consequence_nll=1e3)
    for shift in find(tiny_lm(), PROBLEMS, easy):
        assert (shift.steps, shift.stopped, shift.length) == (0, Stop.ANSWER_HOLDS, 0.0)
    never = TargetConfig(max_steps=5, stop_nll=1e-9)
    for shift in find(tiny_lm(), PROBLEMS, never):
        assert (shift.steps, shift.stopped, len(shift.curve)) == (5, Stop.STEPS, 6)


def test_an_edit_that_is_done_leaves_and_the_others_go_on_as_they_would_alone() -> None:
    """Four edits; for one the answer holds at once, so that the rest is encoded anew in a smaller batch."""
    lm = tiny_lm()
    bare = [replace(one, prompts=one.prompts[:1]) for one in PROBLEMS]
    more = [
        ShiftProblem(edit=edit, prompts=(SearchPrompt(term=Term.REWRITE, template=edit.template, answer=answer),))
        for edit in EDITS
        for answer in ("a text", "the city of Berlin")
    ]
    problems = [*bare, *more]
    start = [find(lm, [one], replace(CONFIG, max_steps=1))[0].curve[0]["rewrite"] for one in problems]
    config = replace(CONFIG, stop_nll=sorted(start)[2] + 1e-3, max_steps=4)
    shifts = find(lm, problems, config)
    assert sum(shift.steps == 0 for shift in shifts) == 3
    assert any(shift.steps for shift in shifts)
    for one, shift in zip(problems, shifts, strict=True):
        (alone,) = find(lm, [one], config)
        assert shift.steps == alone.steps
        assert shift.length == pytest.approx(alone.length, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_answers_of_any_length_are_searched_for(n: int) -> None:
    lm = tiny_lm()
    answer = " ".join(["a"] * n)
    one = problem(EDITS[0], answer=answer)
    assert len(locate(lm, one.prompts[0].phrase(EDITS[0].subject)).target_ids) == n
    (shift,) = find(lm, [one])
    assert shift.curve[-1]["rewrite"] == pytest.approx(rewrite_nll(lm, one, shift), abs=2e-3)
    assert shift.curve[-1]["rewrite"] < shift.curve[0]["rewrite"]


def test_an_answer_that_begins_like_the_old_one_is_searched_for_to_its_end() -> None:
    lm = tiny_lm()
    edit = FactEdit(
        subject="The Eiffel Tower", template="{} is in", new_object="Paris, in Italy", old_object="Paris, in France"
    )
    (shift,) = find(lm, [problem(edit)])
    assert shift.curve[-1]["rewrite"] == pytest.approx(rewrite_nll(lm, problem(edit), shift), abs=2e-3)


def test_a_subject_of_one_token_at_position_0_is_searched_for() -> None:
    lm = tiny_lm()
    edit = FactEdit(subject="R", template="{} is located in", new_object="Rome")
    one = ShiftProblem(
        edit=edit, prompts=(SearchPrompt(term=Term.REWRITE, template=edit.template, answer=edit.new_object),)
    )
    assert locate(lm, one.prompts[0].phrase("R")).lookup.position == 0
    (shift,) = find(lm, [one])
    assert shift.curve[-1]["rewrite"] == pytest.approx(rewrite_nll(lm, one, shift), abs=2e-3)
    assert math.isfinite(shift.length)


@every_family
def test_half_precision_finds_a_shift_too(kind: str) -> None:
    (shift,) = find(tiny_lm(kind, dtype=torch.bfloat16), PROBLEMS[:1], replace(CONFIG, max_steps=2))
    assert shift.delta.dtype is torch.float32
    assert shift.length > 0


def test_no_weight_gets_a_gradient() -> None:
    lm = tiny_lm()
    find(lm, PROBLEMS)
    assert all(parameter.grad is None for parameter in lm.model.parameters())


def test_the_random_control_learns_its_length_only() -> None:
    lm = tiny_lm()
    source = RandomDirection(lm.d_model, seed=3)
    before = source.shift().detach().clone()
    (shift,) = find_target_shifts(lm, PROBLEMS[:1], [source], layer=LAYER, config=CONFIG)
    cosine = float(torch.cosine_similarity(shift.delta, before, dim=0))
    assert abs(cosine) == pytest.approx(1, abs=1e-5)
    assert shift.length != pytest.approx(0.1 * float(shift.before.norm()), rel=1e-3)


class AlongOneAxis(RandomDirection):
    """Only its length is learned, and no rounding hides that nothing of that is left at the limit."""

    def __init__(self, d_model: int, *, length: float) -> None:
        super().__init__(d_model, seed=0)
        self._unit = torch.eye(d_model)[0]
        self._length = torch.nn.Parameter(torch.tensor(length))


def test_a_shift_whose_length_alone_is_free_may_begin_at_its_limit() -> None:
    lm, config = tiny_lm(), replace(CONFIG, max_norm_ratio=0.05, max_steps=1)
    for length in (0.06, 0.07, 0.08, 0.09):
        source = AlongOneAxis(lm.d_model, length=length)
        (shift,) = find_target_shifts(lm, PROBLEMS[:1], [source], layer=LAYER, config=config)
        assert shift.curve[0]["norm_ratio"] == pytest.approx(0.05, rel=1e-3)
        assert shift.steps == 1


def test_a_model_that_passes_no_gradient_is_refused() -> None:
    model = tiny_model("llama")
    for layer in model.model.layers:  # as some packed weights do: an output that remembers nothing of its input
        for projection in (layer.self_attn.k_proj, layer.self_attn.v_proj):
            projection.register_forward_hook(lambda _module, _args, output: output.detach())
    with pytest.raises(SearchError, match="No gradient reaches the shift of 'The Eiffel Tower"):
        find(wrap_lm(model, tiny_tokenizer(), name="deaf"), PROBLEMS)


def test_a_loss_that_is_not_finite_names_the_edit() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[3].mlp.down_proj.weight.fill_(float("nan"))
    lm = wrap_lm(model, tiny_tokenizer(), name="broken")
    with pytest.raises(NonFiniteError, match="Eiffel Tower"):
        find(lm, PROBLEMS)


@pytest.mark.parametrize("n", range(4))
def test_cancelling_at_any_step_leaves_nothing_attached(n: int) -> None:
    lm = tiny_lm()
    with pytest.raises(Cancelled):
        find(lm, PROBLEMS, replace(CONFIG, stop_nll=1e-9), progress=StopsAfter(n))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())


@pytest.mark.parametrize("layer", [-1, N_LAYER - 1, 99])
def test_a_layer_that_cannot_be_searched_at_is_refused(layer: int) -> None:
    with pytest.raises(ConfigError, match=f"0 to {N_LAYER - 2}"):
        find(tiny_lm(), PROBLEMS, layer=layer)


@pytest.mark.parametrize(
    "settings",
    [{"max_steps": 0}, {"rate": 0.0}, {"max_norm_ratio": -1.0}, {"stop_nll": 0.0}, {"short_norm_ratio": -0.1}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"target.{next(iter(settings))}"):
        TargetConfig(**settings)  # type: ignore[arg-type]


def test_the_limit_has_its_true_gradient() -> None:
    longest = torch.tensor([1.0, 1.0], dtype=torch.float64)
    shift = torch.tensor([[0.3, 0.4], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: limited(x, longest), shift)
    torch.testing.assert_close(limited(shift, longest)[1].detach(), torch.tensor([0.6, 0.8], dtype=torch.float64))
    assert torch.equal(limited(shift, longest)[0], shift[0])


def test_the_terms_agree_with_numbers_worked_by_hand() -> None:
    table = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]).log()
    nll = answer_nll(table, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 2]), 3)
    assert nll.tolist() == pytest.approx([(math.log(2) + math.log(4)) / 2, 0.0, math.log(10)])
    divergence = kept_divergence(table[1:2], table[:1])
    assert float(divergence) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert float(kept_divergence(table, table).abs().max()) == 0
    assert float(length_penalty(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 10.0]))) == pytest.approx(0.25)


def test_massive_entries_are_no_part_of_a_states_length() -> None:
    state = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ordinary_norm(state), state.norm(dim=1))
    massive = state.clone()
    massive[:, 7], massive[1, 20] = 5000.0, -900.0
    state[:, 7], state[1, 20] = 0.0, 0.0
    torch.testing.assert_close(ordinary_norm(massive), state.norm(dim=1), rtol=1e-4, atol=1e-4)
    assert float(ordinary_norm(massive * 3)[0]) == pytest.approx(3 * float(ordinary_norm(massive)[0]))
