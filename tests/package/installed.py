"""The wheel, built from the repository and installed in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An environment with kgmet from a wheel, and a folder elsewhere to work in."""

    environment: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.environment / ("Scripts" if os.name == "nt" else "bin") / "python"

    @property
    def command(self) -> Path:
        """The command `kgmet`."""
        return self.python.with_name("kgmet.exe" if os.name == "nt" else "kgmet")

    def run(self, *command: str | Path) -> str:
        """Run a command in the folder; returns what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        return done.stdout


def clean_environment() -> dict[str, str]:
    """This environment without what would lead Python to the repository."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}


def build(source: Path, to: Path, kinds: Iterable[str]) -> None:
    """Build distributions (``wheel``, ``sdist``) of the project in `source`, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(to)]
    command += [part for kind in kinds for part in ("-t", kind)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def install(wheel: Path, environment: Path, folder: Path) -> Installed:
    """Install the wheel alone; its dependencies are those of the running environment, which is named last."""
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    made = Installed(environment=environment, folder=folder)
    pip = [sys.executable, "-m", "pip", "--python", str(made.python), "install"]
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--no-compile", str(wheel)]
    subprocess.run([*pip, *options], check=True, env=clean_environment())
    packages = made.run(made.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return made
