"""The DAG of a task as a picture: boxes in layers from left to right, in SVG coloured by a style sheet. Pure.

    layer      the longest way from a node without parents
    order      within a layer by the mean place of the neighbours, a few sweeps forth and back (Sugiyama's method)
    height     as near to the neighbours' as the order and the distances allow (pool adjacent violators)

An edge over several layers bends through an empty place in each of them, so that it passes no box. All that takes a
fixed number of steps; a DAG that would be no picture any more is only listed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

from udfstore.snapshots import Dag, Node

PLACES = 1500
"""Boxes, edges and their bends that are drawn: more than anybody looks at."""

LABEL_CELLS = 24
"""Of a name or kind inside a box; the whole of it is in the title."""

HEIGHT = 46
BEND_HEIGHT = 10
_GAP_Y = 16
_GAP_X = 46
_MARGIN = 8
_CELL = 7.4
"""Width of a character, in the font that the style sheet gives to labels; wide ones take two."""
_PADDING = 12
_BADGE = 18
"""Room at the right of a box for its signs."""
_LEAST_CELLS = 8
_SWEEPS = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """What is to be told of a node: whether it keeps state, is connected, had a state set aside; `told` in words."""

    state: bool = False
    connected: bool = False
    aside: bool = False
    told: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A node where it stands: its left upper corner and its size, in pixels."""

    node: Node
    layer: int
    x: float
    y: float
    width: float
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class Edge:
    """From one node to another, through `points`, the ends among them."""

    parent: str
    child: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, and how large it is."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float


@dataclass(slots=True)
class _Place:
    """A place in a layer: of a node, or of an edge that goes on (None)."""

    node: Node | None
    height: float
    before: list[_Place] = field(default_factory=list)
    after: list[_Place] = field(default_factory=list)
    order: float = 0.0
    y: float = 0.0
    """Of its middle."""


def in_order(dag: Dag) -> list[Node]:
    """The nodes, each after its parents, those of a layer together."""
    layers = _layers(dag)
    return sorted(dag.nodes, key=lambda node: layers[node.name])


