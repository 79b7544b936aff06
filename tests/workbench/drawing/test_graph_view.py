"""The picture of the graph: always the same places, nothing from outside, labels that stay text."""

from __future__ import annotations

import json
import math
import re
from itertools import combinations

import pytest

from kgmet.graph.reading.retrieve import Subgraph
from kgmet.graph.triple import Entity, Relation, Triple
from workbench.drawing.graph_click import echarts_option
from workbench.drawing.graph_layout import ring_positions, ring_radii
from workbench.drawing.graph_view import drawing, graph_html, legend, legend_html

HOSTILE = '</script><img src=x onerror="alert(1)"><b>&amp; href=https://evil.example/ {{7*7}}'


def triple(subject: str, relation: str, thing: str, *, label: str | None = None) -> Triple:
    def entity(name: str) -> Entity:
        return Entity(id=name, label=label or name, description=label or "")

    return Triple(
        subject=entity(subject),
        relation=Relation(id=relation, label=label or relation),
        object=entity(thing),
        source="test",
    )


def small(label: str | None = None) -> Subgraph:
    old = triple("s", "in", "paris", label=label)
    new = triple("s", "in", "tokyo", label=label)
    others = [triple("s", "kind", "tower", label=label), triple("tokyo", "country", "japan", label=label)]
    return Subgraph.from_triples([new, *others], anchor=new.subject, edited=new, replaced=(old,))


def test_the_page_asks_for_nothing_outside_itself() -> None:
    page = graph_html(small())
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert not re.findall(r"""@import|url\(\s*["']?\s*(?:https?:)?//""", page)
    assert "bootstrap" not in page.lower()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_labels_never_become_markup(theme: str) -> None:
    page = graph_html(small(HOSTILE), theme=theme)
    plain = graph_html(small("quite harmless"), theme=theme)
    assert "<img" not in page
    assert page.count("<script") == plain.count("<script") and page.count("</script") == plain.count("</script")
    # pyvis takes another, HTML-rendering tooltip as soon as a title holds "href"
    assert ("popup" in page) == ("popup" in plain)


def test_labels_keep_their_own_size_and_a_halo_and_stand_away_from_the_edges() -> None:
    found = re.search(r"nodes = new vis\.DataSet\((\[.*?\])\);", graph_html(small()), re.S)
    assert found is not None
    nodes = {node["id"]: node for node in json.loads(found[1])}
    assert len(nodes) == 5
    for node in nodes.values():
        font = node["font"]
        assert font["strokeWidth"] > 0 and font["color"]
        assert (font["vadjust"] < 0) == (node["y"] < 0)
    assert nodes["s"]["font"]["size"] > nodes["japan"]["font"]["size"]


def test_places_do_not_depend_on_the_order_of_triples() -> None:
    triples = [triple("s", f"r{n % 3}", f"o{n}") for n in range(9)] + [
        triple("o1", "r", "far"),
        triple("o5", "r", "far2"),
    ]
    hops = {"s": 0, **{f"o{n}": 1 for n in range(9)}, "far": 2, "far2": 2}
    first = ring_positions(hops, triples)
    assert first == ring_positions(dict(reversed(hops.items())), triples[::-1])
    assert first["s"] == (0.0, 0.0)


def test_rings_grow_with_the_hop_and_no_two_nodes_share_a_place() -> None:
    triples = [triple("s", "r", f"o{n}") for n in range(30)] + [triple(f"o{n}", "r", f"p{n}") for n in range(12)]
    hops = {"s": 0, **{f"o{n}": 1 for n in range(30)}, **{f"p{n}": 2 for n in range(12)}}
    places = ring_positions(hops, triples)

    def radius(name: str) -> float:
        x, y = places[name]
        return math.hypot(x, y / 0.82)

    assert max(radius(f"o{n}") for n in range(30)) < min(radius(f"p{n}") for n in range(12))
    assert min(math.dist(places[a], places[b]) for a, b in combinations(places, 2)) > 60


def test_the_edited_edge_is_new_and_what_it_replaces_is_struck() -> None:
    made = drawing(small())
    states = {edge.triple.key: edge.state for edge in made.edges}
    assert states[("s", "in", "tokyo")] == "new"
    assert states[("s", "in", "paris")] == "old"
    assert states[("s", "kind", "tower")] == ""
    roles = {node.entity.id: node.role for node in made.nodes}
    assert (roles["s"], roles["tokyo"], roles["paris"], roles["japan"]) == ("subject", "new", "old", "")
    assert '"dashes"' in graph_html(small())


def test_every_relation_has_its_own_line_in_the_legend() -> None:
    triples = [triple("s", f"r{n:02d}", f"o{n}") for n in range(20)]
    lines = legend(drawing(Subgraph.from_triples(triples, anchor=triples[0].subject)), theme="light")
    assert len({(line.colour, line.stroke) for line in lines}) == 20


def test_the_legend_explains_the_nodes_that_are_there() -> None:
    made = legend_html(drawing(small()), theme="light")
    for words in ("subject", "new object", "true before the edit only", "rings: hops"):
        assert words in made
    alone = legend_html(drawing(Subgraph.from_triples([], anchor=Entity(id="s", label="alone"))), theme="dark")
    assert "new object" not in alone


def test_rings_go_through_the_nodes_of_their_hop() -> None:
    triples = [triple("s", "r", f"o{n}") for n in range(5)] + [triple("o1", "r", "far")]
    nodes = drawing(Subgraph.from_triples(triples, anchor=triples[0].subject)).nodes
    radii = ring_radii((node.hop, node.x, node.y) for node in nodes)
    assert len(radii) == 2 and 0 < radii[0] < radii[1]
    for node in nodes:
        if node.hop:
            assert ring_radii([(node.hop, node.x, node.y)])[0] == pytest.approx(radii[node.hop - 1], abs=0.5)


def test_a_click_finds_the_entity_it_was_made_on() -> None:
    from workbench.screens.graph.panels import selected_node

    option, ids = echarts_option(small())
    names = [node["id"] for node in option["series"][0]["data"]]
    assert names == list(ids)
    event = {"selection": {"selected": [{"series_index": 0, "data_indices": [1]}]}}
    assert selected_node(event, ids) == ids[1]
    assert selected_node({"selection": {"selected": []}}, ids) is None
    assert selected_node({"selection": {"selected": [{"data_indices": [99]}]}}, ids) is None
    assert selected_node(None, ids) is None


def test_a_graph_of_the_subject_alone_can_be_drawn() -> None:
    alone = Subgraph.from_triples([], anchor=Entity(id="s", label="alone"))
    assert "alone" in graph_html(alone)
    assert len(echarts_option(alone)[1]) == 1
