"""Calibrate the bundled models and write the profiles that ship with the program. Also ``make profiles``.

    python scripts/make_profiles.py [--models bundled:gemma3 …] [--editors KGMET …] [--settings 9] [--facts 20]
        [--seed 0] [--threads 2]

Each editor's result is written as soon as it is there, and measurements are kept in the cache folder, so a run that was
stopped goes on. Editors that are not named keep what their profile says.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kgmet.base.progress import ProgressEvent
from kgmet.calibrate.calibrate import CalibrationConfig, calibrate
from kgmet.calibrate.halving import Budget
from kgmet.editing.editors import editor_named
from kgmet.editing.profile import SHIPPED_PROFILES, load_profile, save_profile
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import sample_store
from kgmet.lm.load.loaded import load_lm


class Notes:
    """Prints remarks and nothing else."""

    def report(self, event: ProgressEvent) -> None:
        """Print the remark of an event."""
        if "note" in event.detail:
            print(event.detail["note"], flush=True)

    def check(self) -> None:
        """Never stop."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    config = CalibrationConfig(
        budget=Budget(settings=options.settings), facts=options.facts, per_relation=10, seed=options.seed
    )
    store, catalogue = sample_store(), RelationCatalogue.load()
    for source in options.models:
        lm = load_lm(source)
        path = SHIPPED_PROFILES / f"{lm.fingerprint}.json"
        for name in options.editors:
            found = calibrate(lm, store, catalogue, [editor_named(name)], config=config, progress=Notes()).profile
            if found is None:
                raise SystemExit(f"{source} knows too few facts to be calibrated.")
            if path.exists():
                found = replace(found, editors={**load_profile(path).editors, **found.editors})
            save_profile(found, path)
            path.chmod(0o644)
            print(f"{source}, {name}: {found.editors[editor_named(name).name].reason} → {path}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["bundled:gemma3", "bundled:smollm2"])
    parser.add_argument("--editors", nargs="+", default=["KGMET", "AlphaEdit"])
    parser.add_argument("--settings", type=int, default=9, help="compared for each editor")
    parser.add_argument("--facts", type=int, default=20, help="two fifths to choose, the others to check")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
