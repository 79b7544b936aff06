"""Against a real SPARQL server on the loopback address, and against servers that mean no good."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError, EndpointError, UnknownEntityError, UnknownRelationError
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.sparql import queries
from kgmet.graph.sparql.endpoint import EndpointClient, EndpointSettings
from kgmet.graph.sparql.store import SparqlStore
from kgmet.graph.stores.memory import MemoryStore
from kgmet.graph.stores.rdf import RdfStore
from kgmet.graph.triple import Entity, Relation, Triple
from kgmet.graph.wording.linking import link_edit

CATALOGUE = RelationCatalogue.load()
TOWER = Entity(id="Q243", label="Eiffel Tower", description="tower in Paris", aliases=("La Tour Eiffel",))
PARIS, FRANCE = Entity(id="Q90", label="Paris"), Entity(id="Q142", label="France")
TEXAN = Entity(id="Q830149", label="Paris", description="city in Texas")
NASTY = Entity(id='K-"} ; x', label='"} . DELETE WHERE {?s ?p ?o} # <b>')
FOREIGN = Entity(id="http://example.org/a?b=c#d", label="foreign")
MOTTO = Relation(id="http://example.org/motto", label="motto")


def fact(subject: Entity, relation: str | Relation, obj: Entity) -> Triple:
    kind = relation if isinstance(relation, Relation) else CATALOGUE.spec(relation).relation
    return Triple(subject=subject, relation=kind, object=obj)


FACTS = [
    fact(TOWER, "P131", PARIS),
    fact(TOWER, "P17", FRANCE),
    fact(PARIS, "P17", FRANCE),
    fact(FRANCE, "P36", PARIS),
    fact(FRANCE, MOTTO, Entity(id='lit:"Liberté"@fr', label="Liberté")),
    fact(FRANCE, "P474", Entity(id="lit:+33", label="+33")),
    fact(NASTY, MOTTO, FOREIGN),
    fact(TEXAN, "P17", Entity(id="Q30", label="United States")),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The facts above, served by rdflib."""
    path = tmp_path_factory.mktemp("rdf") / "facts.nt"
    RdfStore(FACTS).write(path)
    script = Path(__file__).with_name("serve_sparql.py")
    command = [sys.executable, "-W", "ignore", str(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        # The socket listens before the server runs, so the first question simply waits.
        yield f"http://127.0.0.1:{port}/sparql"
        process.kill()


@pytest.fixture
def remote(server: str, tmp_path: Path) -> Iterator[SparqlStore]:
    store = SparqlStore(server, cache_dir=tmp_path / "cache")
    yield store
    store.close()


LOCAL = MemoryStore(FACTS)


@pytest.mark.parametrize("entity", [TOWER, PARIS, FRANCE, NASTY, FOREIGN, TEXAN], ids=lambda entity: entity.label)
def test_a_remote_store_answers_as_a_local_one(remote: SparqlStore, entity: Entity):
    for way in ("outgoing", "incoming"):
        here, there = getattr(LOCAL, way)(entity.id), getattr(remote, way)(entity.id)
        assert list(there) == list(here)
        assert [str(triple) for triple in there] == [str(triple) for triple in here]
        for relation in ("P17", "P36", MOTTO.id):
            assert list(getattr(remote, way)(entity.id, relations=[relation])) == list(
                getattr(LOCAL, way)(entity.id, relations=[relation])
            )
    known = remote.entity(entity.id)
    assert (known.label, known.description, known.aliases) == (entity.label, entity.description, entity.aliases)


def test_relations_of_a_remote_store(remote: SparqlStore):
    assert [(r.id, r.label) for r in remote.relations()] == [(r.id, r.label) for r in LOCAL.relations()]
    assert remote.relation(MOTTO.id).label == "motto"
    assert list(remote.with_relation("P17")) == list(LOCAL.with_relation("P17"))
    with pytest.raises(UnknownRelationError, match="P999"):
        remote.relation("P999")


def test_values_are_found_from_their_facts(remote: SparqlStore):
    assert [triple.subject.id for triple in remote.incoming("lit:+33")] == ["Q142"]
    assert remote.outgoing("lit:+33") == () and remote.outgoing("_:b0") == ()
    assert remote.entity("lit:+33").label == "+33"


@pytest.mark.parametrize("typed", ["Eiffel Tower", "The Eiffel Tower", "eiffel tower", "La Tour Eiffel"])
def test_search_by_usual_spellings(remote: SparqlStore, typed: str):
    (match,) = remote.search(typed)
    assert match.entity == TOWER and match.entity.description == "tower in Paris"
    assert match.matched == ("La Tour Eiffel" if "Tour" in typed else "Eiffel Tower")


def test_same_names_come_with_descriptions(remote: SparqlStore):
    assert {(m.entity.id, m.entity.description) for m in remote.search("Paris")} == {
        ("Q90", ""),
        ("Q830149", "city in Texas"),
    }


@pytest.mark.parametrize("typed", [NASTY.label, '"', "\\", "x\n} UNION { ?s ?p ?o", "''' }", "}}", "<http://a> .", ""])
def test_no_text_can_become_part_of_a_query(remote: SparqlStore, typed: str):
    assert {match.entity.id for match in remote.search(typed)} == ({NASTY.id} if typed == NASTY.label else set())
    with pytest.raises(UnknownEntityError):
        remote.entity(f"K-{typed}> ?p ?o")
    assert remote.outgoing(f"Q90> ?p ?o . <http://a {typed}") == ()


def test_a_limit_reaches_the_server(remote: SparqlStore):
    assert len(remote.outgoing("Q142", limit=1)) == 1
    assert list(remote.outgoing("Q243", limit=1)) == list(LOCAL.outgoing("Q243")[:1])
    assert len(remote.incoming("Q142", limit=1)) == 1
    assert remote.outgoing("Q142", limit=0) == remote.outgoing("Q142", relations=[]) == ()


def test_unknown_things_are_empty_or_named(remote: SparqlStore):
    assert remote.outgoing("Q404") == ()
    with pytest.raises(UnknownEntityError, match="Q404"):
        remote.entity("Q404")
    assert bool(remote) and len(remote) == 0


def test_of_wikidata_only_statements_between_entities_count(server: str, tmp_path: Path):
    store = SparqlStore(server, cache_dir=tmp_path, wikidata=True)
    assert [triple.key for triple in store.outgoing("Q142")] == [("Q142", "P36", "Q90")]
    store.close()


def test_an_edit_is_linked_over_the_network(remote: SparqlStore):
    edit = FactEdit(subject="the eiffel tower", template="{} is located in the city of", new_object="France")
    linked = link_edit(remote, edit, CATALOGUE).edit
    assert (linked.subject_id, linked.relation, linked.old_object_id) == ("Q243", "P131", "Q90")


def test_each_name_of_an_edit_is_asked_for_once(remote: SparqlStore, monkeypatch: pytest.MonkeyPatch):
    """Names that only begin alike are not asked for: an endpoint finds whole names only."""
    asked: list[str] = []
    bearing = queries.bearing
    monkeypatch.setattr(
        queries, "bearing", lambda names, *, limit: asked.append(bearing(names, limit=limit)) or asked[-1]
    )
    edit = FactEdit(subject="La Tour Eiffel", template="{} is in", new_object="France", old_object="Paris")
    assert link_edit(remote, edit, CATALOGUE).edit.subject_id == "Q243"
    assert len(set(asked)) == 3


def test_answers_are_kept_dated_and_used_when_the_endpoint_is_gone(server: str, tmp_path: Path):
    first = SparqlStore(server, cache_dir=tmp_path)
    facts = first.outgoing("Q243")
    assert first.status.asked > 0 and first.status.from_cache == 0
    again = SparqlStore(server, cache_dir=tmp_path, settings=EndpointSettings(offline=True))
    assert again.outgoing("Q243") == facts
    assert again.status.asked == 0 and again.status.from_cache == first.status.asked
    assert again.status.oldest == first.status.oldest
    assert facts[0].source == f"{server}, {datetime.now(UTC).date().isoformat()}"
    with pytest.raises(EndpointError, match="offline mode"):
        again.incoming("Q1")
    first.close()
    again.close()


# Servers that mean no good.

ONE_ROW = json.dumps(
    {"head": {"vars": ["p"]}, "results": {"bindings": [{"p": {"type": "uri", "value": "http://example.org/p"}}]}}
)
Handler = Callable[[BaseHTTPRequestHandler, int], None]


@contextmanager
def serving(answer: Handler) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers every POST by `answer(handler, number)`; yields its address and the headers it got."""
    seen: list[dict[str, str]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(dict(self.headers))
            with suppress(BrokenPipeError, ConnectionResetError):
                answer(self, len(seen))

        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/sparql", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join(timeout=5)


def reply(handler: BaseHTTPRequestHandler, status: int, body: str | bytes = "", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body if isinstance(body, bytes) else body.encode())


@contextmanager
def asking(url: str, folder: Path, **settings: object) -> Iterator[tuple[EndpointClient, list[float]]]:
    waits: list[float] = []
    client = EndpointClient(url, settings=EndpointSettings(**settings), cache_dir=folder, sleep=waits.append)
    yield client, waits
    client.close()


def test_a_busy_server_is_given_the_time_it_asks_for(tmp_path: Path):
    in_four = format_datetime(datetime.now(UTC) + timedelta(seconds=4.9), usegmt=True)

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            reply(handler, 429, Retry_After="3")
        elif number == 2:
            reply(handler, 503, Retry_After=in_four)
        else:
            reply(handler, 200, ONE_ROW)

    with serving(answer) as (url, seen), asking(url, tmp_path, contact="me@example.org") as (client, waits):
        assert len(client.select("q").rows) == 1
        assert waits[0] == 3 and 2 < waits[1] <= 5
        assert "KGMET-Workbench/" in seen[0]["User-Agent"] and "me@example.org" in seen[0]["User-Agent"]
        assert client.status.problem is None


def test_who_asks_for_too_long_a_wait_is_left_alone(tmp_path: Path):
    with (
        serving(lambda handler, _: reply(handler, 429, Retry_After="3600")) as (url, seen),
        asking(url, tmp_path) as (client, waits),
    ):
        with pytest.raises(EndpointError, match="a pause of 3600 s"):
            client.select("q")
        with pytest.raises(EndpointError, match="asked again in"):
            client.select("another")
        assert waits == [] and len(seen) == 1


def test_a_failing_server_is_asked_a_few_times(tmp_path: Path):
    with (
        serving(lambda handler, _: reply(handler, 503, "busy\x07")) as (url, seen),
        asking(url, tmp_path) as (client, waits),
    ):
        with pytest.raises(EndpointError, match=r"answered 503: 'busy'\. Asked 3 times"):
            client.select("q")
        assert waits == [1, 2] and len(seen) == 3


def test_an_old_answer_serves_when_the_server_fails(tmp_path: Path):
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        reply(handler, 200, ONE_ROW) if number == 1 else reply(handler, 500, "out of order")

    with serving(answer) as (url, _), asking(url, tmp_path, cache_days=0) as (client, _):
        fresh = client.select("q")
        old = client.select("q")
        assert old == fresh
        assert client.status.problem is not None and "out of order" in client.status.problem
        assert (client.status.asked, client.status.from_cache) == (1, 1)
        with pytest.raises(EndpointError, match="500"):
            client.select("another")


def test_nobody_listens(tmp_path: Path):
    free = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{free.getsockname()[1]}/sparql"
    free.close()
    with asking(url, tmp_path) as (client, waits):
        with pytest.raises(EndpointError, match="cannot be reached"):
            client.select("q")
        assert waits == [1, 2]


def test_a_silent_server(tmp_path: Path):
    stop = threading.Event()
    with (
        serving(lambda handler, _: (stop.wait(10), None)[1]) as (url, _),
        asking(url, tmp_path, timeout_s=0.2, retries=0) as (client, _),
    ):
        with pytest.raises(EndpointError, match="ReadTimeout"):
            client.select("q")
        stop.set()


def endless(handler: BaseHTTPRequestHandler, piece: bytes, pause: float = 0.0) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(piece)
        handler.wfile.flush()
        time.sleep(pause)


def test_an_endless_reply_is_cut_off(tmp_path: Path):
    with (
        serving(lambda handler, _: endless(handler, b"x" * 65_536)) as (url, _),
        asking(url, tmp_path, max_bytes=10**6) as (client, _),
        pytest.raises(EndpointError, match="more than 1000000 bytes; the reply was cut off"),
    ):
        client.select("q")


def test_a_dripping_reply_is_cut_off(tmp_path: Path):
    with (
        serving(lambda handler, _: endless(handler, b" " * 66_000, 0.05)) as (url, _),
        asking(url, tmp_path, deadline_s=0.3, timeout_s=5) as (client, _),
        pytest.raises(EndpointError, match="did not finish"),
    ):
        client.select("q")


def test_too_many_rows(tmp_path: Path):
    answer = json.loads(ONE_ROW)
    answer["results"]["bindings"] *= 11
    with (
        serving(lambda h, _: reply(h, 200, json.dumps(answer))) as (url, _),
        asking(url, tmp_path, max_rows=10) as (client, _),
    ):
        with pytest.raises(EndpointError, match="more than 10 rows"):
            client.select("q")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>Welcome to the hotel's network</html>",
        "[]",
        "{}",
        '{"head": {}, "boolean": true}',
        '{"head": {"vars": ["p"]}, "results": {"bindings": 3}}',
        '{"head": {"vars": ["p"]}, "results": {"bindings": [{"p": {"type": "uri", "value": "not an iri"}}]}}',
        '{"head": {"vars": ["p"]}, "results": {"bindings": [{"p": {"type": "uri", "value": 7}}]}}',
        '{"head": {"vars": ["p"]}, "results": {"bindings": [{"p": {"type": "evil", "value": "x"}}]}}',
        "[" * 50_000,
        b"\xff\xfe",
        ONE_ROW[:-10],
    ],
)
def test_a_lie_is_no_fact(tmp_path: Path, body: str | bytes):
    with serving(lambda handler, _: reply(handler, 200, body)) as (url, _), asking(url, tmp_path) as (client, _):
        with pytest.raises(EndpointError):
            client.select("q")
        assert list(tmp_path.iterdir()) == []


def test_an_answer_to_another_question_is_no_fact(tmp_path: Path):
    """Well-formed rows that do not hold what was asked for make no triple."""
    literal = {"type": "literal", "value": "x"}
    lie = {"head": {"vars": ["p", "e", "l"]}, "results": {"bindings": [{"p": literal, "e": literal, "l": literal}]}}
    with serving(lambda handler, _: reply(handler, 200, json.dumps(lie))) as (url, _):
        store = SparqlStore(url, cache_dir=tmp_path)
        with pytest.raises(EndpointError, match="cannot be trusted"):
            store.outgoing("Q1")
        assert store.search("x") == ()
        store.close()


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/x",
        "http://localhost/",
        "file:///etc/passwd",
        "//10.0.0.1/",
        "http://[",
        "",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(tmp_path: Path, place: str):
    with (
        serving(lambda handler, _: reply(handler, 307, Location=place)) as (url, _),
        asking(url, tmp_path) as (client, _),
        pytest.raises(EndpointError, match=r"another server|in a circle"),
    ):
        client.select("q")


def test_a_redirect_on_the_same_server_is_followed(tmp_path: Path):
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        reply(handler, 301, Location="/moved") if handler.path == "/sparql" else reply(handler, 200, ONE_ROW)

    with serving(answer) as (url, _), asking(url, tmp_path) as (client, _):
        assert len(client.select("q").rows) == 1


def test_the_folder_of_answers_stays_small(tmp_path: Path):
    with serving(lambda handler, _: reply(handler, 200, ONE_ROW)) as (url, _):
        with asking(url, tmp_path, max_cache_bytes=2_000) as (client, _):
            for number in range(40):
                client.select(f"q{number}")
        kept = list(tmp_path.iterdir())
        assert 1 <= len(kept) < 20 and sum(path.stat().st_size for path in kept) <= 2_000


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"endpoint": 1}', "null"])
def test_a_damaged_file_of_answers_is_asked_for_again(tmp_path: Path, damage: str):
    with serving(lambda handler, _: reply(handler, 200, ONE_ROW)) as (url, seen), asking(url, tmp_path) as (client, _):
        first = client.select("q")
        (kept,) = tmp_path.iterdir()
        kept.write_text(damage)
        assert client.select("q").rows == first.rows and len(seen) == 2


@pytest.mark.parametrize(
    "url",
    ["", "wikidata", "ftp://example.org/", "file:///etc/passwd", "http://", "http://u:p@example.org/", "http://[1"],
)
def test_addresses_that_are_refused(tmp_path: Path, url: str):
    with pytest.raises(EndpointError):
        SparqlStore(url, cache_dir=tmp_path)


def test_settings_out_of_range():
    for wrong in (
        {"timeout_s": 0},
        {"retries": -1},
        {"max_bytes": 0},
        {"contact": "a\nb"},
        {"deadline_s": float("nan")},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            EndpointSettings(**wrong)
