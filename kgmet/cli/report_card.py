"""``python -m kgmet report-card``: a full evaluation of an edit, compared with telling the model the fact."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kgmet.cli.common import (
    StderrProgress,
    add_fact_options,
    add_graph_options,
    add_model_options,
    load_model,
    open_store,
    positive,
    print_json,
    stopped,
    typed_fact,
)

__all__ = ["add_parser", "run"]

_FORMATS = (".json", ".md", ".tex", ".html")


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("report-card", help="what an edit does to a model, row by row, with baselines")
    made = parser.add_mutually_exclusive_group()
    made.add_argument("--patch", type=Path, metavar="DIR", action="append", help="folder that `edit --save` made")
    made.add_argument("--adapter", type=Path, metavar="DIR", help="LoRA adapter of linear modules, as PEFT saves it")
    made.add_argument(
        "--editor",
        action="append",
        metavar="NAME",
        help="make the edit with this editor first (default: KGMET); several times: one column for each",
    )
    made.add_argument("--ledger", type=Path, metavar="DIR", help="folder of a saved session: all edits that are on")
    made.add_argument("--run", type=Path, metavar="DIR", dest="run_folder", help="folder of a run of evaluate")
    made.add_argument("--base", metavar="MODEL", help="the unedited model, where --model is an edited checkpoint")
    parser.add_argument("--edits", type=Path, metavar="FILE", help="JSON list of facts, instead of one typed fact")
    add_fact_options(parser)
    parser.add_argument("--ds_name", help="make the edits of a data set instead: cf, mcf, zsre, mquake, own")
    parser.add_argument("--ds_path", type=Path, help="the data file; own data come with the program")
    parser.add_argument(
        "--dataset_size_limit", type=positive, default=10, help="use this many records (default: %(default)s)"
    )
    parser.add_argument(
        "--num_edits", type=positive, default=1, help="edits in the model together (default: %(default)s)"
    )
    parser.add_argument(
        "--most-per-row",
        type=positive,
        default=200,
        help="most prompts of a row, drawn evenly over the edits (default: %(default)s)",
    )
    parser.add_argument("--afresh", action="store_true", help="ask everything again, and keep no answer")
    parser.add_argument("--no-context", action="store_true", help="leave out the two in-context columns")
    parser.add_argument(
        "--text-tokens", type=positive, default=300, help="tokens of text for divergence (default: %(default)s)"
    )
    parser.add_argument(
        "--downstream_path", type=Path, metavar="DIR", help="folder of cola.json, mrpc.json, …: general ability on them"
    )
    parser.add_argument(
        "--downstream_limit", type=positive, default=20, help="examples of each task (default: %(default)s)"
    )
    parser.add_argument(
        *("--out", "-o"), type=Path, action="append", metavar="FILE", help=".json, .md, .tex or .html; several times"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    add_graph_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Score, print and write the card."""
    from kgmet.base.cache import cache_dir
    from kgmet.evaluate.card.asked import CardConfig
    from kgmet.evaluate.card.known import KnownAnswers
    from kgmet.evaluate.card.make import card_from
    from kgmet.evaluate.card.render import card_text
    from kgmet.measure.general import find_tasks

    outputs: list[Path] = options.out or []
    _check_outputs(outputs)
    graph, progress = open_store(options), StderrProgress()
    facts = _facts(options, graph)
    config = CardConfig(
        text_tokens=options.text_tokens,
        in_context=not options.no_context,
        most_per_row=options.most_per_row,
        tasks_folder=options.downstream_path,
        n_per_task=options.downstream_limit,
    )
    known = KnownAnswers(None if options.afresh else cache_dir() / "cards")
    if config.tasks_folder is not None:
        find_tasks(config.tasks_folder)
    try:
        scored, notes = _scored(options, facts, graph=graph, config=config, known=known, progress=progress)
    except KeyboardInterrupt:
        return stopped(
            "Nothing is kept." if options.afresh else "The answers are kept; the same command goes on from there."
        )
    card = card_from(scored, config=config, notes=notes)
    for path in outputs:
        _write(card, path)
    if options.json:
        print_json(card.to_json())
    else:
        print(f"\n{card_text(card)}")
    return 0


def _scored(
    options: argparse.Namespace,
    facts: tuple[Any, ...],
    *,
    graph: Any,
    config: Any,
    known: Any,
    progress: StderrProgress,
) -> tuple[list[Any], tuple[str, ...]]:
    """Make or read the edits and ask about them; return the answers of each part, and remarks on the edits."""
    from kgmet.evaluate.card.score import score_models

    total, notes, edited = _edited(options, facts, graph, progress)
    scored = []
    n_scored = 0
    for models, asked in edited:
        part = config.for_part(len(asked), of=total)
        scored.append(
            score_models(models, edits=asked, store=graph, config=part, known=known, place=n_scored, progress=progress)
        )
        n_scored += len(asked)
        if n_scored < total:
            print(f"{n_scored} of {total} edits scored", file=sys.stderr)
    return scored, notes


