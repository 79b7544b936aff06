"""`summarize_run`: the table of one run, from its folder."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.files import failures_as
from kgmet.evaluate.datasets.cases import AskKind
from kgmet.evaluate.runs.folder import Table, read_settings
from kgmet.evaluate.runs.rows import check_case_row
from kgmet.evaluate.tables.graph_share import graph_share, wants_graph
from kgmet.measure.metrics import MetricValue, bootstrap, harmonic_mean, mean_value, share_value

__all__ = ["RunSummary", "summarize_run"]

Row = Mapping[str, Any]

_SCORED = (AskKind.EFFICACY, AskKind.PARAPHRASE, AskKind.NEIGHBORHOOD)
_STATES = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run as a table row. `rows` are its cases, `checkpoints` the points of its curves."""

    name: str
    editor: str
    dataset: str
    model: str
    n_edits: int
    n_cases: int
    n_failed: int
    num_edits: int
    mode: str
    seconds_per_edit: float | None
    metrics: Mapping[str, Any]
    by_relation: Mapping[str, Any]
    rows: tuple[Row, ...]
    checkpoints: tuple[Row, ...]
    fingerprints: Mapping[str, Any]
    left_out: tuple[str, ...] = ()
    """Unused records with their reasons, as sentences."""
    notes: tuple[str, ...] = ()
    """Used records that contradict an earlier one, as sentences."""
    n_wanted: int = 0
    """Cases that the run has to score; 0: unknown."""

    @property
    def is_finished(self) -> bool:
        """Whether every case was scored."""
        return self.n_cases >= self.n_wanted

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON, without the cases."""
        return {
            "run": self.name,
            "editor": self.editor,
            "dataset": self.dataset,
            "model": self.model,
            "n_edits": self.n_edits,
            "n_cases": self.n_cases,
            "n_wanted": self.n_wanted,
            "n_failed": self.n_failed,
            "num_edits": self.num_edits,
            "mode": self.mode,
            "seconds_per_edit": self.seconds_per_edit,
            "metrics": dict(self.metrics),
            "by_relation": dict(self.by_relation),
            "curve": [dict(row) for row in self.checkpoints],
            "fingerprints": dict(self.fingerprints),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


def summarize_run(folder: Path) -> RunSummary:
    """Read a run folder, finished or not.

    Raises:
        BrokenArtifactError: if it is not a run folder, or is damaged.
    """
    header = read_settings(folder)
    tables = [Table(folder / f"{name}.jsonl", looked_at=True).rows for name in ("cases", "batches", "checkpoints")]
    advice = "Delete it and run evaluate again."
    with failures_as(BrokenArtifactError, f"{folder} holds no run that can be summarised", advice=advice):
        return _summary(folder, header, *tables)


def _word(settings: Mapping[str, Any], name: str) -> str:
    value = settings[name]
    if not isinstance(value, str):
        raise TypeError(f"settings.{name} must be text, got {type(value).__name__}")
    return value


def _summary(
    folder: Path, header: Row, cases: Sequence[Row], batches: Sequence[Row], points: Sequence[Row]
) -> RunSummary:
    rows = sorted(cases, key=lambda row: int(row["position"]))
    for row in rows:
        check_case_row(row, where=f"{folder.name}, case {row['position']}")
    checkpoints = sorted(points, key=lambda row: int(row["n_batches"]))
    n_edits = sum(int(row["n_edits"]) for row in rows)
    settings = header["settings"]
    return RunSummary(
        name=folder.name,
        editor=_word(settings, "editor"),
        dataset=_word(settings, "dataset"),
        model=str(header["model"]),
        n_edits=n_edits,
        n_cases=len(rows),
        n_failed=sum(bool(batch["failed"]) for batch in batches),
        num_edits=int(settings["num_edits"]),
        mode=_word(settings, "mode"),
        seconds_per_edit=_seconds_per_edit(batches),
        metrics=run_metrics(
            rows,
            checkpoints,
            is_sequential=settings["mode"] == "sequential",
            is_graph_wanted=wants_graph(settings),
        ),
        by_relation=_by_relation(rows),
        rows=tuple(rows),
        checkpoints=tuple(checkpoints),
        fingerprints={"dataset": "", "model": "", **header["fingerprints"]},
        left_out=tuple(map(_sentence, header.get("left_out", ()))),
        notes=tuple(map(_sentence, header.get("notes", ()))),
        n_wanted=int(settings.get("n_cases", 0)),
    )


def _sentence(fault: Row) -> str:
    return f"Record {fault['number']} ({fault['case_id']}): {fault['reason']}"


def run_metrics(
    rows: Sequence[Row], checkpoints: Sequence[Row], *, is_sequential: bool, is_graph_wanted: bool = False
) -> dict[str, Any]:
    """Compute every metric of the cases, before and after, under its usual name.

    Args:
        rows: the lines of ``cases.jsonl``.
        checkpoints: the lines of ``checkpoints.jsonl``, in order.
        is_sequential: whether batches were added to the earlier ones.
        is_graph_wanted: whether the editor uses a graph, so that the share of cases with one is a metric too.
    """
    found: dict[str, Any] = {}
    for kind in (
        *_SCORED,
        AskKind.CONSEQUENCES,
        AskKind.PORTABILITY,
        AskKind.LOCALITY,
        AskKind.HOP,
        AskKind.MULTI_HOP_CHAT,
    ):
        if kind in (*_SCORED, AskKind.CONSEQUENCES) or any(_asks(rows, kind)):
            found[kind.value] = {state: kind_metrics(rows, kind, state) for state in _STATES}
    for kind in (AskKind.NEIGHBORHOOD, AskKind.LOCALITY):
        if any(_asks(rows, kind)):
            found[kind.value]["unchanged"] = _unchanged(rows, kind).to_json()
    if any(_asks(rows, AskKind.MULTI_HOP)):
        found["multi_hop"] = _multi_hop(rows)
    found["score"] = {state: _score(rows, state).to_json() for state in _STATES}
    for name in ("fluency", "consistency"):
        found[name] = {
            state: mean_value([row[state][name] for row in rows if row[state][name] is not None]).to_json()
            for state in _STATES
        }
    share = graph_share(rows, is_wanted=is_graph_wanted)
    if share is not None:
        found["graph"] = share.to_json()
    found["perplexity"] = _perplexity(checkpoints, is_sequential)
    return found


def kind_metrics(rows: Iterable[Row], kind: AskKind, state: str) -> dict[str, Any]:
    """Compute the shares of one kind's prompts: preferred, first and said, with n and intervals."""
    asks = [ask[state] for ask in _asks(rows, kind)]
    compared = [ask for ask in asks if ask["preferred"] is not None]
    said = [ask for ask in asks if ask["said"] is not None]
    preferred = share_value(sum(ask["preferred"] for ask in compared), len(compared))
    first = share_value(sum(ask["first"] for ask in asks), len(asks))
    generated = share_value(sum(ask["said"] for ask in said), len(said))
    accuracy = mean_value([ask["accuracy"] for ask in asks])
    return {
        "preferred": preferred.value,
        "first": first.value,
        "n": len(asks),
        "interval": _listed(preferred if compared else first),
        "n_preferred": preferred.n,
        "interval_first": _listed(first),
        "accuracy": accuracy.value,
        "interval_accuracy": _listed(accuracy),
        "generated": generated.value,
        "n_generated": generated.n,
        "interval_generated": _listed(generated),
    }


