"""What the Report card page asks for: the card of one edit on top of those under it, or of all edits together."""

from __future__ import annotations

from collections.abc import Sequence

from kgmet.base.cache import cache_dir
from kgmet.base.progress import Progress
from kgmet.editing.editors import Editor
from kgmet.evaluate.card.asked import CardConfig
from kgmet.evaluate.card.edited import EditedModel
from kgmet.evaluate.card.known import KnownAnswers
from kgmet.evaluate.card.made import PatchMaker
from kgmet.evaluate.card.make import make_card
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.so_far import EditsSoFar
from workbench.drawing.card_table import RESULT
from workbench.running import jobs
from workbench.running.resources import Resident, catalogue, store
from workbench.shared import inspect_actions
from workbench.state.session import WorkbenchState
from workbench.state.values import StackEntry

__all__ = ["KIND", "card_fingerprint", "score", "score_all"]

KIND = "card"
"""Job kind and name of the result."""

_FOLDER = "cards"


def card_fingerprint(
    state: WorkbenchState,
    lm: LoadedLM,
    entry: StackEntry | None,
    config: CardConfig,
    *,
    others: Sequence[Editor] = (),
) -> str:
    """Return the fingerprint of everything a card depends on; without an entry, with all edits that are on."""
    names = [editor.name for editor in others]
    return state.fingerprint(lm.fingerprint, "" if entry is None else entry.id, config, names)


def score(
    state: WorkbenchState,
    resident: Resident,
    entry: StackEntry,
    config: CardConfig,
    *,
    others: Sequence[Editor] = (),
) -> str | None:
    """Start the job ``card``: score one edit, and the same edit by other editors beside it.

    Answers are kept on disk, so a job that was stopped goes on where it was.

    Returns:
        Why it cannot be started, if that is so.
    """
    lm, graph = resident.lm, store()
    earlier = state.live_patches(lm, before=entry.id)
    made_from = card_fingerprint(state, lm, entry, config, others=others)
    seen_from = inspect_actions.seen_from(state, resident, entry)
    name = entry.patch.editor if others else entry.name

    def work(progress: Progress) -> None:
        folder = cache_dir() / _FOLDER
        maker = PatchMaker(
            lm=lm, store=graph, catalogue=catalogue(), statistics=resident.statistics, folder=folder / "patches"
        )
        models = [EditedModel.of_patches(lm, [entry.patch], under=earlier, name=name)]
        for editor in others:
            patch = maker.patch(editor, entry.patch.edits, earlier=EditsSoFar.of(earlier), progress=progress)
            models.append(EditedModel.of_patches(lm, [patch], under=earlier, name=editor.name))
        card = make_card(
            models, store=graph, catalogue=catalogue(), config=config, known=KnownAnswers(folder), progress=progress
        )
        progress.check()
        state.keep(KIND, card, made_from=made_from)
        state.keep(RESULT, card, made_from=seen_from)

    return jobs.start(KIND, work, state.session_id, title=f"Report card of {entry.name}")


def score_all(state: WorkbenchState, resident: Resident, config: CardConfig) -> str | None:
    """Start the job ``card``: score all edits that are on, together, beside the unedited model."""
    lm, graph = resident.lm, store()
    patches = state.live_patches(lm)
    made_from = card_fingerprint(state, lm, None, config)

    def work(progress: Progress) -> None:
        known = KnownAnswers(cache_dir() / _FOLDER)
        edited = EditedModel.of_patches(lm, patches)
        card = make_card(edited, store=graph, catalogue=catalogue(), config=config, known=known, progress=progress)
        progress.check()
        state.keep(KIND, card, made_from=made_from)

    return jobs.start(KIND, work, state.session_id, title=f"Report card of {len(patches)} edits together")
