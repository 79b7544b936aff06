"""A link holds a fact and nothing else; what is read from one is text or is refused by name."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from workbench.shared.fact_link import link_to, read_link
from workbench.state.values import FactDraft

FACT = FactDraft(
    subject="A & B = C?", template="{} is #1 in", new_object="東京", old_object="<b>", relation="P131", subject_id="Q1"
)


def test_a_link_leads_back_to_its_fact() -> None:
    link = link_to("http://localhost:8501/edit?session=secret#x", FACT)
    assert link.startswith("http://localhost:8501/edit?subject=") and "secret" not in link
    query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    found = read_link(query)
    assert found.refused == ()
    assert found.draft == FactDraft(
        subject=FACT.subject, template=FACT.template, new_object=FACT.new_object, old_object="<b>", relation="P131"
    )


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("subject", "x" * 100_000, "100,000 characters"),
        ("new_object", "a\x00b", "control"),
        ("template", "a\nb", "line breaks"),
        ("old_object", "\u2028x\u2028y", "line breaks"),
        ("relation", "P" * 81, "at most 80"),
    ],
)
def test_what_no_fact_can_hold_is_left_out_and_said(name: str, text: str, why: str) -> None:
    found = read_link({name: text, "subject" if name != "subject" else "new_object": "Rome"})
    assert found.draft is not None and len(found.refused) == 1
    assert f"“{name}”" in found.refused[0] and why in found.refused[0]


def test_other_names_are_nobodys_business() -> None:
    assert read_link({"session_id": "x", "exclude": "y", "leave": "z", "subject_id": "Q1"}).draft is None
    assert read_link({}).draft is None and read_link({"subject": "   "}).draft is None


def test_a_link_of_an_earlier_version_opens() -> None:
    """It called the template a prompt, and the objects new and old."""
    old = {"subject": "Japan", "prompt": "The capital of {} is", "new": "Rome", "old": "Tokyo", "relation": "P36"}
    assert read_link(old).draft == FactDraft(
        subject="Japan", template="The capital of {} is", new_object="Rome", old_object="Tokyo", relation="P36"
    )
    assert read_link(old | {"new_object": "Oslo"}).draft == FactDraft(
        subject="Japan", template="The capital of {} is", new_object="Oslo", old_object="Tokyo", relation="P36"
    )
    assert "“prompt”" in read_link({"prompt": "a\nb"}).refused[0]
