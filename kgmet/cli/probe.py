"""``python -m kgmet probe``: ask anything with a patch off and on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kgmet.cli.common import StderrProgress, add_model_options, load_model, print_json

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("probe", help="ask anything with a saved patch off and on")
    parser.add_argument("--patch", type=Path, required=True, metavar="DIR", help="folder that `edit --save` made")
    parser.add_argument("--prompt", action="append", required=True, help="text to continue; may be given several times")
    parser.add_argument("--chat", action="store_true", help="put the prompt into the model's chat template")
    parser.add_argument("--tokens", type=int, default=20, help="length of an answer")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask twice and print both answers."""
    from kgmet.measure.compare import compare_probes
    from kgmet.measure.prompts import ProbeKind, ProbePrompt
    from kgmet.measure.run import Decoding, run_probes
    from kgmet.write.patch import attached, load_patch

    patch = load_patch(options.patch)
    prompts = [ProbePrompt(kind=ProbeKind.OWN, text=text) for text in options.prompt]
    lm = load_model(options, StderrProgress())
    decoding = Decoding(max_new_tokens=options.tokens, chat=options.chat)
    before = run_probes(lm, prompts, decoding=decoding)
    with attached(patch, lm):
        after = run_probes(lm, prompts, decoding=decoding)
    comparison = compare_probes(before, after)
    if options.json:
        print_json({"patch": patch.id, "editor": patch.editor, "probes": comparison.to_json()})
        return 0
    for pair in comparison.pairs:
        print(f"\n{pair.after.prompt.text}")
        print(f"  patch off  {pair.before.answer.strip()!r}")
        print(f"  patch on   {pair.after.answer.strip()!r}")
    return 0
