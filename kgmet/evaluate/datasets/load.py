"""`load_dataset`: CounterFact, zsRE, MQuAKE and own files, checked record by record.

A record that violates the schema is an error that names the record and the key. A valid record whose fact cannot be
edited (subject not in the prompt, old and new object equal) is left out and listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kgmet.base.errors import BrokenArtifactError, ConfigError, RequestError
from kgmet.base.files import Limits, decode_text, parse_json, parse_json_lines, read_bytes
from kgmet.base.ranges import check_number
from kgmet.base.shipped import shipped
from kgmet.evaluate.datasets.cases import (
    Ask,
    AskKind,
    CaseTriple,
    Dataset,
    EvalCase,
    Fault,
    find_contradictions,
    without_contested,
)
from kgmet.evaluate.datasets.mquake import find_faults, read_mquake
from kgmet.evaluate.datasets.records import Record
from kgmet.evaluate.datasets.zsre import read_zsre
from kgmet.fact import FactEdit

__all__ = ["DATASETS", "OWN_CASES", "FaultyRecords", "load_dataset", "rows_of"]

DATASETS = ("cf", "mcf", "zsre", "mquake", "own")
"""``cf`` and ``mcf`` are CounterFact's schema; the ROME code allows one edit at a time with ``cf``."""

_KNOWEDIT = ("ground_truth", "locality", "portability")
"""Keys that hold lists or objects in KnowEdit's schema and texts or nothing in the compact one."""
_DATA = Limits(n_bytes=1 << 30)

OWN_CASES = shipped("sample_data") / "cases.json"
"""The bundled cases."""


@dataclass(frozen=True, kw_only=True)
class FaultyRecords:
    """Whether faulty records are `dropped`, and whether cases are in the model `together`, which causes more faults."""

    dropped: bool = True
    together: bool = True


def load_dataset(
    name: str,
    path: Path | None = None,
    *,
    limit: int | None = None,
    graph_path: Path | None = None,
    references_path: Path | None = None,
    faulty: FaultyRecords | None = None,
) -> Dataset:
    """Load a data set.

    Args:
        name: one of `DATASETS`.
        path: the file; ``own`` without one is the bundled sample.
        limit: number of records to use, from the first.
        graph_path: a file ``[{case_id, triples}]``; by default ``*graph*`` beside the data with the same name prefix.
        references_path: CounterFact's ``attribute_snippets.json``, for consistency.
        faulty: treatment of MQuAKE's faulty records (see `find_faults`); they are listed in any case. If cases are in
            the model together, neighbours that another case edits are not asked (see `without_contested`).

    Raises:
        ConfigError: if there is no such data set, or no file for it.
        BrokenArtifactError: if the file breaks the schema; says which record.
    """
    faulty = faulty or FaultyRecords()
    if name not in DATASETS:
        raise ConfigError(f"There is no data set {name!r}; there are {', '.join(DATASETS)}.")
    if path is None:
        if name != "own":
            raise ConfigError(f"The data set {name} is not bundled. Give its file with --ds_path.")
        path = OWN_CASES
    if limit is not None:
        check_number("dataset_size_limit", limit, least=1)
    rows = _rows(path)
    readers: Mapping[str, Callable[[Record], EvalCase]] = {"zsre": read_zsre, "mquake": read_mquake}
    cases, left_out = _read(rows, path, readers.get(name, read_counterfact), limit)
    if name == "mquake":
        faults = find_faults(rows[:limit], together=faulty.together)
        left_out += faults
        if faulty.dropped:
            wrong = {fault.number for fault in faults}
            cases = {number: case for number, case in cases.items() if number not in wrong}
    found = without_contested(cases.values()) if faulty.together else list(cases.values())
    graph = graph_path or _beside(path)
    if graph is not None:
        found = _with_triples(found, graph)
    if references_path is not None:
        found = _with_references(found, rows, references_path)
    if not found:
        first = left_out[0]
        raise BrokenArtifactError(
            f"{path} holds no case that can be used; {len(left_out)} were left out. The first, record {first.number}: "
            f"{first.reason}"
        )
    notes = find_contradictions(cases) if faulty.together else []
    return Dataset(name=name, cases=tuple(found), path=path, left_out=tuple(left_out), notes=tuple(notes))


