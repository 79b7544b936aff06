"""The workbench. Start it with ``streamlit run workbench/app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# `streamlit run` puts this file's folder on the path, where `session` or `tables` would hide other modules.
sys.path[:] = [
    str(ROOT),
    *(entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "workbench")),
]


from workbench import shell  # noqa: E402

shell.run(ROOT)
