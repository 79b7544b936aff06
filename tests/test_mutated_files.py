"""Files with changed bytes or values, of every format that people exchange: read, or refused in words.

Sessions and what is in them: tests/workbench/state/test_mutated_files.py.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgmet.base.errors import KgmetError
from kgmet.editing.config import EditConfig, load_config
from kgmet.editing.profile import load_profile
from kgmet.evaluate.datasets.load import load_dataset
from kgmet.evaluate.runs.folder import Table, read_settings
from kgmet.evaluate.runs.hparams import load_hparams
from kgmet.fact_table import parse_facts
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.readers import load_graph
from kgmet.write.adapter import read_lora
from kgmet.write.corpus import Corpus
from kgmet.write.export import export_lora
from kgmet.write.moments import KeyMoment
from kgmet.write.patch import load_patch, save_patch
from tests.evaluate.records import counterfact, mquake, written, zsre
from tests.mutations import changed, places_in, put
from tests.package.installed import ROOT
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import random_patch

SOAK = 20 if os.environ.get("KGMET_SOAK") == "1" else 1
"""How many times as many cases are drawn."""
pytestmark = [pytest.mark.soak] if SOAK > 1 else []

LM = tiny_lm()
MOMENT = KeyMoment(
    layer=1, second_moment=torch.eye(8, dtype=torch.float64), n_token=9, corpus="few lines", model_fingerprint="0" * 16
)
TSV = "subject_id\tsubject\trelation_id\trelation\tobject_id\tobject\nQ243\tEiffel Tower\tP131\tin\tQ90\tParis\n"
WD, WDT = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
NT = (
    f'<{WD}Q243> <{WDT}P131> <{WD}Q90> .\n<{WD}Q90> <http://www.w3.org/2000/01/rdf-schema#label> "Paris"@en .\n'
    f'<{WD}Q90> <{WDT}P1082> "2,100"^^<http://www.w3.org/2001/XMLSchema#string> .\n'
)
TTL = f"@prefix wd: <{WD}> . @prefix wdt: <{WDT}> .\nwd:Q243 wdt:P131 wd:Q90, wd:Q142 .\n"
TRIPLES = [{"subject": "Rome", "relation": "country", "target": "Italy"}]
TABLE = "subject,template,new_object,old_object\nThe Louvre,{} is in,Rome,Paris\nBig Ben,{} is in,Berlin,London\n"
PROFILE = ROOT / "kgmet" / "editing" / "profiles" / "283b3057b459c5d8.json"
HPARAMS = ROOT / "kgmet" / "evaluate" / "runs" / "hparams" / "gpt2-xl.json"

Read = Callable[[Path], object]


def text_file(name: str, content: str) -> Callable[[Path], object]:
    data = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def run_folder(folder: Path) -> None:
    (folder / "settings.json").write_text(json.dumps({"data_set": "own", "seed": 0, "editors": ["KGMET"]}))
    (folder / "cases.jsonl").write_text('{"case": 1, "row": "KGMET", "took": true}\n' * 3)


def catalogue(folder: Path) -> None:
    bundled = json.loads((ROOT / "kgmet" / "graph" / "relations.json").read_text(encoding="utf-8"))
    written(folder / "relations.json", [one for one in bundled if not one["inverse"] and not one["composes"]][:2])


def finite_patch(folder: Path) -> None:
    for update in load_patch(folder).updates:
        assert torch.isfinite(update.output_factor).all() and torch.isfinite(update.input_factor).all()


def finite_adapter(folder: Path) -> None:
    for one in read_lora(folder, LM).factors:
        assert torch.isfinite(one.input).all() and torch.isfinite(one.output).all()


KINDS: dict[str, tuple[Callable[[Path], object], Read]] = {
    **{
        f"graph {name}": (text_file(name, content), lambda folder: load_graph(sorted(folder.iterdir())))
        for name, content in (
            ("a.tsv", TSV),
            ("a.csv", TSV.replace("\t", ",")),
            ("a.tsv.gz", TSV),
            ("a.nt", NT),
            ("a.nt.gz", NT),
            ("a.nq", NT.replace(" .\n", " <urn:from> .\n")),
            ("a.ttl", TTL),
        )
    },
    **{
        f"data {name}": (
            lambda folder, rows=rows: written(folder / "data.json", rows),
            lambda folder, name=name: load_dataset(name, folder / "data.json"),
        )
        for name, rows in (
            ("mcf", [counterfact(), counterfact(1)]),
            ("own", [counterfact(triples=TRIPLES, neighborhood_answers=["Paris", "Berlin"])]),
            ("zsre", [zsre(), zsre(subject="The Louvre")]),
            ("mquake", [mquake(), mquake(2)]),
        )
    },
    "data lines": (
        lambda folder: (folder / "data.jsonl").write_text("\n".join(json.dumps(counterfact(n)) for n in range(3))),
        lambda folder: load_dataset("mcf", folder / "data.jsonl"),
    ),
    "graphs of cases": (
        lambda folder: written(folder / "graphs.json", [{"case_id": 0, "triples": TRIPLES}]),
        lambda folder: load_graph(folder / "graphs.json"),
    ),
    "relations": (catalogue, lambda folder: RelationCatalogue.load(folder / "relations.json")),
    "facts": (text_file("facts.csv", TABLE), lambda folder: parse_facts((folder / "facts.csv").read_text("latin-1"))),
    "settings": (
        text_file("settings.toml", '[write]\nlayers = [1, 2]\nridge = 2\n[cutoff]\nkind = "energy"\nvalue = 0.1\n'),
        lambda folder: load_config(folder / "settings.toml"),
    ),
    "hparams": (
        lambda folder: shutil.copy(HPARAMS, folder),
        lambda folder: load_hparams(folder / HPARAMS.name, base=EditConfig()),
    ),
    "profile": (lambda folder: shutil.copy(PROFILE, folder), lambda folder: load_profile(folder / PROFILE.name)),
    "corpus": (text_file("text.txt", "A line of text.\n" * 20), lambda folder: Corpus.from_file(folder / "text.txt")),
    "run": (run_folder, lambda folder: (read_settings(folder), Table(folder / "cases.jsonl").rows)),
    "patch": (lambda folder: save_patch(random_patch(LM), folder), finite_patch),
    "adapter": (lambda folder: export_lora(random_patch(LM), LM, folder), finite_adapter),
    "statistics": (
        lambda folder: MOMENT.save(folder / "layer_1.safetensors"),
        lambda folder: KeyMoment.load(folder / "layer_1.safetensors", model_fingerprint="0" * 16),
    ),
}
"""Format → how a sound one is made in an empty folder, and how it is read from there."""

HAVE_JSON = (
    *(f"data {name}" for name in ("mcf", "own", "zsre", "mquake")),
    *("graphs of cases", "relations", "hparams", "profile", "run", "patch", "adapter"),
)
"""Formats with a file of JSON."""

BYTES = st.tuples(st.sampled_from(["put", "insert", "cut", "end"]), st.floats(0, 1), st.binary(min_size=1, max_size=9))
DEEP = "[" * 5000 + "]" * 5000
"""Stands for JSON that is nested too deep."""
LONG = "9" * 6000
"""Stands for an integer of too many digits."""
VALUES = st.sampled_from(
    [
        *("null", "true", "-1", "0", "1.5", "1e308", "1e999", "NaN", LONG),
        *('""', '"{}"', '"\\u202e\\u0000"', '"' + "x" * 100_000 + '"'),
        *("[]", "[[]]", "{}", '{"a": {"b": [1]}}', DEEP),
    ]
)


def drawn(n: int) -> settings:
    """So many cases, the same each time; in a soak many more, and others each time."""
    checks = list(HealthCheck)
    return settings(max_examples=n * SOAK, deadline=None, derandomize=SOAK == 1, suppress_health_check=checks)


@pytest.fixture
def sound(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, bytes]]:
    """A format, and the files of a sound one."""
    make, read = KINDS[request.param]
    (tmp_path / "sound").mkdir()
    make(tmp_path / "sound")
    read(tmp_path / "sound")
    return request.param, {file.name: file.read_bytes() for file in sorted((tmp_path / "sound").iterdir())}


def tried(kind: str, files: dict[str, bytes], folder: Path) -> None:
    """Read the files; whatever they hold, nothing but a refusal in words is raised."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        KINDS[kind][1](folder)
    except KgmetError as error:
        assert str(error)


