"""A graph of one's own: what is read, what is refused, and that the one at hand stays where nothing could be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kgmet.base.errors import EndpointError, GraphFileError
from kgmet.graph.sparql.store import SparqlStore
from kgmet.graph.stores.readers import load_graph
from kgmet.graph.stores.sample import sample_store
from tests.graph.sparql import test_sparql as serve
from tests.workbench.sessions import fresh_process, state_of, wait_for
from workbench.running import resources
from workbench.running.access import Access
from workbench.running.jobs import JobState
from workbench.screens.graph import reading

GOOD = "subject\trelation\tobject\nTower\tcountry\tFrance\nFrance\tcapital\tParis\n"
BAD = "subject\trelation\tobject\nTower\t\tFrance\n"


@pytest.fixture(autouse=True)
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fresh_process(tmp_path / "cache", monkeypatch)
    yield
    resources.graph_holder().put(sample_store())


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_says_what_was_read_and_what_was_refused_with_the_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", good=GOOD, bad=BAD, entities="id\tlabel\nK-paris\tParis\n")
    found = reading.read_files(reading.files_in(str(folder)))
    assert len(found.graph) == 2
    assert found.read == ("good.tsv: 2 triples", "entities.tsv: names of entities")
    (refused,) = found.refused
    assert refused.startswith("bad.tsv: the file, line 2: the relation is empty") and str(tmp_path) not in refused
    assert [match.entity.label for match in found.graph.search("Tower")] == ["Tower"]


def test_where_nothing_can_be_read_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match="no folder"):
        reading.files_in(str(tmp_path / "not there"))
    with pytest.raises(GraphFileError, match="no file of triples"):
        reading.files_in(str(written(tmp_path / "empty")))
    with pytest.raises(GraphFileError, match="line 2: the relation is empty"):
        reading.read_files(reading.files_in(str(written(tmp_path / "bad", bad=BAD))))
    with pytest.raises(EndpointError):
        reading.ask_endpoint("file:///etc/passwd")


def test_an_uploaded_file_is_asked_from_then_on_and_a_broken_one_changes_nothing() -> None:
    state, holder = state_of(), resources.graph_holder()
    assert holder.is_sample
    assert reading.start_files(state, holder, {"../../mine.tsv": GOOD.encode(), "bad.tsv": BAD.encode()}) is None
    job = wait_for(state.job("graph").id)  # type: ignore[union-attr]
    assert job.state is JobState.DONE
    assert not holder.is_sample and len(resources.store()) == 2
    assert [line.split(":")[0] for line in job.value.refused] == ["bad.tsv"]
    kept = resources.store()
    assert reading.start_files(state, holder, {"bad.tsv": BAD.encode()}) is None
    assert wait_for(state.job("graph").id).state is JobState.FAILED  # type: ignore[union-attr]
    assert resources.store() is kept


def test_an_endpoint_is_asked_for_its_relations(tmp_path: Path) -> None:
    load_graph(written(tmp_path / "mine", good=GOOD) / "good.tsv").write(tmp_path / "facts.nt")
    script = Path(serve.__file__).with_name("serve_sparql.py")
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path / "facts.nt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        found = reading.ask_endpoint(f"http://127.0.0.1:{port}/sparql")
        relations = {relation.id for relation in found.graph.relations()}
        process.kill()
    assert any(line.startswith("for example: ") and "–" in line for line in found.read[1:])
    assert {"P17", "P36"} <= relations
    assert not found.refused
    assert isinstance(found.graph, SparqlStore)
    found.graph.close()


def test_visitors_of_a_shared_server_name_no_folder_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "access", lambda: Access(is_shared=True, endpoints=frozenset({"https://a.example/q"})))
    state, holder = state_of(), resources.graph_holder()
    assert "uploaded, not named" in str(reading.start_folder(state, holder, "/etc"))
    assert "may not be asked" in str(reading.start_endpoint(state, holder, "http://10.0.0.1/sparql"))
    assert state.job("graph") is None and holder.is_sample
