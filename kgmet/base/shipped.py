"""Location of the files shipped with the program: sample data, page scripts, pictures, the app's settings."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]

_PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that holds `kgmet` and `workbench`: the repository, or an environment's site-packages."""


def shipped(folder: str, *, package: str = "kgmet") -> Path:
    """Return the folder `name` shipped with `package`.

    An installed package carries it in its own folder ``shipped``. In a checkout, an editable installation or an
    unpacked source archive it is at the top of the repository, beside the package.
    """
    installed = _PACKAGES / package / "shipped" / folder
    return installed if installed.is_dir() else _PACKAGES / folder
