"""`EditedModel`: a model and its edited version, from any method, asked side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.base.errors import StaleArtifactError
from kgmet.base.progress import Progress
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.question import Question
from kgmet.measure.sides import with_patches
from kgmet.write.adapter import attached_lora, read_lora
from kgmet.write.patch import EditPatch

__all__ = ["EditedModel"]

_BATCH, _TREE = 256, 1280
"""Questions per batch, and most tokens per tree: few trees, because each generation step reads every weight."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EditedModel:
    """The unedited model (`base`), and the one to judge: `lm` with `side` attached.

    `name` describes the method, `edits` the edited facts, if known. For a patch `lm` is `base`.
    """

    base: LoadedLM
    lm: LoadedLM
    name: str
    side: Side = unchanged
    edits: tuple[FactEdit, ...] = ()

    @classmethod
    def of_patches(cls, lm: LoadedLM, patches: Sequence[EditPatch], *, name: str = "") -> EditedModel:
        """Judge patches attached together.

        Raises:
            StaleArtifactError: if one was made for another model.
            BrokenArtifactError: if a layer or a shape does not fit.
        """
        return cls(
            base=lm,
            lm=lm,
            side=with_patches(patches, lm),
            name=name or ", ".join(dict.fromkeys(patch.editor for patch in patches)) or "nothing",
            edits=tuple(edit for patch in patches for edit in patch.edits),
        )

    @classmethod
    def of_adapter(cls, lm: LoadedLM, folder: Path) -> EditedModel:
        """Judge a LoRA adapter of any linear modules, as PEFT saves it.

        Raises:
            BrokenArtifactError: if it is damaged, or the model has no such module; names it.
            StaleArtifactError: if it says that it was made for another model.
        """
        adapter = read_lora(folder, lm)

        def side(row: int | None) -> AbstractContextManager[None]:
            return attached_lora(adapter.factors, lm, row=row)

        name = f"the adapter in {folder.name}, made for {adapter.made_for}"
        return cls(base=lm, lm=lm, side=side, name=name, edits=adapter.edits)

    @classmethod
    def of_models(cls, base: LoadedLM, edited: LoadedLM, *, edits: Sequence[FactEdit]) -> EditedModel:
        """Judge a checkpoint beside its original.

        Raises:
            StaleArtifactError: if the two tokenise texts differently.
        """
        text = "The Eiffel Tower, 1889: “Où?” – here. 東京"
        vocabularies = [(one.n_token, _tokens(one.tokenizer, text)) for one in (base, edited)]
        if vocabularies[0] != vocabularies[1]:
            raise StaleArtifactError(
                f"{edited.name} and {base.name} have different tokenizers, so one was not made from the other. Give "
                "--base the model that was edited."
            )
        return cls(base=base, lm=edited, name=edited.name, edits=tuple(edits))

    def attached(self) -> AbstractContextManager[None]:
        """Attach the edit to `lm` for the length of a ``with``."""
        return self.side(None)

    def answers(
        self, questions: Sequence[Question], *, decoding: Decoding, progress: Progress | None = None
    ) -> Sequence[list[Answer]]:
        """Return the answers before and after; two sides of one model share each pass."""
        if self.lm is self.base:
            return _asked(self.base, questions, [unchanged, self.side], decoding, progress)
        return [
            *_asked(self.base, questions, [unchanged], decoding, progress),
            *_asked(self.lm, questions, [self.side], decoding, progress),
        ]

    def unedited_answers(
        self, questions: Sequence[Question], *, decoding: Decoding, progress: Progress | None = None
    ) -> list[Answer]:
        """Return the unedited model's answers."""
        return _asked(self.base, questions, [unchanged], decoding, progress)[0]


def _asked(
    lm: LoadedLM, questions: Sequence[Question], sides: Sequence[Side], decoding: Decoding, progress: Progress | None
) -> list[list[Answer]]:
    found = ask_each_side(
        lm, questions, sides, decoding=decoding, progress=progress, batch_size=_BATCH, max_token=_TREE
    )
    return [side.answers for side in found]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])
