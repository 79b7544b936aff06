"""What `import kgmet` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kgmet

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", kgmet.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(kgmet, name) is not None
    assert name in dir(kgmet)


def test_what_is_not_there_is_said_as_python_says_it() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        kgmet.nothing  # noqa: B018


def test_no_module_hides_a_public_name() -> None:
    """A submodule `kgmet.edit` would take the place of the function `kgmet.edit` as soon as it is imported."""
    modules = {path.stem for path in (ROOT / "kgmet").iterdir()}
    assert modules & set(kgmet.__all__) == set()


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, kgmet; dir(kgmet); print([name for name in sys.modules if name.startswith('kgmet')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "['kgmet']"
