"""Style sheets and scripts hold no leftovers of a merge: the browser would drop what follows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@pytest.mark.parametrize("name", sorted(path.name for path in ASSETS.glob("*.[cj]s*")))
def test_assets_hold_no_conflict_markers(name: str) -> None:
    text = (ASSETS / name).read_text(encoding="utf-8")
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", text, re.M)
    assert text.count("{") == text.count("}")
