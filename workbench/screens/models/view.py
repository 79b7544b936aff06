"""What is known, measured and calibrated → words and tables. No Streamlit here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from kgmet.calibrate.estimate import Estimate
from kgmet.editing.profile import CalibratedEditor, ModelProfile
from kgmet.forecast.known import AskedFact, KnownFacts, KnownRelation
from kgmet.measure.metrics import wilson_interval
from workbench import wording
from workbench.state.values import FactDraft

__all__ = [
    "SORTS",
    "check_table",
    "estimate_words",
    "fact_draft",
    "knows_sentence",
    "knows_table",
    "profile_words",
    "relations_shown",
    "rival_of",
]

SORTS = ("share known", "facts asked", "name")
_COLUMN_NAMES = {"neighbour": "neighbours", "consequence": "consequences"}
"""Columns of the score that are shown under another name."""


def knows_sentence(known: KnownFacts, n_left: int) -> str:
    """Say how much of what was asked the model knows."""
    low, high = (100 * bound for bound in wilson_interval(known.known, known.asked))
    share = 100 * known.known / known.asked
    text = (
        f"{known.model} answers {known.known:,} of the {known.asked:,} facts it was asked ({share:.0f} %, 95 % "
        f"interval {low:.0f}–{high:.0f} %), of {len(known.relations)} relations."
    )
    more = f"{n_left:,} facts are not asked in every wording yet, so more may be known."
    return f"{text} {more}" if n_left else text


def relations_shown(rows: Sequence[KnownRelation], *, named: str, sort: str) -> list[KnownRelation]:
    """Return the relations whose name holds every typed word, sorted."""
    words = named.casefold().split()
    found = [row for row in rows if all(word in f"{row.label} {row.relation}".casefold() for word in words)]
    if sort == SORTS[1]:
        return sorted(found, key=lambda row: (-row.asked, -row.share, row.label))
    if sort == SORTS[2]:
        return sorted(found, key=lambda row: row.label.casefold())
    return sorted(found, key=lambda row: (-row.share, -row.asked, row.label))


def knows_table(rows: Sequence[KnownRelation]) -> pd.DataFrame:
    """Return the relations with Wilson's interval."""
    values = []
    for row in rows:
        shares = (row.share, *wilson_interval(row.known, row.asked))
        values.append((row.relation, row.label, row.known, row.asked, *(round(share, 4) for share in shares)))
    names = ["relation", "label", "known", "asked", "share", "low", "high"]
    return pd.DataFrame(values, columns=names)


def rival_of(fact: AskedFact, known: Sequence[AskedFact]) -> str:
    """Return an object of the same relation that the fact does not have; empty if none is known."""
    right = {name.casefold() for name in fact.prompt.answers}
    others = [other.answer for other in known if other.prompt.relation == fact.prompt.relation and other.answer]
    return next((name for name in others if name.casefold() not in right), "")


def fact_draft(fact: AskedFact, *, new: str, old: str) -> FactDraft | None:
    """Return the form's contents for an edit of this fact; ``None`` if its text does not name its subject."""
    phrase = fact.prompt.phrase
    if phrase is None or not phrase.subject:
        return None
    return replace(
        FactDraft(),
        subject=phrase.subject,
        template=phrase.template,
        new_object=new,
        old_object=old,
        relation=fact.prompt.relation,
    )


def estimate_words(found: Estimate, n_kept: int) -> str:
    """Say what a calibration takes at most, and what earlier runs measured."""
    each = f"{found.seconds_per_edit:.1f} s each"
    basis = "as edits of this model took before" if found.is_timed else "guessed from the model's size, on a CPU"
    text = (
        f"At most {found.edits:,} edits, {each} ({basis}): about {wording.duration(found.seconds)} where nothing "
        "else runs. Before them it asks the model facts and traces some."
    )
    return f"{text} {n_kept:,} edits of earlier runs are kept and not made again." if n_kept else text


def check_table(found: CalibratedEditor) -> pd.DataFrame:
    """Return the check: a row per column of the score, the uncalibrated settings beside the kept ones."""
    return pd.DataFrame(
        {
            "uncalibrated": {
                _COLUMN_NAMES.get(kind, kind): str(counts) for kind, counts in found.checked_default.items()
            },
            "kept": {_COLUMN_NAMES.get(kind, kind): str(counts) for kind, counts in found.checked.items()},
        }
    )


def profile_words(found: CalibratedEditor) -> str:
    """Say which settings an editor's calibration kept, and why."""
    kept = "the uncalibrated settings are kept" if found.is_default else found.changes
    return (
        f"{found.editor}: {kept}. {found.tried} settings compared on up to {found.n_search} facts, seed {found.seed}. "
        f"{found.reason}"
    )


def same_settings(first: ModelProfile | None, second: ModelProfile) -> bool:
    """Return whether every editor of `second` has the same calibration in `first`."""
    return first is not None and all(first.editors.get(name) == item for name, item in second.editors.items())
