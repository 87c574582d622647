"""The parts of the benchmark that measure nothing."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tests.bench.curves import in_words
from tests.bench.report import as_json, as_table
from tests.bench.rows import Probe, Row, Unit, percentile, take_rounds
from tests.bench.sampling import Spent, spent
from tests.bench.svg import HEIGHT, WIDTH, Chart, Line, draw


@pytest.mark.parametrize(("share", "figure"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_the_smallest_figure_that_so_many_do_not_exceed(share: int, figure: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == figure


def test_the_only_figure_is_every_percentile() -> None:
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0


def test_a_share_is_taken_within_each_round_and_1_is_the_floor() -> None:
    floors, rates, times = iter([9.0, 100.0, 10.0, 1.0]), iter([9.0, 50.0, 10.0, 2.0]), iter([9.0, 400.0, 20.0, 1.0])
    rows = Row("floor", Unit.RATE), Row("rate", Unit.RATE, "", "floor"), Row("time", Unit.SECONDS, "", "floor")
    probes = [Probe.of(row, figures.__next__) for row, figures in zip(rows, (floors, rates, times), strict=True)]

    floor, rate, time = take_rounds("some", probes, 3)

    assert (floor.figures, floor.share) == ([100.0, 10.0, 1.0], None)
    assert (rate.median, rate.share) == (10.0, 1.0)  # of 0.5, 1 and 2
    assert (time.median, time.share) == (20.0, 0.5)  # of 0.25, 0.5 and 1


def test_a_peer_that_is_not_installed_is_a_gap_with_a_name() -> None:
    results = take_rounds("some", [Probe.absent("redis-server", "redis-server")], 2)

    (line,) = (line for line in as_table({}, {"some": results}, 2).splitlines() if "redis" in line)
    assert line.split(maxsplit=1) == ["redis-server", "not installed: apt-get install redis-server"]
    (row,) = json.loads(as_json({}, {"some": results}, quick=True))["rows"]
    assert row == {
        "group": "some",
        "name": "redis-server",
        "unit": "MiB/s",
        "goal": "",
        "floor": "",
        "gap": "not installed: apt-get install redis-server",
        "median": None,
        "of_floor": None,
        "rounds": [],
    }


def test_a_profile_counts_a_function_once_in_each_stack() -> None:
    stacks = "main;serve;hash 6\nmain;serve 1\nmain;again;main 3\n"

    assert {it.function: it for it in spent(stacks)} == {
        "main": Spent("main", 0.3, 1.0),
        "serve": Spent("serve", 0.1, 0.7),
        "hash": Spent("hash", 0.6, 0.6),
        "again": Spent("again", 0.0, 0.3),
    }


def test_a_chart_is_xml_and_all_of_its_points_lie_on_it() -> None:
    lines = [Line("save <by> size", [(1024, 0.4), (4 << 30, 9000.0)]), Line("floor", [(1024, 0.2)], floor=True)]
    chart = Chart("Time & size", "size", "milliseconds", [(1024, "1 KiB"), (4 << 30, "4 GiB")], lines)

    root = ElementTree.fromstring(draw(chart))

    svg = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{svg}title") == "Time & size"
    assert {text.text for text in root.iter(f"{svg}text")} >= {"save <by> size", "1 KiB", "4 GiB", "0.1", "10,000"}
    places = [
        tuple(map(float, point.split(",")))
        for line in root.iter(f"{svg}polyline")
        for point in line.attrib["points"].split()
    ]
    assert len(places) == 3 + 2 * len(lines)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    left, right = places[:2]
    assert left[0] < right[0]
    assert left[1] > right[1]  # what takes longer stands higher


@pytest.mark.parametrize(
    ("size", "words"), [(512, "512 B"), (1024, "1 KiB"), (256 << 10, "256 KiB"), (4 << 30, "4 GiB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
