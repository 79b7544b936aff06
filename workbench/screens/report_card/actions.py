"""What the Report card page asks for: the card of one edit of the stack, on top of the edits under it."""

from __future__ import annotations

from kgmet.base.progress import Progress
from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.make import make_card
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import attached
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["card_fingerprint", "score"]


def card_fingerprint(state: WorkbenchState, lm: LoadedLM, entry: StackEntry, config: CardConfig) -> str:
    """Of everything a card depends on."""
    return state.fingerprint(lm.fingerprint, entry.id, config)


def score(state: WorkbenchState, resident: Resident, entry: StackEntry, config: CardConfig) -> str | None:
    """Start the job ``card``: score one edit; returns why it cannot be started, if that is so."""
    lm = resident.lm
    earlier = state.live_patches(lm, before=entry.id)
    made_from = card_fingerprint(state, lm, entry, config)

    def work(progress: Progress) -> None:
        with attached(earlier, lm):
            edited = EditedModel.of_patches(lm, [entry.patch], name=entry.name)
            card = make_card(edited, store=store(), catalogue=catalogue(), config=config, progress=progress)
        progress.check()
        state.keep("card", card, made_from=made_from)

    return jobs.start("card", work, state.session_id, title=f"Report card of {entry.name}")
