"""The benchmark runs, and its page knows all that it measures. What it measures is no business of tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bench import curves
from tests.bench.__main__ import GROUPS, main

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()


def test_a_quick_run_fills_table_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--only", "command", "--folder", str(folder), "--json", str(folder / "figures.json")])

    told = json.loads((folder / "figures.json").read_text())
    assert (told["format"], told["quick"]) == (1, True)
    assert {"processor", "sync", "load before"} <= told["machine"].keys()
    floor, get = told["rows"]
    assert get["floor"] == floor["name"]
    assert [len(row["rounds"]) for row in told["rows"]] == [2, 2]
    assert get["name"] in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["figures.json"]


def test_quick_curves_are_drawn(folder: Path) -> None:
    curves.main(["--quick", "--only", "clients", "--out", str(folder), "--folder", str(folder)])

    lines = json.loads((folder / "calls-by-clients.json").read_text())["lines"]
    assert all(points.keys() == {"1", "8"} for points in lines.values())
    assert (folder / "calls-by-clients.svg").read_text().count("<polyline") == 2 * len(lines)


def test_quick_curves_stay_out_of_the_documents(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        curves.main(["--quick"])
    assert "--out" in capsys.readouterr().err


def test_the_page_has_every_group() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [*GROUPS, *curves.CURVES]
