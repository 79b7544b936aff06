"""`ReportCard`: rows, columns and cells as plain values, and the table that says what each row measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kgmet.base.errors import BrokenArtifactError
from kgmet.base.files import failures_as
from kgmet.base.values import value_from

__all__ = [
    *("AFTER", "COLUMNS", "IN_CONTEXT", "IN_CONTEXT_GRAPH", "ROWS", "UNEDITED"),
    *("Cell", "Column", "Example", "ReportCard", "Row", "RowSpec", "edited_columns"),
]

_FORMAT = 2
_NO_CARD = "This is not a report card"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One model, or one way of stating the fact in context."""

    key: str
    label: str
    definition: str
    is_edited: bool = False


UNEDITED = Column(key="unedited", label="Unedited", definition="the model as it was")
AFTER = Column(key="after", label="Edited", definition="the model with the edit", is_edited=True)
IN_CONTEXT = Column(
    key="in_context",
    label="In context",
    definition="the unedited model with the fact as a sentence before every prompt; nothing is written",
)
IN_CONTEXT_GRAPH = Column(
    key="in_context_graph",
    label="In context, graph",
    definition="the same with the sentences that the graph retrieves for the edit after the fact",
)
COLUMNS: tuple[Column, ...] = (UNEDITED, AFTER, IN_CONTEXT, IN_CONTEXT_GRAPH)
"""The columns of a card of one edited model, in display order."""


def edited_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """Return a column for each edited model: `AFTER` for a single one, else one with its name each.

    Raises:
        ValueError: if two have the same name.
    """
    if len(names) == 1:
        return (AFTER,)
    if len(set(names)) != len(names):
        raise ValueError(f"the columns of a card need different names, got {list(names)}")
    return tuple(
        Column(key=f"after:{name}", label=name, definition=f"the model edited by {name}", is_edited=True)
        for name in names
    )


@dataclass(frozen=True, kw_only=True)
class RowSpec:
    """Definition of a row. `unit` is ``share`` if answers are counted, `better` is ``higher`` or ``lower``.

    `condition` says which prompts are counted, if not all are. An `is_optional` row is shown only if it was measured.
    """

    key: str
    label: str
    definition: str
    unit: str = "share"
    better: str = "higher"
    condition: str = ""
    is_optional: bool = False


_CONTEXTS = (
    ("", "plain", ""),
    ("_agrees", "context agrees", " A sentence before the question states the new fact."),
    (
        "_contradicts",
        "context contradicts",
        " A sentence before the question states the old fact; a model that believes what it reads scores low.",
    ),
    ("_irrelevant", "irrelevant context", " A sentence about something else stands before the question."),
)
_YES_NO = (
    "Yes/no questions about the new object (yes) and the old one (no); said: the answer begins with the right word."
)
_CHOICE = (
    "Four-way choices between the new object, the old one, another object of the relation and “I am not sure”; the new "
    "object stands at each of the first three places once, or, with a context, at one of them in turn."
)

