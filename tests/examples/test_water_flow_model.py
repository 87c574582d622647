"""Scoring, and the model file: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import io
import pickle
from datetime import datetime
from itertools import pairwise

import pytest
import skops.io
from data import STRETCHES, anomalous, readings
from model import Model, Reading, dump, load, pairs, train

SERIES = readings()
FORTNIGHT = SERIES[:323]


@pytest.fixture(scope="module")
def model() -> Model:
    return train(FORTNIGHT, ("flow", "step"), skip=anomalous)


def test_a_line_becomes_a_reading() -> None:
    reading = Reading.parse("2022-03-20T11:00:00+01:00,100.59\n")

    assert reading == Reading(datetime.fromisoformat("2022-03-20T11:00:00+01:00"), 100.59)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "expected TIME,FLOW, got ''"),
        ("100.59", "expected TIME,FLOW, got '100.59'"),
        ("yesterday,100.59", "Invalid isoformat string: 'yesterday'"),
        ("2022-03-20T11:00:00+01:00,much", "could not convert string to float: 'much'"),
        ("2022-03-20T11:00:00+01:00,nan", "expected a finite flow, got 'nan'"),
        ("2022-03-20T11:00:00+01:00,1,2", "could not convert string to float: '1,2'"),
    ],
)
def test_a_bad_line_is_refused_with_what_is_wrong(line: str, says: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        Reading.parse(line)

    assert says in str(refused.value)


def test_distance_grows_with_the_flow_and_with_the_step(model: Model) -> None:
    noon = datetime.fromisoformat("2022-05-01T12:00+02:00")
    calm, low, jumped = Reading(noon, 102.0), Reading(noon, 60.0), Reading(noon, 110.0)

    assert not model.flags(model.score(calm, calm))
    assert model.flags(model.score(low, low)), "a low flow is an anomaly even when it lasts"
    assert model.score(jumped, calm) > model.score(jumped, jumped)


def test_the_first_reading_of_all_is_scored_without_one_before_it(model: Model) -> None:
    assert not model.flags(model.score(SERIES[0], None))


def test_a_model_comes_back_from_its_file_with_the_same_scores(model: Model) -> None:
    back = load(io.BytesIO(dump(model)))

    assert (back.features, back.threshold) == (model.features, model.threshold)
    for before, reading in list(pairs(SERIES))[::7]:
        assert back.score(reading, before) == model.score(reading, before)


def test_a_pickle_is_refused_and_its_code_does_not_run() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("the pickle ran",))

    with pytest.raises(ValueError, match="not a water-flow model: BadZipFile"):
        load(io.BytesIO(pickle.dumps(Bomb())))


def test_a_file_that_names_other_types_is_refused() -> None:
    content = skops.io.dumps({"features": ["flow"], "threshold": 6.0, "estimator": io.BytesIO})

    with pytest.raises(ValueError, match=r"not a water-flow model: Untrusted.*BytesIO"):
        load(io.BytesIO(content))


def test_a_file_whose_features_do_not_fit_its_estimator_is_refused(model: Model) -> None:
    content = dump(Model(("flow",), model.estimator))

    with pytest.raises(ValueError, match=r"not a water-flow model: .*1 features"):
        load(io.BytesIO(content))


def test_the_series_is_the_one_that_the_dates_were_read_from() -> None:
    assert len(SERIES) == 1268
    assert all(before.time < after.time for before, after in pairwise(SERIES))
    assert SERIES[0].time == datetime.fromisoformat("2022-03-20T11:00+01:00")


def test_only_in_the_stretches_does_the_flow_leave_its_level_of_the_day_before() -> None:
    off = [reading for level, reading in _with_level() if abs(reading.flow - level) > 5]

    assert all(anomalous(reading) for reading in off)
    assert all(any(reading in stretch for reading in off) for stretch in STRETCHES)


def test_each_stretch_begins_and_ends_with_a_reading_off_its_level() -> None:
    level = {reading.time: level for level, reading in _with_level()}

    for stretch in STRETCHES:
        inside = [reading for reading in SERIES if reading in stretch]
        first, last = inside[0], inside[-1]
        after = SERIES[SERIES.index(last) + 1]
        assert (first.time, last.time) == (stretch.first, stretch.last)
        assert abs(first.flow - level[first.time]) > 3
        assert abs(last.flow - level[first.time]) > 3
        assert abs(after.flow - level[first.time]) < 3, "the flow is back at its level after the stretch"


def _with_level() -> list[tuple[float, Reading]]:
    """Each reading with the median of the 24 readings before it that lie in no stretch."""
    calm: list[float] = []
    levels = []
    for reading in SERIES:
        recent = sorted(calm[-24:] or [reading.flow])
        levels.append((recent[len(recent) // 2], reading))
        if not anomalous(reading):
            calm.append(reading.flow)
    return levels