def read_counterfact(record: Record) -> EvalCase:
    """Read a record in CounterFact's schema, full or compact, with the optional keys of our own data."""
    if "requested_rewrite" not in record:
        if "target_new" not in record:
            raise BrokenArtifactError(
                f"{record.where} lacks 'requested_rewrite', and 'target_new' too. Give CounterFact's schema or the "
                "compact one; zsRE and MQuAKE are read with --ds_name zsre and mquake."
            )
        return _read_compact(record)
    rewrite = record.object("requested_rewrite")
    new, true = rewrite.object("target_new").text("str"), rewrite.object("target_true").text("str")
    edit = FactEdit.from_prompt(
        rewrite.text("prompt"),
        subject=rewrite.text("subject"),
        new_object=new,
        old_object=true,
        relation=rewrite.optional_text("relation_id"),
    )
    asks = [Ask(kind=AskKind.EFFICACY, prompt=edit.prompt, expected=new, rejected=true)]
    asks += [
        Ask(kind=AskKind.PARAPHRASE, prompt=prompt, expected=new, rejected=true)
        for prompt in record.texts("paraphrase_prompts")
    ]
    asks += _neighbours(record, new=new, true=true)
    asks += [
        Ask(
            kind=AskKind.CONSEQUENCES,
            prompt=item.text("prompt"),
            expected=item.text("target_new"),
            rejected=item.optional_text("target_true"),
        )
        for item in record.objects("consequence_prompts")
    ]
    return EvalCase(
        case_id=record.case_id,
        edits=(edit,),
        asks=tuple(asks),
        generation_prompts=record.texts("generation_prompts"),
        references=record.texts("reference_texts"),
        triples=read_triples(record),
        relation=edit.relation or "",
    )


