"""`EditedModel`: a model and its edited version, from any method; `ask_models` asks several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgmet.base.artifact import digest_tensors
from kgmet.base.errors import RequestError, StaleArtifactError
from kgmet.base.fingerprint import digest
from kgmet.base.progress import Progress, ProgressEvent, Silent, Stage
from kgmet.evaluate.card.known import KnownAnswers
from kgmet.fact import FactEdit
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.tracing import Rows
from kgmet.lm.say.packed import Side, unchanged
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask_each_side
from kgmet.measure.question import Question
from kgmet.measure.sides import with_patches
from kgmet.write.adapter import attached_lora, read_lora
from kgmet.write.patch import EditPatch, merged_patch

__all__ = ["EditedModel", "ask_models", "same_base"]

_BATCH, _TREE = 128, 1280
"""Questions per batch, and most tokens per tree: few trees, because each generation step reads every weight."""
_MANY = 9
"""Patches that are merged before they are attached: each attached one costs time at every token."""
_MOST_LOGITS = 400_000
"""Most models in one pass times the size of their vocabulary, for memory; two models always share one."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EditedModel:
    """The unedited model (`base` with `base_side` attached), and the one to judge: `lm` with `side` attached.

    `name` describes the method, `edits` the edited facts, if known; `is_in_order` says that they were made one after
    another. For a patch `lm` is `base`. The keys name both models with everything attached.
    """

    base: LoadedLM
    lm: LoadedLM
    name: str
    key: str
    base_key: str
    side: Side = unchanged
    base_side: Side = unchanged
    edits: tuple[FactEdit, ...] = ()
    is_in_order: bool = False

    @classmethod
    def of_patches(
        cls, lm: LoadedLM, patches: Sequence[EditPatch], *, under: Sequence[EditPatch] = (), name: str = ""
    ) -> EditedModel:
        """Judge patches attached together, oldest first, on top of those `under` them.

        Raises:
            StaleArtifactError: if one was made for another model.
            BrokenArtifactError: if a layer or a shape does not fit.
        """
        return cls(
            base=lm,
            lm=lm,
            key=_key(lm, *(patch.id for patch in (*under, *patches))),
            base_key=_key(lm, *(patch.id for patch in under)),
            side=with_patches([*under, *(patches if len(patches) < _MANY else [merged_patch(patches, lm)])], lm),
            base_side=with_patches(under, lm) if under else unchanged,
            name=name or ", ".join(dict.fromkeys(patch.editor for patch in patches)) or "nothing",
            edits=tuple(edit for patch in patches for edit in patch.edits),
            is_in_order=len(patches) > 1,
        )

    @classmethod
    def of_adapter(cls, lm: LoadedLM, folder: Path) -> EditedModel:
        """Judge a LoRA adapter of any linear modules, as PEFT saves it.

        Raises:
            BrokenArtifactError: if it is damaged, or the model has no such module; names it.
            StaleArtifactError: if it says that it was made for another model.
        """
        adapter = read_lora(folder, lm)

        def side(rows: Rows | None) -> AbstractContextManager[None]:
            return attached_lora(adapter.factors, lm, rows=rows)

        tensors = {
            f"{one.module}.{part}": getattr(one, part) for one in adapter.factors for part in ("input", "output")
        }
        return cls(
            base=lm,
            lm=lm,
            key=_key(lm, digest_tensors(tensors)),
            base_key=_key(lm),
            side=side,
            name=f"the adapter in {folder.name}, made for {adapter.made_for}",
            edits=adapter.edits,
        )

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
        return cls(base=base, lm=edited, key=_key(edited), base_key=_key(base), name=edited.name, edits=tuple(edits))

    @property
    def unedited(self) -> EditedModel:
        """The unedited model beside itself, to ask it more."""
        return EditedModel(
            base=self.base,
            lm=self.base,
            name="nothing",
            key=self.base_key,
            base_key=self.base_key,
            side=self.base_side,
            base_side=self.base_side,
        )

    def attached(self) -> AbstractContextManager[None]:
        """Attach the edit to `lm` for the length of a ``with``."""
        return self.side(None)


def same_base(models: Sequence[EditedModel]) -> EditedModel:
    """Return the first model, after checking that all have the same unedited model.

    Raises:
        RequestError: if there is none, or two have different ones.
    """
    if not models:
        raise RequestError("There is no edited model to score. Give at least one.")
    if len({model.base_key for model in models}) > 1:
        raise RequestError("Models side by side must be edits of the same unedited model. Score them one by one.")
    return models[0]


def ask_models(
    models: Sequence[EditedModel],
    questions: Sequence[Question],
    *,
    decoding: Decoding,
    known: KnownAnswers,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """Return the answers of the unedited model, then of each edited one, to all questions.

    Only what is not `known` is asked; new answers are added to it after each batch. Models that are one model with
    different edits share each pass.

    Raises:
        Cancelled: if asked to stop; what was answered before is known.
    """
    progress = progress or Silent()
    first = same_base(models)
    sides = [(first.base_key, first.base, first.base_side), *((one.key, one.lm, one.side) for one in models)]
    # Patches that are equal are one model.
    by_key = {key: (lm, side) for key, lm, side in sides}
    missing: dict[tuple[str, ...], list[Question]] = {}
    for question in dict.fromkeys(questions):
        n_token = decoding.longest(question)
        keys = tuple(key for key in by_key if known.answer(key, question, n_token) is None)
        if keys:
            missing.setdefault(keys, []).append(question)
    passes = [
        (together, asked[begin : begin + _BATCH])
        for keys, asked in missing.items()
        for together in _passes(keys, by_key)
        for begin in range(0, len(asked), _BATCH)
    ]
    done, total = 0, sum(len(asked) for _, asked in passes)
    for together, asked in passes:
        progress.report(ProgressEvent(stage=Stage.PROBE, done=done, total=total))
        progress.check()
        found = _asked(by_key[together[0]][0], asked, [by_key[key][1] for key in together], decoding)
        for key, answers in zip(together, found, strict=True):
            known.keep(key, ((decoding.longest(answer.question), answer) for answer in answers))
        done += len(asked)
    progress.report(ProgressEvent(stage=Stage.PROBE, done=done, total=total))
    return [[_given(known, key, question, decoding) for question in questions] for key, _, _ in sides]


def _passes(keys: Sequence[str], by_key: Mapping[str, tuple[LoadedLM, Side]]) -> Iterator[tuple[str, ...]]:
    """Yield models that share a pass: some of those of one loaded model."""
    for lm in dict.fromkeys(by_key[key][0] for key in keys):
        mine = [key for key in keys if by_key[key][0] is lm]
        most = max(2, _MOST_LOGITS // lm.n_token)
        yield from (tuple(mine[begin : begin + most]) for begin in range(0, len(mine), most))


def _given(known: KnownAnswers, key: str, question: Question, decoding: Decoding) -> Answer:
    answer = known.answer(key, question, decoding.longest(question))
    assert answer is not None
    return answer


def _asked(
    lm: LoadedLM, questions: Sequence[Question], sides: Sequence[Side], decoding: Decoding
) -> list[list[Answer]]:
    found = ask_each_side(lm, questions, sides, decoding=decoding, batch_size=_BATCH, max_token=_TREE)
    return [side.answers for side in found]


def _key(lm: LoadedLM, *attached: str) -> str:
    return digest(lm.fingerprint, str(lm.dtype), *attached)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])
