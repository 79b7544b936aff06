"""``python -m kgmet models``: the available models and editors, and the memory that one of them takes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kgmet.cli.common import positive, print_json

if TYPE_CHECKING:
    from kgmet.editing.budget import MemoryEstimate, Use, Work

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "models", help="list bundled models, supported families and editors, or the memory that a model takes"
    )
    parser.add_argument(
        "--model", metavar="SOURCE", help="say what this model takes, from its config.json alone; nothing is loaded"
    )
    parser.add_argument("--editor", default="KGMET", help="with --model: the method (default: %(default)s)")
    parser.add_argument("--edits", type=positive, default=1, help="with --model: edits at once (default: %(default)s)")
    parser.add_argument("--device", help="with --model: cpu, cuda, cuda:1, mps; by default the best available")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16", "8 bits", "4 bits"), help="with --model: of the weights"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the lists, or the memory a model takes."""
    if options.model:
        return _run_memory(options)
    from kgmet.editing.editors import EDITORS
    from kgmet.lm.load.bundled import BUNDLED
    from kgmet.lm.load.family import FAMILIES

    families = {family.name: list(family.model_types) for family in FAMILIES}
    editors = {editor.name: editor.summary for editor in EDITORS.values()}
    if options.json:
        print_json({"bundled": sorted(BUNDLED), "families": families, "editors": editors})
        return 0
    print("Bundled models:   " + ", ".join(BUNDLED))
    print("Families:         " + ", ".join(f"{name} ({', '.join(kinds)})" for name, kinds in families.items()))
    print("Editors:")
    for name, summary in editors.items():
        print(f"  {name:14} {summary}")
    return 0


def _run_memory(options: argparse.Namespace) -> int:
    from pathlib import Path

    from kgmet.editing.budget import estimate_memory, free_room, ways_out
    from kgmet.lm.load.loaded import best_device, checked_device

    device = checked_device(options.device) if options.device else best_device()
    work, room = _work(options, is_on_cpu=device.type == "cpu"), free_room(device)
    estimate = estimate_memory(work)
    ways = [] if room is None else ways_out(work, room)
    if options.json:
        stages = {name: {"device": use.device, "cpu": use.cpu} for name, use in estimate.stages.items()}
        free = None if room is None else {"device": room.device, "cpu": room.cpu}
        print_json({"model": options.model, "bytes": stages, "free": free, "fits": ways})
        return 0
    where = f"{Path(options.model).name}, {work.weights.name}, {work.editor.name}, {work.n_edit} at once"
    print(f"{where}: about how much memory is in use while each stage runs.\n")
    _print_memory(work, estimate, room, device=str(device))
    if room is not None:
        print("\nFits here: " + "; ".join(ways) + ".")
    print("A batch that is too large is searched in parts; statistics are summed for fewer layers at once.")
    return 0


def _work(options: argparse.Namespace, *, is_on_cpu: bool) -> Work:
    from kgmet.editing.budget import Work
    from kgmet.editing.defaults import settings_for
    from kgmet.editing.editors import editor_named
    from kgmet.lm.load.loaded import read_model_config
    from kgmet.lm.load.shape import FORMATS, ModelShape

    config = read_model_config(options.model)
    shape, editor = ModelShape.of_config(config), editor_named(options.editor)
    return Work(
        shape=shape,
        weights=FORMATS[options.dtype or ("float32" if is_on_cpu else "bfloat16")],
        editor=editor,
        config=settings_for(editor, config.model_type, n_layer=shape.n_layer, d_model=shape.d_model).config,
        is_on_cpu=is_on_cpu,
        n_edit=options.edits,
    )


def _print_memory(work: Work, estimate: MemoryEstimate, room: Use | None, *, device: str) -> None:
    from kgmet.base.memory import gigabytes

    places = ("cpu",) if work.is_on_cpu else ("device", "cpu")
    names = {"cpu": "CPU", "device": device}
    print(f"{'':16}" + "".join(f"{names[place]:>12}" for place in places))
    rows = dict(estimate.stages)
    if room is not None:
        rows["free now"] = room
    for name, use in rows.items():
        print(f"{name:16}" + "".join(f"{gigabytes(getattr(use, place)):>12}" for place in places))
