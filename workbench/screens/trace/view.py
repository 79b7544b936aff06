"""Texts, tables, scales and the chosen cell of the Trace page, without Streamlit."""

from __future__ import annotations

from enum import Enum

import pandas as pd
from torch import Tensor

from kgmet.editing.context import EditContext
from kgmet.fact import FactEdit
from kgmet.graph.phrasing import in_slot
from kgmet.inspect.attribution import Component, Removal
from kgmet.inspect.causal_trace import CausalTrace
from kgmet.inspect.patching import PatchedStates, PatchMap
from kgmet.inspect.recall import RECALLED, Followed, Recall
from kgmet.inspect.traced_prompt import TracedPrompt
from kgmet.lm.run.spans import Phrase
from workbench import wording
from workbench.drawing.charts import Line
from workbench.drawing.traced import (
    Choice,
    Contributions,
    Map,
    Side,
    break_line,
    check_sentence,
    check_table,
    layers_label,
    map_scale,
    map_sentence,
    map_values,
    step_of,
    sum_sentence,
    token_of,
    unit_of,
)

__all__ = [
    "READ_CAUSAL",
    "READ_HEADS",
    "READ_OTHER",
    "READ_RANKS",
    "READ_WINDOW",
    "Choice",
    "Contributions",
    "Map",
    "Shown",
    "Side",
    "break_line",
    "check_sentence",
    "check_table",
    "choices",
    "coarse_step",
    "component_figures",
    "curves",
    "layers_label",
    "limit_of",
    "map_figures",
    "map_scale",
    "map_sentence",
    "map_values",
    "name_of",
    "patch_sentence",
    "rank_figures",
    "shown_values",
    "step_of",
    "sum_sentence",
    "typed",
    "unit_of",
]


class Shown(Enum):
    """The drawn contributions."""

    BEFORE = "before"
    AFTER = "after"
    DIFFERENCE = "difference"


MOST_ROWS = 12
"""Most layers that are tried at first."""
READ_CAUSAL = (
    "How to read it: noise corrupts the subject; each cell is the answer's probability with that one clean "
    "state restored. The stronger its colour, the more of the fact it carries. The dotted column is the subject's last "
    "token, where edits act; orange bars beside the axis mark the edited layers."
)
READ_WINDOW = "MLP and attention outputs are restored over {n} layers around each; single ones rarely show an effect."
READ_OTHER = (
    "How to read it: the text is run with the {into} model; each cell is the answer's probability with that one state "
    "taken from the {giver} model. Where it comes close to the {giver} model's own, that state carries the edit."
)
READ_HEADS = (
    "How to read it: gradient × activation, summed over tokens: blue raises the logit of the answer over its rival, "
    "orange lowers it. It is a first-order estimate of how far the difference would fall without that part. "
    "Orange bars beside the axis mark the edited layers."
)
READ_RANKS = (
    "How to read it: each state is put through the last norm and the vocabulary (logit lens). Rank 1 is the likeliest "
    f"token. The dotted line is rank {RECALLED}: what ranks there or better counts as recalled. Orange bars beside "
    "the axis mark the edited layers."
)


def choices(edit: FactEdit, context: EditContext) -> list[Choice]:
    """Return the edit's prompt, then its consequences as prompts that end before the answer."""
    new, old = edit.new_object, context.edit.old_object
    phrase = Phrase(template=edit.template, subject=edit.subject)
    found = [_choice("Edit", phrase, new, old, None, None)]
    for item in () if context.consequences is None else context.consequences.forward:
        if item.new is None or not item.templates:
            continue
        template = item.templates[-1]
        phrase = Phrase(template=template, subject=in_slot(template, context.subject))
        was = None if item.old is None else item.old.label
        found.append(_choice("Consequence", phrase, item.new.label, was, new, old))
    return found


def _choice(kind: str, phrase: Phrase, new: str, old: str | None, bridge: str | None, old_bridge: str | None) -> Choice:
    old = None if old is None or old.casefold() == new.casefold() else old
    return Choice(
        label=f"{kind}: {wording.short(phrase.prompt, 80)} → {wording.short(new, 30)}",
        edited=TracedPrompt(phrase=phrase, answer=new, rival=old, bridge=bridge),
        unedited=None if old is None else TracedPrompt(phrase=phrase, answer=old, rival=new, bridge=old_bridge),
    )


def typed(prompt: str, subject: str, answer: str, rival: str, bridge: str) -> Choice:
    """Check and return a typed prompt.

    Raises:
        RequestError: if a field is invalid; says which and how to correct it.
    """
    edit = FactEdit.from_prompt(prompt, subject=subject, new_object=answer, old_object=rival.strip() or None)
    phrase = Phrase(template=edit.template, subject=edit.subject)
    traced = TracedPrompt(
        phrase=phrase, answer=edit.new_object, rival=edit.old_object, bridge=" ".join(bridge.split())[:300] or None
    )
    return Choice(label=phrase.prompt, edited=traced, unedited=traced)


# Causal trace, and states from the other side


