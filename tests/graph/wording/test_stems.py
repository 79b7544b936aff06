from __future__ import annotations

import pytest

from kgmet.graph.wording.stems import stems


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("make", "makes"),
        ("write", "wrote"),
        ("wife", "wives"),
        ("tongue", "languages"),
        ("headquarters", "hq"),
        ("nation", "country"),
        ("locate", "located"),
        ("build", "built"),
        ("run", "ran"),
        ("suffer", "suffered"),
        ("border", "bordering"),
        ("author", "authored"),
        ("family", "families"),
        ("university", "universities"),
        ("carry", "carried"),
        ("organization", "organisation"),
    ],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stems(one) == stems(other)


@pytest.mark.parametrize(
    ("one", "other"), [("founded", "found"), ("follow", "flow"), ("found by", "founded by"), ("mother", "father")]
)
def test_other_words_do_not(one: str, other: str) -> None:
    assert stems(one) != stems(other)
