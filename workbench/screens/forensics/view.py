"""Value → what the Inspect page shows; imports no Streamlit."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kgmet.editing.defaults import listed_layers
from kgmet.inspect.forensics.inspection import EditInspection
from workbench import wording

__all__ = ["answer_table", "change_table", "facts", "sign_lines", "subject_table"]

_MOST_ROWS = 100


def facts(found: EditInspection) -> list[tuple[str, str]]:
    """Return the figures at the top: name and value."""
    changed = found.changed
    ranks = sorted({change.rank for change in changed.changes if change.rank is not None})
    return [
        ("Changed weights", str(len(changed.changes))),
        ("Layers", listed_layers(changed.layers)),
        ("Rank", "none" if not ranks else str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}–{ranks[-1]}"),
        ("Subjects ranked", f"{len(found.scan.scores):,}"),
        ("Stand out", str(len(found.claimed))),
    ]


def change_table(found: EditInspection) -> pd.DataFrame:
    """Return one row per changed weight."""
    rows = [
        {
            "Layer": "none" if change.layer is None else str(change.layer),
            "Weight": change.part,
            "‖ΔW‖ / ‖W‖": f"{change.relative:.2e}",
            "Rank": "vector" if change.rank is None else f"{change.rank}{'+' if change.is_rank_bound else ''}",
            "Largest singular values": " ".join(f"{value:.3g}" for value in change.singular[:4]) or "none",
        }
        for change in found.changed.changes[:_MOST_ROWS]
    ]
    return pd.DataFrame(rows)


def sign_lines(found: EditInspection) -> list[str]:
    """Return one Markdown line per sign: whether it holds, its figure, what it means."""
    lines = []
    for sign in found.origin.signs:
        mark = ":material/check_circle:" if sign.holds else ":material/radio_button_unchecked:"
        lines.append(f"{mark} **{wording.safe(sign.name)}**: {wording.safe(sign.figure)}. {wording.safe(sign.means)}")
    return lines


def subject_table(found: EditInspection) -> pd.DataFrame:
    """Return the first subjects: rank, name, response, whether it stands out."""
    claimed = {score.entity.id for score in found.claimed}
    rows: list[dict[str, Any]] = [
        {
            "Rank": rank,
            "Subject": score.entity.label,
            "Times the median": round(score.times, 2),
            "Stands out": "yes" if score.entity.id in claimed else "no",
            "What it is": score.entity.description,
        }
        for rank, score in enumerate(found.scan.scores[:_MOST_ROWS], start=1)
    ]
    return pd.DataFrame(rows)


def answer_table(found: EditInspection, *, only_changed: bool) -> pd.DataFrame:
    """Return what the first subjects' prompts gave before and give now."""
    rows = [
        {"Prompt": answer.prompt, "Before": answer.before, "Now": answer.now, "Divergence": round(answer.divergence, 3)}
        for answer in found.answers
        if not only_changed or answer.before != answer.now
    ]
    return pd.DataFrame(rows, columns=["Prompt", "Before", "Now", "Divergence"])
