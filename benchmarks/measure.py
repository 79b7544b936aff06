"""Shared parts of the benchmarks: scoring of cases, shares with intervals, tables."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from edit_set import Case, TestPrompt

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.packed import score_packed
from kgmet.lm.say.score import AnswerScore
from kgmet.measure.metrics import wilson_interval
from kgmet.measure.verdict import prefers
from kgmet.write.patch import EditPatch, attached

COLUMNS = ("efficacy", "paraphrase", "neighbour", "consequence")
"""The kinds of test, in table order."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of prompts, of preferred answers and of greedy first answers."""

    n: int
    preferred: int
    first: int

    def to_json(self) -> dict[str, int]:
        """Return plain JSON values; ``Counts(**…)`` reads them."""
        return {"n": self.n, "preferred": self.preferred, "first": self.first}


@dataclass(frozen=True, kw_only=True)
class Share:
    """Scores of the expected and rejected answers of all prompts of one kind."""

    scores: tuple[tuple[TestPrompt, AnswerScore, AnswerScore], ...]

    @property
    def n(self) -> int:
        """Number of prompts."""
        return len(self.scores)

    @property
    def preferred(self) -> int:
        """Number of prompts whose expected answer is likelier per token."""
        return sum(prefers(expected, rejected) for _, expected, rejected in self.scores)

    @property
    def first(self) -> int:
        """Number of prompts whose greedy answer is the expected one."""
        return sum(expected.is_first for _, expected, _ in self.scores)

    def mean_probability_ratio(self, before: Share) -> float:
        """Return the mean of min(1, probability now / probability before) of the expected answer."""
        ratios = [
            min(1.0, now[1].probability / max(was[1].probability, 1e-12))
            for now, was in zip(self.scores, before.scores, strict=True)
        ]
        return sum(ratios) / len(ratios)

    @property
    def counts(self) -> Counts:
        """Return the counts without the scores."""
        return Counts(n=self.n, preferred=self.preferred, first=self.first)

    def to_json(self) -> dict[str, int]:
        """Return the counts as plain JSON values."""
        return self.counts.to_json()


def measured(lm: LoadedLM, cases: Sequence[Case], patches: Sequence[EditPatch] | None) -> dict[str, Share]:
    """Score each case under its own patch, or the model as it is without patches."""
    found: dict[str, list[tuple[TestPrompt, AnswerScore, AnswerScore]]] = {}
    for number, case in enumerate(cases):
        with attached([] if patches is None else [patches[number]], lm):
            for triple in scored(lm, case):
                found.setdefault(triple[0].kind, []).append(triple)
    return {kind: Share(scores=tuple(scores)) for kind, scores in found.items()}


def measured_together(lm: LoadedLM, cases: Sequence[Case], patches: Sequence[EditPatch]) -> dict[str, Share]:
    """Score all cases under all patches at once."""
    found: dict[str, list[tuple[TestPrompt, AnswerScore, AnswerScore]]] = {}
    with attached(list(patches), lm):
        for case in cases:
            for triple in scored(lm, case):
                found.setdefault(triple[0].kind, []).append(triple)
    return {kind: Share(scores=tuple(scores)) for kind, scores in found.items()}


def scored(lm: LoadedLM, case: Case) -> list[tuple[TestPrompt, AnswerScore, AnswerScore]]:
    """Return the expected and rejected answer of each test of a case."""
    scores = score_packed(lm, [(test.text, answer) for test in case.tests for answer in (test.expected, test.rejected)])
    return [(test, scores[2 * n], scores[2 * n + 1]) for n, test in enumerate(case.tests)]


def interval_text(share: Share | Counts | None) -> str:
    """Format a cell as ``100 / 92 (76–100, n 12)``."""
    if share is None or not share.n:
        return "not measured"
    low, high = wilson_interval(share.preferred, share.n)
    return (
        f"{100 * share.preferred / share.n:.0f} / {100 * share.first / share.n:.0f} "
        f"({100 * low:.0f}–{100 * high:.0f}, n {share.n})"
    )


def machine(threads: int, lm: LoadedLM | None = None) -> str:
    """Return the device and precision of the model."""
    device = torch.device("cpu") if lm is None else lm.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    dtype = str(torch.float32 if lm is None else lm.dtype).removeprefix("torch.")
    return f"{threads} threads, {platform.machine()} {name}, {dtype}, torch {torch.__version__.split('+')[0]}"


class Table:
    """Rows of text as Markdown."""

    def __init__(self, header: Sequence[str]) -> None:
        self._rows = [list(header)]

    def add(self, *cells: str) -> None:
        """Add a row."""
        self._rows.append(list(cells))

    def __str__(self) -> str:
        """Return the table as Markdown."""
        widths = [max(len(row[column]) for row in self._rows) for column in range(len(self._rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in self._rows
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)
