"""How well a forecast agrees with what was measured, in words: for its page and for the file that is shared."""

from __future__ import annotations

from kgmet.forecast.check import CheckedForecast

__all__ = ["LOSS", "check_sentence", "lost_sentence"]

LOSS = 0.5
"""Change in nats from which a fact counts as changed: its answer keeps less than 61 % of its probability."""


def check_sentence(checked: CheckedForecast) -> str:
    """Describe the accuracy of the forecast."""
    found = checked.rank_correlation
    said = "not defined" if found is None else f"{found:.2f}"
    return f"Rank correlation (Spearman) of forecast and measured change: {said}, {lost_sentence(checked)}"


def lost_sentence(checked: CheckedForecast) -> str:
    """Say how many facts were compared, and how many lost much, measured and forecast."""
    foretold = sum(item.change < -LOSS for item in checked.forecasts)
    return (
        f"n = {len(checked.forecasts)}. Facts that lost more than 0.5 nats: {checked.losing(LOSS)}; "
        f"forecast: {foretold}."
    )
