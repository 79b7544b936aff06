"""The shifts by layer and token are read back to the bit, also from the files of earlier versions."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from kgmet.inspect.shift import Quantity, trace_shifts
from tests.inspect.looked import random_patch, text_of
from tests.tiny_models import tiny_lm
from workbench.screens.shift.kept import traces_from_json, traces_to_json

LM = tiny_lm()
TRACES = trace_shifts(LM, random_patch(LM), [text_of()])
TENSORS = ("before", "after", "length", "along")


def saved() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(json.dumps(traces_to_json(TRACES)))
    return read


def as_lists() -> list[dict[str, Any]]:
    """The traces as earlier versions wrote them."""
    (row,) = saved()
    return json.loads(json.dumps([row | {name: getattr(TRACES[0], name).tolist() for name in TENSORS}]))


@pytest.mark.parametrize("rows", [saved(), as_lists()], ids=["now", "earlier"])
def test_every_number_comes_back_to_the_bit(rows: list[dict[str, Any]]) -> None:
    (found,) = traces_from_json(rows)
    assert (found.source, found.tokens, found.lookup) == (TRACES[0].source, TRACES[0].tokens, TRACES[0].lookup)
    for what in Quantity:
        assert torch.equal(found.of(what), TRACES[0].of(what)) and found.of(what).dtype == torch.float64


@pytest.mark.parametrize(
    "damage",
    [
        {"lookup": 99},
        {"tokens": []},
        {"along": [[0.0]]},
        {"along": "zeros"},
        {"along": {"shape": [1], "numbers": ""}},
        {"before": [], "after": [], "length": [], "along": []},
    ],
    ids=str,
)
def test_other_numbers_are_refused(damage: dict[str, Any]) -> None:
    (row,) = saved()
    with pytest.raises(ValueError):
        traces_from_json([row | damage])
    with pytest.raises(ValueError):
        traces_from_json([])
