"""What people and programs read, without a store."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest

from udfstore import plain
from udfstore.calls import Deleted, Kept
from udfstore.cli import output, show
from udfstore.cli.show_tasks import ago
from udfstore.digest import BlobId
from udfstore.model import Author, BlobInfo, Claim, Entry, Event
from udfstore.tasks import Reason

ID = BlobId.of(b"one")
OTHER = BlobId.of(b"two")
ADA = Author("socket", 1000, (1000, 27), 77, "python", claim=Claim("Ada", "edge-7"))
TIME = 1_700_000_000_123_456_789
ENTRY = Entry("models/x", 7, ID, 1234, 42, TIME, ADA, "why", {"f1": "0.9"}, links=(OTHER,))


def entry(version: int, id: BlobId | None, origin: int = 0, tag: str = "models/x") -> Entry:
    return replace(ENTRY, version=version, id=id, origin=origin, tag=tag)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (None, entry(1, ID), f"models/x: new -> 1 ({ID.short})  undo: udfstore untag models/x"),
        (
            entry(7, ID),
            entry(8, OTHER),
            f"models/x: 7 -> 8 ({ID.short} -> {OTHER.short})  undo: udfstore rollback models/x",
        ),
        (
            entry(7, ID),
            entry(8, OTHER, origin=3),
            f"models/x: 7 -> 8 ({ID.short} -> {OTHER.short})  undo: udfstore rollback models/x --to 7",
        ),
        (
            entry(7, ID),
            entry(8, None),
            f"models/x: 7 -> 8 ({ID.short} -> untagged)  undo: udfstore rollback models/x",
        ),
        (
            entry(7, None),
            entry(8, ID),
            f"models/x: 7 -> 8 (untagged -> {ID.short})  undo: udfstore untag models/x",
        ),
    ],
)
def test_the_line_of_a_move(before: Entry | None, after: Entry, line: str) -> None:
    assert show.move(before, after) == line
    assert show.move(before, after, " --root '/a b'") == f"{line} --root '/a b'"


def test_a_note_of_somebody_else_moves_no_cursor_when_a_release_can_be_undone() -> None:
    held = replace(entry(7, ID), held=True, note="a\n\x1b[31mb 'c'\r")
    line = show.move(held, entry(8, ID))
    assert line.isprintable()
    assert shlex.split(line.partition("undo: ")[2]) == ["udfstore", "hold", "models/x", "--note", "a \\x1b[31mb 'c'"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (1 << 70, "1024.0 EiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert show.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "59 s ago"),
        (190, "3 min ago"),
        (7200, "2 h ago"),
        (86400, "1 day ago"),
        (200000, "2 days ago"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert ago(TIME, TIME + seconds * 10**9) == text
    assert ago(0, TIME) == "never"
    assert ago(TIME + 10**9, TIME) == "just now", "clocks differ"


def test_columns_align_and_keep_the_last_as_it_is() -> None:
    rows = [("a", "1", "x  y"), ("long", "22", "")]
    assert list(show.columns(rows)) == ["a     1   x  y", "long  22"]
    assert list(show.columns([])) == []


def test_columns_never_hold_more_than_a_batch() -> None:
    taken = 0

    def rows() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield ("row",)

    assert next(show.columns(rows())) == "row"
    assert taken == show.TOGETHER


def test_a_claim_is_shown_as_one() -> None:
    assert show.author(ADA) == "Ada (claimed), host edge-7"
    assert show.author(replace(ADA, claim=Claim())) == "uid 1000 (python)"


def test_json_names_every_field_of_an_entry() -> None:
    assert plain.plain(ENTRY) == {
        "tag": "models/x",
        "version": 7,
        "id": str(ID),
        "size": 1234,
        "revision": 42,
        "time": "2023-11-14T22:13:20.123456Z",
        "author": {
            "front": "socket",
            "uid": 1000,
            "gids": [1000, 27],
            "pid": 77,
            "program": "python",
            "token": "",
            "claim": {"person": "Ada", "host": "edge-7", "job": "", "commit": ""},
        },
        "note": "why",
        "labels": {"f1": "0.9"},
        "origin": 0,
        "source": "",
        "links": [str(OTHER)],
        "held": False,
    }


def test_json_of_an_entry_in_brief_leaves_out_what_is_not_known() -> None:
    known = {"tag", "version", "id", "size", "revision", "time", "origin", "source", "held"}
    assert set(plain.plain(Kept(BlobInfo(ID, 3), (ENTRY.brief,), ()))["named"][0]) == known


def test_json_of_times_and_ids_that_are_not_known_is_null() -> None:
    assert plain.plain(BlobInfo(ID, 3))["saved"] is None
    assert plain.plain(entry(8, None))["id"] is None


def test_json_of_every_other_answer() -> None:
    assert plain.plain(Deleted(ID, 3, ("x@1",))) == {"id": str(ID), "size": 3, "versions": ["x@1"], "more": 0}
    assert plain.plain(Event(42, ())) == {"revision": 42, "entries": [], "present": False}
    assert plain.plain(b"\x01\xff") == "01ff"
    assert plain.plain(Reason.MANUAL) == "manual"
    with pytest.raises(TypeError, match="object has no form in JSON"):
        plain.plain(object())


def test_an_array_is_written_as_its_items_come(capsys: pytest.CaptureFixture[str]) -> None:
    output.put_array(iter([1, "é"]))
    assert capsys.readouterr().out == '[\n1,\n"é"\n]\n'
    output.put_array(iter([]))
    assert json.loads(capsys.readouterr().out) == []
