"""`foresee`: search and write an edit without attaching it, and forecast its side effects; `protect`: price facts.

The search runs once. `protect` writes the same shifts again with a price on chosen facts, so that both forecasts can
be compared before either patch is used.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kgmet.base.errors import BrokenArtifactError, ConfigError, RequestError
from kgmet.base.files import failures_as
from kgmet.base.fingerprint import plain
from kgmet.base.progress import Progress
from kgmet.base.values import value_from
from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, with_consequences
from kgmet.editing.editors import EDITORS, Editor
from kgmet.editing.plan import EditPlan, SearchedEdits, plan_edits, write_edits
from kgmet.fact import FactEdit
from kgmet.forecast.forecast import FactForecast, forecast
from kgmet.forecast.index import FactIndex
from kgmet.forecast.leave_out import unpriced
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.say.score import score_answers
from kgmet.write.patch import EditPatch, attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.statistics import KeyStatistics

__all__ = ["PROTECTING_WEIGHT", "ForecastFacts", "Foreseen", "KeptForecast", "foresee", "foresee_patch", "protect"]

PROTECTING_WEIGHT = EDITORS["KGMET-priced"].config.write.price.weight
"""μ of a protected write if the settings have none."""


_NO_FORECAST = "This is not a saved forecast"


@dataclass(frozen=True, eq=False, kw_only=True)
class ForecastFacts:
    """The forecast of every known fact that an edit should not change, in the order of the index.

    `p_new` are the new objects' probabilities without and with the patch, by edit; they are measured, not forecast.
    `protected` are the ids of the priced facts.
    """

    forecasts: tuple[FactForecast, ...]
    p_new: tuple[tuple[float, float], ...]
    protected: frozenset[str] = frozenset()

    @property
    def strongest_first(self) -> tuple[FactForecast, ...]:
        """The forecasts, largest absolute change first."""
        return tuple(sorted(self.forecasts, key=lambda item: -abs(item.change)))

    def losing(self, nats: float = 0.5) -> int:
        """Return how many facts lose more than the given nats, by the forecast."""
        return sum(item.change < -nats for item in self.forecasts)

    def mean_change(self, only: Collection[str] | None = None) -> float:
        """Return the mean absolute forecast change in nats, of all facts or of those with these ids; 0 if none."""
        chosen = [abs(item.change) for item in self.forecasts if only is None or item.fact.prompt.id in only]
        return sum(chosen) / len(chosen) if chosen else 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Foreseen(ForecastFacts):
    """A forecast with its patch. `plan` and `searched` are ``None`` for an existing patch."""

    patch: EditPatch
    plan: EditPlan | None = None
    searched: SearchedEdits | None = None

    @property
    def edits(self) -> tuple[FactEdit, ...]:
        """The edits of the patch."""
        return self.patch.edits

    @property
    def model_fingerprint(self) -> str:
        """The model it is for."""
        return self.patch.model_fingerprint

    @property
    def is_priced(self) -> bool:
        """Whether its write had a price on known facts, so that their forecast is near 0 by construction."""
        price: float = self.patch.config.get("write", {}).get("price", {}).get("weight", 0.0)
        return price > 0

    @property
    def kept(self) -> KeptForecast:
        """The forecast without its patch."""
        return KeptForecast(
            forecasts=self.forecasts,
            p_new=self.p_new,
            protected=self.protected,
            edits=self.edits,
            is_priced=self.is_priced,
            editor=self.patch.editor,
            model_fingerprint=self.model_fingerprint,
            layers=tuple(update.layer for update in self.patch.updates),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class KeptForecast(ForecastFacts):
    """A forecast without its patch: it can be saved and read, not applied."""

    edits: tuple[FactEdit, ...]
    is_priced: bool
    editor: str
    model_fingerprint: str
    layers: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**plain(self), "forecasts": [item.stored for item in self.forecasts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KeptForecast:
        """Read what `to_json` made.

        Raises:
            BrokenArtifactError: if the mapping is not a forecast.
        """
        with failures_as(BrokenArtifactError, _NO_FORECAST, advice="Forecast again."):
            found = value_from(cls, {**data, "forecasts": ()}, _NO_FORECAST, advice="Forecast again.")
            return replace(found, forecasts=tuple(FactForecast.from_stored(item) for item in data["forecasts"]))


def foresee(
    lm: LoadedLM,
    contexts: Sequence[EditContext],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    index: FactIndex,
    config: EditConfig | None = None,
    earlier: EditsSoFar | None = None,
    progress: Progress | None = None,
) -> Foreseen:
    """Search and write the edits without attaching them, and forecast their effect on known facts.

    Args:
        lm: the model, with nothing attached.
        contexts: the edits with their graph contexts (`prepare_edit`).
        editor: the method.
        statistics: key statistics of this model.
        index: known facts, with the written layers (`near_index`); after earlier edits with what these made true
            (`kgmet.editing.stated.with_stated`).
        config: settings; by default the editor's own.
        earlier: the edits made before these; the forecast is of what is added to them.
        progress: receives every stage; can cancel.

    Raises:
        KgmetError: as `plan_edits`; if the index is of another model or lacks a layer.
    """
    plan = plan_edits(
        lm,
        contexts,
        editor=editor,
        statistics=statistics,
        config=config,
        earlier=earlier,
        index=index,
        progress=progress,
    )
    return _foreseen(lm, plan, plan.searched, index, earlier)


def protect(
    lm: LoadedLM,
    foreseen: Foreseen,
    facts: Collection[str],
    *,
    editor: Editor,
    statistics: KeyStatistics,
    index: FactIndex,
    earlier: EditsSoFar | None = None,
    progress: Progress | None = None,
) -> Foreseen:
    """Write the shifts of `foresee` again with a price on some facts, and forecast the same facts.

    Args:
        lm: the model, with nothing attached.
        foreseen: what `foresee` returned.
        facts: ids of the priced facts (`FactPrompt.id`); the others are free.
        editor: the same method.
        statistics: key statistics of this model.
        index: the index of `foresee`.
        earlier: the same earlier edits.
        progress: receives every layer; can cancel.

    Raises:
        ConfigError: if the editor's write cannot price facts.
        RequestError: if no fact of the index is named, or the patch has no search.
    """
    if foreseen.searched is None:
        raise RequestError("This edit is written already. Type it again on the Edit page to protect facts from it.")
    if not editor.can_price:
        raise ConfigError(f"{editor.name} cannot protect known facts: its write has no key metric to price them in.")
    rows = [number for number, fact in enumerate(index.facts) if fact.prompt.id in facts]
    if not rows:
        raise RequestError("None of these facts is in the index. Choose facts from the list.")
    price = foreseen.searched.config.write.price
    price = replace(price, weight=price.weight or PROTECTING_WEIGHT, active=max(price.active, len(rows)), earlier=0)
    write = replace(foreseen.searched.config.write, price=price)
    searched = replace(foreseen.searched, config=replace(foreseen.searched.config, write=write))
    plan = write_edits(
        lm,
        searched,
        editor=editor,
        statistics=statistics,
        earlier=earlier,
        index=index.only(rows),
        progress=progress,
    )
    found = _foreseen(lm, plan, foreseen.searched, index, earlier)
    return replace(found, protected=frozenset(index.facts[row].prompt.id for row in rows))


def foresee_patch(
    lm: LoadedLM,
    patch: EditPatch,
    contexts: Sequence[EditContext],
    *,
    index: FactIndex,
    earlier: Sequence[EditPatch] = (),
) -> Foreseen:
    """Forecast the effect of an existing patch on known facts.

    Args:
        lm: the model, with nothing attached.
        patch: the patch.
        contexts: its edits with their graph contexts.
        index: known facts, with its written layers.
        earlier: earlier patches.

    Raises:
        KgmetError: if the patch or the index is of another model, or the index lacks a layer.
    """
    kept = unpriced(index, with_consequences(contexts))
    found = forecast(patch, kept)
    forecasts = tuple(found.of(number) for number in range(len(kept)))
    return Foreseen(patch=patch, forecasts=forecasts, p_new=_p_new(lm, patch, earlier))


def _foreseen(
    lm: LoadedLM, plan: EditPlan, searched: SearchedEdits, index: FactIndex, earlier: EditsSoFar | None
) -> Foreseen:
    patches = () if earlier is None else earlier.patches
    found = foresee_patch(lm, plan.patch, plan.contexts, index=index, earlier=patches)
    return replace(found, plan=plan, searched=searched)


def _p_new(lm: LoadedLM, patch: EditPatch, earlier: Sequence[EditPatch]) -> tuple[tuple[float, float], ...]:
    asked = [(edit.prompt, edit.new_object) for edit in patch.edits]
    with attached(list(earlier), lm):
        before = score_answers(lm, asked)
    with attached([*earlier, patch], lm):
        after = score_answers(lm, asked)
    return tuple((math.exp(was.logprob), math.exp(now.logprob)) for was, now in zip(before, after, strict=True))
