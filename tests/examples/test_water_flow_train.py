"""What the versions learn, and what their labels say of them."""

from __future__ import annotations

import pytest
from data import STRETCHES, Score, measure, readings
from model import Model, pairs
from train import RECIPES, TESTED_FROM, build, labels

from udfstore.model import check_labels

SERIES = readings()

Built = tuple[Model, Score, int]


@pytest.fixture(scope="module")
def second() -> Built:
    return build(RECIPES[2])


def test_no_version_learns_from_the_readings_it_is_measured_on() -> None:
    assert all(recipe.until <= TESTED_FROM for recipe in RECIPES.values())


def test_version_2_finds_what_version_1_finds_with_far_fewer_false_alarms(second: Built) -> None:
    old, new = build(RECIPES[1])[1], second[1]

    assert (old.stretches_found, new.stretches_found) == (2, 2)
    assert new.recall > old.recall
    assert new.precision > 0.9 > 0.3 > old.precision
    assert new.false_alarms <= 2


def test_version_2_finds_all_four_stretches_in_the_whole_series(second: Built) -> None:
    model = second[0]

    score = measure((reading, model.flags(model.score(reading, before))) for before, reading in pairs(SERIES))

    assert (score.stretches_found, score.stretches) == (len(STRETCHES), len(STRETCHES))


def test_a_store_takes_the_labels(second: Built) -> None:
    _, score, rows = second

    said = check_labels(labels(RECIPES[2], score, rows))

    assert said["stretches"] == "2/2"
    assert said["features"] == "flow,step"
    assert "sha256:6c84efeb" in said["data"]
    assert said["scikit-learn"]
    assert said["commit"]


def test_flags_are_counted_against_the_known_stretches() -> None:
    stretch = STRETCHES[2]
    flagged = [(reading, reading in stretch or reading == SERIES[0]) for reading in SERIES]

    score = measure(flagged)

    assert score == Score(hits=1, missed=50, false_alarms=1, stretches=4, stretches_found=1)
    assert (score.precision, score.recall) == (0.5, 1 / 51)


def test_without_flags_or_anomalies_nothing_is_wrong() -> None:
    score = measure([(SERIES[0], False)])

    assert (score.precision, score.recall, score.stretches) == (1.0, 1.0, 0)
