"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["percent"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float) -> str:
    """Format a probability: ``99.6 %``, small ones with two digits.

    Always in percent, so that two values can be compared at a glance: ``0.023 %``, ``2.3·10⁻⁴ %``. The blank is
    non-breaking, so that number and sign stay on one line.
    """
    if value == 0:
        return "0\u00a0%"
    if value < 1e-5:
        mantissa, power = f"{100 * value:.1e}".split("e")
        return f"{mantissa}·10{str(int(power)).translate(_SUPERSCRIPT)}\u00a0%"
    return f"{100 * value:#.2g}\u00a0%" if value < 0.01 else f"{100 * value:.1f}\u00a0%"
