"""Every benchmark can be started: what it takes from the library and from the others is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = """
import importlib, sys
for name in sys.argv[1:]:
    assert importlib.import_module(name).__doc__, name
"""


def test_the_benchmarks_find_all_that_they_import() -> None:
    """In a process of its own, as the folder of tests has modules of the same names."""
    folder = ROOT / "benchmarks"
    names = sorted(path.stem for path in folder.glob("*.py"))
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *names], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
