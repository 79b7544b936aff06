"""``python -m kgmet probe``: ask any prompt with a patch off and on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kgmet.cli.common import MOST_TOKENS, StderrProgress, add_model_options, load_model, print_json, whole

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("probe", help="ask anything with a saved patch off and on")
    parser.add_argument("--patch", type=Path, required=True, metavar="DIR", help="folder that `edit --save` made")
    parser.add_argument("--prompt", action="append", required=True, help="text to continue; may be given several times")
    parser.add_argument("--expected", help="what it should answer after the edit; adds probabilities and a verdict")
    parser.add_argument("--rejected", help="what it should no longer answer")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--chat", action="store_true", help="ask in the model's chat template; questions are anyway")
    way.add_argument("--plain", action="store_true", help="continue the text as it stands, even a question")
    parser.add_argument(
        "--tokens", type=whole(1, MOST_TOKENS), default=32, help="longest answer (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask without and with the patch, and print both answers."""
    import kgmet

    form = kgmet.Form.CHAT if options.chat else kgmet.Form.CLOZE if options.plain else None
    patch = kgmet.load_patch(options.patch)
    session = kgmet.EditSession(load_model(options, StderrProgress()), graph=None, patches=[patch])
    questions = [
        kgmet.Question.typed(text, expected=options.expected, rejected=options.rejected, form=form)
        for text in options.prompt
    ]
    decoding = kgmet.Decoding(max_new_tokens=options.tokens, max_answer_tokens=options.tokens)
    comparison = session.probe(questions, decoding=decoding)
    if options.json:
        print_json({"patch": patch.id, "editor": patch.editor, "probes": comparison.to_json()})
        return 0
    for pair in comparison.pairs:
        print(f"\n{pair.after.question.text}")
        print(f"  patch off  {pair.before}")
        print(f"  patch on   {pair.after}")
    return 0
