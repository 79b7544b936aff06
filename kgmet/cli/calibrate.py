"""``python -m kgmet calibrate``: settings for one model, chosen on facts that this model knows."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgmet.base.progress import ProgressEvent
from kgmet.cli.common import (
    MOST_SEED,
    StderrProgress,
    add_corpus_option,
    add_graph_options,
    add_model_options,
    load_model,
    open_store,
    positive,
    print_json,
    read_corpus,
    stopped,
    whole,
)

if TYPE_CHECKING:
    from kgmet.calibrate.calibrate import Calibration
    from kgmet.calibrate.estimate import Estimate
    from kgmet.calibrate.halving import Budget

__all__ = ["add_parser", "run"]

_MINUTES = re.compile(r"(\d{1,6}(?:\.\d+)?)\s*(?:m|min|minutes?)")
_MOST_SETTINGS = 200


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("calibrate", help="choose an editor's settings for a model, on facts it knows")
    parser.add_argument("--editor", action="append", metavar="NAME", help="may be given several times (default: KGMET)")
    parser.add_argument(
        "--budget",
        default="12",
        help="settings compared, for each editor, such as 12; or minutes for the search, such as 10min",
    )
    parser.add_argument("--facts", type=positive, default=40, help="facts edited: 2/5 to choose, the others to check")
    parser.add_argument("--per-relation", type=positive, default=10, help="facts of each relation the model is asked")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), default=0, help="of facts, new objects and settings")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the profile here too, to be passed on")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_graph_options(parser)
    add_model_options(parser)
    add_corpus_option(parser)
    parser.set_defaults(run=run)


class _Progress(StderrProgress):
    """Also prints what there is to say: one line for every setting compared."""

    def report(self, event: ProgressEvent) -> None:
        """Show the event."""
        text = event.detail.get("note")
        if text is None:
            super().report(event)
        else:
            print(("\r" if sys.stderr.isatty() else "") + str(text), file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Calibrate, keep the profile where it is found by default, and print what it reached."""
    from kgmet.base.cache import check_place
    from kgmet.base.errors import ConfigError
    from kgmet.calibrate.calibrate import CalibrationConfig, calibrate, check_editors
    from kgmet.calibrate.estimate import estimate
    from kgmet.calibrate.results import kept_profile
    from kgmet.calibrate.trials import calibration_folder
    from kgmet.editing.budget import check_memory
    from kgmet.editing.defaults import default_config
    from kgmet.editing.editors import DEFAULT_EDITOR, editor_named
    from kgmet.editing.profile import profile_path, save_profile
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.write.statistics import KeyStatistics

    named = map(editor_named, options.editor or [DEFAULT_EDITOR])
    editors = list({editor.name: editor for editor in named}.values())
    check_editors(editors)
    if options.out:  # a search of an hour does not fail at its last step
        check_place(options.out, advice="Give --out another place.")
    config = CalibrationConfig(
        budget=_budget(options.budget), facts=options.facts, per_relation=options.per_relation, seed=options.seed
    )
    store, progress = open_store(options), _Progress()
    if store is None:
        raise ConfigError("Calibration needs a graph: it says which facts to try. Leave --no-graph out.")
    corpus = read_corpus(options)
    lm = load_model(options, progress)
    for editor in editors:
        check_memory(lm, editor, default_config(editor, lm), n_edit=1)
    statistics = KeyStatistics(lm, corpus)
    _say(estimate(lm, config, n_editor=len(editors)))
    try:
        found = calibrate(
            lm, store, RelationCatalogue.load(), editors, config=config, statistics=statistics, progress=progress
        )
    except KeyboardInterrupt:
        return stopped(f"What was measured is kept in {calibration_folder(lm)}; the same command goes on from there.")
    if found.profile is not None:
        profile = kept_profile(lm, found.profile)
        save_profile(profile, profile_path(lm))
        if options.out:
            save_profile(profile, options.out)
    if options.json:
        print_json(
            {
                "profile": None if found.profile is None else found.profile.to_json(),
                "reason": found.reason,
                "knows": found.knows.to_json(),
                "read_back": found.n_read,
            }
        )
        return 0
    _print(found, where=profile_path(lm))
    return 0


def _say(found: Estimate) -> None:
    """Say beforehand how long it takes at most."""
    basis = "as edits of this model took before" if found.is_timed else "guessed from its size, on a CPU"
    print(
        f"At most {found.edits} edits of {found.seconds_per_edit:.1f} s ({basis}): {found.seconds / 60:.0f} min where "
        "nothing else runs. Before them it asks facts and traces some. Ctrl-C stops; what was measured is kept.",
        file=sys.stderr,
        flush=True,
    )


def _budget(text: str) -> Budget:
    from kgmet.base.errors import ConfigError
    from kgmet.calibrate.halving import Budget

    minutes = _MINUTES.fullmatch(text.strip())
    if minutes is not None and float(minutes[1]) > 0:
        return Budget(settings=_MOST_SETTINGS, seconds=60 * float(minutes[1]))
    if text.strip().isascii() and text.strip().isdigit() and 2 <= int(text[:9]) <= _MOST_SETTINGS:
        return Budget(settings=int(text))
    raise ConfigError(
        f"--budget {text[:40]!r} is neither a number of settings from 2 to {_MOST_SETTINGS} nor minutes such as 10min."
    )


def _print(found: Calibration, *, where: Path) -> None:
    from kgmet.calibrate.where import LayerEffects, propose_layers

    knows = found.knows
    print(f"\n{knows.model} knows {knows.known} of the {knows.asked} facts it was asked.")
    for row in knows.relations:
        if row.known:
            print(f"  {row.known:3} of {row.asked:3}  {row.label}")
    if found.profile is None:
        print(f"\nNot calibrated. {found.reason}")
        return
    effects = LayerEffects.from_json(found.profile.layers)
    print(f"\nWhere: {propose_layers(effects, (0,), len(effects.restored)).reason}")
    for editor in found.profile.editors.values():
        print(f"\n{editor.editor}: {editor.changes}")
        print(
            f"  {editor.tried} settings compared on up to {editor.n_search} facts, seed {editor.seed}. {editor.reason}"
        )
        print(f"  Check on {editor.n_check} other facts in other words (preferred / first answer):")
        print(f"  {'':12} {'uncalibrated':38} kept")
        for kind in editor.checked_default:
            print(f"  {kind:12} {editor.checked_default[kind]!s:38} {editor.checked.get(kind, 'not measured')}")
    print(f"\nKept in {where}; used wherever this model is loaded.")