def lay_out(dag: Dag) -> Picture | None:
    """Where everything stands; None: too large for a picture."""
    layer_of = _layers(dag)
    spans = [layer_of[node.name] - layer_of[parent] for node in dag.nodes for parent in set(node.parents)]
    if len(dag.nodes) + sum(spans) > PLACES:
        return None
    places = {node.name: _Place(node, HEIGHT) for node in dag.nodes}
    layers: list[list[_Place]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for node in dag.nodes:
        layers[layer_of[node.name]].append(places[node.name])
    ways: list[tuple[str, str, list[_Place]]] = []
    for node in dag.nodes:
        for parent in dict.fromkeys(node.parents):
            way = [places[parent]]
            for layer in range(layer_of[parent] + 1, layer_of[node.name]):
                way.append(_Place(None, BEND_HEIGHT))
                layers[layer].append(way[-1])
            way.append(places[node.name])
            for one, other in pairwise(way):
                one.after.append(other)
                other.before.append(one)
            ways.append((parent, node.name, way))
    _order(layers)
    _align(layers)
    return _picture(layers, ways)


def svg(picture: Picture, marks: Mapping[str, Mark], label: str) -> Markup:
    """The picture as an element of a page. `label` is what a screen reader says of it."""
    width, height = round(picture.width), round(picture.height)
    parts = [
        Markup(
            '<svg class="dag" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}"'
            ' xmlns="http://www.w3.org/2000/svg">'
        ).format(label, width, height, width, height),
        *map(_edge, picture.edges),
        *(_box(box, marks.get(box.node.name, Mark())) for box in picture.boxes),
        Markup("</svg>"),
    ]
    return Markup("\n").join(parts)


def title_of(node: Node, mark: Mark) -> str:
    """A node in words."""
    said = [node.kind] if node.kind != node.name else []
    said += [f"from {', '.join(dict.fromkeys(node.parents))}"] if node.parents else []
    return f"{node.name}: {'; '.join([*said, *([mark.told] if mark.told else [])])}".removesuffix(": ")


# --- layout ----------------------------------------------------------------------------------------------------------


def _layers(dag: Dag) -> dict[str, int]:
    """The layer of each node: one more than the highest of its parents."""
    parents = {node.name: node.parents for node in dag.nodes}
    children: dict[str, list[str]] = {name: [] for name in parents}
    waiting = {name: len(set(above)) for name, above in parents.items()}
    for name, above in parents.items():
        for parent in set(above):
            children[parent].append(name)
    layers = {name: 0 for name, count in waiting.items() if not count}
    ready = list(layers)
    for name in ready:  # grows while it is walked
        for child in children[name]:
            layers[child] = max(layers.get(child, 0), layers[name] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return layers


def _order(layers: Sequence[list[_Place]]) -> None:
    """Put neighbours at like places, so that few edges cross."""
    _number(layers)
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for layer in layers if forth else reversed(layers):
            for place in layer:
                near = place.before if forth else place.after
                if near:
                    place.order = sum(other.order for other in near) / len(near)
            layer.sort(key=lambda place: place.order)
            _number([layer])


def _number(layers: Iterable[list[_Place]]) -> None:
    for layer in layers:
        for number, place in enumerate(layer):
            # Relative to the length of the layer: places of layers of different lengths can be compared.
            place.order = (number + 0.5) / len(layer)


def _align(layers: Sequence[list[_Place]]) -> None:
    """Give each place a height near those of its neighbours, without changing an order."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for layer in layers if forth else reversed(layers):
            wished = []
            for place in layer:
                near = (place.before if forth else place.after) or [place]
                wished.append(sum(other.y for other in near) / len(near))
            _settle(layer, wished)
    least = min(place.y - place.height / 2 for layer in layers for place in layer)
    for layer in layers:
        for place in layer:
            place.y += _MARGIN - least


def _settle(layer: Sequence[_Place], wished: Sequence[float]) -> None:
    """The heights nearest to the wished ones (least squares) at which no two places are too near to each other."""
    offsets = [0.0]
    for one, other in pairwise(layer):
        offsets.append(offsets[-1] + one.height / 2 + _GAP_Y + other.height / 2)
    pools: list[tuple[float, int]] = []  # mean, count
    for wish, offset in zip(wished, offsets, strict=True):
        mean, count = wish - offset, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    settled = [mean for mean, count in pools for _ in range(count)]
    for place, base, offset in zip(layer, settled, offsets, strict=True):
        place.y = base + offset


def _picture(layers: Sequence[Sequence[_Place]], ways: Iterable[tuple[str, str, list[_Place]]]) -> Picture:
    boxes: dict[int, Box] = {}
    lefts: dict[int, tuple[float, float]] = {}
    x: float = _MARGIN
    for number, layer in enumerate(layers):
        width = max(_width(place.node) for place in layer if place.node is not None)
        for place in layer:
            lefts[id(place)] = x, width
            if place.node is not None:
                y = place.y - place.height / 2
                boxes[id(place)] = Box(place.node, number, x, y, width)
        x += width + _GAP_X
    edges = []
    for parent, child, way in ways:
        points = []
        for place in way:
            left, width = lefts[id(place)]
            points += [(left, place.y), (left + width, place.y)]
        edges.append(Edge(parent, child, tuple(points[1:-1])))
    height = max(place.y + place.height / 2 for layer in layers for place in layer) + _MARGIN
    return Picture(tuple(boxes.values()), tuple(edges), x - _GAP_X + _MARGIN, height)


# --- drawing ---------------------------------------------------------------------------------------------------------


def _edge(edge: Edge) -> Markup:
    """A curve from box to box, straight where it passes a layer, with a head at its end."""
    (x, y), *rest = edge.points
    path = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in rest:
        middle = (x + to_x) / 2
        curve = f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        path += curve if y != to_y else f"H{to_x:.1f}"
        x, y = to_x, to_y
    head = f"M{x - 7:.1f} {y - 4:.1f}L{x:.1f} {y:.1f}L{x - 7:.1f} {y + 4:.1f}"
    return Markup('<path class="dag-edge" d="{}{}"/>').format(path, head)


def _box(box: Box, mark: Mark) -> Markup:
    node = box.node
    kind = _cut(node.kind) if node.kind != node.name else ""
    classes = ["dag-node", *(["dag-state"] if mark.state else []), *(["dag-aside"] if mark.aside else [])]
    parts = [
        Markup('<g class="{}"><title>{}</title>').format(" ".join(classes), title_of(node, mark)),
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="6"/>').format(
            box.x, box.y, box.width, box.height
        ),
        _text(box.x + _PADDING, box.y + (19 if kind else 28), _cut(node.name), "dag-name"),
        *([_text(box.x + _PADDING, box.y + 36, kind, "dag-kind")] if kind else []),
        *_signs(box, mark),
        Markup("</g>"),
    ]
    return Markup("").join(parts)


def _signs(box: Box, mark: Mark) -> Iterator[Markup]:
    """A disk for kept state, a dot for a connection (a ring for none), a cross at the corner for a state set aside."""
    if not mark.state:
        return
    x, y = box.x + box.width - 17, box.y + 9
    yield Markup(
        '<path class="dag-disk" d="M{0:.1f} {1:.1f}v8a5 2.2 0 0 0 10 0v-8a5 2.2 0 0 0 -10 0a5 2.2 0 0 0 10 0"/>'
    ).format(x, y + 1)
    shape = "dag-on" if mark.connected else "dag-off"
    yield Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(shape, x + 5, y + 24)
    if mark.aside:
        yield Markup('<circle class="dag-badge" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(box.x + 1, box.y + 1)
        yield Markup('<path class="dag-cross" d="M{:.1f} {:.1f}l6 6m0 -6l-6 6"/>').format(box.x - 2, box.y - 2)


def _text(x: float, y: float, text: str, name: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(name, x, y, escape(text))


def _width(node: Node | None) -> float:
    """Of a node's box."""
    assert node is not None
    cells = max(_LEAST_CELLS, _cells(_cut(node.name)), _cells(_cut(node.kind)))
    return 2 * _PADDING + cells * _CELL + _BADGE


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str) -> str:
    """As much of a text as a box has room for."""
    if _cells(text) <= LABEL_CELLS:
        return text
    kept, cells = "", 1
    for c in text:
        cells += 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if cells > LABEL_CELLS:
            break
        kept += c
    return f"{kept}…"
