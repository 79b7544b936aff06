"""Edits whose prompt begins with a one-token subject: whether they take, and how far they move ordinary text.

    python benchmarks/first_token.py [--editors KGMET AlphaEdit] [--threads 1]

In a model that puts no token before a text, such a subject has nearly the key of every text's first token, and a write
there moves all texts. Each fact is edited twice: as typed, and with words before the subject. *Said* counts prompts
whose greedy answer names the new object, in the form that was edited; *as typed* the same for the bare prompt after
an edit with words before. The divergence is KL(unedited ‖ edited) in nats per token over the bundled passages.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from measure import Table, machine
from sequence import moved_text

from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.remedies import WORDS_BEFORE
from kgmet.evaluate.card.made import PatchMaker
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.measure.ask import Decoding, ask
from kgmet.measure.question import Question, QuestionKind
from kgmet.write.patch import EditPatch, attached
from kgmet.write.statistics import KeyStatistics

FACTS = (
    ("France", "{} is located in the continent of", "Asia"),
    ("Germany", "{} lies in the continent of", "Africa"),
    ("Japan", "{}'s capital is the city of", "Cairo"),
    ("Italy", "{} has the capital", "Madrid"),
    ("Canada", "{} uses the currency", "euro"),
    ("Spain", "{} has the official language", "German"),
    ("Apple", "{} was founded by", "Linus Torvalds"),
    ("Google", "{} was founded by", "Bill Gates"),
    ("Microsoft", "{} has its headquarters in the city of", "Paris"),
    ("Paris", "{} is the capital of", "Italy"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--editors", nargs="*", default=["KGMET", "AlphaEdit"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = load_lm(DEFAULT_MODEL)
    maker = PatchMaker(lm=lm, store=sample_store(), catalogue=RelationCatalogue.load(), statistics=KeyStatistics(lm))
    typed = one_token_edits(lm)
    before = [replace(edit, template=WORDS_BEFORE + edit.template) for edit in typed]
    table = Table(["", "said", "as typed", "divergence", "largest"])
    for editor in map(editor_named, options.editors):
        table.add(f"{editor.name}, as typed", *cells(lm, maker, editor, typed, typed))
        table.add(f"{editor.name}, words before", *cells(lm, maker, editor, before, typed))
        print(f"\n{table}", flush=True)
    print(f"\n{len(typed)} edits, one at a time; {lm.name}; {machine(options.threads, lm)}.")


def one_token_edits(lm: LoadedLM) -> list[FactEdit]:
    """Return the edits whose subject is one token at the start of a text in this model."""
    edits = [FactEdit(subject=subject, template=text, new_object=new) for subject, text, new in FACTS]
    return [edit for edit in edits if len(lm.tokenizer(edit.subject)["input_ids"]) == 1]


def cells(
    lm: LoadedLM, maker: PatchMaker, editor: Editor, edits: list[FactEdit], typed: list[FactEdit]
) -> tuple[str, str, str, str]:
    """Return one row: how many edits are said, how many as typed, the mean divergence and the largest."""
    said, bare, moved = 0, 0, []
    for edit, plain in zip(edits, typed, strict=True):
        patch = maker.patch(editor, [edit])
        is_said, is_bare = says(lm, patch, [edit, plain])
        said += is_said
        bare += is_bare
        moved.append(moved_text(lm, patch).divergence)
    return f"{said} of {len(edits)}", f"{bare}", f"{sum(moved) / len(moved):.4f}", f"{max(moved):.4f}"


def says(lm: LoadedLM, patch: EditPatch, edits: list[FactEdit]) -> list[bool]:
    """Return for each prompt whether the edited model's greedy answer names the new object."""
    questions = [Question(kind=QuestionKind.REWRITE, text=edit.prompt, expected=edit.new_object) for edit in edits]
    with attached([patch], lm):
        return [answer.says for answer in ask(lm, questions, decoding=Decoding(max_answer_tokens=12))]


if __name__ == "__main__":
    main()
