"""The picture of the graph: the same places every time, nothing from outside, labels that stay text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext, prepare_edit
from kgmet.fact import FactEdit, load_edits
from kgmet.graph.reading.retrieve import Subgraph, facts_around
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.stores.sample import SAMPLE_FOLDER, sample_store
from kgmet.graph.triple import Entity, Relation, Triple
from workbench.drawing.graph_layout import Picture, place
from workbench.drawing.graph_narrow import NARROW_WIDTH, place_narrow
from workbench.drawing.graph_story import Link, Move, Story, tell
from workbench.drawing.graph_svg import link_seen, spot_seen, story_svg
from workbench.drawing.graph_view import graph_html
from workbench.drawing.text_room import plain, text_width, wrapped

HOSTILE = '</script><img src=x onerror="alert(1)"><b>&amp; href=https://evil.example/ {{7*7}}'
PAYLOADS = (
    HOSTILE,
    "<script>alert(1)</script>",
    "]]><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' fill='red",
    "<!-- -->&lt;&#60;&amp;",
    r"$\frac{1}{2}$ \href{javascript:alert(1)}{x} `code` **bold**",
    "javascript:alert(1)",
    "abc\u202egnp.exe \u2066left\u2069 \u200fright",
    "null\x00 bell\x07 vertical\x0b tab\ttab\nline",
    "half \ud800 pair \ufffe \uffff",
    "שלום עולם مرحبا 日本語 👩‍👩‍👧",
    "x" * 500,
    "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "",
)
EIFFEL = FactEdit(subject="The Eiffel Tower", template="{} is located in the city of", new_object="Rome")
EXAMPLES = [
    *load_edits(SAMPLE_FOLDER / "edits.json"),
    FactEdit(subject="Zorblax Inc.", template="{} has its headquarters in the city of", new_object="Berlin"),
]


MOVES = (
    Move(
        subject_id="Q1",
        subject="Reina Sofía Museum",
        relation="located in city",
        answer="Madrid",
        before=0.81,
        after=0.12,
    ),
    Move(
        subject_id="Q2",
        subject="Notre-Dame de Paris",
        relation="located in city",
        answer="Paris",
        before=0.61,
        after=0.82,
    ),
)


def triple(subject: str, relation: str, thing: str, *, label: str | None = None) -> Triple:
    def entity(name: str) -> Entity:
        return Entity(id=name, label=name if label is None else label, description=label or "")

    return Triple(
        subject=entity(subject),
        relation=Relation(id=relation, label=relation if label is None else label),
        object=entity(thing),
        source="test" if label is None else label,
    )


def small(label: str | None = None) -> Subgraph:
    old = triple("s", "in", "paris", label=label)
    new = triple("s", "in", "tokyo", label=label)
    others = [triple("s", "kind", "tower", label=label), triple("tokyo", "country", "japan", label=label)]
    return Subgraph.from_triples([new, *others], anchor=new.subject, edited=new, replaced=(old,))


def small_context(label: str | None = None) -> EditContext:
    old = triple("s", "in", "paris", label=label)
    before = Subgraph.from_triples([old, triple("s", "kind", "tower", label=label)], anchor=old.subject, edited=old)
    edit = FactEdit(subject="the tower", template="{} is in", new_object="tokyo", old_object="paris")
    return EditContext(edit=edit, subgraph=small(label), subgraph_before=before)


def small_picture(label: str) -> Picture:
    """A picture in which every text is this one."""
    story = tell(small_context(label), with_rest=True)
    return place(replace(story, sentence=label, old=label, new=label))


def context_of(edit: FactEdit) -> EditContext:
    return prepare_edit(edit, store=sample_store(), catalogue=RelationCatalogue.load(), config=EditConfig())


def drawn(edit: FactEdit = EIFFEL, **options: bool) -> Picture:
    return place(tell(context_of(edit), **options))


def said(story: Story, link: Link) -> tuple[str, str, str]:
    labels = {spot.id: spot.entity.label for spot in story.spots}
    return labels[link.start], link.triple.relation.label, labels[link.end]


@pytest.mark.parametrize("edit", EXAMPLES, ids=lambda edit: f"{edit.subject} → {edit.new_object}")
def test_no_two_names_overlap_in_a_shipped_example(edit: FactEdit) -> None:
    context = context_of(edit)
    ends = [entity.id for entity in (context.subgraph.entities if context.subgraph else ())][:4]
    opened = [found for entity_id in ends for found in facts_around(sample_store(), entity_id)]
    for picture in (place(tell(context)), place(tell(context, opened=opened)), place(tell(context, with_rest=True))):
        overlapping = [(one, other) for one, other in combinations(picture.boxes, 2) if one.overlaps(other)]
        assert not overlapping
        assert all(link.label_box is not None and link.label for link in picture.links if link.link.side != "rest")
        inside = (box.left >= -0.5 and box.right <= picture.width + 0.5 for box in picture.boxes)
        assert all(inside) and min(box.top for box in picture.boxes) >= -0.5


@pytest.mark.parametrize("edit", EXAMPLES, ids=lambda edit: f"{edit.subject} → {edit.new_object}")
def test_on_a_phone_every_name_is_readable_and_none_overlaps_in_a_shipped_example(edit: FactEdit) -> None:
    context = context_of(edit)
    for story in (tell(context), tell(context, with_rest=True), tell(context, moves=MOVES)):
        picture = place_narrow(story)
        assert not [(one, other) for one, other in combinations(picture.boxes, 2) if one.overlaps(other)]
        edges = (
            box.left >= 0 and box.right <= NARROW_WIDTH and 0 <= box.top < box.bottom <= picture.height
            for box in picture.boxes
        )
        assert all(edges)
        drawing = ElementTree.fromstring(story_svg(picture))
        assert float(drawing.get("width", "999")) <= 360, "a phone of 390 px scrolls sideways"
        assert min(float(text.get("font-size", "99")) for text in drawing.iter() if text.get("font-size")) >= 11
        for item in picture.spots:
            size = 12.5 if item.spot.is_rest else 14
            assert all(text_width(line, size) <= item.box.width for line in item.lines)


def test_on_a_phone_no_line_crosses_a_name_and_every_arrow_points_at_the_object() -> None:
    picture = place_narrow(tell(context_of(EIFFEL)))
    boxes = {item.spot.id: item.box for item in picture.spots}
    for item in picture.links:
        x, top = (float(part) for part in item.path.removeprefix("M").split("V")[0].split(" "))
        bottom = float(item.path.split("V")[1].split("H")[0])
        crossed = [key for key, box in boxes.items() if box.left < x < box.right and top + 1 < box.y < bottom - 1]
        assert not crossed
        end = boxes[item.link.end]
        assert item.head in {(x, end.bottom), (end.left, end.y)}


def test_facts_that_move_are_drawn_with_their_figures_and_named_in_the_legend() -> None:
    story = tell(context_of(EIFFEL), moves=MOVES)
    for picture in (place(story), place_narrow(story)):
        drawing = story_svg(picture)
        assert "Reina Sofía Museum" in drawing and "81 % → 12 %" in drawing
        assert "other facts, forecast to lose: 1" in drawing and "other facts, forecast to gain: 1" in drawing
        assert "81.0 % → 12.0 %, forecast" in drawing
        measured = tuple(replace(move, is_measured=True) for move in MOVES)
        again = story_svg(place(tell(context_of(EIFFEL), moves=measured)))
        assert "measured to lose: 1" in again and "forecast" not in again
    hostile = tuple(replace(move, subject=HOSTILE, relation=HOSTILE, answer=HOSTILE) for move in MOVES)
    ElementTree.fromstring(story_svg(place(tell(context_of(EIFFEL), moves=hostile))))


def test_the_room_of_a_name_holds_its_text() -> None:
    picture = drawn(with_rest=True)
    for spot in picture.spots:
        size = 12.5 if spot.spot.is_rest else 14
        assert all(text_width(line, size) < spot.box.width for line in spot.lines)
    for link in picture.links:
        if link.label_box is not None:
            assert text_width(link.label, 12.5) <= link.label_box.width


def test_by_default_only_the_paths_of_the_consequences_are_drawn() -> None:
    context = context_of(EIFFEL)
    assert context.consequences is not None
    story = tell(context)
    assert all(link.paths for link in story.links)
    drawn_paths = frozenset().union(*(link.paths for link in story.links))
    assert drawn_paths == {item.id for item in context.consequences.changed}
    sides = {said(story, link): link.side for link in story.links}
    assert sides[("Eiffel Tower", "located in city", "Rome")] == "new"
    assert sides[("Rome", "country", "Italy")] == "new"
    assert sides[("Paris", "country", "France")] == "old"
    assert not any(spot.is_rest for spot in story.spots)
    wider = tell(context, with_rest=True)
    assert {spot.id for spot in story.spots} < {spot.id for spot in wider.spots}
    assert any(link.must_stay for link in wider.links)


def test_each_consequence_lights_one_chain_from_the_subject_to_its_end() -> None:
    context = context_of(EIFFEL)
    story = tell(context)
    assert context.consequences is not None
    for item in context.consequences.forward:
        lit = [link for link in story.links if item.id in link.paths]
        assert len(lit) == len(item.path_new) + len(item.path_old)
        for path in (item.path_new, item.path_old):
            at = story.spots[0].id
            for step in path:
                (link,) = [link for link in lit if link.start == at and link.triple == step]
                at = link.end


def test_the_rest_and_what_is_opened_move_no_path() -> None:
    context = context_of(EIFFEL)
    opened = facts_around(sample_store(), "Q38")

    def offsets(picture: Picture) -> dict[str, tuple[float, float]]:
        subject = picture.spots[0].box
        return {
            item.spot.id: (round(item.box.x - subject.x, 6), round(item.box.y - subject.y, 6))
            for item in picture.spots
            if not item.spot.is_rest
        }

    plain_story = offsets(place(tell(context)))
    assert plain_story == offsets(place(tell(context, with_rest=True))) == offsets(place(tell(context, opened=opened)))


def test_places_do_not_depend_on_the_order_of_triples() -> None:
    context = context_of(EIFFEL)
    assert context.subgraph is not None
    again = Subgraph.from_triples(
        reversed(context.subgraph.triples),
        anchor=context.subgraph.entities[context.subgraph.anchor],
        edited=context.subgraph.edited,
        replaced=context.subgraph.replaced,
    )
    assert place(tell(context)).boxes == place(tell(replace(context, subgraph=again))).boxes


def test_the_world_before_is_drawn_as_it_was_in_the_same_places() -> None:
    picture = drawn()
    links = {said(picture.story, item.link): item.link for item in picture.links}
    old, new = links[("Eiffel Tower", "located in city", "Paris")], links[("Eiffel Tower", "located in city", "Rome")]
    assert (link_seen(old, "before"), link_seen(new, "before")) == ("shown", "absent")
    assert (link_seen(old, "after"), link_seen(new, "after")) == ("absent", "shown")
    before, after = (story_svg(picture, world=world) for world in ("before", "after"))  # type: ignore[arg-type]
    assert "the edited fact" not in before and "true before the edit" in before
    assert "the edited fact" in after and "true before the edit" not in after
    # True in both worlds, but nothing of the other world's path leads there.
    italy = links[("Rome", "country", "Italy")]
    assert link_seen(italy, "before") == "ghost"
    for svg in (before, after):
        at = dict(re.findall(r'<text x="([-\d.]+)" y="[-\d.]+"[^>]*>(Italy|France)</text>', svg))
        assert len(at) in (1, 2)
    assert _places(before) == _places(after) == _places(story_svg(picture))
    seen = {item.spot.entity.label: spot_seen(item.spot, picture.story, "before") for item in picture.spots}
    assert (seen["Eiffel Tower"], seen["France"], seen["Italy"]) == ("shown", "shown", "ghost")


def _places(svg: str) -> list[tuple[str, str]]:
    return re.findall(r'<rect class="face" x="([-\d.]+)" y="([-\d.]+)"', svg)


def test_old_and_new_have_the_colours_of_the_whole_app() -> None:
    svg = story_svg(drawn())
    sheet = (SAMPLE_FOLDER.parent / "assets" / "style.css").read_text(encoding="utf-8")
    for name in ("new", "old"):
        colour = re.search(rf"--kg-{name}: (#[0-9a-f]{{6}})", sheet)
        assert colour is not None and f'stroke="{colour[1]}"' in svg


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_labels_stay_text_in_the_picture_its_tooltips_and_both_files(payload: str, theme: str) -> None:
    label = payload or " "
    picture = small_picture(label)
    svg = story_svg(picture, theme=theme)
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    assert tags <= {"svg", "g", "rect", "path", "text", "tspan", "title"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not any(name.startswith("on") or name.endswith("href") for name in names)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x08\x0b-\x1f]", svg)
    titles = [element.text or "" for element in root.iter() if element.tag.endswith("title")]
    assert any(plain(label) in title for title in titles)
    page = graph_html(picture, theme=theme)
    harmless = graph_html(small_picture("quite harmless"), theme=theme)
    assert page.count("<script") == harmless.count("<script") and page.count("</script") == harmless.count("</script")
    assert "<img" not in page and "<svg onload" not in page
    # pyvis takes another, HTML-rendering tooltip as soon as a title holds "href"
    assert ("popup" in page) == ("popup" in harmless)


def test_the_files_ask_for_nothing_outside_themselves() -> None:
    picture = drawn(with_rest=True)
    for text in (graph_html(picture), story_svg(picture)):
        assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text)
        assert not re.findall(r"""@import|url\(\s*["']?\s*(?:https?:)?//""", text)
        assert "bootstrap" not in text.lower()


def test_the_svg_says_the_edit_and_explains_its_lines() -> None:
    svg = story_svg(drawn(with_rest=True))
    texts = re.findall(r">([^<>]+)<", svg)
    assert any("The Eiffel Tower is located in the city of" in text for text in texts)
    assert {"Paris", "Rome"} <= {text.strip() for text in texts}
    for words in ("the edited fact", "no longer true", "path with the new object", "must stay", "other neighbours"):
        assert words in texts
    assert "must stay" not in re.findall(r">([^<>]+)<", story_svg(drawn()))


def test_the_shared_page_has_the_same_places_as_the_svg() -> None:
    picture = drawn()
    found = re.search(r"nodes = new vis\.DataSet\((\[.*?\])\);", graph_html(picture), re.S)
    assert found is not None
    nodes = {node["id"]: node for node in json.loads(found[1])}
    for item in picture.spots:
        node = nodes[item.spot.id]
        assert math.dist((node["x"], node["y"]), (item.box.x, item.box.y)) < 0.1
        assert node["label"] == "\n".join(item.lines)
    labels = [node["label"] for node in nodes.values() if node["shape"] == "text"]
    assert sorted(labels) == sorted(link.label for link in picture.links)


def test_a_subject_that_the_graph_does_not_know_has_the_paths_of_its_new_object() -> None:
    story = drawn(EXAMPLES[-1]).story
    labels = {spot.entity.label for spot in story.spots}
    assert {"Zorblax Inc.", "Berlin", "Germany", "German", "euro"} <= labels
    assert {link.side for link in story.links} == {"new"}


def test_a_graph_of_two_words_can_be_drawn() -> None:
    alone = Subgraph.from_triples([], anchor=Entity(id="s", label="alone"))
    edit = FactEdit(subject="alone", template="{} is", new_object="drawn")
    picture = place(tell(EditContext(edit=edit, subgraph=alone, subgraph_before=alone), with_rest=True))
    assert "alone" in story_svg(picture) and "alone" in graph_html(picture)


def test_long_names_are_cut_and_say_so() -> None:
    name = "The Metropolitan Museum of Modern and Ancient Art"
    cut = wrapped(name, width=170, size=14, lines=2)
    assert len(cut) == 2 and cut[0] == "The Metropolitan" and cut[1].startswith("Museum of") and cut[1].endswith("…")
    assert " ".join(wrapped(name, width=170, size=14)) == name
    (line,) = wrapped("x" * 40, width=170, size=14, lines=1)
    assert line.endswith("…") and text_width(line, 14) <= 170
    assert wrapped("", width=170, size=14) == ("",)
    assert plain("a\u202eb\x00c\n d") == "ab c d"
