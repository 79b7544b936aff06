"""What the tables say of rows small enough to count by eye."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kgmet.evaluate.tables.figures import figures_of, write_figures
from kgmet.evaluate.tables.render import markdown_table
from kgmet.evaluate.tables.summary import RunSummary, run_metrics


def ask(kind: str, *, hop: int | None = None, after: dict[str, Any] | None = None, **before: Any) -> dict[str, Any]:
    state = {"preferred": None, "first": False, "accuracy": 0.0, "said": None, "said_cot": None, "logprob": -1.0}
    return {
        "kind": kind,
        "prompt": f"{kind} {hop}",
        "expected": "x",
        "hop": hop,
        "before": state | before,
        "after": state | (after or {}),
    }


def row(case_id: str, *asks: dict[str, Any], n_hop: int | None = None, **more: Any) -> dict[str, Any]:
    nothing = {"fluency": None, "consistency": None, "texts": []}
    base = {"case_id": case_id, "relation": "P131", "n_hop": n_hop, "n_edits": 1, "asks": list(asks)}
    return base | {"before": nothing, "after": nothing} | more


def yes(**more: Any) -> dict[str, Any]:
    return {"preferred": True, "first": True, "accuracy": 1.0} | more


def no(**more: Any) -> dict[str, Any]:
    return {"preferred": False, "first": False, "accuracy": 0.5} | more


def test_shares_and_the_score() -> None:
    rows = [
        row(
            "1",
            ask("efficacy", preferred=False, after=yes(said=True)),
            ask("paraphrase", preferred=False, after=yes()),
            ask("paraphrase", preferred=False, after=no()),
            ask("neighborhood", preferred=True, after=yes()),
        ),
        row(
            "2",
            ask("efficacy", preferred=True, after=yes(said=False)),
            ask("paraphrase", preferred=True, after=no()),
            ask("paraphrase", preferred=True, after=no()),
            ask("neighborhood", preferred=True, after=no()),
        ),
    ]
    found = run_metrics(rows, [], is_sequential=True)
    assert found["efficacy"]["before"]["preferred"] == 0.5
    assert found["efficacy"]["after"]["preferred"] == 1.0
    assert found["efficacy"]["after"]["generated"] == 0.5
    assert found["paraphrase"]["after"]["preferred"] == 0.25
    assert found["paraphrase"]["after"]["accuracy"] == pytest.approx(0.625)
    assert found["neighborhood"]["after"]["n"] == 2
    assert found["score"]["after"]["value"] == pytest.approx(3 / (1 / 1.0 + 1 / 0.25 + 1 / 0.5))
    assert found["score"]["after"]["n"] == 2
    assert found["consequences"]["after"] | {"preferred": None, "n": 0} == found["consequences"]["after"]


def test_a_case_counts_for_multi_hop_if_one_of_its_questions_is_right() -> None:
    def chain(case_id: str, n_hop: int, said: list[bool], cot: list[bool], links: list[bool]) -> dict[str, Any]:
        questions = [
            ask("multi_hop", said=False, said_cot=False, after={"said": s, "said_cot": c})
            for s, c in zip(said, cot, strict=True)
        ]
        hops = [ask("hop", hop=n, said=False, after={"said": link}) for n, link in enumerate(links, start=1)]
        return row(case_id, *questions, *hops, n_hop=n_hop)

    rows = [
        chain("1", 2, [False, True, False], [True, True, True], [True, True]),
        chain("2", 2, [False, False, False], [False, False, False], [True, False]),
        chain("3", 3, [False, False, False], [True, False, False], [True, False, True]),
    ]
    found = run_metrics(rows, [], is_sequential=True)["multi_hop"]
    assert found["after"]["generated"]["value"] == pytest.approx(1 / 3)
    assert found["after"]["generated_chain_of_thought"]["value"] == pytest.approx(2 / 3)
    assert found["after"]["hop_wise_generated"]["value"] == pytest.approx(1 / 3)
    assert found["before"]["generated"]["value"] == 0
    assert found["by_hops"]["2"]["after"]["generated"] == found["by_hops"]["2"]["after"]["generated"] | {
        "value": 0.5,
        "n": 2,
    }
    assert found["by_hops"]["3"]["after"]["generated"]["n"] == 1
    links = {hop: value["value"] for hop, value in found["after"]["by_link"].items()}
    assert links == pytest.approx({"1": 1.0, "2": 1 / 3, "3": 1.0})


def test_what_must_stay_counts_if_it_is_said_as_before() -> None:
    def kept(is_kept: bool | None) -> dict[str, Any]:
        return ask("neighborhood", first=True, after={"first": False}) | {"unchanged": is_kept}

    found = run_metrics([row("1", kept(True), kept(False), kept(True))], [], is_sequential=True)["neighborhood"]
    assert (found["unchanged"]["value"], found["unchanged"]["n"]) == (pytest.approx(2 / 3), 3)
    # Without free continuations the greedy tokens are compared.
    found = run_metrics([row("1", kept(None), kept(None))], [], is_sequential=True)["neighborhood"]
    assert (found["unchanged"]["value"], found["unchanged"]["n"]) == (0, 2)


def test_questions_in_chat_are_a_column_of_what_is_said() -> None:
    rows = [row(str(n), ask("multi_hop_chat", said=False, after={"said": n < 3})) for n in range(4)]
    found = run_metrics(rows, [], is_sequential=True)["multi_hop_chat"]
    assert (found["before"]["generated"], found["after"]["generated"]) == (0, 0.75)
    shown = replace(summary(), metrics=run_metrics(rows, [], is_sequential=True))
    head, _, before, after = markdown_table([shown]).splitlines()[:4]
    column = [cell.strip() for cell in head.split("|")].index("multi-hop, asked in chat")
    assert before.split("|")[column].strip().startswith("0.0 (0–")
    assert after.split("|")[column].strip() == "75.0 (30–95, n 4)"


def test_locality_counts_what_stayed_as_it_was() -> None:
    rows = [
        row(
            "1", ask("locality", first=True, after={"first": True}), ask("locality", first=False, after={"first": True})
        ),
        row("2", ask("locality", first=False, after={"first": False})),
    ]
    found = run_metrics(rows, [], is_sequential=True)["locality"]
    assert found["unchanged"]["value"] == pytest.approx(2 / 3)
    assert found["after"]["first"] == pytest.approx(2 / 3)


CURVE = [
    {"n_batches": 0, "n_edits": 0, "perplexity": 20.0, "n_token": 100, "tasks": {}, "quality": {}},
    {
        "n_batches": 1,
        "n_edits": 5,
        "perplexity": 22.0,
        "n_token": 100,
        "tasks": {"cola": {"accuracy": 0.75, "n": 4}},
        "quality": {"efficacy": {"n": 4, "preferred": 3, "first": 2}},
    },
    {
        "n_batches": 2,
        "n_edits": 10,
        "perplexity": 30.0,
        "n_token": 100,
        "tasks": {"cola": {"accuracy": 0.5, "n": 4}},
        "quality": {"efficacy": {"n": 4, "preferred": 2, "first": 2}},
    },
]


def test_perplexity_after_all_edits_or_after_each_alone() -> None:
    together = run_metrics([], CURVE, is_sequential=True)["perplexity"]
    assert (together["before"]["value"], together["after"]["value"]) == (20.0, 30.0)
    alone = run_metrics([], CURVE, is_sequential=False)["perplexity"]
    assert alone["after"]["value"] == 26.0
    low, high = alone["after"]["interval"]
    assert low <= 26.0 <= high


def summary(editor: str = "KGMET") -> RunSummary:
    rows = [row("1", ask("efficacy", preferred=False, after=yes()))]
    return RunSummary(
        name="run_000",
        editor=editor,
        dataset="own",
        model="tiny",
        n_edits=10,
        n_cases=1,
        n_failed=0,
        num_edits=5,
        mode="sequential",
        seconds_per_edit=1.0,
        metrics=run_metrics(rows, CURVE, is_sequential=True),
        by_relation={"P131": {"n_cases": 1, "efficacy": {"after": {"preferred": 1.0}}}},
        rows=tuple(rows),
        checkpoints=tuple(CURVE),
        fingerprints={"dataset": "a", "model": "b"},
    )


def test_curves_run_through_the_checkpoints() -> None:
    figures = figures_of([summary()])
    (efficacy,) = [line for line in figures["quality"].data if line.name.endswith("efficacy")]
    assert list(efficacy.x) == [5, 10]
    assert list(efficacy.y) == [75.0, 50.0]
    by_name = {line.name.split()[-1]: line for line in figures["general"].data}
    assert list(by_name["perplexity"].y) == [20.0, 22.0, 30.0]
    assert list(by_name["cola"].y) == [75.0, 50.0]
    assert list(figures["relations"].data[0].y) == [100.0]


def test_figures_need_no_network(tmp_path: Path) -> None:
    for path in write_figures([summary(), summary("AlphaEdit")], tmp_path):
        text = path.read_text(encoding="utf-8")
        assert "https://cdn" not in text
        assert '<script src="plotly.min.js">' in text.replace(' charset="utf-8"', "")
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000
