"""`ProbePrompt`: a prompt with an expectation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

from kgmet.base.errors import BrokenArtifactError, EmptyTextError
from kgmet.graph.reading.probe_prompts import GeneratedPrompt

__all__ = ["ProbeKind", "ProbePrompt"]


class ProbeKind(Enum):
    """What a prompt is for."""

    REWRITE = "rewrite"
    """The edit's own prompt."""
    PARAPHRASE = "paraphrase"
    """The same fact in other words."""
    CONSEQUENCE = "consequence"
    """What follows from the edit, as a cloze."""
    MULTI_HOP = "multi_hop"
    """What follows from the edit, as a question over 2 to 4 hops that names the edit's subject."""
    LATER_HOP = "later_hop"
    """A chain in which the edited fact comes later, and the edit's subject stays implicit."""
    INVERSE = "inverse"
    """The fact read backwards."""
    NEIGHBOUR = "neighbour"
    """The same relation of another subject: must not change."""
    CONTROL = "control"
    """Another fact of the subject: must not change."""
    OWN = "own"
    """Typed by a person, without an expectation of ours."""

    @property
    def should_change(self) -> bool:
        """Whether the edit is meant to change the answer."""
        return self not in (ProbeKind.NEIGHBOUR, ProbeKind.CONTROL, ProbeKind.OWN)


@dataclass(frozen=True, kw_only=True)
class ProbePrompt:
    """One prompt: after the edit `expected` should be likelier than `rejected`.

    For a fact that must not change `expected` is the true object and `rejected` the edit's new one. `aliases` are
    further right answers. `path` says in words which facts the expectation rests on. `is_question`: answered in free
    text.
    """

    kind: ProbeKind
    text: str
    expected: str | None = None
    rejected: str | None = None
    aliases: tuple[str, ...] = ()
    hops: int = 1
    path: str = ""
    source_id: str = ""
    is_question: bool = False

    def __post_init__(self) -> None:
        """Refuse a blank prompt."""
        if not self.text.strip():
            raise EmptyTextError("The probe is empty. Type a prompt for the model to continue.")

    @classmethod
    def from_generated(cls, made: GeneratedPrompt) -> ProbePrompt:
        """A prompt that was made from the graph."""
        return cls(
            kind=ProbeKind(made.kind),
            text=made.text,
            expected=made.expected,
            rejected=made.rejected,
            aliases=made.aliases,
            hops=made.hops,
            path=" · ".join(str(triple) for triple in made.path),
            source_id=made.source_id,
            is_question=made.form == "question",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "kind": self.kind.value, "aliases": list(self.aliases)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProbePrompt:
        """Inverse of `to_json`.

        Raises:
            BrokenArtifactError: if the mapping is no probe.
        """
        unknown = sorted(set(data) - {f.name for f in fields(cls)})
        if unknown:
            raise BrokenArtifactError(f"A probe has no field {unknown[0]!r}.")
        try:
            values = dict(data)
            values["kind"] = ProbeKind(values["kind"])
            values["aliases"] = tuple(values.get("aliases", ()))
            return cls(**values)
        except (KeyError, ValueError, TypeError) as error:
            raise BrokenArtifactError(f"This is no probe: {error}") from error
