"""`make docs` builds the site; a warning, a dead link or a page that fetches from outside is an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import kgmet

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_and_holds_every_public_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    python = (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'id="kgmet\.(?:\w+\.)*(\w+)"', python))
    renamed = {"probe": "ask", "sample_graph": "sample_store"}
    public = {renamed.get(name, name) for name in kgmet.__all__ if not name.startswith("__")}
    assert public - anchors == set()
