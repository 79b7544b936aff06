"""`before_and_after`: the model without and with a patch, as two rows of one batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from kgmet.lm.loaded import LoadedLM
from kgmet.lm.packed import Side
from kgmet.lm.tracing import added
from kgmet.write.patch import EditPatch, check_patch, merged_updates

__all__ = ["before_and_after"]


def before_and_after(patch: EditPatch, lm: LoadedLM) -> tuple[Side, Side]:
    """Two sides for `ask_probes`: nothing more than is attached already, and the patch on top of that.

    Raises:
        StaleArtifactError: if the patch was made for another model.
        BrokenArtifactError: if a layer or a shape does not fit.
    """
    check_patch(patch, lm)

    def with_patch(row: int | None) -> AbstractContextManager[None]:
        return _attached(patch, lm, row)

    return (lambda _row: nullcontext()), with_patch


@contextmanager
def _attached(patch: EditPatch, lm: LoadedLM, row: int | None) -> Iterator[None]:
    with ExitStack() as stack:
        for update in merged_updates(patch.updates, lm):
            module = lm.family.write_module(lm.model, update.layer)
            output = None if update.is_whole else update.output_factor
            stack.enter_context(added(module, input_factor=update.input_factor, output_factor=output, row=row))
        yield
