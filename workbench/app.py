"""The workbench. Start it with ``streamlit run workbench/app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).absolute().parent
# `streamlit run` puts this file's folder first in the path, where `wording` or `state` would shadow other modules. It
# goes last and stays there: were it taken out, Streamlit would put it in and take it out again in every run of a page,
# and an import in the thread of another visitor, going through the path at that moment, would miss a module.
if sys.path[-1:] != [str(FOLDER)] or str(FOLDER) in sys.path[:-1]:
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").absolute() != FOLDER] + [str(FOLDER)]
if FOLDER.parent.resolve() not in [Path(entry or ".").resolve() for entry in sys.path]:
    sys.path.insert(0, str(FOLDER.parent))

from kgmet.base.waiting import wait_politely  # noqa: E402

wait_politely()  # before torch is imported

from kgmet.base.shipped import shipped  # noqa: E402
from workbench import shell  # noqa: E402

shell.run(shipped("pages").parent)
