"""What is taken out for the benchmark changes how long things take, and nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import udfstore
from tests.bench.gains import GAINS
from tests.bench.stand import MIB, Sizes, Stand
from tests.bench.without import WITHOUT, without

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
BIG_BYTES = 9 * MIB + 1
"""Several windows, and enough for the client to hash in a thread."""


ALONE = {"one-piece", "reading-ahead", "descriptors"}
"""They replace, or leave unused, what others replace."""


@pytest.mark.parametrize("names", [sorted(WITHOUT.keys() - ALONE), ["one-piece", "reading-ahead"], ["descriptors"]])
def test_content_tags_and_events_stay_the_same(names: list[str], folder: Path) -> None:
    contents = os.urandom(4096), os.urandom(BIG_BYTES)
    (folder / "file").write_bytes(contents[1])
    with (
        Stand(folder / "stand", Sizes.quick()) as stand,
        stand.server(without=names) as served,
        without(*names),
        udfstore.connect(served.socket, descriptors=False) as in_chunks,
        udfstore.connect(served.socket) as by_file,
    ):
        ids = [in_chunks.save(content, tag="some/tag").id for content in contents]
        assert by_file.save(folder / "file").id == ids[1]
        assert [in_chunks.load(id) for id in ids] == [by_file.load(id) for id in ids] == [*contents]
        assert in_chunks.get_tag("some/tag").id == ids[1]
        events = in_chunks.watch("some/")
        assert next(events).present
        by_file.tag("some/tag", ids[0])
        assert next(event for event in events if not event.present).entries[0].id == ids[0]


def test_each_is_measured_and_told() -> None:
    assert {name for gain in GAINS for name in gain.plain} == WITHOUT.keys()
    told = PAGE.partition("\n## What each optimisation bought\n")[2].partition("\n## ")[0]
    assert [gain.name for gain in GAINS] == re.findall(r"^\| ([^|`]+) \|", told, re.MULTILINE)[1:]
