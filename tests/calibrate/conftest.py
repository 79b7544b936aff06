"""A cache of its own for each test, and one calibration for all that need a whole one."""

from __future__ import annotations

import itertools

import pytest

from kgmet.calibrate import measuring
from tests.calibrate.knowing import Undisturbed, run
from tests.tiny_fixtures import own_cache_folder

__all__ = ["own_cache_folder", "undisturbed"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Between two looks at the thread's clock it is 8 seconds later, however long other programs made it wait."""
    cache, ticks = tmp_path_factory.mktemp("whole"), itertools.count(step=8.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGMET_CACHE", str(cache))
        patch.setattr(measuring.time, "thread_time", lambda: next(ticks))
        return Undisturbed(found=run(), cache=cache)
