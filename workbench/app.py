"""The workbench. Start it with ``streamlit run workbench/app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# `streamlit run` adds this file's folder to the path, where `wording` or `state` would shadow other modules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]
if FOLDER.parent not in [Path(entry or ".").resolve() for entry in sys.path]:
    sys.path.insert(0, str(FOLDER.parent))

from kgmet.base.waiting import wait_politely  # noqa: E402

wait_politely()  # before torch is imported

from kgmet.base.shipped import shipped  # noqa: E402
from workbench import shell  # noqa: E402

shell.run(shipped("pages", package="workbench").parent)
