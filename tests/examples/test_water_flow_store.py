"""The example and a store together: a model that is stored is the model that scores."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import train
import udf
from data import anomalous, readings
from model import dump, load

import udfstore

SERIES = readings()[:100]


def test_a_stored_model_is_followed_and_marks_its_results(tmp_path: Path) -> None:
    model = train.train(SERIES, ("flow", "step"), skip=anomalous)

    with udfstore.open_store(tmp_path / "store") as store:
        candidate = store.save(dump(model), tag=train.CANDIDATE, labels={"recall": "1.00"})
        entry = store.tag(udf.TAG, train.CANDIDATE)
        lines = [f"{reading.time.isoformat()},{reading.flow}" for reading in SERIES[:5]]
        results = list(udf.scored(lines, store.follow(udf.TAG, load), print))

    assert [result["model"] for result in results] == [f"{udf.TAG}@1"] * 5
    assert {result["id"] for result in results} == {str(candidate.id)}
    assert results[0]["score"] == round(model.score(SERIES[0], None), 2)
    assert entry.labels == {"recall": "1.00"}


def test_a_blob_that_is_no_model_is_not_followed(tmp_path: Path) -> None:
    with udfstore.open_store(tmp_path / "store") as store:
        store.save(b"weights, surely", tag=udf.TAG)

        with pytest.raises(ValueError, match="not a water-flow model"):
            store.follow(udf.TAG, load)


@pytest.mark.parametrize("script", [train, udf])
def test_without_a_server_a_script_says_so_and_fails(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["script", "--socket", str(tmp_path / "nobody.sock")])

    status = script.main()

    said = capsys.readouterr()
    assert status == 1
    assert said.out == ""
    assert "no server answers at" in said.err
