"""Programs wait politely where nobody has chosen; the library sets nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kgmet.base.waiting import SETTINGS, SPINS, wait_politely

ROOT = Path(__file__).resolve().parents[2]


def test_a_policy_is_set_where_there_is_none() -> None:
    environment = {"HOME": "/"}
    wait_politely(environment)
    assert environment == {"HOME": "/", "GOMP_SPINCOUNT": str(SPINS)}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_person_set_is_left_alone(name: str) -> None:
    environment = {name: "7"}
    wait_politely(environment)
    assert environment == {name: "7"}


def ran(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_command_line_sets_it_before_torch_is_there_and_the_import_does_not() -> None:
    said = "import os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    assert ran(f"import kgmet; {said}") == "None False"
    run = "import kgmet.__main__ as program; program.COMMANDS = ()\ntry: program.main([])\nexcept SystemExit: pass"
    assert ran(f"{run}\n{said}") == f"{SPINS} False"
    assert ran(f"{run}\nimport torch; {said}") == f"{SPINS} True"
