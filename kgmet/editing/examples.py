"""`known_edits`: which of some example facts a model knows, measured once per model and kept in the cache folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kgmet.base.cache import cache_dir, written_whole
from kgmet.base.errors import BrokenArtifactError, FileError
from kgmet.base.files import failures_as, read_json_object
from kgmet.base.fingerprint import fingerprint_value
from kgmet.base.progress import Progress
from kgmet.base.values import value_from
from kgmet.editing.report import own_question
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.ask import Decoding, ask

__all__ = ["known_edits", "read_known_edits"]

_AT_ONCE = 8
"""Facts asked between two looks at whether to stop."""


def known_edits(lm: LoadedLM, edits: Sequence[FactEdit], *, progress: Progress | None = None) -> frozenset[str]:
    """Return the ids of the edits whose old object the unedited model says; asked once and kept in the cache folder.

    Args:
        lm: the model, with nothing attached.
        edits: the examples; one without an old object is never known.
        progress: receives every batch and can cancel.
    """
    kept = read_known_edits(lm, edits)
    if kept is not None:
        return kept
    questions = [own_question(edit) for edit in edits]
    answers = ask(lm, questions, decoding=Decoding(only_judged=True), progress=progress, batch_size=_AT_ONCE)
    known = sorted(edit.id for edit, answer in zip(edits, answers, strict=True) if answer.says_rejected)
    with written_whole(_path(lm, edits)) as temporary:
        temporary.write_text(json.dumps({"model": lm.name, "known": known}, ensure_ascii=False), encoding="utf-8")
    return frozenset(known)


def read_known_edits(lm: LoadedLM, edits: Sequence[FactEdit]) -> frozenset[str] | None:
    """Return what `known_edits` kept; ``None`` if the model was not asked yet, or the file is damaged."""
    path = _path(lm, edits)
    if not path.exists():
        return None
    try:
        with failures_as(BrokenArtifactError, f"{path.name} holds no answers to examples"):
            known = value_from(frozenset[str], read_json_object(path)["known"], path.name)
    except FileError:
        return None
    return known if known <= {edit.id for edit in edits} else None


def _path(lm: LoadedLM, edits: Sequence[FactEdit]) -> Path:
    asked = fingerprint_value([lm.fingerprint, [edit.to_json() for edit in edits]])
    return cache_dir() / "examples" / f"{asked}.json"
