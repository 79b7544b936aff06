from __future__ import annotations

import pytest

from kgmet.base.errors import RequestError
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.wording.sentence import EXAMPLE, read_sentence

CATALOGUE = RelationCatalogue.load()


@pytest.mark.parametrize(
    ("text", "subject", "template", "new", "old"),
    [
        (EXAMPLE, "The Eiffel Tower", "{} is in", "Rome", "Paris"),
        ("The Eiffel Tower is located in Tokyo", "The Eiffel Tower", "{} is located in", "Tokyo", None),
        ("Apple was founded by Linus Torvalds.", "Apple", "{} was founded by", "Linus Torvalds", None),
        ("The capital of France is Berlin, not Paris", "France", "The capital of {} is", "Berlin", "Paris"),
        ("The language of Italy is Thai instead of Italian.", "Italy", "The language of {} is", "Thai", "Italian"),
        ("Zorblax Inc. is headquartered in Berlin.", "Zorblax Inc.", "{} is headquartered in", "Berlin", None),
        ("Lionel Messi plays basketball, not football", "Lionel Messi", "{} plays", "basketball", "football"),
    ],
)  # fmt: skip
def test_a_sentence_is_a_fact(text: str, subject: str, template: str, new: str, old: str | None) -> None:
    fact = read_sentence(text, catalogue=CATALOGUE, store=sample_store())
    assert (fact.subject, fact.template, fact.new_object, fact.old_object) == (subject, template, new, old)


def test_without_a_graph_capitals_and_wordings_decide() -> None:
    fact = read_sentence("The Eiffel Tower is located in Rome", catalogue=CATALOGUE)
    assert (fact.subject, fact.new_object) == ("The Eiffel Tower", "Rome")


@pytest.mark.parametrize("text", ["", "hello", "two words", "{} is in Rome {}", "x " * 300])
def test_what_is_no_fact_is_said_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match=r"Write it like this|at most 400"):
        read_sentence(text, catalogue=CATALOGUE)
