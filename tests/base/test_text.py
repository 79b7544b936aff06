"""Texts that differ in case and blanks only are the same."""

from __future__ import annotations

import pytest

from kgmet.base.text import caseless


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("  The  Eiffel\tTower\n", "the eiffel tower"), ("STRAẞE", "strasse"), ("", ""), ("ΣΟΦΟΣ", "σοφοσ")],
)
def test_case_and_blanks_do_not_count(text: str, wanted: str) -> None:
    assert caseless(text) == wanted == caseless(wanted)