def coarse_step(n_layer: int) -> int:
    """Return the distance of the layers that are tried first, so that there are at most `MOST_ROWS`."""
    return -(-n_layer // MOST_ROWS)


def map_figures(found: CausalTrace | PatchMap, layer: int, position: int) -> dict[str, str]:
    """Return the values at one cell."""
    if isinstance(found, CausalTrace):
        return {
            "with this state restored": wording.percent(found.at(layer, position)),
            "subject unreadable": wording.percent(found.corrupted),
            "text as it is": wording.percent(found.clean),
            "indirect effect": f"{100 * (found.at(layer, position) - found.corrupted):+.2f} points",
        }
    return {
        "with this state put in": wording.percent(found.at(layer, position)),
        "this side by itself": wording.percent(found.receiver),
        "the other side by itself": wording.percent(found.giver),
    }


def patch_sentence(found: PatchedStates, side: Side) -> str:
    """Describe one patched state and the resulting answer."""
    (layer, position) = found.cells[0]
    answer = f"“{found.source.source.answer}”"
    said = found.patched.top[0]
    way = ""
    if found.share is not None:
        way = f", {100 * found.share:.0f}\u00a0% of the way to the {side.other.value} model's"
    return (
        f"With the {found.part.value} of layer {layer} at {token_of(found.source, position)} taken from the "
        f"{side.other.value} model, the {side.value} model goes on with “{said.text.strip() or '␣'}” "
        f"({wording.percent(said.probability)}); {answer} goes from {wording.percent(found.receiver.answer)} to "
        f"{wording.percent(found.patched.answer)}{way} ({wording.percent(found.giver.answer)})."
    )


# Contributions


def limit_of(found: Contributions) -> float:
    """Return the limit of the scale, the same before, after and for the difference."""
    both = (found.before, found.after)
    sizes = [float(part.abs().max()) for each in both for part in (each.heads, each.mlps)]
    change = [float((found.after.heads - found.before.heads).abs().max())]
    change.append(float((found.after.mlps - found.before.mlps).abs().max()))
    return max(*sizes, *change, 1e-6)


def shown_values(found: Contributions, shown: Shown) -> tuple[list[list[float]], list[float]]:
    """Return contributions of heads (n_layer, n_head) and MLPs (n_layer)."""
    before, after = found.before, found.after
    if shown is Shown.DIFFERENCE:
        return (after.heads - before.heads).tolist(), (after.mlps - before.mlps).tolist()
    one = before if shown is Shown.BEFORE else after
    return one.heads.tolist(), one.mlps.tolist()


def component_figures(found: Contributions, component: Component, removals: tuple[Removal, Removal]) -> dict[str, str]:
    """Return the values of one part: estimated, and measured by its removal."""
    unit = unit_of(found.after)
    before, after = found.before.of(component), found.after.of(component)
    return {
        "contribution before": f"{before:+.3f} {unit}",
        "contribution after": f"{after:+.3f} {unit}",
        "difference": f"{after - before:+.3f} {unit}",
        "taken out before, it falls by": f"{removals[0].fall:+.3f} {unit}",
        "taken out after, it falls by": f"{removals[1].fall:+.3f} {unit}",
    }


# Ranks


def name_of(recall: Recall, followed: Followed) -> str:
    """Return the label of a tracked token, with its role."""
    prompt = recall.source.source
    text = {Followed.BRIDGE: prompt.bridge, Followed.ANSWER: prompt.answer, Followed.RIVAL: prompt.rival}[followed]
    role = {Followed.BRIDGE: "bridge", Followed.ANSWER: "answer", Followed.RIVAL: "rival"}[followed]
    return f"{role}: {wording.short(text or '', 40)}"


_COLOURS = {Followed.ANSWER: 0, Followed.RIVAL: 1, Followed.BRIDGE: 2}
"""Places in the palette: the answer has the colour of what is new, its rival that of what is old."""


def curves(before: Recall, after: Recall, position: int) -> list[Line]:
    """Draw ranks at one token by layer: dashed before, solid after."""
    found = []
    for followed in after.rank:
        for name, recall, dash in (("before", before, "dot"), ("after", after, "solid")):
            ranks = recall.rank[followed][:, position].tolist()
            label = f"{name_of(recall, followed)}, {name}"
            found.append(Line(name=label, x=list(range(len(ranks))), y=ranks, colour=_COLOURS[followed], dash=dash))
    return found


def rank_figures(before: Recall, after: Recall, layer: int, position: int) -> pd.DataFrame:
    """Return rank and log-probability of the tracked tokens in one state."""
    rows = []
    for followed in after.rank:
        was, now = before.rank[followed][layer, position], after.rank[followed][layer, position]
        low, high = before.logprob[followed][layer, position], after.logprob[followed][layer, position]
        rows.append(
            {
                "": name_of(after, followed),
                "rank": f"{int(was):,} → {int(now):,}",
                "log p (nats)": f"{_tenths(low)} → {_tenths(high)}",
            }
        )
    return pd.DataFrame(rows)


def _tenths(logprob: Tensor) -> str:
    return f"{round(float(logprob), 1) + 0.0:.1f}"  # no minus before a zero
