from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kgmet.__main__ import main
from kgmet.graph.consequence import EditConsequences
from kgmet.graph.reading.probe_prompts import GeneratedPrompt
from kgmet.graph.reading.retrieve import Subgraph
from tests.graph.small_world import facts, names


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "small.tsv"
    rows = [
        "\t".join((t.subject.id, t.subject.label, t.relation.id, t.relation.label, t.object.id, t.object.label, "hand"))
        for t in facts()
    ]
    header = "subject_id\tsubject\trelation_id\trelation\tobject_id\tobject\tsource"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def call(*words: str) -> int:
    return main(["graph", *words])


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert call(*words, "--json") == 0
    out = capsys.readouterr().out
    result: dict[str, Any] = json.loads(out)
    return result


def test_one_json_object_holds_subgraph_consequences_and_probes(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    fact = ("--subject", "Eiffel Tower", "--relation", "located in city", "--new-object", "Tokyo")
    result = ask(capsys, *fact, "--graph", str(file))
    assert result["edit"]["old_object"] == "Paris"
    subgraph = Subgraph.from_json(result["subgraph"])
    assert subgraph.edited is not None
    assert names([subgraph.edited]) == {"Eiffel Tower P131 Tokyo"}
    consequences = EditConsequences.from_json(result["consequences"] | {"edit": result["edit"]})
    assert {item.relation for item in consequences.forward} >= {"P17", "P30"}
    found = [GeneratedPrompt.from_json(row) for row in result["probes"]]
    assert ("multi_hop", "Japan") in {(probe.kind, probe.expected) for probe in found}
    assert set(result["seconds"]) == {"load", "look"}


@pytest.mark.parametrize("relation", ["P131", "located in city", "Located In City", "is located in the city of"])
def test_a_relation_is_found_by_id_label_and_wording(
    capsys: pytest.CaptureFixture[str], file: Path, relation: str
) -> None:
    words = ("--subject", "Eiffel Tower", "--relation", relation, "--new-object", "Tokyo", "--graph", str(file))
    assert ask(capsys, *words)["edit"]["relation"] == "P131"


def test_a_prompt_alone_is_enough(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    rest = ("--subject", "Spain", "--graph", str(file))
    result = ask(capsys, *rest, "--template", "The capital of Spain is", "--new-object", "Barcelona")
    assert (result["edit"]["template"], result["edit"]["relation"]) == ("The capital of {} is", "P36")
    earlier = ask(capsys, *rest, "--prompt", "The capital of {} is", "--target", "Barcelona", "--old", "Madrid")
    assert earlier["edit"] == result["edit"], "names up to version 0.2"


def test_the_readable_form_marks_what_comes_and_what_goes(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    words = ("--subject", "Eiffel Tower", "--relation", "P131", "--new-object", "Tokyo", "--graph", str(file))
    assert call(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  + Eiffel Tower –located in city→ Tokyo" in lines
    assert "  - Eiffel Tower –located in city→ Paris" in lines
    assert "  - Eiffel Tower –country→ France" in lines


def test_size_and_switched_off_relations_are_obeyed(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    base = ("--subject", "Eiffel Tower", "--relation", "P131", "--new-object", "Tokyo", "--graph", str(file))
    small = ask(capsys, *base, "--max-triples", "3")
    assert len(small["subgraph"]["triples"]) == 3
    assert small["subgraph"]["n_left_out"] > 0
    fewer = ask(capsys, *base, "--exclude", "P84")
    assert "P84" not in {row["relation"]["id"] for row in fewer["subgraph"]["triples"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--subject", "Rome", "--new-object", "Tokyo"), "Neither a relation nor a template"),
        (("--subject", "Rome", "--new-object", "Tokyo", "--relation", "qqq"), "There is no relation 'qqq'"),
        (("--subject", " ", "--new-object", "Tokyo", "--relation", "P36"), "subject is empty"),
        (("--subject", "Rome", "--new-object", "Tokyo", "--relation", "P36", "--graph", "/no/such.tsv"), "such.tsv"),
        (("--subject", "Rome", "--new-object", "Tokyo", "--relation", "P36", "--hops", "9"), "hops"),
        (
            ("--subject", "a", "--new-object", "b", "--relation", "P36", "--graph", "x", "--endpoint", "http://y"),
            "not all of --graph, --endpoint",
        ),
        (("--subject", "a", "--new-object", "b", "--relation", "P36", "--no-graph"), "Leave --no-graph out"),
        (
            ("--subject", "a", "--new-object", "b", "--relation", "P36", "--entities", "x"),
            "Give the files with --graph",
        ),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert call(*words, "--json") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
