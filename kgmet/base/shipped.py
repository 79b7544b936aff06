"""Location of the files shipped with the program: sample data, page scripts, pictures, the app's settings."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]

_PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that holds `kgmet` and `workbench`: the repository, or an environment's site-packages."""


def shipped(folder: str) -> Path:
    """Return the folder of this name that is shipped with the program.

    Installed packages carry such folders in their own folder ``shipped``. In a checkout, an editable installation or an
    unpacked source archive they are at the top of the repository, beside the packages.
    """
    installed = [_PACKAGES / package / "shipped" / folder for package in ("kgmet", "workbench")]
    return next((place for place in installed if place.is_dir()), _PACKAGES / folder)
