"""`WriteConfig`: which layers are written, how the shift is shared among them, and what each writer is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from kgmet.base.errors import ConfigError
from kgmet.base.ranges import check_numbers
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.priced import PriceConfig
from kgmet.write.residual import ResidualSchedule
from kgmet.write.spectral import SpectralConfig

__all__ = ["WriteConfig", "check_layers"]

KEYS_PER_EDIT = ("mean", "each")
"""How the contexts of an edit are combined into keys."""
MOST_REPEATS = 100
"""Most passes over the layers that settings may ask for."""


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """Layers, residual shares and weights of the write."""

    layers: tuple[int, ...] = (3, 4, 5, 6, 7, 8)
    """Written decoder layers, ascending, counted from 0; the shift is searched after the last of them."""
    schedule: ResidualSchedule = ResidualSchedule.EVEN
    """Share of the remaining residual that each layer takes."""
    ridge: float = 1.0
    """λ of the solve; above 0. Smaller: stronger edit. Larger: fewer side effects."""
    ordinary_weight: float = 0.0
    """Weight of ordinary keys within the free directions; at least 0 (AlphaEdit: 0). Null space only. Pricing ordinary
    keys there is also BetaEdit (arXiv:2605.09285)."""
    protected_weight: float = 1.0
    """Weight of a protected key relative to an edit's own; above 0."""
    earlier_weight: float = 1.0
    """Weight of an earlier edit's key relative to an edit's own; above 0. Null space only."""
    restores: bool = False
    """Whether protected keys that earlier edits moved are restored to their unedited state, not only kept. For editors
    that search on the unedited model."""
    even_remaining: float = 0.0
    """Balances the edits' weights so that each misses this share of its shift; from 0, below 1. 0: equal weights. With
    equal weights, a key that resembles ordinary keys misses most of its shift while another overshoots its need."""
    keys_per_edit: Literal["mean", "each"] = "mean"
    """``mean``: one key per edit, the mean over its contexts. ``each``: one key per context, which follows the shift
    more closely and disturbs more. A key at a text's first token (the attention sink) is always separate."""
    repeats: int = 1
    """Most passes over the layers; 1 to 100. NSE (arXiv:2410.04045) repeats until the residual is small."""
    tolerance: float = 0.0
    """No further pass once every edit's ‖remaining‖ / ‖shift‖ is at most this; at least 0."""
    moment_weight: float = 1500.0
    """MEMIT's λ, the weight of ordinary keys relative to the edit's; above 0. Least squares and NSE."""
    kept_share: float = 0.4
    """Share of the entries that RECT keeps; above 0, at most 1."""
    compensates: bool = False
    """Whether later edits correct what the treatment of earlier updates left undone (arXiv:2605.26670). For RECT and
    PRUNE, in one pass."""
    log_base: float = 1.2
    """PRUNE's logarithm base; larger reduces singular values more; above 1."""
    neuron_share: float = 0.8
    """Share of a key's activation that NSE's neurons carry; above 0, at most 1."""
    common_energy: float = 0.0
    """SUIT (arXiv:2509.24502): share of the energy of many entities' keys whose directions are taken out of the edits'
    keys; from 0, below 1. 0: none."""
    spectral: SpectralConfig = field(default_factory=SpectralConfig)
    """Filter of the solved updates."""
    price: PriceConfig = field(default_factory=PriceConfig)
    """Price on changing answers that the model knows."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or min(self.layers) < 0:
            raise ConfigError(f"write.layers must be ascending layer numbers from 0, got {list(self.layers)}")
        check_numbers(self, "write", "ridge", "protected_weight", "earlier_weight", "moment_weight", above=0)
        check_numbers(self, "write", "ordinary_weight", "tolerance", least=0)
        check_numbers(self, "write", "even_remaining", "common_energy", least=0, below=1)
        check_numbers(self, "write", "repeats", least=1, most=MOST_REPEATS)
        check_numbers(self, "write", "kept_share", "neuron_share", above=0, most=1)
        check_numbers(self, "write", "log_base", above=1)
        if self.keys_per_edit not in KEYS_PER_EDIT:
            raise ConfigError(f"write.keys_per_edit must be one of {KEYS_PER_EDIT}, got {self.keys_per_edit!r}")
        if self.compensates and self.repeats > 1:
            raise ConfigError(f"write.repeats must be 1 where write.compensates is set, got {self.repeats}")

    @property
    def shift_layer(self) -> int:
        """The layer after which the shift is searched: the last one, or with forward replay the first."""
        return self.layers[0] if self.schedule is ResidualSchedule.REPLAY else self.layers[-1]


def check_layers(lm: LoadedLM, layers: Sequence[int]) -> None:
    """Raise `ConfigError` unless there are layers and the model has all of them."""
    outside = [layer for layer in layers if not 0 <= layer < lm.n_layer]
    if outside or not layers:
        which = f"Layer {outside[0]} is out of range" if outside else "There is no layer to write to"
        raise ConfigError(f"{which}; {lm.name} has layers 0 to {lm.n_layer - 1}. Choose some of these.")
