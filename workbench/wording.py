"""Labels, help texts and number formats shared by several places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kgmet.base.progress import Stage
from kgmet.base.words import percent as as_percent

__all__ = [
    "NOT_MEASURED",
    "JOB_KINDS",
    "STAGES",
    "at_most",
    "count",
    "duration",
    "kept_aside",
    "number",
    "percent",
    "progress_line",
    "safe",
    "short",
    "time_left",
]

APP_TITLE = "KGMET Workbench"
NOT_MEASURED = "not measured"
PLAN_FIRST = "No edit yet. Type a fact on the Edit page and apply it first."
NO_CONTEXT = "No fact yet. Type one on the Edit page, or pick an example there."
NO_GRAPH = "The graph knows neither subject nor new object, so none took part. The edit works from the prompt alone."
STALE = "Outdated: the inputs have changed since. Run it again."
UNSAVED = (
    "Everything works on, but what changed since the last save is lost when the server stops. Free some room or make "
    "the folder writable, then press Save again. The Ledger page exports your edits."
)
DAMAGED = "Part of this session could not be read. The rest is here."

JOB_KINDS: dict[str, str] = {
    "edit": "an edit",
    "compare": "a comparison of editors",
    "card": "a report card",
    "forensics": "an inspection of an edit",
    "load": "loading the model",
    "model": "loading a model",
    "statistics": "measuring key statistics",
    "export": "an export",
    "standing": "measuring all edits",
    "benchmark": "a benchmark",
}
"""What a job of another visitor is called; its title may hold their text."""

STAGES: dict[Stage, str] = {
    Stage.WAIT: "Waiting for another process that prepares the same model",
    Stage.DOWNLOAD: "Downloading the model",
    Stage.CONVERT: "Converting the model, once",
    Stage.EDITS: "Editing fact after fact",
    Stage.GRAPH: "Reading the graph",
    Stage.LOAD_MODEL: "Reading the model",
    Stage.KEY_STATISTICS: "Measuring key statistics, once per model",
    Stage.KNOWN_FACTS: "Asking which facts the model knows, once per model",
    Stage.LAYER_EFFECTS: "Measuring around which layers facts are kept",
    Stage.CALIBRATE: "Trying settings on facts the model knows",
    Stage.FACT_INDEX: "Measuring the sensitivity of each known fact, once per model",
    Stage.CHECK_FORECAST: "Asking the forecast facts",
    Stage.SEARCH: "Searching the shift",
    Stage.WRITE: "Writing into the free directions",
    Stage.MEASURE: "Asking before and after",
    Stage.PROBE: "Asking the probes",
    Stage.CARD: "Reading texts for the report card",
    Stage.COMPARISON: "Comparing",
    Stage.EXPORT: "Writing files",
    Stage.RECOMPUTE: "Applying edits again",
    Stage.REMEDIES: "Trying remedies on the side",
    Stage.EVALUATE: "Editing and scoring cases",
    Stage.TRACE: "Tracing the shift through the layers",
    Stage.CAUSAL_TRACE: "Restoring one state at a time",
    Stage.PATCHING: "Patching one state at a time",
    Stage.CONTRIBUTIONS: "Reading contributions and ranks",
    Stage.SPECTRUM: "Reading the spectrum",
    Stage.DRIFT: "Measuring the drift",
    Stage.COMPARE_WEIGHTS: "Comparing the weights",
    Stage.RANK_SUBJECTS: "Ranking subjects by how far their key is moved",
}
"""Display names of stages."""

GUIDE = (
    ("Pick or type a fact", "Choose an example, or write a template with {} for the subject, and the object you want."),
    (
        "See what follows",
        "The graph shows what else would change, and what must not. Untick what to leave out.",
    ),
    ("Apply", "The search takes seconds. The model's weights are never touched: the edit lies beside them."),
    ("Verify", "Compare before and after, ask your own questions on Probe, look inside on Shift."),
    ("Keep or undo", "Ledger switches edits on and off and exports them. Undo restores exactly the same numbers."),
)

ORDER_HELP = (
    "All that is on adds up, so the order does not change what the model answers. It says what "
    "counts as before on the other pages, what Undo takes first, and what an edit is made again with."
)

EXAMPLES = (
    ("The Eiffel Tower", "{} is located in the city of", "Tokyo"),
    ("The Colosseum", "{} is located in the city of", "Berlin"),
    ("Germany", "The capital of {} is", "Rome"),
    ("Japan", "The currency of {} is the", "euro"),
    ("Brazil", "The official language of {} is", "French"),
    ("Egypt", "{} is located in the continent of", "Asia"),
)
"""(subject, template, new object): facts the bundled model knows; used without a file of examples."""

VERDICTS = {
    "says": ("says it", "good"),
    "prefers": ("prefers it, does not say it", "near"),
    "no": ("no", "bad"),
    None: ("no expectation", "none"),
}
"""Verdict on a fact that should change → (words, class of the chip)."""
STAYS = {
    "says": ("unchanged", "good"),
    "prefers": ("changed, the true one still likelier", "near"),
    "no": ("changed", "bad"),
    None: ("no expectation", "none"),
}
"""The same for a fact that must stay."""
AS_BEFORE = "as before"
VERDICT_HELP = (
    "Says it: the greedy answer names the expected object and not the old one. Prefers it: the expected object is "
    "only likelier per token than the old one; grey if its first token ranks beyond 100. A fact that must stay is "
    f"unchanged if the answer is the unedited model's or names the true object. “{AS_BEFORE}”: "
    "the unedited model says it too."
)
OUTCOMES = {
    "took": "Took.",
    "likelier, but not what it says": "Likelier, but not what it says.",
    "did not take": "Did not take.",
}
"""Outcome of an edit → the headline's first words."""


