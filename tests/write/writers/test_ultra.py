"""UltraEdit by its formula, and its running statistics."""

from __future__ import annotations

import torch

from kgmet.fact import FactEdit
from kgmet.lm.run.tracing import hooked
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term
from kgmet.write.ledger import EditLedger
from kgmet.write.running import RunningMoments
from kgmet.write.writers.ultra import answer_features, ultra_update
from tests.tiny_models import tiny_lm
from tests.write.worked import D_KEY, D_MODEL, drawn

ROWS = drawn(11, D_KEY + D_MODEL, seed=1)


def test_running_moments_are_those_of_all_rows_in_any_order() -> None:
    first, second = RunningMoments.of(ROWS[:4]), RunningMoments.of(ROWS[4:])
    for merged in (first.merged(second), second.merged(first)):
        torch.testing.assert_close(merged.mean, ROWS.mean(0))
        torch.testing.assert_close(merged.normalised(ROWS), (ROWS - ROWS.mean(0)) / ROWS.std(0))
    again = RunningMoments.unpacked(first.packed())
    assert again.n == 4
    assert torch.equal(again.mean, first.mean)
    both = EditLedger().seeing({3: first}).seeing({3: second}).features[3]
    torch.testing.assert_close(both.squares, ((ROWS - ROWS.mean(0)) ** 2).sum(0))
    assert RunningMoments.of(ROWS[:0]).merged(first) is not None


def test_a_single_row_deviates_from_nothing() -> None:
    assert not RunningMoments.of(ROWS[:1]).normalised(ROWS[:1]).any()


def test_the_update_is_the_formula() -> None:
    moments, rate = RunningMoments.of(ROWS), 0.01
    now = ROWS[6:]
    normal = (now - ROWS.mean(0)) / ROWS.std(0)
    keys = now[:, :D_KEY].T  # (d_key, n), as in the paper
    values = -rate * (normal[:, :D_KEY] ** 2).sum(1, keepdim=True) * normal[:, D_KEY:]
    transposed = torch.linalg.solve(keys @ keys.T + torch.eye(D_KEY).double(), keys @ values)
    update = ultra_update(now, moments, d_key=D_KEY, rate=rate, layer=3, weight_name="w")
    torch.testing.assert_close(update.dense().double(), transposed.T, rtol=1e-4, atol=1e-6)


def test_features_are_keys_and_gradients_at_the_answers_tokens() -> None:
    lm = tiny_lm()
    edit = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome")
    prompts = tuple(
        SearchPrompt(term=Term.REWRITE, template=edit.template, answer="Rome", prefix=prefix) for prefix in ("", "So: ")
    )
    found = answer_features(lm, [ShiftProblem(edit=edit, prompts=prompts)], (1,))[1]
    before = 0
    for prompt in prompts:
        text = f"{prompt.prefix}{edit.prompt} Rome"
        ids = torch.tensor([lm.tokenizer(text)["input_ids"]])
        n_answer = ids.shape[1] - len(lm.tokenizer(f"{prompt.prefix}{edit.prompt}")["input_ids"])
        probe, keys = torch.zeros(1, ids.shape[1], lm.d_model, requires_grad=True), []

        def change(inputs, output, keys=keys, probe=probe):  # type: ignore[no-untyped-def]
            keys.append(inputs[0])
            return output + probe

        with hooked(lm.family.write_module(lm.model, 1), change):
            logits = lm.model(ids).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[-n_answer - 1 : -1], ids[0, -n_answer:])
        gradient = torch.autograd.grad(loss, probe)[0][0]
        wanted = torch.cat([keys[0][0], gradient], dim=1)[-n_answer - 1 : -1]
        torch.testing.assert_close(found[before : before + n_answer], wanted, rtol=1e-3, atol=1e-5)
        before += n_answer
    assert before == len(found)
