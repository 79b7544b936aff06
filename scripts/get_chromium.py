"""Find or install a Chromium for the browser tests; prints only the path of its executable.

Order: KGMET_CHROMIUM (if set, nothing else is tried); one on the PATH; Playwright's, if downloaded; Debian's package,
if apt-get is permitted; Playwright's own download. Exits with 3 and a message on stderr if none of these works.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "msedge")
NONE_FOUND = 3


def installed() -> str | None:
    """Return the path of an installed Chromium."""
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in found if path), None) or playwrights_own()


def playwrights_own() -> str | None:
    """Return the path of the Chromium Playwright downloaded earlier."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def from_apt() -> str | None:
    """Install Debian's chromium if permitted, and return its path."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    quiet = {"stdout": sys.stderr, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=False, **quiet)
    return shutil.which("chromium")


def from_playwright() -> str | None:
    """Download Playwright's own build and return its path."""
    done = subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], stdout=sys.stderr, check=False)
    return playwrights_own() if done.returncode == 0 else None


def named() -> str:
    """Return what KGMET_CHROMIUM names; empty if nothing."""
    return os.environ.get("KGMET_CHROMIUM", "").strip()


def found() -> str | None:
    """Return the path of a Chromium that is there: the named one, or else an installed one."""
    path = named() or installed()
    return path if path and Path(path).is_file() else None


def chromium() -> str | None:
    """Return the path of a Chromium, found or installed; without one say on stderr what to do."""
    if named():
        if not found():
            print(f"\n*** NO CHROMIUM: KGMET_CHROMIUM names {named()!r}, which is no file. ***\n", file=sys.stderr)
        return found()
    for way in (installed, from_apt, from_playwright):
        path = way()
        if path:
            return path
    print(
        "\n*** NO CHROMIUM: the browser tests cannot run. Install one (Debian: apt-get install chromium; elsewhere: "
        ".venv/bin/python -m playwright install chromium) or set KGMET_CHROMIUM to its path. ***\n",
        file=sys.stderr,
    )
    return None


def main() -> int:
    path = chromium()
    if path is None:
        return NONE_FOUND
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
