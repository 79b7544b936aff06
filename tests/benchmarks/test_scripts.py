"""Every benchmark can be started: what it takes from the library is there."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_benchmark_finds_all_that_it_imports(name: str, load) -> None:  # type: ignore[no-untyped-def]
    assert load(name).__doc__
