"""Facts and names of places that the packages' tables lack."""

from __future__ import annotations

from math import cos, hypot, radians
from pathlib import Path
from typing import Any

from scripts.sample_graph.draft import clean

BELONGS_TO = {"HK": "CN", "MO": "CN", "PR": "US", "GI": "GB"}
"""Territories whose cities are kept, under their sovereign state."""


def official(path: Path) -> dict[str, list[str]]:
    """Return country → codes of its official languages, where they differ from CLDR's."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {cc: [] if codes == "-" else codes.split() for cc, codes in lines}


def state(cc: str) -> str:
    return BELONGS_TO.get(cc, cc)


def is_part(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether a place is probably a suburb of a larger city, which GeoNames' table does not say."""
    dy = row["latitude"] - other["latitude"]
    dx = (row["longitude"] - other["longitude"]) * cos(radians(row["latitude"]))
    return bool(111 * hypot(dx, dy) < 25 and row["population"] * 1.5 < other["population"])


def on_another_continent(row: dict[str, Any]) -> bool:
    """Return whether a city is, or may be, on another continent than its country."""
    cc, zone = row["countrycode"], row["timezone"]
    return (
        (cc == "RU" and (zone.startswith("Asia/") or row["name"] == "Orenburg"))
        or (cc == "TR" and row["longitude"] < 29.5 and row["latitude"] > 40)
        or (cc == "KZ" and row["longitude"] < 53)
        or (cc == "EG" and row["longitude"] > 32.25)
        or zone
        in {
            "Pacific/Honolulu",
            "Atlantic/Canary",
            "Africa/Ceuta",
            "Asia/Jayapura",
            "Pacific/Galapagos",
            "Pacific/Easter",
        }
        or zone in {"Atlantic/Madeira", "Atlantic/Azores", "Indian/Reunion"}
    )


def renames(path: Path) -> dict[tuple[str, str], list[str]]:
    """Return (kind, package's name) → [our label, alias, …]."""
    renames = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            kind, key, names = line.split("\t")
            renames[kind, key] = [clean(name) for name in names.split("|")]
    return renames
