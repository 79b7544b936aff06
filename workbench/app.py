"""The workbench. Start it with ``streamlit run workbench/app.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# `streamlit run` puts this file's folder on the path, where `wording` or `state` would hide other modules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]
if FOLDER.parent not in [Path(entry or ".").resolve() for entry in sys.path]:
    sys.path.insert(0, str(FOLDER.parent))

# OpenMP reads this once, when torch is imported. Threads that wait by spinning hold cores that others need: beside a
# program that keeps every core busy, ten probes took 32 s with the usual spinning, 12 s with this little.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"

from kgmet.base.shipped import shipped  # noqa: E402
from workbench import shell  # noqa: E402

shell.run(shipped("pages", package="workbench").parent)
