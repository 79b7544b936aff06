"""`EDITORS`: every method is one composition of a direction source, what is held, a schedule and a writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from kgmet.config import EditConfig, HoldConfig
from kgmet.direction.config import DirectionConfig, SourceKind
from kgmet.errors import ConfigError
from kgmet.target.objective import TermWeights
from kgmet.target.search import TargetConfig
from kgmet.write.layers import WriteConfig
from kgmet.write.residual import ResidualSchedule

__all__ = ["DEFAULT_EDITOR", "EDITORS", "Editor", "WriterKind", "editor_named"]

DEFAULT_EDITOR = "KGMET"


class WriterKind(Enum):
    """How one layer is written."""

    NULL_SPACE = "null space"
    """AlphaEdit's: confined to the free directions, earlier keys kept."""


@dataclass(frozen=True, kw_only=True)
class Editor:
    """A method by name: its settings for the default model, its writer, and what it was validated on."""

    name: str
    summary: str
    writer: WriterKind
    config: EditConfig
    keeps_earlier: bool = True
    """Whether the keys of earlier edits take part in the solve."""
    validated_on: tuple[str, ...] = ("SmolLM2-135M-Instruct",)
    source: str = ""
    """The paper."""

    @property
    def uses_graph(self) -> bool:
        """Whether the graph takes part in any way."""
        hold = self.config.hold
        held = hold.consequences or hold.neighbours or hold.kept or hold.paraphrases
        return bool(held) or self.config.direction.source.uses_graph


def _editors() -> dict[str, Editor]:
    alphaedit = EditConfig(
        target=TargetConfig(weights=TermWeights(consequence=0.0)),
        write=WriteConfig(schedule=ResidualSchedule.EVEN, ridge=10.0),
    )
    editors = [
        Editor(
            name="KGMET",
            summary="The default: the graph's consequences in the objective, its neighbours' keys protected.",
            writer=WriterKind.NULL_SPACE,
            config=EditConfig(hold=HoldConfig(paraphrases=2, consequences=5, wordings=2, neighbours=12)),
            source="KGMET (2025.findings-emnlp.261) and what this project adds to it",
        ),
        Editor(
            name="AlphaEdit",
            summary="Free shift, null-space write, earlier keys kept.",
            writer=WriterKind.NULL_SPACE,
            config=alphaedit,
            source="arXiv:2410.02355",
        ),
        Editor(
            name="random",
            summary="Control: a random direction of which only the length is learned.",
            writer=WriterKind.NULL_SPACE,
            config=EditConfig(direction=DirectionConfig(source=SourceKind.RANDOM)),
        ),
    ]
    return {editor.name: editor for editor in editors}


EDITORS: Mapping[str, Editor] = _editors()
"""By name, in the order in which they are shown."""


def editor_named(name: str) -> Editor:
    """The editor with this name; case and the sign between words do not matter.

    Raises:
        ConfigError: if there is none; lists those that exist.
    """
    folded = name.casefold().replace("-", "_").replace(" ", "_")
    for editor in EDITORS.values():
        if editor.name.casefold().replace("-", "_").replace(" ", "_") == folded:
            return editor
    raise ConfigError(f"There is no editor {name!r}; there are {', '.join(EDITORS)}.")
