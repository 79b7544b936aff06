"""Words, tables and figures of what a model knows."""

from __future__ import annotations

import csv
import io

from kgmet.calibrate.where import LayerEffects
from kgmet.editing.defaults import listed_layers
from kgmet.forecast.facts import FactPrompt
from kgmet.forecast.known import AskedFact, KnownFacts, KnownRelation
from workbench.drawing.knowledge import effect_bars, relation_bars
from workbench.drawing.tables import csv_text
from workbench.screens.models import view

ROWS = tuple(
    KnownRelation(relation=f"P{number}", label=label, asked=asked, known=known)
    for number, (label, asked, known) in enumerate(
        [("capital", 20, 18), ("official language", 40, 20), ("=1+1", 10, 5), ("currency <b>", 5, 0)]
    )
)


def fact(subject: str, answer: str, *, relation: str = "P36", known: bool = True) -> AskedFact:
    prompt = FactPrompt(
        text=f"The capital of {subject} is", answers=(answer, answer.upper()), subject=subject, relation=relation
    )
    return AskedFact(prompt=prompt, answer=answer if known else None)


def test_relations_are_filtered_by_every_word_and_sorted() -> None:
    def labels(**words: str) -> list[str]:
        return [row.label for row in view.relations_shown(ROWS, **{"named": "", "sort": "share known", **words})]

    assert labels() == ["capital", "official language", "=1+1", "currency <b>"]
    assert labels(sort="facts asked") == ["official language", "capital", "=1+1", "currency <b>"]
    assert labels(sort="name") == ["=1+1", "capital", "currency <b>", "official language"]
    assert labels(named="LANG off") == ["official language"]
    assert labels(named="p0") == ["capital"]
    assert labels(named="nothing") == []


def test_the_table_has_n_and_intervals_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(view.knows_table(ROWS)))))
    assert [row["label"] for row in rows] == ["capital", "official language", "'=1+1", "currency <b>"]
    assert (rows[0]["known"], rows[0]["asked"], rows[0]["share"]) == ("18", "20", "0.9")
    assert (rows[0]["low"], rows[0]["high"]) == ("0.699", "0.9721")  # Wilson, by hand
    assert rows[3]["low"] == "0.0"


def test_a_sentence_says_how_much_is_known() -> None:
    known = KnownFacts(model="m", model_fingerprint="f", graph="g", relations=ROWS, facts=())
    said = view.knows_sentence(known, 3)
    assert said.startswith("m answers 43 of the 75 facts it was asked (57 %, 95 % interval 46–68 %), of 4 relations.")
    assert said.endswith("3 facts are not asked in every wording yet, so more may be known.")


def test_a_fact_becomes_an_edit_to_another_object_of_its_relation() -> None:
    paris, rome, euro = fact("France", "Paris"), fact("Italy", "Rome"), fact("Spain", "euro", relation="P38")
    assert view.rival_of(paris, [paris, euro, rome]) == "Rome"
    assert view.rival_of(paris, [paris, euro]) == ""
    draft = view.fact_draft(paris, new="Rome", old="Paris")
    assert draft is not None
    assert (draft.subject, draft.template, draft.new_object, draft.old_object) == (
        "France",
        "The capital of {} is",
        "Rome",
        "Paris",
    )
    nameless = AskedFact(prompt=FactPrompt(text="x", answers=("y",), subject="z"), answer=None)
    assert view.fact_draft(nameless, new="a", old="") is None


def test_layers_read_well() -> None:
    assert [listed_layers(layers) for layers in ((2, 3, 4), (3, 5), (5,), ())] == ["2–4", "3, 5", "5", "none"]


def test_a_bar_for_every_relation_with_its_counts() -> None:
    rows = [KnownRelation(relation=f"P{n}", label=f"relation {n}", asked=40, known=n % 41) for n in range(60)]
    figure = relation_bars(rows, chosen="P7")
    assert len(figure.data[0].x) == 60
    assert figure.layout.height > 60 * 20
    assert [note.text for note in figure.layout.annotations][:3] == ["0 / 40", "1 / 40", "2 / 40"]
    assert figure.data[0].marker.line.width[7] > 0 == figure.data[0].marker.line.width[6]
    assert list(figure.data[0].customdata[59]) == [59, 0]
    assert "currency &lt;b&gt;" in relation_bars(ROWS).layout.yaxis.ticktext


def test_layers_written_and_proposed_are_marked() -> None:
    effects = LayerEffects(n=9, clean=0.5, disturbed=0.1, restored=(0.1, 0.15, 0.3, 0.4, 0.2, 0.05), window=1)
    figure = effect_bars(effects, written=(1, 2), proposed=(2, 3))
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["written by the editor"].x) == [1, 2]
    assert list(by_name["other layers"].x) == [0, 3, 4, 5]
    assert list(by_name["proposed layers"].x) == [2, 3]
    (mark,) = figure.layout.annotations
    assert (mark.x, mark.text) == (3, "<b>L*</b>")
    assert by_name["other layers"].y[1] == 100 * (0.4 - 0.1)
    assert "proposed layers" not in {trace.name for trace in effect_bars(effects, written=(), proposed=()).data}
