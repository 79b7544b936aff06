"""Shared parts of the commands: options, progress on stderr, JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgmet.base.progress import ProgressEvent

if TYPE_CHECKING:
    from kgmet.fact import FactEdit
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.graph.store import TripleStore
    from kgmet.write.corpus import Corpus

__all__ = [
    "MOST_SEED",
    "MOST_TOKENS",
    "StderrProgress",
    "add_corpus_option",
    "add_fact_options",
    "add_graph_options",
    "add_model_options",
    "load_model",
    "open_store",
    "positive",
    "print_json",
    "print_left_out",
    "read_corpus",
    "stopped",
    "typed_fact",
    "whole",
]


class StderrProgress:
    """Progress as one overwritten line on stderr; without a terminal, one line per stage. Remarks have their own."""

    def __init__(self) -> None:
        self._stage = ""
        self._last = 0.0

    def report(self, event: ProgressEvent) -> None:
        """Show the event."""
        is_live = sys.stderr.isatty()
        remark = event.detail.get("note")
        if isinstance(remark, str):
            print(("\n" if self._stage and is_live else "") + remark, file=sys.stderr)
            return
        if event.stage != self._stage:
            print(
                ("\n" if self._stage and is_live else "") + f"{event.stage} …",
                file=sys.stderr,
                end="" if is_live else "\n",
            )
            self._stage = event.stage
        if is_live and time.monotonic() - self._last > 0.1:
            self._last = time.monotonic()
            loss = event.detail.get("total")
            extra = f"  loss {loss:.3f}" if isinstance(loss, float) else ""
            print(f"\r{event.stage} {event.done}/{event.total or '?'}{extra}   ", file=sys.stderr, end="", flush=True)

    def check(self) -> None:
        """Do nothing: Ctrl-C raises by itself."""


def whole(least: int, most: int = 999_999_999) -> Callable[[str], int]:
    """Return what parses an option as a whole number in a range; argparse says what is wrong with it."""

    def parsed(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
        if not is_number or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is not a whole number of at least {least} and at most {most}"
            )
        return int(text)

    return parsed


MOST_SEED = 2**63 - 1
"""Largest seed of an option."""
MOST_TOKENS = 10_000
"""Longest answer that an option can ask for."""
positive = whole(1)
"""Parses an option as a whole number from 1."""


def add_fact_options(parser: argparse.ArgumentParser, *, required: Sequence[str] = ()) -> None:
    """Add ``--subject``, ``--template``, ``--new-object``, ``--old-object`` and ``--relation``.

    The values are named as in `FactEdit`. Other names are those up to version 0.2.

    Args:
        parser: the command's parser.
        required: the names of those that must be given.
    """
    for names, text in (
        (("--subject",), "for example 'The Eiffel Tower'"),
        (("--template", "--prompt"), "with {} for the subject, '{} is located in the city of', or the subject itself"),
        (("--new-object", "--target"), "what the model should say: Tokyo"),
        (("--old-object", "--old"), "the old object; by default the graph's"),
        (("--relation",), "id, label or wording of the relation: P131, 'located in city'; by default guessed"),
    ):
        name = names[0][2:].replace("-", "_")
        parser.add_argument(*names, dest=name, required=name in required, help=text)


def typed_fact(
    options: argparse.Namespace, *, catalogue: RelationCatalogue | None = None, store: TripleStore | None = None
) -> FactEdit:
    """Return the fact that the options of `add_fact_options` name.

    Args:
        options: the command's options; a template is needed.
        catalogue: the relations; the bundled ones by default.
        store: the graph, whose own relations can be named too.

    Raises:
        RequestError: if a field is invalid.
        UnknownRelationError: if there is no such relation.
    """
    from kgmet.fact import FactEdit
    from kgmet.graph.relations import RelationCatalogue
    from kgmet.graph.wording.choose_relation import relation_named

    named = options.relation and relation_named(catalogue or RelationCatalogue.load(), options.relation, store=store)
    return FactEdit.from_prompt(
        options.template,
        subject=options.subject,
        new_object=options.new_object,
        old_object=options.old_object,
        relation=named,
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--device``, ``--device-map``, ``--dtype`` and ``--threads``."""
    parser.add_argument(
        "--model", default="bundled:smollm2", help="bundled:NAME, a folder, or a Hugging Face id (default: %(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; by default the best available")
    parser.add_argument(
        "--device-map", metavar="MAP", help="auto: spread a model over all devices that is too large for one"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="dtype of the weights")
    parser.add_argument("--threads", type=positive, help="CPU threads torch may use")


