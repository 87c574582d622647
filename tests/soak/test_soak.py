"""A soak of some seconds: it shows that everything in it runs, and that the judgement can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.clients import CLIENTS
from tests.soak.samples import Growth, Sample
from tests.soak.soak import main


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket fd=.*, family=1, type=1, proto=0>")
# httpcore does not close a Unix socket that it could not connect; what this process keeps open is judged in the soak.
def test_a_short_soak_finds_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seconds", "8", "--folder", str(folder), "--json", str(folder / "told.json")])
    told = json.loads((folder / "told.json").read_text())
    assert told["problems"] == []
    assert told["steps"].keys() == CLIENTS.keys()
    assert "nothing wrong" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["told.json"]


FLAT = [Sample(second, 2, 60.0, 20, 6, 5, 0, 0, 0, 0) for second in range(90)]


def test_memory_that_grows_between_the_last_two_thirds_of_the_longest_life_is_a_leak() -> None:
    short = [replace(sample, seconds=sample.seconds / 9 - 9, life=1, memory_mib=1000) for sample in FLAT]
    assert Growth.of(short + FLAT) == Growth(2, 89.0, (60.0, 60.0, 60.0))
    warming = [replace(sample, memory_mib=40 + min(sample.seconds, 10)) for sample in FLAT]
    growing = [replace(sample, memory_mib=60 + sample.seconds) for sample in FLAT]
    assert [Growth.of(life).leaks for life in (FLAT, warming, growing)] == [False, False, True]
    assert not Growth.of(growing[:50]).leaks, "so short a life warms up"
