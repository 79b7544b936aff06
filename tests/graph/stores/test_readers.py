from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from kgmet.base.errors import GraphFileError
from kgmet.graph.stores.readers import entity_id_for, load_graph
from kgmet.graph.stores.sample import sample_store

LABELS = {"P131": "located in city", "P17": "country", "P36": "capital"}


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(*paths: Path, **more):
    return load_graph(list(paths), relation_labels=LABELS, **more)


FULL = "subject_id\tsubject\trelation_id\trelation\tobject_id\tobject\tsources\n"
ROW = "Q243\tEiffel Tower\tP131\tlocated in city\tQ90\tParis\thand\n"


def test_one_graph_in_every_format(tmp_path: Path):
    """The same facts by TSV, CSV, gzip, numbered TSV with entities, N-Triples and Turtle."""
    wd, wdt = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
    label = "http://www.w3.org/2000/01/rdf-schema#label"
    entities = write(tmp_path, "entities.tsv", "id\tlabel\ttype\nQ243\tEiffel Tower\tlandmark\nQ90\tParis\tcity\n")
    stores = [
        read(write(tmp_path, "a.tsv", FULL + ROW)),
        read(write(tmp_path, "b.csv", (FULL + ROW).replace("\t", ","))),
        read(write(tmp_path, "c.tsv.gz", gzip.compress((FULL + ROW).encode()))),
        read(write(tmp_path, "d.tsv", "subject_id\trelation_id\tobject_id\nQ243\tP131\tQ90\n"), entities=entities),
        read(
            write(
                tmp_path,
                "e.nt",
                f'<{wd}Q243> <{wdt}P131> <{wd}Q90> .\n<{wd}Q243> <{label}> "Eiffel Tower"@en .\n'
                f'<{wd}Q90> <{label}> "Paris" .\n',
            )
        ),
        read(
            write(
                tmp_path,
                "f.ttl",
                f'@prefix wd: <{wd}> . @prefix wdt: <{wdt}> .\nwd:Q243 wdt:P131 wd:Q90 ; <{label}> "Eiffel Tower" .\n'
                f'wd:Q90 <{label}> "Paris"@en, "Parigi"@it .',
            )
        ),
    ]
    for store in stores:
        (fact,) = store.outgoing("Q243")
        assert str(fact) == "Eiffel Tower –located in city→ Paris" and fact.key == ("Q243", "P131", "Q90")
        assert store.search("the eiffel tower")[0].entity.id == "Q243"
    assert stores[-1].search("parigi")[0].entity.label == "Paris"
    assert stores[3].entity("Q90").type == "city"


def test_rdf_written_and_read_again_is_the_same_graph(tmp_path: Path):
    table = (
        FULL
        + ROW
        + 'K-odd thing\tOdd "thing" <b>\tP17\tcountry\tlit:"5"^^<http://www.w3.org/2001/XMLSchema#integer>\t5\tb\n'
        + "Q90\tParis\thttp://example.org/p\tfoundé\tlit:33\t33\t\n"
    )
    entities = write(
        tmp_path,
        "entities.tsv",
        "id\tlabel\ttype\tdescription\taliases\tarticle\nQ243\tEiffel Tower\tl\td\tA| B\tthe\n",
    )
    store = read(write(tmp_path, "a.tsv", table), entities=entities)
    for name in ("g.nq", "g.nt"):
        store.write(tmp_path / name)
        again = load_graph(tmp_path / name, relation_labels={})
        assert again.fingerprint == store.fingerprint
        assert again.entity("Q243") == store.entity("Q243") and again.entity("Q243").article == "the"
    sources = {t.key: t.source for t in load_graph(tmp_path / "g.nq", relation_labels={})}
    assert sources == {t.key: t.source for t in store} and "hand" in sources.values()


def test_files_are_merged_and_repetitions_too(tmp_path: Path):
    other = FULL + ROW.replace("hand", "book") + "Q90\tParis\tP17\tcountry\tQ142\tFrance\tbook\n"
    store = read(write(tmp_path, "a.tsv", FULL + ROW + ROW), write(tmp_path, "b.tsv", other))
    assert len(store) == 2 and store.outgoing("Q243")[0].source == "book; hand"
    assert store.name == "a.tsv + b.tsv"


def test_labels_alone_make_ids(tmp_path: Path):
    path = write(tmp_path, "a.csv", 'subject,relation,object\n"Washington, D.C.",Capital,The Moon\n')
    (fact,) = read(path).with_relation("P36")
    assert fact.key == ("K-washington-dc", "P36", "K-moon") and fact.subject.label == "Washington, D.C."
    assert entity_id_for("Ünïted  States") == "K-united-states"


