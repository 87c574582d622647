"""The scoring loop: one result per reading whatever happens to the model, and bad lines told but not fatal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from data import anomalous, readings
from model import Model, Reading, train
from udf import scored

from udfstore.digest import BlobId
from udfstore.model import Author, Entry

SERIES = readings()


@dataclass
class Follower:
    """A tag's model as `store.follow` gives it: whoever holds it sees the newest."""

    current: tuple[Model, Entry]


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


def test_every_reading_comes_out_once_and_in_order_over_a_swap(models: tuple[Model, Model]) -> None:
    follower = Follower((models[0], entry(1)))
    said: list[str] = []

    def lines() -> Iterator[str]:
        for number, reading in enumerate(SERIES[:40]):
            if number == 15:
                follower.current = models[1], entry(2)
            yield f"{reading.time.isoformat()},{reading.flow}\n"

    results = list(scored(lines(), follower, said.append))

    assert [result["time"] for result in results] == [reading.time.isoformat() for reading in SERIES[:40]]
    assert [result["model"] for result in results] == ["models/water-flow@1"] * 15 + ["models/water-flow@2"] * 25
    assert results[15]["id"] == str(BlobId.of(b"model 2"))
    told = [json.loads(line) for line in said]
    assert [(event["swap"], event["model"]) for event in told] == [
        ("in use", "models/water-flow@1"),
        ("in use", "models/water-flow@2"),
    ]


def test_the_new_model_goes_on_from_the_reading_before_the_swap(models: tuple[Model, Model]) -> None:
    follower = Follower((models[0], entry(1)))

    def lines() -> Iterator[str]:
        yield "2022-05-01T12:00:00+02:00,102.0"
        follower.current = models[1], entry(2)
        yield "2022-05-01T13:00:00+02:00,110.0"

    result = list(scored(lines(), follower, print))[1]

    before = Reading.parse("2022-05-01T12:00:00+02:00,102.0")
    reading = Reading.parse("2022-05-01T13:00:00+02:00,110.0")
    assert result["score"] == round(models[1].score(reading, before), 2)


def test_a_bad_line_is_told_with_its_number_and_the_next_one_is_scored(models: tuple[Model, Model]) -> None:
    said: list[str] = []
    lines = ["Time,Water flow [l/s]\n", "2022-05-01T12:00:00+02:00,102.0\n"]

    results = list(scored(lines, Follower((models[0], entry(1))), said.append))

    assert [result["flow"] for result in results] == [102.0]
    assert said[0].startswith("line 1: expected an ISO 8601 time and a number, got 'Time,Water flow [l/s]'")
