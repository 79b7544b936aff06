"""`KnownAnswers`: what models answered before, so that no model is asked the same twice, even after a crash.

An answer depends on the model with everything attached, the question and the longest answer. So the unedited model is
asked once for all editors, and a card that was killed half way goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from kgmet.base.artifact import load_artifact, save_artifact
from kgmet.base.errors import BrokenArtifactError
from kgmet.base.fingerprint import digest
from kgmet.base.values import converted
from kgmet.evaluate.runs.folder import Table
from kgmet.measure.answer import Answer
from kgmet.measure.question import Question

__all__ = ["KnownAnswers", "TextLoss"]

_FORMAT = "2"
"""Part of every key; a new number when questions are asked in another way."""
_NO_STATES = "states of texts"


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """One text: its `n` predicted tokens, and their summed losses before and after and divergence, in nats."""

    n: int
    before: float
    after: float
    divergence: float


@dataclass(eq=False, kw_only=True)
class _Model:
    """What is known of one model; `table` is its file."""

    table: Table | None
    answers: dict[tuple[Question, int], Answer] = field(default_factory=dict)
    losses: dict[str, tuple[TextLoss, ...]] = field(default_factory=dict)


class KnownAnswers:
    """Answers and losses by model; `folder` keeps them on disk. A model is named by the key of its `EditedModel`."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._models: dict[str, _Model] = {}

    def answer(self, key: str, question: Question, n_token: int) -> Answer | None:
        """Return a model's answer of at most `n_token` tokens; ``None`` if it was not asked."""
        return self._of(key).answers.get((question, n_token))

    def keep(self, key: str, answers: Iterable[tuple[int, Answer]]) -> None:
        """Keep answers with their longest lengths; they are on disk when this returns.

        Raises:
            UnwritableError: if the folder is read-only, full or gone.
        """
        model = self._of(key)
        found = [(n_token, replace(answer, top=())) for n_token, answer in answers]
        model.answers |= {(answer.question, n_token): answer for n_token, answer in found}
        if model.table is not None:
            model.table.append({"n_token": n_token, "answer": answer.to_json()} for n_token, answer in found)
            model.table.rows.clear()

    def losses(self, key: str, texts: Sequence[str]) -> tuple[TextLoss, ...] | None:
        """Return an edited model's losses on these texts; ``None`` if they were not measured."""
        return self._of(key).losses.get(digest(*texts))

    def keep_losses(self, key: str, texts: Sequence[str], losses: Sequence[TextLoss]) -> None:
        """Keep losses on texts."""
        model, name = self._of(key), digest(*texts)
        model.losses[name] = tuple(losses)
        if model.table is not None:
            model.table.append([{"texts": name, "losses": [asdict(loss) for loss in losses]}])
            model.table.rows.clear()

    def states(self, key: str, texts: Sequence[str]) -> Tensor | None:
        """Return the unedited model's last states (n_token, d_model) on these texts; ``None`` if they are not kept."""
        path = self._states_file(key, texts)
        if path is None or not path.exists():
            return None
        try:
            return load_artifact(path, what=_NO_STATES, advice="It is computed again.").tensors["states"]
        except (BrokenArtifactError, KeyError):
            return None

    def keep_states(self, key: str, texts: Sequence[str], states: Tensor) -> None:
        """Keep states on texts, if there is a folder."""
        path = self._states_file(key, texts)
        if path is not None and bool(torch.isfinite(states).all()):
            save_artifact(path, {"states": states})

    def _states_file(self, key: str, texts: Sequence[str]) -> Path | None:
        name = digest(_FORMAT, key, *texts)[:16]
        return None if self._folder is None else self._folder / f"{name}.safetensors"

    def _of(self, key: str) -> _Model:
        if key not in self._models:
            path = None if self._folder is None else self._folder / f"{digest(_FORMAT, key)[:16]}.jsonl"
            table = None if path is None else Table(path, is_shared=True)
            self._models[key] = _read(table)
        return self._models[key]


def _read(table: Table | None) -> _Model:
    """Take over the lines of a file; those of another version, or damaged, are left out and asked again."""
    model = _Model(table=table)
    for row in table.rows if table is not None else ():
        try:
            if "losses" in row:
                model.losses[str(row["texts"])] = tuple(converted(row["losses"], tuple[TextLoss, ...]))
            else:
                answer = _answer_from(row["answer"])
                model.answers[answer.question, int(row["n_token"])] = answer
        except (BrokenArtifactError, msgspec.ValidationError, KeyError, TypeError, ValueError):
            continue
    if table is not None:
        table.rows.clear()
    return model


def _answer_from(row: Any) -> Answer:
    if not isinstance(row, Mapping):
        raise BrokenArtifactError("An answer must be an object.")
    return Answer.from_json(row)
