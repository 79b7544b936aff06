"""A cache of its own for each test, and a tiny model for each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgmet.lm.load.loaded import LoadedLM
from tests.tiny_models import tiny_lm


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KGMET_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def lm() -> LoadedLM:
    return tiny_lm()