def _check_outputs(paths: list[Path]) -> None:
    from kgmet.base.cache import check_place
    from kgmet.base.errors import ConfigError

    for path in paths:
        if path.suffix.lower() not in _FORMATS:
            raise ConfigError(f"--out {path} ends in {path.suffix!r}. Choose one of {', '.join(_FORMATS)}.")
        check_place(path, advice="Give --out another place.")


def _facts(options: argparse.Namespace, graph: Any) -> tuple[Any, ...]:
    """Return the facts from the options or a file; none if the patch or adapter names them."""
    import kgmet
    from kgmet.base.errors import ConfigError
    from kgmet.evaluate.datasets.load import load_dataset

    typed = (options.subject, options.template, options.new_object)
    if options.ds_name:
        saved = (options.patch, options.adapter, options.base, options.ledger, options.run_folder)
        if any(typed) or options.edits or any(saved):
            raise ConfigError(
                "--ds_name makes its own edits: leave out the fact, --edits, --patch, --adapter, --ledger, --run and "
                "--base."
            )
        data = load_dataset(options.ds_name, options.ds_path, limit=options.dataset_size_limit)
        return tuple(edit for case in data.cases for edit in case.edits)
    if (options.ledger or options.run_folder) and (options.edits or any(typed)):
        raise ConfigError("--ledger and --run know their facts: leave out --edits and the fact.")
    if options.edits:
        if any(typed):
            raise ConfigError("Give either --edits or --subject, --template and --new-object.")
        return kgmet.load_edits(options.edits)
    if not any(typed):
        return ()
    if not all(typed):
        raise ConfigError("A fact needs --subject, --template and --new-object, all three.")
    return (typed_fact(options, store=graph),)


def _edited(
    options: argparse.Namespace, facts: tuple[Any, ...], graph: Any, progress: StderrProgress
) -> tuple[int, tuple[str, ...], Iterator[tuple[Sequence[Any], tuple[Any, ...]]]]:
    """Return the number of edits, remarks on them, and the models that share edits, with the facts to ask about."""
    import kgmet
    from kgmet.base.errors import ConfigError
    from kgmet.editing.editors import IN_CONTEXT
    from kgmet.evaluate.card.edited import EditedModel
    from kgmet.evaluate.card.made import saved_run, saved_session

    saved = options.ledger or options.run_folder
    if not facts and not options.patch and not options.adapter and not saved:
        raise ConfigError(
            "The edited fact is unknown. Give --subject, --template and --new-object, --edits or --ds_name."
        )
    editors = [kgmet.editor_named(name) for name in dict.fromkeys(options.editor or [kgmet.DEFAULT_EDITOR])]
    told = [editor.name for editor in editors if editor.name in IN_CONTEXT]
    if told:
        raise ConfigError(f"{told[0]} writes nothing, and every card has its column. Leave it out of --editor.")
    patches = [kgmet.load_patch(folder) for folder in options.patch or ()]
    lm = load_model(options, progress)
    if saved:
        found = saved_session(lm, options.ledger) if options.ledger else saved_run(lm, options.run_folder)
        return found.n_edit, found.notes, (((model,), model.edits) for model in found.models)
    if patches:
        one = EditedModel.of_patches(lm, patches)
    elif options.adapter:
        one = EditedModel.of_adapter(lm, options.adapter)
    elif options.base:
        base = load_model(argparse.Namespace(**vars(options) | {"model": options.base}), progress)
        one = EditedModel.of_models(base, lm, edits=facts)
    else:
        return len(facts), (), _made(options, lm, editors, facts, graph, progress)
    asked = facts or one.edits
    return len(asked), (), iter([((one,), asked)])


def _made(
    options: argparse.Namespace,
    lm: Any,
    editors: Sequence[Any],
    facts: tuple[Any, ...],
    graph: Any,
    progress: StderrProgress,
) -> Iterator[tuple[Sequence[Any], tuple[Any, ...]]]:
    """Make the edits, each batch on the unedited model, with every editor."""
    import kgmet
    from kgmet.base.cache import cache_dir
    from kgmet.evaluate.card.edited import EditedModel
    from kgmet.evaluate.card.made import PatchMaker
    from kgmet.graph.relations import RelationCatalogue

    maker = PatchMaker(
        lm=lm,
        store=graph,
        catalogue=RelationCatalogue.load(),
        statistics=kgmet.KeyStatistics(lm),
        folder=None if options.afresh else cache_dir() / "cards" / "patches",
    )
    together = options.num_edits if options.ds_name else len(facts)
    for start in range(0, len(facts), together):
        batch = facts[start : start + together]
        yield (
            [
                EditedModel.of_patches(lm, [maker.patch(editor, batch, progress=progress)], name=editor.name)
                for editor in editors
            ],
            batch,
        )


def _write(card: Any, path: Path) -> None:
    from kgmet.base.cache import written_whole
    from kgmet.evaluate.card.html import card_html
    from kgmet.evaluate.card.render import card_latex, card_markdown

    made = {
        ".json": lambda: json.dumps(card.to_json(), ensure_ascii=False, indent=1) + "\n",
        ".md": lambda: card_markdown(card),
        ".tex": lambda: card_latex(card),
        ".html": lambda: card_html(card),
    }
    with written_whole(path) as temporary:
        temporary.write_text(made[path.suffix.lower()](), encoding="utf-8")
