"""How forecasts, what was measured of them and what is to be protected are kept over a restart of the server.

Of an edit that was foreseen only the forecast is kept, without the patch: it can be read again, not applied.
"""

from __future__ import annotations

from typing import Any

import torch

from kgmet.base.values import value_from
from kgmet.editing.foresee import Foreseen, KeptForecast
from kgmet.forecast.check import CheckedForecast
from kgmet.forecast.forecast import FactForecast
from workbench.screens.foresee.values import PROTECTED, TICKED
from workbench.shared.foreseen import CHECKED, FORESEEN
from workbench.state.kept import ResultCodec

__all__ = ["CODECS", "checked_from_json", "checked_to_json", "forecast_to_json"]


def forecast_to_json(found: Foreseen | KeptForecast) -> dict[str, Any]:
    """Return a forecast without its patch."""
    return (found.kept if isinstance(found, Foreseen) else found).to_json()


def checked_to_json(checked: CheckedForecast) -> dict[str, Any]:
    """Return forecast and measured changes."""
    return {
        "forecasts": [item.stored for item in checked.forecasts],
        "before": checked.before.tolist(),
        "after": checked.after.tolist(),
    }


def checked_from_json(data: Any) -> CheckedForecast:
    """Read what `checked_to_json` made.

    Raises:
        KeyError, ValueError: if it is something else.
    """
    return CheckedForecast(
        forecasts=tuple(FactForecast.from_stored(item) for item in data["forecasts"]),
        before=_numbers(data["before"]),
        after=_numbers(data["after"]),
    )


def _numbers(data: Any) -> torch.Tensor:
    return torch.tensor(value_from(list[float], data, "These are no measured changes"), dtype=torch.float64)


_SHOWN = ((FORESEEN, "The forecast"), (PROTECTED, "The forecast of the protected edit"))
CODECS = (
    *(
        ResultCodec(name=name, what=what, to_json=forecast_to_json, from_json=KeptForecast.from_json)
        for name, what in _SHOWN
    ),
    ResultCodec(
        name=CHECKED, what="What was measured of the forecast", to_json=checked_to_json, from_json=checked_from_json
    ),
    ResultCodec.of(TICKED, "What is to be protected", frozenset[str]),
)