ROWS: Mapping[str, RowSpec] = {
    spec.key: spec
    for spec in (
        RowSpec(
            key="efficacy",
            label="Efficacy",
            definition="The edit's own prompt goes on with the new object and not with the old one.",
        ),
        *(
            RowSpec(
                key=f"retention_{age}",
                label=f"Retention, {age} edits",
                definition=f"Efficacy of the {age} tenth of the edits, where at least ten were made one after another. "
                "Edits that a later one replaces are not asked.",
                is_optional=True,
            )
            for age in ("oldest", "middle", "newest")
        ),
        RowSpec(
            key="paraphrase",
            label="Paraphrase",
            definition="The same fact in wordings that no search saw.",
        ),
        RowSpec(
            key="consequences",
            label="Consequences",
            definition="What follows from the edit by the graph, as text to continue, in wordings that no search saw.",
        ),
        RowSpec(
            key="reversal",
            label="Reversal",
            definition="Asked from the new object, the model names the subject (o* → s); others may be right as well.",
        ),
        RowSpec(
            key="negation",
            label="Negation",
            definition="“X is not …” does not go on with the new object, which is at most 0.01 nats per token likelier "
            "than in the unedited model.",
        ),
        *(
            RowSpec(key=f"yes_no{key}", label=f"Yes/no, {label}", definition=_YES_NO + more)
            for key, label, more in _CONTEXTS
        ),
        *(
            RowSpec(key=f"choice{key}", label=f"Choice, {label}", definition=_CHOICE + more)
            for key, label, more in _CONTEXTS
        ),
        RowSpec(
            key="other_facts",
            label="Subject's other facts",
            definition="Facts of the subject that the edit leaves true: answered as by the unedited model, or truly.",
        ),
        RowSpec(
            key="neighbours",
            label="Neighbours",
            definition="The same relation of other subjects is answered as by the unedited model, or truly; none of "
            "these subjects was protected.",
        ),
        RowSpec(
            key="later_hops",
            label="Later hops",
            definition="Chains that reach the edited fact from another subject end in the new answer.",
            condition="chains that the unedited model answers with the old end",
        ),
        RowSpec(
            key="multi_hop",
            label="Multi-hop, asked in chat",
            definition="Questions over two to four facts that name the subject, in the chat template: the answer names "
            "the new end and not the old one.",
        ),
        RowSpec(
            key="ability",
            label="General ability",
            definition="Statements about nature, language, numbers and everyday life go on with the right word and not "
            "with a plausible wrong one. They were written for this project and have nothing to do with the edit.",
        ),
        RowSpec(
            key="tasks",
            label="General ability, tasks",
            definition="Examples of the published tasks in the given folder (cola, mrpc, rte, sst2, nli, mmlu), after "
            "four worked examples: the likeliest of the choices is the right one.",
            unit="share of examples",
            is_optional=True,
        ),
        RowSpec(
            key="fluency",
            label="Fluency",
            definition="100 × mean of 2/3 · bigram and 4/3 · trigram entropy (bits) of greedy continuations.",
            unit="bits × 100",
        ),
        RowSpec(
            key="repetition",
            label="Repetition",
            definition="Share of the trigrams of greedy continuations that occur earlier in the same continuation.",
            unit="share of trigrams",
            better="lower",
        ),
        RowSpec(
            key="divergence",
            label="Divergence on text",
            definition="KL(unedited ‖ this model) of the next token, mean over the tokens of texts that have nothing "
            "to do with the edit.",
            unit="nats per token",
            better="lower",
        ),
        RowSpec(
            key="perplexity",
            label="Perplexity on text",
            definition="exp of the mean negative log-likelihood per token of the same texts; interval over texts.",
            unit="per token",
            better="lower",
        ),
    )
}
"""All rows by key, in display order."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value with its number of prompts, texts or tokens, and its 95 % interval.

    `value` is ``None`` if nothing was measured. In rows that count answers, `said`, `preferred` and `no` are the counts
    of the three verdicts, and `value` is the share said. `note` adds remarks.
    """

    value: float | None = None
    n: int = 0
    interval: tuple[float, float] | None = None
    said: int | None = None
    preferred: int | None = None
    no: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One prompt with the answers of each column, for display.

    `answers`, `verdicts` and the `probabilities` of the object in question are by column. After a negation nothing is
    `expected`, and `rejected` is the object that should not follow.
    """

    edit: str
    prompt: str
    expected: str
    rejected: str
    answers: Mapping[str, str]
    verdicts: Mapping[str, str]
    probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """The answer that is right and the one that is wrong, in words."""
        parts = [self.expected, f"not {self.rejected}" if self.rejected else ""]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its definition, a cell for each column, and the worst answers of the edited model.

    `n_asked` counts the prompts before the condition.
    """

    key: str
    cells: Mapping[str, Cell]
    worst: tuple[Example, ...] = ()
    n_asked: int = 0

    @property
    def spec(self) -> RowSpec:
        """The row's definition."""
        return ROWS[self.key]


@dataclass(frozen=True, kw_only=True)
class ReportCard:
    """The report card of one edit, or of several in the model together; by one editor, or by several side by side.

    `model` and `edited` name the model and the editing methods; `edits` are the facts as sentences. `facts` are the
    sentences before the prompts in the in-context columns, one tuple per edit, the fact itself first. `texts` describes
    the texts of divergence and perplexity; `seconds` is the scoring time. `asked` are all columns, in display order;
    the worst answers are those of the first edited one.
    """

    model: str
    edited: str
    edits: tuple[str, ...]
    rows: tuple[Row, ...]
    facts: tuple[tuple[str, ...], ...] = ()
    texts: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    asked: tuple[Column, ...] = COLUMNS

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns with measurements."""
        return tuple(
            column for column in self.asked if any(row.cells[column.key].value is not None for row in self.rows)
        )

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows to display: all but those that need many edits or files of tasks, where these are absent."""
        return tuple(
            row
            for row in self.rows
            if not row.spec.is_optional or any(cell.value is not None for cell in row.cells.values())
        )

    def row(self, key: str) -> Row:
        """Return one row."""
        return next(row for row in self.rows if row.key == key)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, including the meaning of rows and columns."""
        return {
            "format": _FORMAT,
            "model": self.model,
            "edited": self.edited,
            "edits": list(self.edits),
            "facts": [list(facts) for facts in self.facts],
            "texts": self.texts,
            "notes": list(self.notes),
            "seconds": self.seconds,
            "columns": [asdict(column) for column in self.asked],
            "rows": [
                {
                    **asdict(row.spec),
                    "n_asked": row.n_asked,
                    "cells": {key: asdict(cell) for key, cell in row.cells.items()},
                    "worst": [asdict(example) for example in row.worst],
                }
                for row in self.rows
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReportCard:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is not a report card of this version.
        """
        with failures_as(BrokenArtifactError, _NO_CARD, advice="Make it again."):
            if data["format"] != _FORMAT or any(row["key"] not in ROWS for row in data["rows"]):
                raise BrokenArtifactError("This report card is of another version. Make it again.")
            return value_from(cls, {**data, "asked": data["columns"]}, _NO_CARD, advice="Make it again.")
