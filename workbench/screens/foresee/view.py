"""Texts and tables of the Foresee page, without Streamlit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from kgmet.editing.defaults import listed_layers
from kgmet.editing.foresee import ForecastFacts
from kgmet.forecast.check import CheckedForecast
from kgmet.forecast.forecast import FactForecast
from workbench import wording
from workbench.drawing.forecast_words import LOSS, check_sentence

__all__ = [
    *("ALL", "GAIN", "LOSE", "WAYS"),
    *("READ_CHECK", "READ_FACTS", "READ_MEASURED", "READ_PROTECTED", "READ_RELATIONS"),
    *("alt", "check_alt", "check_sentence", "chosen_ways", "earlier_note", "estimate", "fact_line", "full_table"),
    *("headline", "priced_note", "protected_table", "span", "time_left"),
]

ALL, LOSE, GAIN = "Move most", "Lose most", "Gain most"
WAYS = (ALL, LOSE, GAIN)
READ_FACTS = (
    "How to read it: the open circle is the right answer's probability in the unedited model, the triangle what it is "
    "forecast to be with the edit: to the left it loses, to the right (green) it gains."
)
READ_PROTECTED = " A diamond is the forecast of the protected edit."
READ_MEASURED = " A cross is what was measured with the edit attached."
READ_RELATIONS = (
    "How to read it: every triangle is a known fact at its forecast change, one line a relation. −0.5 nats means that "
    "61 % of the answer's probability remain; near 0 nothing happens."
)
READ_CHECK = (
    "How to read it: every dot is a fact. Horizontal: the forecast, made before anything was attached. Vertical: "
    "the measured change of the answer's log-probability. On the dotted line they agree; the rank correlation "
    "(Spearman) is 1 if "
    "the order is right, whatever the size, and 0 for a forecast that says nothing."
)


def chosen_ways(foreseen: ForecastFacts, way: str, n: int) -> tuple[FactForecast, ...]:
    """Return the `n` facts with the largest changes, losses or gains."""
    items = foreseen.strongest_first
    if way == LOSE:
        items = tuple(item for item in items if item.change < 0)
    elif way == GAIN:
        items = tuple(item for item in items if item.change > 0)
    return items[:n]


def estimate(n_fact: int, on_disk: int, seconds: float, *, n_bytes: int, is_cpu: bool) -> str:
    """Describe the estimated time to ask and measure the facts."""
    left = n_fact - on_disk
    if left <= 0:
        return f"All {n_fact} facts are measured already and on disk; what is left takes seconds."
    there = f" {on_disk} of them are on disk already." if on_disk else ""
    rest = f"the other {left}" if on_disk else "them"
    took = f"about {wording.duration(seconds)} on one CPU thread" if is_cpu else "seconds to a minute on this device"
    return (
        f"{n_fact} known facts, those near the edit first.{there} Asking and measuring {rest} takes {took}, "
        f"once for this model: they are kept on disk (at most {n_bytes / 1e6:.0f} MB), also if you stop half-way."
    )


def time_left(done: int, total: int | None, seconds: float) -> str:
    """Describe the remaining time, from the speed so far; empty if unknown."""
    if not total or done < 5 or done >= total:
        return ""
    return wording.time_left(seconds * (total - done) / done)


def fact_line(item: FactForecast, relation: str, *, measured: float | None = None) -> str:
    """Return one fact as Markdown: subject, relation, answer, now → forecast, direction, and any measurement."""
    arrow = "▲" if item.change > 0 else "▼"
    about = f" · {wording.safe(relation)}" if relation else ""
    about += " · by an earlier edit" if item.fact.prompt.is_stated else ""
    return (
        f"**{wording.safe(wording.short(item.fact.prompt.subject, 50))}**{about}: "
        f"{wording.safe(wording.short(item.fact.answer, 40))}, {_percent(item.before)} → {_percent(item.after)} "
        f"{arrow}\u00a0{wording.safe(f'{item.change:+.2f}'.replace('-', '−'))}"
        + ("" if measured is None else f"; measured {_percent(measured)}")
    )


def headline(foreseen: ForecastFacts) -> str:
    """Summarize the forecast in one sentence, as Markdown."""
    n, losing = len(foreseen.forecasts), foreseen.losing(LOSS)
    if not n:
        return "The model knows none of the facts that this edit should leave alone, so there is nothing to forecast."
    many = f"**{losing} of {n}** known facts that this edit should not change are forecast to lose more than 0\\.5 nats"
    return (
        f"{many} (less than 61 % of the answer's probability remains). "
        f"Mean change, either way: {wording.safe(f'{foreseen.mean_change():.3f}')} nats."
    )


def priced_note(foreseen: ForecastFacts) -> str:
    """Return what it means that the write had a price on known facts."""
    n = len(foreseen.protected)
    which = f"on moving {n} of these facts" if n else "on moving known facts"
    return (
        f"This edit was written with a price {which}, by this very forecast: theirs is near 0 by construction. What is "
        "left is what a linear forecast does not see."
    )


def protected_table(plain: ForecastFacts, protected: ForecastFacts, ticked: Collection[str]) -> pd.DataFrame:
    """Return the plain and the protected edit side by side: measured and forecast values."""
    others = {item.fact.prompt.id for item in plain.forecasts} - set(ticked)
    pairs = (plain, protected)
    rows = [
        ("probability of the new object, asked", *(wording.percent(one.p_new[0][1]) for one in pairs)),
        (
            f"facts losing more than 0.5 nats, forecast, of {len(plain.forecasts)}",
            *(str(o.losing(LOSS)) for o in pairs),
        ),
        (
            f"mean change of the {len(ticked)} protected, nats, forecast",
            *(f"{o.mean_change(ticked):.3f}" for o in pairs),
        ),
        (f"mean change of the other {len(others)}, nats, forecast", *(f"{o.mean_change(others):.3f}" for o in pairs)),
    ]
    return pd.DataFrame(rows, columns=["", "as it is", "protected"]).set_index("")


def full_table(
    foreseen: ForecastFacts,
    labels: Mapping[str, str],
    *,
    protected: ForecastFacts | None,
    checked: CheckedForecast | None,
) -> pd.DataFrame:
    """Return every fact, largest change first."""
    other = {} if protected is None else {item.fact.prompt.id: item for item in protected.forecasts}
    measured = {}
    if checked is not None:
        measured = {
            item.fact.prompt.id: value for item, value in zip(checked.forecasts, checked.measured.tolist(), strict=True)
        }
    rows = []
    for item in foreseen.strongest_first:
        prompt = item.fact.prompt
        row: dict[str, object] = {
            "subject": prompt.subject,
            "relation": labels.get(prompt.relation, prompt.relation),
            "answer": item.fact.answer,
            "now": wording.percent(item.before),
            "forecast": wording.percent(item.after),
            "change, nats": round(item.change, 3),
        }
        if prompt.id in other:
            row["protected, nats"] = round(other[prompt.id].change, 3)
        if prompt.id in measured:
            row["measured, nats"] = round(measured[prompt.id], 3)
        rows.append({**row, "prompt": prompt.text})
    return pd.DataFrame(rows)


def earlier_note(n: int) -> str:
    """Describe the effect of earlier edits on the comparison."""
    return (
        f"{wording.count(n, 'earlier edit')} stayed attached before and after. The forecast is linear around "
        "the unedited model and gets less accurate as edits accumulate."
    )


def alt(items: Sequence[FactForecast]) -> str:
    """Describe the picture of single facts for screen readers."""
    return "Forecast probability of the right answer, now and with the edit. " + "; ".join(map(str, items))


def check_alt(checked: CheckedForecast) -> str:
    """Describe the scatter plot for screen readers."""
    return f"Scatter of measured over forecast change. {check_sentence(checked)}"


def span(layers: Sequence[int]) -> str:
    """Format layers: ``layers 3–8``, ``layers 2, 5``, ``layer 6``."""
    return f"layer{'' if len(layers) == 1 else 's'} {listed_layers(layers)}"


def _percent(value: float) -> str:
    """Format a percentage, without decimals if precise enough, with a non-breaking blank."""
    return f"{100 * value:.0f}\u00a0%" if value >= 0.1 else wording.percent(value)