def add_graph_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--graph``, ``--entities``, ``--endpoint`` and ``--no-graph``."""
    parser.add_argument(
        "--graph",
        type=Path,
        action="extend",
        nargs="+",
        metavar="FILE",
        help="files of triples (.nt .ttl .tsv .csv .json); by default the sample graph",
    )
    parser.add_argument(
        "--entities", type=Path, metavar="FILE", help="a file of entities with names for the ids in --graph"
    )
    parser.add_argument("--endpoint", metavar="URL", help="a SPARQL 1.1 endpoint instead of files")
    parser.add_argument("--no-graph", action="store_true", help="edit without any graph")


def load_model(options: argparse.Namespace, progress: StderrProgress) -> Any:
    """Load the model that the options name."""
    import torch

    from kgmet.lm.load.loaded import load_lm

    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype) if options.dtype else None
    return load_lm(options.model, device=options.device, dtype=dtype, device_map=options.device_map, progress=progress)


def add_corpus_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--corpus``."""
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE",
        help="ordinary text for the key statistics, one passage a line, UTF-8 (default: the bundled passages)",
    )


def read_corpus(options: argparse.Namespace) -> Corpus | None:
    """Read the text that the options name; ``None`` stands for the bundled one.

    Raises:
        ConfigError: if it cannot be read or is too short.
    """
    from kgmet.write.corpus import Corpus

    return Corpus.from_file(options.corpus) if options.corpus else None


def open_store(options: argparse.Namespace) -> TripleStore | None:
    """Open the store chosen by the options of `add_graph_options`; ``None`` with ``--no-graph``.

    Raises:
        RequestError: if the options contradict each other.
        GraphFileError: if a file cannot be read.
        EndpointError: if the endpoint is not allowed.
    """
    from kgmet.base.errors import RequestError

    chosen = [name for name in ("graph", "endpoint", "no_graph") if getattr(options, name) not in (None, False)]
    if len(chosen) > 1:
        names = ", ".join("--" + name.replace("_", "-") for name in chosen)
        raise RequestError(f"Give one source of triples: files, an endpoint or no graph, but not all of {names}.")
    if options.entities and not options.graph:
        raise RequestError("--entities names the ids in files of triples. Give the files with --graph.")
    if options.no_graph:
        return None
    if options.endpoint is not None:
        from kgmet.graph.sparql.store import SparqlStore

        return SparqlStore(options.endpoint)
    if options.graph:
        from kgmet.graph.stores.readers import load_graph

        return load_graph(options.graph, entities=options.entities)
    from kgmet.graph.stores.sample import sample_store

    return sample_store()


def print_left_out(summaries: Sequence[Any], *, most: int = 20) -> None:
    """List on stderr, once per data set, the records left out and those that contradict an earlier one."""
    said: set[tuple[str, ...]] = set()
    for summary in summaries:
        for what, sentences in (("left out", summary.left_out), ("used, but contradicting", summary.notes)):
            if not sentences or (what, *sentences) in said:
                continue
            said.add((what, *sentences))
            records = "record" if len(sentences) == 1 else "records"
            print(f"{summary.dataset}: {len(sentences)} {records} {what}:", file=sys.stderr)
            for sentence in sentences[:most]:
                print(f"  {sentence}", file=sys.stderr)
            if len(sentences) > most:
                rest = f"{len(sentences) - most} more are listed in settings.json of {summary.editor}/{summary.name}."
                print(f"  {rest}", file=sys.stderr)


def stopped(words: str) -> int:
    """Say on stderr what is kept of a command that Ctrl-C stopped, and return its exit status."""
    print(f"\nStopped. {words}", file=sys.stderr)
    return 130


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    is_whole = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    json.dump(value, sys.stdout, ensure_ascii=not is_whole, indent=1)
    sys.stdout.write("\n")
