"""What was forecast is compared with what the model really answers, and ranks are counted right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import Cancelled, StaleArtifactError
from kgmet.base.progress import ProgressEvent
from kgmet.forecast.check import CheckedForecast, check_forecast, rank_correlation
from kgmet.forecast.forecast import forecast
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import EditPatch, attached
from tests.forecast.test_forecast import FACTS, index_of, patch_of
from tests.tiny_models import tiny_lm


def checked(size: float, *, earlier: tuple[EditPatch, ...] = ()) -> CheckedForecast:
    lm = tiny_lm()
    found = forecast(patch_of(lm, size), index_of(lm))
    forecasts = [found.of(number) for number in range(len(found.index))]
    return check_forecast(lm, forecasts, patch_of(lm, size), earlier=earlier)


def test_what_is_measured_is_what_the_model_answers() -> None:
    lm, found = tiny_lm(), checked(1.0)
    before = [score.logprob for score in score_answers(lm, FACTS)]
    with attached(patch_of(lm, 1.0), lm):
        after = [score.logprob for score in score_answers(lm, FACTS)]
    assert found.before.tolist() == pytest.approx(before, abs=1e-4)
    assert found.after.tolist() == pytest.approx(after, abs=1e-6)
    assert found.measured.tolist() == pytest.approx([a - b for a, b in zip(after, before, strict=True)], abs=1e-4)
    assert found.losing(0.0) == sum(a < b for a, b in zip(after, before, strict=True))
    told = found.probabilities
    assert [told[item.fact.prompt.id] for item in found.forecasts] == pytest.approx(found.after.exp().tolist())


def test_a_small_patch_does_what_was_forecast() -> None:
    lm = tiny_lm()
    wide = forecast(patch_of(lm, 1.0), index_of(lm)).changes
    found = checked(0.01 / float(wide.abs().max()))
    torch.testing.assert_close(found.measured, found.forecast, rtol=0.05, atol=3e-4)


def test_earlier_patches_are_attached_in_both_cases() -> None:
    lm = tiny_lm()
    under = patch_of(lm, 0.5)
    found = checked(1.0, earlier=(under,))
    with attached(under, lm):
        before = [score.logprob for score in score_answers(lm, FACTS)]
    assert found.before.tolist() == pytest.approx(before, abs=1e-6)
    assert found.before.tolist() != pytest.approx(checked(1.0).before.tolist(), abs=1e-4)


def test_a_patch_of_another_model_is_refused_and_a_stop_is_followed() -> None:
    lm = tiny_lm()
    found = forecast(patch_of(lm, 1.0), index_of(lm))
    forecasts = [found.of(0)]
    with pytest.raises(StaleArtifactError):
        check_forecast(lm, forecasts, replace(patch_of(lm, 1.0), model_fingerprint="other"))

    class Stopped:
        def report(self, event: ProgressEvent) -> None:
            assert event.stage == "check forecast"

        def check(self) -> None:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        check_forecast(lm, forecasts, patch_of(lm, 1.0), progress=Stopped())
    assert check_forecast(lm, [], patch_of(lm, 1.0)).rank_correlation is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2.0, 3.0], [10.0, 20.0, 400.0], 1.0),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0], 0.8),
        ([1.0, 1.0, 2.0], [1.0, 2.0, 3.0], 0.8660254037844387),
        ([3.0], [1.0], None),
        ([1.0, 1.0], [1.0, 2.0], None),
    ],
)
def test_rank_correlation(one: list[float], other: list[float], expected: float | None) -> None:
    """By hand: 1 − 6Σd²/(n(n²−1)) = 1 − 6·4/120 = 0.8; with a tie the ranks are 1.5, 1.5, 3, so √3/2."""
    found = rank_correlation(torch.tensor(one), torch.tensor(other))
    assert found is None if expected is None else found == pytest.approx(expected)
