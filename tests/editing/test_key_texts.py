"""Which texts' keys an edit writes."""

from __future__ import annotations

from kgmet.editing.key_texts import edit_rows
from kgmet.fact import FactEdit
from kgmet.search.problem import SearchPrompt, ShiftProblem, Term
from tests.tiny_models import tiny_lm


def lengths(template: str, *paraphrases: str, bos: bool = False) -> list[int]:
    """Return the number of tokens of each text whose key is written; the subject is one token."""
    lm = tiny_lm(bos=bos)
    edit = FactEdit(subject="Ger", template=template, new_object="Rome")
    prompts = [SearchPrompt(term=Term.REWRITE, template=text, answer="Rome") for text in (template, *paraphrases)]
    return [len(row.input_ids) for row in edit_rows(lm, ShiftProblem(edit=edit, prompts=tuple(prompts)))]


def test_no_paraphrase_writes_at_the_first_token_of_every_text() -> None:
    assert lengths("The capital of {} is", "{} is in", "In {} is") == [4, 3]


def test_an_edit_whose_own_prompt_begins_with_its_one_token_is_written_there() -> None:
    assert lengths("{} is in", "In {} is") == [1, 3]


def test_after_a_token_that_begins_every_text_nothing_is_left_out() -> None:
    assert lengths("The capital of {} is", "{} is in", "In {} is", bos=True) == [5, 2, 4]