def count(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 job``, ``3 jobs``, ``44,227 triples``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def progress_line(stage: Stage, done: int, total: int | None) -> str:
    """Format the progress of a stage: steps, or megabytes if bytes are counted."""
    name = STAGES[stage]
    if stage is Stage.DOWNLOAD:
        return f"{name} · {done / 1e6:.0f}" + (f" of {total / 1e6:.0f} MB" if total else " MB")
    return f"{name} · {done:,}" + (f" of {total:,}" if total else "")


def percent(value: float | None) -> str:
    """Format a probability as everywhere (`kgmet.base.words.percent`); ``not measured`` for ``None``."""
    return NOT_MEASURED if value is None else as_percent(value)


def duration(seconds: float) -> str:
    """Format an estimated time, rounded as far as it can be known: ``25 s``, ``3 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def time_left(seconds: float) -> str:
    """Say how long work will still take."""
    return f"about {duration(seconds)} left"


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with so many significant digits."""
    return NOT_MEASURED if value is None else f"{value:.{digits}g}"


def short(text: str, longest: int = 60) -> str:
    """Shorten the text to a length, with an ellipsis if something was cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


_SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_{}[]()#+-.!|~<>$:&"})


_LINKED = re.compile(r"(?<=https:)(?=//)|(?<=http:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
"""Where a bare address would become a link, whatever is escaped."""
WORD_JOINER = "\u2060"
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Embeddings, overrides and isolates of the reading direction; letters of Arabic or Hebrew need none."""
_BLANKS = re.compile(r"[^\S\u00a0\u202f]+")
"""Blanks and line breaks; not those that keep a number and its sign on one line."""


def safe(text: str) -> str:
    """Escape text so that Markdown shows exactly this text: no emphasis, link, formula, icon, HTML or list.

    An invisible word joiner keeps a bare address from becoming a link. Characters that turn the reading direction of
    what follows are left out: they would turn the page's own words, too.
    """
    return _LINKED.sub(WORD_JOINER, _BLANKS.sub(" ", _TURNING.sub("", text)).strip()).translate(_SPECIAL)


def kept_aside(folder: Path | None) -> str:
    """Return where the damaged parts of a session are."""
    return "The damaged parts are where they were." if folder is None else f"The damaged parts were moved to {folder}."


def at_most(lines: Sequence[str], count: int) -> list[str]:
    """Return so many of the lines, the first and the last; between them, how many are left out."""
    if len(lines) <= count:
        return list(lines)
    return [*lines[: count - 2], f"{len(lines) - count + 1} more", lines[-1]]