def _neighbours(record: Record, *, new: str, true: str) -> list[Ask]:
    """Read the neighbours; they share the old object unless our key ``neighborhood_answers`` gives their answers."""
    prompts = record.texts("neighborhood_prompts")
    answers = record.texts("neighborhood_answers") or (true,) * len(prompts)
    if len(answers) != len(prompts):
        raise BrokenArtifactError(
            f"{record.where} has {len(prompts)} neighborhood_prompts and {len(answers)} neighborhood_answers; "
            "give one answer for each."
        )
    return [
        Ask(kind=AskKind.NEIGHBORHOOD, prompt=prompt, expected=answer, rejected=new)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def read_triples(record: Record) -> tuple[CaseTriple, ...]:
    """Read the optional key ``triples``."""
    return tuple(
        CaseTriple(subject=item.text("subject"), relation=item.text("relation"), target=item.text("target"))
        for item in record.objects("triples")
    )


def _read_compact(record: Record) -> EvalCase:
    """Read the compact schema: one paraphrase, one neighbour, and the subject spelled out in the prompt."""
    new, true = record.text("target_new"), record.text("ground_truth")
    edit = FactEdit.from_prompt(record.text("prompt"), subject=record.text("subject"), new_object=new, old_object=true)
    asks = [Ask(kind=AskKind.EFFICACY, prompt=edit.prompt, expected=new, rejected=true)]
    if paraphrase := record.optional_text("rephrase_prompt"):
        asks.append(Ask(kind=AskKind.PARAPHRASE, prompt=paraphrase, expected=new, rejected=true))
    if neighbour := record.optional_text("locality_prompt"):
        truth = record.text("locality_ground_truth")
        rejected = new if new != truth else None
        asks.append(Ask(kind=AskKind.NEIGHBORHOOD, prompt=neighbour, expected=truth, rejected=rejected))
    return EvalCase(case_id=record.case_id, edits=(edit,), asks=tuple(asks), triples=read_triples(record))


def rows_of(data: bytes, *, where: str) -> list[Any]:
    """Return the records of a data file: a JSON list, or JSON lines with one record per line.

    Raises:
        BrokenArtifactError: if it is neither, or has no record.
    """
    text = decode_text(data, where=where).lstrip()
    if not text:
        raise BrokenArtifactError(f"{where} is empty. Give a JSON list of records, or one record per line.")
    if where.lower().endswith((".jsonl", ".ndjson")) or (text.startswith("{") and "\n{" in text):
        rows: Any = [row for _, row in parse_json_lines(data, where=where)]
    else:
        rows = parse_json(text, where=where)
    if not isinstance(rows, list):
        raise BrokenArtifactError(
            f"{where} must hold a JSON list of records, got {type(rows).__name__}. {_as_list(rows)}"
        )
    if not rows:
        raise BrokenArtifactError(f"{where} has no record: the list is empty. Give at least one.")
    return rows


def _as_list(value: Any) -> str:
    """Say how another value becomes a list of records."""
    held = value if isinstance(value, Mapping) else {}
    lists = [key for key, rows in held.items() if isinstance(rows, list) and all(isinstance(r, Mapping) for r in rows)]
    if held and len(lists) == len(held):
        return f"Give the list under {lists[0][:80]!r} alone."
    if held and all(isinstance(row, Mapping) for row in held.values()):
        return "Give its values as a list, without their keys."
    return "Put [ and ] around them."


def _rows(path: Path) -> list[Any]:
    return rows_of(read_bytes(path, limits=_DATA), where=str(path))


def _read(
    rows: Sequence[Any], path: Path, reader: Callable[[Record], EvalCase], limit: int | None
) -> tuple[dict[int, EvalCase], list[Fault]]:
    """Read cases by record number, and the records left out."""
    cases: dict[int, EvalCase] = {}
    left_out: list[Fault] = []
    seen: set[str] = set()
    for number, row in enumerate(rows[:limit], start=1):
        record = Record(row, where=f"{path.name}, record {number}", number=number)
        try:
            case = reader(record)
        except RequestError as error:
            left_out.append(Fault(number=number, case_id=record.case_id, reason=str(error)))
            continue
        except BrokenArtifactError as error:
            if (name := _other_schema(record, reader)) is None:
                raise
            raise BrokenArtifactError(f"{error} The record looks like one of --ds_name {name}.") from error
        if case.case_id in seen:
            # MQuAKE's two parts both number their records from 1, and are often joined in one file.
            case = replace(case, case_id=f"{case.case_id}#{number}")
        seen.add(case.case_id)
        # A question that occurs several times in a record counts once.
        cases[number] = replace(case, asks=tuple(dict.fromkeys(case.asks)))
    return cases, left_out


def _other_schema(record: Record, reader: Callable[[Record], EvalCase]) -> str | None:
    """Return the name of the data set whose schema a record that cannot be read has; ``None`` if it is the reader's."""
    schemas = {"mcf": read_counterfact, "zsre": read_zsre, "mquake": read_mquake}
    rewrite = record.get("requested_rewrite")
    if isinstance(rewrite, list) or "new_single_hops" in record:
        name = "mquake"
    elif isinstance(rewrite, Mapping):
        name = "mcf"
    elif "src" in record or any(isinstance(record.get(key), (list, Mapping)) for key in _KNOWEDIT):
        name = "zsre"
    else:
        return None
    return None if schemas[name] is reader else name


def _beside(path: Path) -> Path | None:
    """Return the graph file beside the data: ``counterfact_graph_dev.json`` for ``counterfact_dev.json``."""
    stem, _, rest = path.stem.partition("_")
    for name in (f"{path.stem}_graph.json", f"{stem}_graph_{rest}.json" if rest else f"{stem}_graph.json"):
        if (path.parent / name).is_file():
            return path.parent / name
    return None


def _with_triples(cases: Sequence[EvalCase], path: Path) -> list[EvalCase]:
    by_case = {}
    for number, row in enumerate(_rows(path), start=1):
        record = Record(row, where=f"{path.name}, record {number}", number=number)
        by_case[record.case_id] = read_triples(record)
    return [replace(case, triples=case.triples or by_case.get(case.case_id, ())) for case in cases]


def _with_references(cases: Sequence[EvalCase], rows: Sequence[Any], path: Path) -> list[EvalCase]:
    """Add CounterFact's snippets ``[{relation_id, target_id, samples: [{text}]}]`` by relation and new object."""
    texts: dict[tuple[str, str], tuple[str, ...]] = {}
    for number, row in enumerate(_rows(path), start=1):
        record = Record(row, where=f"{path.name}, record {number}", number=number)
        key = record.text("relation_id"), record.text("target_id")
        texts[key] = tuple(item.text("text") for item in record.objects("samples"))
    wanted: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows, start=1):
        rewrite = row.get("requested_rewrite") if isinstance(row, dict) else None
        if isinstance(rewrite, dict):
            record = Record(row, where=f"record {number}", number=number)
            key = (
                str(rewrite.get("relation_id")),
                str(record.object("requested_rewrite").object("target_new").get("id")),
            )
            wanted[record.case_id] = texts.get(key, ())
    return [replace(case, references=case.references or wanted.get(case.case_id, ())) for case in cases]
