"""What the Trace page says and draws, from values made by hand and from the tiny model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kgmet.base.errors import RequestError
from kgmet.base.progress import Silent
from kgmet.editing.context import EditContext
from kgmet.fact import FactEdit
from kgmet.inspect.attribution import Component
from kgmet.inspect.causal_trace import CausalTrace, TraceConfig
from kgmet.inspect.patching import PatchedStates, PatchMap, Said
from kgmet.inspect.sweep import Part
from kgmet.inspect.traced_prompt import LocatedPrompt, TracedPrompt
from kgmet.lm.run.spans import Phrase
from kgmet.lm.say.score import NextToken
from tests.inspect.looked import TOWER, random_patch
from tests.passes import passes
from tests.tiny_models import N_LAYER, tiny_lm
from workbench.drawing.contributions import layer_bars, rank_lines, rank_map
from workbench.drawing.heatmaps import Marks, chosen_cell
from workbench.screens.trace import actions as trace_actions
from workbench.screens.trace import view
from workbench.screens.trace.view import Map, Shown, Side

WHERE = LocatedPrompt(
    source=TracedPrompt(phrase=Phrase(template="{} is", subject="Rome"), answer="big", rival="small"),
    ids=(5, 6),
    tokens=("Rome", " is"),
    subject=range(1),
    shared="",
    answer=7,
    rival=8,
    bridge=None,
    answer_text="big",
)
SIDES = trace_actions.Sides(lm=tiny_lm(), before=(), after=(random_patch(tiny_lm()),))
CHOICE = view.choices(TOWER, EditContext(edit=FactEdit(**(TOWER.to_json() | {"old_object": "Paris"}))))[0]  # type: ignore[arg-type]


def reading() -> trace_actions.Reading:
    return trace_actions.reading_of(SIDES, CHOICE)(Silent())


def test_every_map_has_its_part() -> None:
    assert [kind.part for kind in Map] == [Part.STATE, Part.MLP, Part.ATTENTION] * 2
    assert [kind.is_causal for kind in Map] == [True] * 3 + [False] * 3
    assert Side.EDITED.other is Side.UNEDITED and Side.UNEDITED.other is Side.EDITED


def test_the_sentence_of_a_causal_trace_has_both_ends_and_the_number_of_draws() -> None:
    found = CausalTrace(
        source=WHERE,
        part=Part.STATE,
        window=1,
        n_sample=2,
        sigma=0.5,
        clean=0.8,
        corrupted=0.1,
        layers=(0, 1),
        restored=torch.tensor([[0.1, 0.2], [0.5, 0.9]]),
    )
    said = view.map_sentence(found, Side.EDITED).replace("\u00a0", " ")
    assert said == (
        "Edited model, “big”: 80.0 % as it is, 10.0 % with the subject unreadable (mean of 2 draws of noise). Before "
        "the last token the hidden state of layer 1 at “Rome” has the largest effect: 50.0 %."
    )
    assert view.map_figures(found, 1, 0)["indirect effect"] == "+40.00 points"
    assert view.map_scale(found).high == pytest.approx(90)  # nothing is cut off
    assert view.map_values(found)[1] == pytest.approx([50, 90])
    coarse = replace(found, layers=(1, 4))
    told = view.map_sentence(coarse, Side.EDITED)
    assert "Before the last token, trying every 3rd layer, the hidden state of layer 4 at" in told
    assert view.map_figures(coarse, 4, 0) == view.map_figures(found, 1, 0)


def test_a_deep_model_has_at_most_twelve_layers_tried_first() -> None:
    steps = {n_layer: view.coarse_step(n_layer) for n_layer in (1, 4, 12, 13, 18, 24, 30, 32, 80)}
    assert steps == {1: 1, 4: 1, 12: 1, 13: 2, 18: 2, 24: 2, 30: 3, 32: 3, 80: 7}
    assert [view.layers_label(step) for step in (1, 2, 3, 4)] == [
        "every layer",
        "every 2nd layer",
        "every 3rd layer",
        "every 4th layer",
    ]


def test_a_map_of_tiny_probabilities_still_has_a_scale() -> None:
    found = PatchMap(source=WHERE, part=Part.MLP, receiver=0.0, giver=0.0, layers=(1, 3), patched=torch.zeros(2, 2))
    assert view.map_scale(found).high > 0
    assert "on the unedited model" in view.map_sentence(found, Side.UNEDITED)
    assert view.map_sentence(found, Side.UNEDITED).endswith("are put in one at a time, at every 2nd layer.")


def test_a_patched_state_is_told_in_one_sentence() -> None:
    def said(text: str, answer: float) -> Said:
        return Said(top=(NextToken(text=text, probability=0.5),), answer=answer, rival=None)

    found = PatchedStates(
        source=WHERE,
        cells=((1, 0),),
        part=Part.MLP,
        receiver=said(" a", 0.2),
        giver=said(" b", 0.6),
        patched=said(" c", 0.4),
    )
    told = view.patch_sentence(found, Side.EDITED).replace("\u00a0", " ")
    assert told == (
        "With the MLP output of layer 1 at “Rome” taken from the unedited model, the edited model goes on with “c” "
        "(50.0 %); “big” goes from 20.0 % to 40.0 %, 50 % of the way to the unedited model's (60.0 %)."
    )


def test_an_edit_without_an_old_object_has_no_unedited_side() -> None:
    (only,) = view.choices(TOWER, EditContext(edit=TOWER))
    assert only.unedited is None and only.on(Side.UNEDITED) is None and only.edited.rival is None
    assert len(trace_actions.reading_of(SIDES, only)(Silent()).breaks) == 1
    assert CHOICE.unedited is not None
    assert (CHOICE.unedited.answer, CHOICE.unedited.rival) == ("Paris", "Rome")


def test_what_is_typed_is_checked_like_an_edit() -> None:
    found = view.typed(" Big Ben is in ", "Big Ben", "London", " ", "  the   UK ")
    assert found.edited == found.unedited
    assert found.edited.phrase == Phrase(template="{} is in", subject="Big Ben")
    assert (found.edited.rival, found.edited.bridge) == (None, "the UK")
    for texts in (("", "", "x", "", ""), ("Rome is in", "Paris", "x", "", ""), ("Rome is\nin", "Rome", "x", "", "")):
        with pytest.raises(RequestError):
            view.typed(*texts)


def test_the_table_of_the_largest_parts_is_what_was_measured() -> None:
    found = reading().contributions
    table = view.check_table(found)
    assert len(table) == min(trace_actions.N_CHECKED, N_LAYER * 5)
    first = found.removed_after[0]
    assert table["part"][0] == first.component.label and table["taken out, after"][0] == round(first.fall, 2)
    same = sum(item.estimate * item.fall > 0 for item in found.removed_after)
    assert f"for {same} of them" in view.check_sentence(found)
    heads, mlps = view.shown_values(found, Shown.DIFFERENCE)
    assert heads[0][0] == pytest.approx(float(found.after.heads[0, 0] - found.before.heads[0, 0]))
    limit = view.limit_of(found)
    assert max(abs(value) for row in [*heads, mlps] for value in row) <= limit
    figures = view.component_figures(found, Component(layer=0), (found.removed_before[0], first))
    assert figures["taken out after, it falls by"] == f"{first.fall:+.3f} logits"


def test_ranks_are_drawn_with_their_own_numbers() -> None:
    found = reading()
    ranks = next(iter(found.after.rank.values())).tolist()
    columns = [str(n) for n in range(len(ranks[0]))]
    figure = rank_map(ranks, columns=columns, n_token=found.n_token, marks=Marks())
    assert f"rank {ranks[0][0]:,}" in figure.data[1].text[0]
    strongest = max(max(row) for row in figure.data[0].z)
    best = min(min(row) for row in ranks)
    assert figure.data[0].zmax - strongest == pytest.approx(float(torch.tensor(best).log10()), abs=1e-6)
    curves = view.curves(found.before, found.after, 0)
    assert [curve.dash for curve in curves[:2]] == ["dot", "solid"]
    lines = rank_lines(curves, recalled=10)
    top, bottom = lines.layout.yaxis.range[1], lines.layout.yaxis.range[0]
    assert top < 0 < bottom  # rank 1 on top
    assert "10,000" in lines.layout.yaxis.ticktext


def test_a_certain_answer_has_no_minus_before_its_zero() -> None:
    found = reading()
    followed = next(iter(found.after.rank))
    logprob = {**found.after.logprob, followed: torch.full_like(found.after.logprob[followed], -0.01)}
    table = view.rank_figures(found.before, replace(found.after, logprob=logprob), 0, 0)
    assert table["log p (nats)"][0].endswith(" → 0.0")


def test_a_bar_can_be_clicked_and_names_its_layer() -> None:
    figure = layer_bars([0.5, -1.0, 0.0], limit=1.0, title="t", unit="logits", chosen=1)
    assert list(figure.data[0].y) == [0, 1, 2]
    point = {"customdata": list(figure.data[0].customdata[2])}
    cell = chosen_cell({"selection": {"points": [point]}})
    assert cell is not None and cell.row == 2


def test_a_hostile_token_is_text() -> None:
    figure = rank_map([[3]], columns=["<img src=x onerror=alert(1)>"], n_token=100, marks=Marks())
    assert "<img" not in figure.data[1].text[0]
    assert "<img" not in str(figure.layout.xaxis.ticktext)


def test_the_work_of_a_map_is_that_of_its_side() -> None:
    config = TraceConfig(n_sample=1)
    edited = trace_actions.map_of(SIDES, CHOICE, Side.EDITED, Map.STATE, config)(Silent()).found
    unedited = trace_actions.map_of(SIDES, CHOICE, Side.UNEDITED, Map.STATE, config)(Silent()).found
    swapped = trace_actions.map_of(SIDES, CHOICE, Side.EDITED, Map.OTHER_STATE, config)(Silent()).found
    assert isinstance(edited, CausalTrace) and isinstance(unedited, CausalTrace) and isinstance(swapped, PatchMap)
    assert edited.source.source.answer == "Rome" and unedited.source.source.answer == "Paris"
    some = trace_actions.map_of(SIDES, CHOICE, Side.EDITED, Map.STATE, config, step=2)(Silent()).found
    with passes(SIDES.lm) as again:
        more = trace_actions.map_of(SIDES, CHOICE, Side.EDITED, Map.STATE, config, known=some)(Silent()).found
    with passes(SIDES.lm) as none:
        less = trace_actions.map_of(SIDES, CHOICE, Side.EDITED, Map.STATE, config, step=2, known=more)(Silent()).found
    assert isinstance(some, CausalTrace) and isinstance(more, CausalTrace) and isinstance(less, CausalTrace)
    assert more.layers == (0, 1, 2, 3) and torch.equal(more.restored[[1, 3]], some.restored)
    torch.testing.assert_close(more.restored, edited.restored, rtol=1e-5, atol=1e-9)
    assert again and not none and less.layers == (1, 3) and torch.equal(less.restored, some.restored)
    assert swapped.receiver == pytest.approx(edited.clean)
    assert swapped.giver != pytest.approx(edited.clean)
