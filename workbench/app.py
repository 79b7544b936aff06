"""The workbench. Start it with ``streamlit run workbench/app.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# `streamlit run` puts this file's folder on the path, where `session` or `tables` would hide other modules.
sys.path[:] = [
    str(ROOT),
    *(entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "workbench")),
]

# OpenMP reads this once, when torch is imported. Threads that wait by spinning hold cores that others need: beside a
# program that keeps every core busy, ten probes took 32 s with the usual spinning, 12 s with this little.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"

from workbench import shell  # noqa: E402

shell.run(ROOT)
