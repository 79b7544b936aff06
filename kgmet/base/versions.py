"""`installed_versions`: what a saved result was computed with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed_versions"]

_PACKAGES = ("torch", "transformers", "dgl", "numpy")


def installed_versions() -> dict[str, str]:
    """Return the version of Python, and of each package that results depend on and that is installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
