"""What the entry script does before anything is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.runtime.scriptrunner.exec_code import modified_sys_path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "workbench" / "app.py"


def run_its_beginning() -> None:
    """Run what stands before the first import of the program's own."""
    source = APP.read_text(encoding="utf-8").partition("from kgmet")[0]
    exec(compile(source, str(APP), "exec"), {"__file__": str(APP), "__name__": "__main__"})


def test_after_the_first_run_no_run_of_a_page_changes_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that goes through `sys.path` while another thread takes an entry out skips a module that is there."""
    others = [entry for entry in sys.path if entry not in (str(ROOT), str(APP.parent))]
    monkeypatch.setattr(sys, "path", [str(APP.parent), *others])  # as `streamlit run` begins
    with modified_sys_path(str(APP)):
        run_its_beginning()
    known = list(sys.path)
    assert known == [str(ROOT), *others, str(APP.parent)], "our own modules shadow no others"
    with modified_sys_path(str(APP)):
        assert sys.path == known
        run_its_beginning()
        assert sys.path == known
    assert sys.path == known


def test_the_frame_is_there_before_transformers_is_loaded() -> None:
    code = "import sys, workbench.shell; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"
