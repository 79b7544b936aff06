"""`EditConfig`: every setting of an edit, one frozen dataclass per stage; reads and writes TOML."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kgmet.base.errors import ConfigError, ConfigFileError
from kgmet.base.files import read_toml
from kgmet.base.fingerprint import plain
from kgmet.base.ranges import check_numbers
from kgmet.graph.reading.consequences import ConsequenceConfig
from kgmet.graph.reading.retrieve import SubgraphConfig
from kgmet.search.directions.config import DirectionConfig
from kgmet.search.search import TargetConfig
from kgmet.write.config import WriteConfig
from kgmet.write.nullspace import Cutoff
from kgmet.write.writers.finetune import FineTuneConfig
from kgmet.write.writers.ultra import UltraConfig

__all__ = ["EditConfig", "HoldConfig", "config_from_mapping", "config_to_mapping", "load_config"]

_MOST = 100_000
"""Largest whole number in settings that were written by hand or by others: steps, facts, prompts, tokens, layers."""


@dataclass(frozen=True, kw_only=True)
class HoldConfig:
    """Numbers of contexts, paraphrases and graph facts in the search and the write."""

    contexts: int = 6
    """Contexts of the prompt (neutral prefixes), the bare prompt included; 1 to 6."""
    paraphrases: int = 0
    """Paraphrases from the relation catalogue that must give the new object too."""
    consequences: int = 0
    """Most consequences of the edit that the search optimises."""
    wordings: int = 2
    """Prompts per consequence that are optimised; the others are kept for probing."""
    questions: int = 0
    """Most consequences that the search also asks in the model's chat form, in wordings that no probe uses."""
    own_questions: int = 0
    """Questions about the fact itself that the search asks in the model's chat form."""
    reply: Literal["name", "sentence"] = "name"
    """Whether the reply to such a question about a consequence begins with the answer or is a sentence that ends with
    it."""
    uses: int = 0
    """Most prompts that use the fact without stating it (CaKE); at most 2."""
    kept: int = 0
    """Most facts of the subject that the search preserves."""
    neighbours: int = 0
    """Most neighbours whose keys are protected in the solve."""
    shuffled: bool = False
    """Shuffled-facts control: as many prompts and protected keys, but with the names of unrelated entities."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        counts = ("paraphrases", "consequences", "questions", "own_questions", "kept", "neighbours")
        check_numbers(self, "hold", "contexts", least=1, most=6)
        check_numbers(self, "hold", *counts, least=0)
        check_numbers(self, "hold", "uses", least=0, most=2)
        check_numbers(self, "hold", "wordings", least=1)


@dataclass(frozen=True, kw_only=True)
class EditConfig:
    """All settings of one edit."""

    subgraph: SubgraphConfig = field(default_factory=SubgraphConfig)
    consequences: ConsequenceConfig = field(default_factory=ConsequenceConfig)
    hold: HoldConfig = field(default_factory=HoldConfig)
    direction: DirectionConfig = field(default_factory=DirectionConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    write: WriteConfig = field(default_factory=WriteConfig)
    cutoff: Cutoff = field(default_factory=Cutoff)
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    ultra: UltraConfig = field(default_factory=UltraConfig)
    seed: int = 0
    """Random seed of all sampling."""

    @property
    def prices_facts(self) -> bool:
        """Whether the write or the search has a price on known facts."""
        return self.write.price.weight > 0 or self.target.price > 0


def load_config(path: Path, *, base: EditConfig | None = None) -> EditConfig:
    """Read settings from a TOML file; missing ones come from `base`.

    Raises:
        ConfigError: if the file is no TOML, or a key is unknown, of the wrong type or out of range.
    """
    return config_from_mapping(read_toml(path, error=ConfigFileError), base=base)


def config_to_mapping(config: EditConfig) -> dict[str, Any]:
    """Return all settings as JSON/TOML types; inverse of `config_from_mapping`."""
    return typing.cast(dict[str, Any], plain(config))


def config_from_mapping(data: Mapping[str, Any], *, base: EditConfig | None = None) -> EditConfig:
    """Make settings from nested mappings; missing ones come from `base`.

    Raises:
        ConfigError: if a key is unknown, of the wrong type or out of range.
    """
    return typing.cast(EditConfig, _replaced(base or EditConfig(), data, path=""))


_hints = functools.cache(typing.get_type_hints)
"""Evaluating the annotations takes longer than everything else here."""


def _replaced(value: Any, data: Mapping[str, Any], *, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path.rstrip('.') or 'the settings'} must be a table, got {data!r}")
    hints = _hints(typing.cast(typing.Hashable, type(value)))
    changes: dict[str, Any] = {}
    for key, given in data.items():
        if key not in hints:
            raise ConfigError(f"There is no setting {path}{key}; there are {', '.join(path + name for name in hints)}.")
        current = getattr(value, key)
        if dataclasses.is_dataclass(current):
            changes[key] = _replaced(current, given, path=f"{path}{key}.")
        else:
            changes[key] = _coerced(given, hints[key], name=path + key)
    return dataclasses.replace(value, **changes)


def _coerced(given: Any, hint: Any, *, name: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if given is None and type(None) in options:
            return None
        return _coerced(given, next(option for option in options if option is not type(None)), name=name)
    if origin is tuple:
        if not isinstance(given, (list, tuple)):
            raise ConfigError(f"{name} must be a list, got {given!r}")
        return tuple(_coerced(item, typing.get_args(hint)[0], name=name) for item in given)
    if origin is typing.Literal:
        if given not in typing.get_args(hint) or isinstance(given, bool):
            raise ConfigError(f"{name} must be one of {', '.join(map(repr, typing.get_args(hint)))}, got {given!r}")
        return given
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(given)
        except ValueError:
            raise ConfigError(
                f"{name} must be one of {', '.join(repr(m.value) for m in hint)}, got {given!r}"
            ) from None
    if hint is float and isinstance(given, (int, float)) and not isinstance(given, bool):
        if not abs(given) < 1e300:
            raise ConfigError(f"{name} must be a finite number, got {str(given)[:40]}")
        return float(given)
    if hint is int and isinstance(given, int) and abs(given) > _MOST:
        raise ConfigError(f"{name} must be at most {_MOST}, got {str(given)[:40]}")
    if not isinstance(given, hint) or (isinstance(given, bool) and hint is not bool):
        raise ConfigError(f"{name} must be {hint.__name__}, got {given!r}")
    return given
