"""The example and a store together: a model that is stored is the model that scores."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import train
import udf
from model import load

import udfstore


def test_a_blob_that_is_no_model_is_not_followed(tmp_path: Path) -> None:
    with udfstore.open_store(tmp_path / "store") as store:
        store.save(b"weights, surely", tag=udf.TAG)

        with pytest.raises(ValueError, match="not a water-flow model"):
            store.follow(udf.TAG, load)


def test_without_a_server_training_says_so_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["script", "--socket", str(tmp_path / "nobody.sock")])

    status = train.main()

    said = capsys.readouterr()
    assert status == 1
    assert said.out == ""
    assert "no server answers at" in said.err