def _seconds_per_edit(batches: Sequence[Row]) -> float | None:
    """Return wall-clock seconds of planning per edit."""
    if not batches:
        return None
    ordered = sorted(batches, key=lambda row: int(row["batch"]))
    return float(sum(row["seconds"] for row in ordered) / max(1, int(ordered[-1]["n_edits"])))


def _score(rows: Sequence[Row], state: str) -> MetricValue:
    """Return the harmonic mean of the three shares, with an interval from resampled cases."""
    table = np.array(
        [
            [count for kind in _SCORED for count in _hits(row, kind, state)]
            for row in rows
            if any(ask["kind"] == AskKind.EFFICACY.value for ask in row["asks"])
        ],
        dtype=np.float64,
    )
    if not len(table) or not all(table[:, 2 * place + 1].sum() for place in range(len(_SCORED))):
        return MetricValue(value=None, n=0, interval=None)

    def harmonic(drawn: Any) -> float:
        hits, counts = drawn[:, 0::2].sum(0), drawn[:, 1::2].sum(0)
        return harmonic_mean([float(h / c) for h, c in zip(hits, counts, strict=True) if c])

    return MetricValue(value=harmonic(table), n=len(table), interval=bootstrap(table, harmonic))


def _hits(row: Row, kind: AskKind, state: str) -> tuple[int, int]:
    known = [ask[state]["preferred"] for ask in row["asks"] if ask["kind"] == kind.value]
    compared = [value for value in known if value is not None]
    return sum(compared), len(compared)