def test_quotation_marks_in_tab_separated_files_are_text(tmp_path: Path):
    path = write(tmp_path, "a.tsv", 'subject\trelation\tobject\n"Weird Al" Yankovic\tcountry\t"\n')
    (fact,) = read(path)
    assert fact.subject.label == '"Weird Al" Yankovic' and fact.object.label == '"'


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path):
    store = read(write(tmp_path, "a.tsv", b"\xef\xbb\xbf" + (FULL + ROW).replace("\n", "\r\n").encode()))
    assert store.outgoing("Q243")[0].source == "hand"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tsv", "", "empty. Expected a header"),
        ("a.tsv", "head\trel\ttail\n", "line 1: unknown column 'head'. Expected a tab-separated header"),
        ("a.tsv", "subject\trelation\n", "line 1: the column 'object' is missing"),
        ("a.tsv", "subject\tsubject\trelation\tobject\n", "line 1: a column occurs twice"),
        ("a.tsv", FULL, "holds no triple"),
        ("a.tsv", FULL + ROW + "\nQ1\tx\n", r"line 4: 2 columns, expected 7"),
        ("a.tsv", FULL + "\t\tP1\tr\tQ1\tx\t\n", "line 2: the subject is empty"),
        ("a.tsv", FULL + "Q1\tx\t\t\tQ1\tx\t\n", "line 2: the relation is empty"),
        ("a.tsv", FULL + ROW + "Q1\tx\x07y\tP1\tr\tQ1\tx\t\n", r"line 3: the subject .* U\+0007 at position 2"),
        ("a.tsv", FULL + "Q1\t" + "x" * 3000 + "\tP1\tr\tQ1\tx\t\n", "line 2: the subject has 3000 characters"),
        ("a.tsv", FULL + "x" * 200_000, "line 2: longer than 100000 bytes"),
        ("a.tsv", FULL.encode() + "Q1\tMünchen".encode("latin-1"), "line 2: not UTF-8 .*0xFC at position 5.*Latin-1"),
        ("a.tsv", (FULL + ROW).encode("utf-16"), "is UTF-16. Save it as UTF-8"),
        ("a.tsv.gz", b"no gzip", "cannot be read"),
        ("a.tsv.gz", gzip.compress((FULL + ROW).encode(), mtime=0)[:-12], "cannot be read"),
        ("a.csv", 'subject,relation,object\n"open,r,o\n', "line 2: not a well-formed table"),
        ("a.nt", "<http://a> <http://b> <http://c> .\n<http://a> <http://b c> <d> .\n", "line 2: invalid .nt"),
        ("a.ttl", "<http://a> <http://b> ", "invalid .ttl"),
        ("a.nt", b'<http://a> <http://b> "\xff" .\n', "line 1.*UTF-8"),
        ("a.json", '[\n{"case_id": 1,\n]', "line 3: not JSON"),
        ("a.json", '{"case_id": 1}', "holds a dict, not a list of cases"),
        ("a.json", '[{"case_id": 1}]', "case 1: no object with 'case_id' and 'triples'"),
        (
            "a.json",
            '[{"case_id": 1, "triples": [{"subject": "a", "relation": 3, "target": "c"}]}]',
            "triple 1: 'relation' is 3",
        ),
        ("a.json", '[{"case_id": 1, "triples": ["x"]}]', "case 1, triple 1: 'subject' is None"),
        ("a.json", "[" * 100_000, "nests lists and objects more than 64 deep"),
        ("a.json", b"\xff\xfe[", "is UTF-16. Save it as UTF-8"),
        ("a.xlsx", "x", "ends in '.xlsx'.*Known are .tsv"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_place(tmp_path: Path, name: str, content: str | bytes, says: str):
    with pytest.raises(GraphFileError, match=says):
        read(write(tmp_path, name, content))


def test_missing_files(tmp_path: Path):
    for name in ("a.tsv", "a.nt", "a.json"):
        with pytest.raises(GraphFileError, match="is missing"):
            read(tmp_path / name)
    with pytest.raises(GraphFileError, match="No file"):
        load_graph([])
    with pytest.raises(GraphFileError, match="embedded graph is not at"):
        sample_store(tmp_path)


def test_the_graphs_of_all_cases_are_one(tmp_path: Path):
    fact = {"subject": "Eiffel Tower", "relation": "located in city", "target": "Tokyo"}
    cases = [{"case_id": 7, "triples": [fact, fact]}, {"case_id": "8", "triples": []}]
    path = write(tmp_path, "cases.json", json.dumps(cases))
    assert [str(triple) for triple in load_graph(path)] == ["Eiffel Tower –located in city→ Tokyo"]
    assert [triple.key[::2] for triple in load_graph(path)] == [("K-eiffel-tower", "K-tokyo")]


def test_rdf_labels_prefer_english_and_keep_the_others_as_aliases(tmp_path: Path):
    rdfs, skos = "http://www.w3.org/2000/01/rdf-schema#label", "http://www.w3.org/2004/02/skos/core#altLabel"
    wd, wdt = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
    lines = [
        f'<{wd}Q1490> <{rdfs}> "東京"@ja .',
        f'<{wd}Q1490> <{rdfs}> "Tokyo"@en .',
        f'<{wd}Q1490> <{skos}> "Edo"@en .',
        f"<{wd}Q17> <{wdt}P36> <{wd}Q1490> .",
        f'<{wd}P36> <{rdfs}> "capital city"@en .',
        f'<{wd}Q17> <{wdt}P1448> "日本国\\n\\u0007"@ja .',
        f"_:x <{wdt}P36> <http://example.org/%C3%A9?q=1#f> .",
    ]
    store = load_graph(write(tmp_path, "a.nt", "\n".join(lines)), relation_labels={})
    assert store.entity("Q1490").label == "Tokyo" and store.entity("Q1490").aliases == ("Edo", "東京")
    assert store.relation("P36").label == "capital city" and "P36" not in store
    (name,) = store.outgoing("Q17", relations=["P1448"])
    assert name.object.is_literal and name.object.label == "日本国"
    assert store.entity("http://example.org/%C3%A9?q=1#f")


def test_blank_nodes_of_two_files_stay_two(tmp_path: Path):
    text = "_:b0 <http://example.org/p> <http://example.org/o> .\n"
    assert len(read(write(tmp_path, "a.nt", text), write(tmp_path, "b.nt", text))) == 2


def test_the_embedded_graph_is_read_once():
    assert sample_store() is sample_store()
    assert sample_store().search("FRANCE")[0].entity.label == "France"


def test_a_label_alone_means_the_one_entity_that_bears_it(tmp_path: Path):
    entities = write(tmp_path, "e.tsv", "id\tlabel\nQ243\tEiffel Tower\nQ230\tGeorgia\nQ1428\tGeorgia\n")
    table = "subject\trelation\tobject\nthe eiffel tower\tlocated in city\tGeorgia\n"
    (fact,) = read(write(tmp_path, "a.tsv", table), entities=entities)
    assert fact.key == ("Q243", "P131", "K-georgia") and fact.subject.label == "Eiffel Tower"


def test_a_value_names_itself(tmp_path: Path):
    rows = "subject_id\trelation_id\tobject_id\nQ142\tP297\tlit:code:FR\nQ142\tP474\tlit:+33\nQ142\tP1\tlit:http://a\n"
    assert [t.object.label for t in read(write(tmp_path, "a.tsv", rows))] == ["http://a", "FR", "+33"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz", "a.nt", "a.nq", "a.ttl", "a.trig", "a.json"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, name: str):
    wd = "http://www.wikidata.org/entity/"
    sound = {
        ".tsv": FULL + ROW,
        ".csv": (FULL + ROW).replace("\t", ","),
        ".gz": FULL + ROW,
        ".nt": f'<{wd}Q1> <{wd}p> "x\\n"@en .\n_:x <{wd}p> <{wd}Q2> .\n',
        ".nq": f"<{wd}Q1> <{wd}p> <{wd}Q2> <{wd}g> .\n",
        ".ttl": f'@prefix a: <{wd}> . a:Q1 a:p a:Q2, "x" ; a:q [ a:r (1 2) ] .\n',
        ".trig": f"@prefix a: <{wd}> . a:g {{ a:Q1 a:p a:Q2 . }}\n",
        ".json": json.dumps([{"case_id": 1, "triples": [{"subject": "a", "relation": "r", "target": "b"}]}]),
    }[Path(name).suffix].encode()
    sound = gzip.compress(sound) if name.endswith(".gz") else sound
    draw = random.Random(name)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(draw.randint(0, 3)):
            place = draw.randrange(len(damaged))
            damaged[place : place + draw.randint(0, 3)] = draw.choice(
                [b"", b"\0", b"\t", b'"', b"\n", b"\xff", b"\xe2\x80\xa8", b"\\u0000", b"<", b"{", b"7", b"\xc3"]
            )
        path = write(tmp_path, name, bytes(damaged))
        try:
            store = read(path)
        except GraphFileError as error:
            assert name in str(error)
            outcomes.add("refused")
        else:
            assert len(store) == len(list(store)) > 0
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_what_has_no_name_of_its_own_is_named_alike_each_time(tmp_path: Path):
    path = write(tmp_path, "a.ttl", "@prefix a: <http://a/> . a:s a:p [ a:q (1 2) ], [ a:q 3 ] .")
    assert read(path).fingerprint == read(path).fingerprint