def with_value(data: Any, path: tuple[Any, ...], text: str) -> bytes:
    """The JSON of `data` with other JSON at a path."""
    mark = "the place of the other value"
    if not path:
        return text.encode()
    put(data, path, mark)
    return json.dumps(data).replace(json.dumps(mark), text).encode()


@pytest.mark.parametrize("sound", KINDS, indirect=True)
@drawn(30)
@given(data=st.data(), change=BYTES)
def test_changed_bytes_end_in_no_traceback(
    sound: tuple[str, dict[str, bytes]], tmp_path: Path, data: st.DataObject, change: tuple[str, float, bytes]
) -> None:
    kind, files = sound
    name = data.draw(st.sampled_from(list(files)))
    tried(kind, files | {name: changed(files[name], *change)}, tmp_path / "changed")


@pytest.mark.parametrize("sound", HAVE_JSON, indirect=True)
@drawn(30)
@given(data=st.data(), text=VALUES)
def test_another_value_ends_in_no_traceback(
    sound: tuple[str, dict[str, bytes]], tmp_path: Path, data: st.DataObject, text: str
) -> None:
    kind, files = sound
    name = data.draw(st.sampled_from([name for name in files if name.endswith(".json")]))
    inside = json.loads(files[name])
    path = data.draw(st.sampled_from([(), *places_in(inside)]))
    tried(kind, files | {name: with_value(inside, path, text)}, tmp_path / "changed")
