"""Properties of the shift trace: what it measures are the model's own states, and its parts add up."""

from __future__ import annotations

import pytest
import torch

from kgmet.base.errors import Cancelled, StaleArtifactError
from kgmet.base.progress import CancelFlag, Silent
from kgmet.inspect.shift import Quantity, layer_states, trace_shifts
from kgmet.inspect.texts import InspectedText, TextKind
from kgmet.lm.run.spans import Phrase
from tests.inspect.looked import random_patch, text_of
from tests.tiny_models import N_LAYER, tiny_lm


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_states_are_those_the_model_itself_reports(kind: str) -> None:
    lm = tiny_lm(kind)
    ids = lm.tokenizer(text_of().text)["input_ids"]
    with torch.no_grad():
        reported = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    states = layer_states(lm, ids)
    assert states.shape == (N_LAYER, len(ids), lm.d_model)
    for layer in range(N_LAYER - 1):  # the model reports the last one after its norm
        torch.testing.assert_close(states[layer], reported[layer + 1][0])


def test_nothing_attached_is_no_shift_at_all() -> None:
    (trace,) = trace_shifts(tiny_lm(), [], [text_of()])
    for quantity in Quantity:
        expected = 1.0 if quantity is Quantity.COSINE else 0.0
        assert bool((trace.of(quantity) == expected).all()), quantity


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_parts_of_a_shift_add_up(kind: str) -> None:
    lm = tiny_lm(kind)
    (trace,) = trace_shifts(lm, random_patch(lm), [text_of()])
    along, across, length = (trace.of(q) for q in (Quantity.ALONG, Quantity.ACROSS, Quantity.LENGTH))
    torch.testing.assert_close(along**2 + across**2, length**2)
    torch.testing.assert_close((1 + along) ** 2 + across**2, (1 + trace.of(Quantity.MAGNITUDE)) ** 2)
    torch.testing.assert_close(trace.of(Quantity.ANGLE).deg2rad().cos(), trace.of(Quantity.COSINE))


def test_angle_and_magnitude_are_those_of_the_states() -> None:
    lm = tiny_lm()
    patch, ids = random_patch(lm), lm.tokenizer(text_of().text)["input_ids"]
    from kgmet.write.patch import attached

    before = layer_states(lm, ids).double()
    with attached(patch, lm):
        after = layer_states(lm, ids).double()
    (trace,) = trace_shifts(lm, patch, [text_of()])
    torch.testing.assert_close(trace.of(Quantity.COSINE), torch.cosine_similarity(before, after, dim=-1))
    torch.testing.assert_close(trace.of(Quantity.MAGNITUDE), after.norm(dim=-1) / before.norm(dim=-1) - 1)


def test_layers_below_the_lowest_edited_one_stay() -> None:
    lm = tiny_lm()
    (trace,) = trace_shifts(lm, random_patch(lm, layer=2), [text_of()])
    length = trace.of(Quantity.LENGTH)
    assert bool((length[:2] == 0).all())
    assert bool((length[2:] > 0).all())


def test_earlier_patches_are_on_before_and_after() -> None:
    lm = tiny_lm()
    first, second = random_patch(lm, seed=1), random_patch(lm, layer=2, seed=2)
    (alone,) = trace_shifts(lm, first, [text_of()])
    (later,) = trace_shifts(lm, second, [text_of()], earlier=[first])
    assert torch.equal(later.before, alone.after)


def test_the_lookup_token_is_the_subjects_last_and_a_text_without_subject_has_none() -> None:
    lm = tiny_lm()
    plain = InspectedText(kind=TextKind.UNRELATED, phrase=Phrase(template="The capital of Italy is"))
    with_subject, without = trace_shifts(lm, [], [text_of(), plain])
    assert with_subject.lookup is not None
    assert "".join(with_subject.tokens[: with_subject.lookup + 1]).strip() == "The Eiffel Tower"
    assert without.lookup is None
    assert "".join(without.tokens) == "The capital of Italy is"


def test_a_patch_of_another_model_is_refused_and_a_stop_is_heard() -> None:
    lm = tiny_lm()
    with pytest.raises(StaleArtifactError):
        trace_shifts(lm, random_patch(tiny_lm(seed=1)), [text_of()])

    class Stopped(Silent):
        def check(self) -> None:
            flag = CancelFlag()
            flag.set()
            flag.check()

    with pytest.raises(Cancelled):
        trace_shifts(lm, random_patch(lm), [text_of()], progress=Stopped())
    assert torch.equal(*(trace_shifts(lm, [], [text_of()])[0].before for _ in range(2)))
