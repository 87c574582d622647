"""The UDF as its host sees it: a scored point for each point whatever happens to the model, and a state that lasts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from data import anomalous, line, readings
from model import Model, Reading, train
from udf import WaterFlow
from usual import Usual

from udfstore.agent import udf_pb2
from udfstore.digest import BlobId
from udfstore.model import Author, Entry

SERIES = readings()


@dataclass
class Follower:
    """A tag's model as `agent.follow` gives it: whoever holds it sees the newest."""

    current: tuple[Model, Entry]


@dataclass
class Host:
    """What a handler needs of an agent: a model, and somewhere for its points."""

    follower: Follower
    points: list[udf_pb2.Point] = field(default_factory=list)

    def follow(self, tag: str, loader: Any) -> Follower:
        return self.follower

    def write_response(self, response: udf_pb2.Response) -> None:
        self.points.append(response.point)


@pytest.fixture(scope="module")
def models() -> tuple[Model, Model]:
    return train(SERIES[:80], ("flow",), anomalous), train(SERIES[:300], ("flow", "step"), anomalous)


def entry(version: int) -> Entry:
    return Entry(
        tag="models/water-flow",
        version=version,
        id=BlobId.of(b"model %d" % version),
        size=7,
        revision=version,
        time_ns=1_650_000_000_000_000_000,
        author=Author("local"),
    )


def begun(model: Model, version: int = 1) -> tuple[WaterFlow, Host]:
    host = Host(Follower((model, entry(version))))
    udf = WaterFlow(host)  # type: ignore[arg-type]
    assert udf.init(udf_pb2.InitRequest()).init.success
    return udf, host


def point(reading: Reading) -> udf_pb2.Point:
    time = int(reading.time.timestamp()) * 1_000_000_000
    return udf_pb2.Point(time=time, name="water", tags={"pipe": "main"}, fieldsDouble={"flow": reading.flow})


def test_every_point_comes_out_once_and_in_order_over_a_swap(
    models: tuple[Model, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    udf, host = begun(models[0])

    for number, reading in enumerate(SERIES[:40]):
        if number == 15:
            host.follower.current = models[1], entry(2)
        udf.point(point(reading))

    assert [out.time for out in host.points] == [point(reading).time for reading in SERIES[:40]]
    assert [out.tags["model"] for out in host.points] == ["models/water-flow@1"] * 15 + ["models/water-flow@2"] * 25
    assert host.points[15].fieldsString["id"] == str(BlobId.of(b"model 2"))
    told = [json.loads(said) for said in capsys.readouterr().err.splitlines()]
    assert [(event["swap"], event["model"]) for event in told] == [
        ("in use", "models/water-flow@1"),
        ("in use", "models/water-flow@2"),
    ]


def test_the_new_model_goes_on_from_the_reading_before_the_swap(models: tuple[Model, Model]) -> None:
    udf, host = begun(models[0])
    before, reading = (
        Reading.parse("2022-05-01T12:00:00+02:00,102.0"),
        Reading.parse("2022-05-01T13:00:00+02:00,110.0"),
    )

    udf.point(point(before))
    host.follower.current = models[1], entry(2)
    udf.point(point(reading))

    assert host.points[1].fieldsDouble["score"] == round(models[1].score(reading, before), 2)


def test_a_point_without_a_flow_is_told_and_the_next_one_is_scored(
    models: tuple[Model, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    udf, host = begun(models[0])

    udf.point(udf_pb2.Point(name="water", time=1, fieldsString={"flow": "much"}))
    udf.point(point(SERIES[0]))

    assert [out.fieldsDouble["flow"] for out in host.points] == [SERIES[0].flow]
    assert "a point without a number 'flow': water at 1" in capsys.readouterr().err


def test_a_hundred_scores_after_a_restore_are_those_of_a_udf_that_never_stopped(models: tuple[Model, Model]) -> None:
    lasting, its_host = begun(models[1])
    for reading in SERIES[:500]:
        lasting.point(point(reading))
    state = lasting.snapshot().snapshot.snapshot
    restored, host = begun(models[1])
    assert restored.restore(udf_pb2.RestoreRequest(snapshot=state)).restore.success

    for reading in SERIES[500:600]:
        lasting.point(point(reading))
        restored.point(point(reading))

    assert host.points == its_host.points[500:]
    assert len({out.fieldsDouble["usual"] for out in host.points}) > 20, "the state matters to these scores"


def test_a_state_changes_only_when_something_is_learned(models: tuple[Model, Model]) -> None:
    udf, _ = begun(models[0])
    udf.point(point(SERIES[0]))
    state = udf.snapshot().snapshot.snapshot

    assert udf.snapshot().snapshot.snapshot == state
    udf.point(point(SERIES[1]))
    assert udf.snapshot().snapshot.snapshot != state


@pytest.mark.parametrize("content", [b"", b"no state", Usual().dump()[:200]])
def test_a_state_that_is_none_is_refused_with_a_reason(models: tuple[Model, Model], content: bytes) -> None:
    udf, _ = begun(models[0])

    answer = udf.restore(udf_pb2.RestoreRequest(snapshot=content)).restore

    assert not answer.success
    assert answer.error.startswith("not the state of a water-flow UDF")


def test_a_reading_as_a_line_is_read_back() -> None:
    pytest.importorskip("line_protocol_parser")
    from udfstore.bridge.points import Reading as Lines

    read = Lines(("pipe",)).point(line(SERIES[7]), lambda: 0)

    assert read is not None
    assert (read.fieldsDouble["flow"], read.time) == (SERIES[7].flow, point(SERIES[7]).time)