def _unchanged(rows: Sequence[Row], kind: AskKind) -> MetricValue:
    """Return the share of kept facts whose answer is unchanged or true after the edit.

    Without free continuations: the share with the same status (greedy or not) of the expected answer as before.
    """
    asks = list(_asks(rows, kind))
    written = [bool(ask["unchanged"]) for ask in asks if ask.get("unchanged") is not None]
    kept = written or [ask["before"]["first"] == ask["after"]["first"] for ask in asks]
    return share_value(sum(kept), len(kept))


def _multi_hop(rows: Sequence[Row]) -> dict[str, Any]:
    """Return shares of cases: whole chains and single links, for all chains and by length."""
    lengths = sorted({int(row["n_hop"]) for row in rows if row["n_hop"] is not None})
    return {
        **{state: _chain_shares(rows, state) for state in _STATES},
        "by_hops": {
            str(length): {
                state: _chain_shares([row for row in rows if row["n_hop"] == length], state) for state in _STATES
            }
            for length in lengths
        },
    }


def _chain_shares(rows: Sequence[Row], state: str) -> dict[str, Any]:
    def cases(kind: AskKind, field: str, whole: Callable[[Iterable[bool]], bool]) -> dict[str, Any]:
        known = [
            [ask[state][field] for ask in row["asks"] if ask["kind"] == kind.value and ask[state][field] is not None]
            for row in rows
        ]
        asked = [values for values in known if values]
        return share_value(sum(whole(values) for values in asked), len(asked)).to_json()

    return {
        "generated": cases(AskKind.MULTI_HOP, "said", any),
        "generated_chain_of_thought": cases(AskKind.MULTI_HOP, "said_cot", any),
        "teacher_forced": cases(AskKind.MULTI_HOP, "first", any),
        "hop_wise_generated": cases(AskKind.HOP, "said", all),
        "hop_wise_teacher_forced": cases(AskKind.HOP, "first", all),
        "by_link": _by_link(rows, state),
    }


def _by_link(rows: Sequence[Row], state: str) -> dict[str, Any]:
    """Return the share of first, second, … links answered right when asked alone."""
    asks = list(_asks(rows, AskKind.HOP))
    return {
        str(hop): share_value(
            sum(bool(ask[state]["said"]) for ask in asks if ask["hop"] == hop), sum(ask["hop"] == hop for ask in asks)
        ).to_json()
        for hop in sorted({int(ask["hop"]) for ask in asks})
    }


def _by_relation(rows: Sequence[Row]) -> dict[str, Any]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["relation"]) or "?", []).append(row)
    return {
        relation: {
            "n_cases": len(group),
            **{
                kind.value: {state: kind_metrics(group, kind, state) for state in _STATES}
                for kind in (*_SCORED, AskKind.CONSEQUENCES)
                if any(_asks(group, kind))
            },
        }
        for relation, group in sorted(groups.items())
    }


def _perplexity(checkpoints: Sequence[Row], is_sequential: bool) -> dict[str, Any]:
    """Return the perplexity before and after all edits; for edits made alone, the mean over measured ones."""
    before = [row["perplexity"] for row in checkpoints if row["n_batches"] == 0]
    after = [row["perplexity"] for row in checkpoints if row["n_batches"] > 0]
    n_token = int(checkpoints[0]["n_token"]) if checkpoints else 0
    if is_sequential:
        after = after[-1:]
    interval = mean_value(after).interval if len(after) > 1 else None
    return {
        "before": {"value": before[0] if before else None, "n": n_token, "interval": None},
        "after": {
            "value": statistics.fmean(after) if after else None,
            "n": n_token * len(after),
            "interval": None if interval is None else list(interval),
        },
    }


def _asks(rows: Iterable[Row], kind: AskKind) -> Iterable[Row]:
    return (ask for row in rows for ask in row["asks"] if ask["kind"] == kind.value)


def _listed(value: MetricValue) -> list[float] | None:
    return None if value.interval is None else list(value.interval)
