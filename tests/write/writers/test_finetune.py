"""Properties of constrained fine-tuning: the answer gets likelier, the bound holds, no weight is touched."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import Cancelled, ConfigError, NonFiniteError, RequestError
from kgmet.base.progress import ProgressEvent
from kgmet.fact import FactEdit
from kgmet.lm.say.score import score_answers
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term
from kgmet.write.curvature import Curvature
from kgmet.write.patch import attached_updates
from kgmet.write.writers.finetune import Bound, FineTuneConfig, finetune_updates
from tests.tiny_models import FAMILY_KINDS, N_LAYER, tiny_lm, tiny_model, tiny_tokenizer
from tests.write.tiny_edits import EDITS, logits_of

LOOSE = FineTuneConfig(steps=8, rate=0.02, bound=0.2)


def problem(edit: FactEdit) -> ShiftProblem:
    """The bare rewriting prompt, and a held one that fine-tuning does not look at."""
    rewrite = SearchPrompt(term=Term.REWRITE, template=edit.template, answer=edit.new_object)
    return ShiftProblem(edit=edit, prompts=(rewrite, SearchPrompt(term=Term.ANCHOR, template="{} is a")))


PROBLEMS = [problem(edit) for edit in EDITS]


class Heard:
    """Remembers the losses; stops at the n-th check."""

    def __init__(self, n: int = 10_000) -> None:
        self.left = n
        self.losses: list[float] = []

    def report(self, event: ProgressEvent) -> None:
        """Remember."""
        self.losses.append(float(event.detail["total"]))

    def check(self) -> None:
        """Count down."""
        self.left -= 1
        if self.left < 0:
            raise Cancelled("stop")


@pytest.mark.parametrize("kind", FAMILY_KINDS)
def test_the_answers_get_likelier_and_no_weight_changes(kind: str) -> None:
    lm = tiny_lm(kind)
    weights = {name: value.clone() for name, value in lm.model.state_dict().items()}
    before, heard = logits_of(lm), Heard()
    updates = finetune_updates(lm, PROBLEMS, layers=[2, 1], config=LOOSE, progress=heard)
    assert [update.layer for update in updates] == [1, 2]
    assert heard.losses[-1] < heard.losses[0] - 0.1
    pairs = [(edit.prompt, edit.new_object) for edit in EDITS]
    with attached_updates(updates, lm):
        scores = score_answers(lm, pairs)
    # The updates are those the last loss was measured with: nothing is rounded, limited or stepped afterwards.
    mean = sum(-score.mean_logprob for score in scores) / len(scores)
    assert mean == pytest.approx(heard.losses[-1], rel=1e-3)
    assert torch.equal(logits_of(lm), before)
    assert all(torch.equal(value, weights[name]) for name, value in lm.model.state_dict().items())
    assert all(parameter.grad is None for parameter in lm.model.parameters())


@pytest.mark.parametrize("kind", [Bound.ENTRY, Bound.NORM])
def test_the_bound_holds(kind: Bound) -> None:
    config = FineTuneConfig(steps=6, rate=0.5, kind=kind, bound=0.01)
    for update in finetune_updates(tiny_lm(), PROBLEMS, layers=[1, 2], config=config):
        matrix = update.dense()
        size = matrix.abs().max() if kind is Bound.ENTRY else matrix.norm()
        assert float(size) == pytest.approx(0.01, rel=1e-4)


def test_it_stops_when_every_answer_holds() -> None:
    heard = Heard()
    finetune_updates(tiny_lm(), PROBLEMS, layers=[1], config=FineTuneConfig(steps=5, stop_nll=1e3), progress=heard)
    assert len(heard.losses) == 1


def test_answers_are_weighed_alike_whatever_the_padding() -> None:
    alone, together = Heard(), Heard()
    for one in PROBLEMS:
        finetune_updates(tiny_lm(), [one], layers=[1], config=FineTuneConfig(steps=1), progress=alone)
    finetune_updates(tiny_lm(), PROBLEMS, layers=[1], config=FineTuneConfig(steps=1), progress=together)
    assert together.losses[0] == pytest.approx((alone.losses[0] + alone.losses[2]) / 2, rel=1e-4)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_cancelling_leaves_nothing_attached(n: int) -> None:
    lm = tiny_lm()
    with pytest.raises(Cancelled):
        finetune_updates(lm, PROBLEMS, layers=[1], config=LOOSE, progress=Heard(n))
    assert not any(module._forward_hooks for module in lm.model.modules())


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    from kgmet.lm.load.loaded import wrap_lm

    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[3].mlp.down_proj.weight.fill_(float("nan"))
    lm = wrap_lm(model, tiny_tokenizer(), name="broken")
    with pytest.raises(NonFiniteError, match=r"finetune\.rate"):
        finetune_updates(lm, PROBLEMS, layers=[1], config=LOOSE)


def test_layers_and_prompts_must_be_there() -> None:
    with pytest.raises(ConfigError, match=f"0 to {N_LAYER - 1}"):
        finetune_updates(tiny_lm(), PROBLEMS, layers=[N_LAYER], config=LOOSE)
    with pytest.raises(ConfigError, match="no layer"):
        finetune_updates(tiny_lm(), PROBLEMS, layers=[], config=LOOSE)
    with pytest.raises(RequestError, match="no edit"):
        finetune_updates(tiny_lm(), [], layers=[1], config=LOOSE)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"rate": 0.0}, {"bound": -1.0}, {"stop_nll": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"finetune.{next(iter(settings))}"):
        FineTuneConfig(**settings)  # type: ignore[arg-type]


def test_mini_batches_are_the_same_for_the_same_seed_and_every_row_takes_part() -> None:
    config = FineTuneConfig(steps=3, rate=0.01, kind=Bound.NONE, batch_size=1)
    first, again, other = (
        finetune_updates(tiny_lm(), PROBLEMS, layers=[1], config=config, seed=seed)[0].dense() for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    pairs, lm = [(edit.prompt, edit.new_object) for edit in EDITS], tiny_lm()
    before = [score.logprob for score in score_answers(lm, pairs)]
    longer = FineTuneConfig(steps=12, rate=0.01, kind=Bound.NONE, batch_size=1)
    with attached_updates(finetune_updates(lm, PROBLEMS, layers=[1], config=longer), lm):
        after = [score.logprob for score in score_answers(lm, pairs)]
    assert all(now > was for was, now in zip(before, after, strict=True))


def test_the_end_of_text_is_asked_for_after_the_answer() -> None:
    lm, heard = tiny_lm(), Heard()
    config = FineTuneConfig(steps=1, end_of_text=True)
    finetune_updates(lm, PROBLEMS[:1], layers=[1], config=config, progress=heard)
    edit, end = EDITS[0], lm.tokenizer.eos_token_id
    ids = torch.tensor([[*lm.tokenizer(f"{edit.prompt} {edit.new_object}")["input_ids"], end]])
    n_answer = ids.shape[1] - len(lm.tokenizer(edit.prompt)["input_ids"])
    with torch.no_grad():
        logits = lm.model(ids).logits[0]
    wanted = torch.nn.functional.cross_entropy(logits[-n_answer - 1 : -1], ids[0, -n_answer:])
    assert heard.losses[0] == pytest.approx(float(wanted), rel=1e-4)


def test_changes_stay_where_the_loss_is_flat() -> None:
    lm, generator = tiny_lm(), torch.Generator().manual_seed(0)
    outputs = torch.randn(lm.d_model, lm.d_model, generator=generator).double()
    keys = torch.randn(lm.d_key, lm.d_key, generator=generator).double()
    curvature = Curvature.of(outputs @ outputs.T, keys @ keys.T, share=0.6)
    config = FineTuneConfig(steps=4, rate=0.01, kind=Bound.NONE)
    (update,) = finetune_updates(lm, PROBLEMS, layers=[1], config=config, curvatures={1: curvature})
    torch.testing.assert_close(curvature.flat_part(update.dense()), update.dense(), rtol=1e-3, atol=1e-5)
    (free,) = finetune_updates(lm, PROBLEMS, layers=[1], config=config)
    assert float((free.dense() - curvature.flat_part(free.dense())).norm()) > 0.1 * float(free.dense().norm())
