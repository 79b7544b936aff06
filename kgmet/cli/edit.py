"""``python -m kgmet edit``: one edit, before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kgmet.cli.common import StderrProgress, add_graph_options, add_model_options, load_model, open_store, print_json

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("edit", help="change one fact and show what that does")
    parser.add_argument("--subject", required=True, help='for example "The Eiffel Tower"')
    parser.add_argument("--prompt", required=True, help='with {} for the subject: "{} is located in the city of"')
    parser.add_argument("--target", required=True, help="the new object: Tokyo")
    parser.add_argument("--old", help="the old object; by default what the graph holds")
    parser.add_argument("--relation", help="id or label of the relation; by default guessed from the prompt")
    parser.add_argument("--editor", default="KGMET", help="one of the editors `python -m kgmet models` lists")
    parser.add_argument("--config", type=Path, help="TOML file with settings that replace the editor's")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the patch in this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_graph_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the edit out and print the report."""
    from kgmet.edit.config import load_config
    from kgmet.edit.context import prepare_edit
    from kgmet.edit.editors import editor_named
    from kgmet.edit.plan import plan_edits
    from kgmet.edit.report import report_edit
    from kgmet.fact import FactEdit
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.write.patch import save_patch
    from kgmet.write.statistics import KeyStatistics

    edit = FactEdit.from_prompt(
        options.prompt,
        subject=options.subject,
        new_object=options.target,
        old_object=options.old,
        relation=options.relation,
    )
    editor = editor_named(options.editor)
    config = load_config(options.config, base=editor.config) if options.config else editor.config
    progress = StderrProgress()
    context = prepare_edit(edit, store=open_store(options), catalogue=RelationCatalogue.load(), config=config)
    lm = load_model(options, progress)
    plan = plan_edits(lm, [context], editor=editor, statistics=KeyStatistics(lm), config=config, progress=progress)
    report = report_edit(lm, plan)
    if options.save:
        save_patch(plan.patch, options.save)
    if options.json:
        print_json(report.to_json())
    else:
        _print(report, options.save)
    return 0


def _print(report: Any, saved: Path | None) -> None:
    edit = report.edit
    graph = report.graph
    print(f"\n{edit['template'].replace('{}', edit['subject'])} → {edit['new_object']}   ({report.editor})")
    if graph["took_part"]:
        print(f"Graph: {len(graph['triples'])} triples around the edit, {graph['left_out']} left out.")
    else:
        print("No graph took part: the subject is not in it.")
    for note in graph["notes"]:
        print(f"  {note}")
    print(f"  before  {_line(report.before)}")
    print(f"  after   {_line(report.after)}")
    if report.consequences:
        print("Consequences, in words that were not optimised:")
    for item in report.consequences:
        print(f"  {'holds' if item.holds else 'FAILS'}  {item.prompt} … {item.old or '?'} → {item.new}")
        print(f"         before  {_line(item.before)}")
        print(f"         after   {_line(item.after)}")
    print("Seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items()))
    if saved:
        print(f'Patch kept in {saved}. Ask it anything: python -m kgmet probe --patch {saved} --prompt "…"')


def _line(answer: Any) -> str:
    old = "" if answer.p_old is None else f", old {answer.p_old:.4f}"
    return f"{answer.answer!r}   (new {answer.p_new:.4f}{old})"
