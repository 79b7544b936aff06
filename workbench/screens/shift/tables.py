"""Tables and sentences of the inspection pages, without Streamlit."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kgmet.inspect.lens import LensReading
from workbench import wording

__all__ = ["lens_at_layer", "lens_by_layer", "lens_sentence"]


def lens_at_layer(reading: LensReading, layer: int) -> pd.DataFrame:
    """Return the likeliest next tokens of one layer, before and after side by side."""
    before, after = reading.before[layer], reading.after[layer]
    return pd.DataFrame(
        {
            "before": [_shown(token.text) for token in before.top],
            "p": [wording.percent(token.probability) for token in before.top],
            "after": [_shown(token.text) for token in after.top],
            "p ": [wording.percent(token.probability) for token in after.top],
        }
    )


def lens_by_layer(reading: LensReading) -> pd.DataFrame:
    """Return every layer, last one first: likeliest tokens, probability and rank of the answers, divergence."""
    rows = []
    for before, after, divergence in zip(reading.before, reading.after, reading.divergence, strict=True):
        row: dict[str, Any] = {
            "layer": before.layer,
            "before": " · ".join(_shown(token.text) for token in before.top),
            "after": " · ".join(_shown(token.text) for token in after.top),
        }
        for number, answer in enumerate(reading.answers):
            was, now = before.answers[number], after.answers[number]
            row[f"{answer}: p"] = f"{wording.percent(was.probability)} → {wording.percent(now.probability)}"
            row[f"{answer}: rank"] = f"{was.rank} → {now.rank}"
        row["KL (nats)"] = round(divergence, 4)
        rows.append(row)
    return pd.DataFrame(rows[::-1])


def lens_sentence(reading: LensReading, layer: int) -> str:
    """Describe the tracked answers at one layer."""
    before, after = reading.before[layer], reading.after[layer]
    parts = [
        f"{wording.safe(answer)}: {wording.percent(was.probability)} → {wording.percent(now.probability)} "
        f"(rank {was.rank} → {now.rank})"
        for answer, was, now in zip(reading.answers, before.answers, after.answers, strict=True)
    ]
    parts.append(f"KL {reading.divergence[layer]:.3g} nats")
    return f"After layer {layer}: " + "; ".join(parts)


def _shown(token: str) -> str:
    """Format a token for a cell: without its leading blank, a token of blanks made visible."""
    return token.strip() or token.replace("\n", "⏎").replace(" ", "␣")
