from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.http.page import dag as pictures
from udfstore.http.page.dag import Mark, Picture
from udfstore.snapshots import Dag, Node

SVG = "{http://www.w3.org/2000/svg}"

names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=30).filter(
    lambda name: len(name.encode()) <= 128
)


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    """Any DAG of up to 15 nodes, listed in any order."""
    known = draw(st.lists(names, min_size=1, max_size=15, unique=True))
    nodes = []
    for place, name in enumerate(known):
        above = draw(st.lists(st.sampled_from(known[:place]), max_size=3)) if place else []
        nodes.append(Node(name, draw(names), tuple(above)))
    return Dag(tuple(draw(st.permutations(nodes))))


def chain(length: int) -> Dag:
    return Dag(tuple(Node(f"n{i}", "udf", (f"n{i - 1}",) if i else ()) for i in range(length)))


def drawn(dag: Dag) -> Picture:
    picture = pictures.lay_out(dag)
    assert picture is not None
    return picture


@settings(derandomize=True, deadline=None, max_examples=40)
@given(dags())
def test_every_node_stands_right_of_its_parents_and_beside_the_others_of_its_layer(dag: Dag) -> None:
    picture = drawn(dag)

    boxes = {box.node.name: box for box in picture.boxes}
    assert set(boxes) == {node.name for node in dag.nodes}
    for node in dag.nodes:
        for parent in node.parents:
            assert boxes[parent].x + boxes[parent].width < boxes[node.name].x
    layers = defaultdict(list)
    for box in picture.boxes:
        layers[box.layer].append(box)
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= picture.width
        assert box.y + box.height <= picture.height + 0.01
    for layer in layers.values():
        layer.sort(key=lambda box: box.y)
        for one, other in pairwise(layer):
            assert one.y + one.height < other.y


@settings(derandomize=True, deadline=None, max_examples=40)
@given(dags())
def test_every_edge_is_drawn_once_and_passes_no_box(dag: Dag) -> None:
    picture = drawn(dag)

    wanted = {(parent, node.name) for node in dag.nodes for parent in node.parents}
    assert sorted((edge.parent, edge.child) for edge in picture.edges) == sorted(wanted)
    for edge in picture.edges:
        for x, y in edge.points:
            for box in picture.boxes:
                # A point lies beside a box: at its left or right edge there, or above or below it.
                inside = box.x < x < box.x + box.width and box.y < y < box.y + box.height
                assert not inside
    for edge in picture.edges:
        passed = edge.points[1:-1]
        for x, y in passed:
            at_edge = [b for b in picture.boxes if x in (b.x, b.x + b.width)]
            assert not [b for b in at_edge if b.y <= y <= b.y + b.height]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(dags(), st.data())
def test_whatever_nodes_are_called_the_picture_is_well_formed_and_says_their_names(
    dag: Dag, data: st.DataObject
) -> None:
    marks = {
        node.name: Mark(state=data.draw(st.booleans()), aside=data.draw(st.booleans()), told=data.draw(names))
        for node in dag.nodes
    }

    text = pictures.svg(drawn(dag), marks, f"the DAG of {dag.nodes[0].name}")

    readable = re.sub("[\ufffe\uffff]", "", str(text))  # names that HTML takes and XML does not
    root = ElementTree.fromstring(readable)
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert len(titles) == len(dag.nodes)
    for node in dag.nodes:
        name = re.sub("[\ufffe\uffff]", "", node.name)
        assert any(title.startswith(name) for title in titles)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "path", "g", "title", "rect", "text", "circle")
    }
    for element in root.iter():
        assert not {name for name in element.attrib if name == "style" or name.startswith("on") or name == "href"}


def test_markup_in_a_name_stays_text() -> None:
    dag = Dag((Node('<script>alert("1")</script>', "a&b"),))

    text = pictures.svg(drawn(dag), {}, '"><script>')

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "a&amp;b" in text


def test_a_long_name_is_cut_in_its_box_and_whole_in_its_title() -> None:
    name = "a-node-with-a-name-that-no-box-has-room-for"
    text = str(pictures.svg(drawn(Dag((Node(name, "udf"),))), {}, "x"))

    assert f"<title>{name}: udf</title>" in text
    assert f">{name}</text>" not in text
    assert "a-node-with-a-name-that…</text>" in text


def test_nodes_that_keep_state_are_marked_by_shape_and_in_words() -> None:
    dag = Dag((Node("source", "stream"), Node("score", "udf", ("source",))))
    marks = {"score": Mark(state=True, connected=True, aside=True, told="keeps state, connected")}

    text = str(pictures.svg(drawn(dag), marks, "x"))

    assert text.count("dag-disk") == text.count("dag-on") == text.count("dag-cross") == 1
    assert "<title>score: udf; from source; keeps state, connected</title>" in text
    assert "<title>source: stream</title>" in text


def test_some_hundred_nodes_are_drawn_and_more_are_only_listed() -> None:
    assert len(drawn(chain(700)).boxes) == 700
    assert pictures.lay_out(chain(1024)) is None
    every = Dag(tuple(Node(f"n{i}", "udf", tuple(f"n{j}" for j in range(i))) for i in range(100)))
    assert pictures.lay_out(every) is None
    assert [node.name for node in pictures.in_order(every)] == [f"n{i}" for i in range(100)]


def test_the_list_has_each_node_after_its_parents() -> None:
    dag = Dag((Node("c", "udf", ("b",)), Node("b", "udf", ("a",)), Node("a", "udf")))

    assert [node.name for node in pictures.in_order(dag)] == ["a", "b", "c"]
