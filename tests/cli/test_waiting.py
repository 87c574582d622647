"""`--wait`: a move that returns when every follower made something of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from cli_kit import Run
from kit import eventually

import udfstore
from udfstore import OpenBlob, Place, Store

_numbers = count()


@pytest.fixture
def store(server: Path) -> Iterator[Store]:
    with udfstore.connect(server, place=Place("pumps", "pump1")) as store:
        yield store


@pytest.fixture
def tag(udfstore: Run, server: Path, tmp_path: Path) -> str:
    """A tag with a version that loads and one that does not, back at the first."""
    name = f"waiting/{next(_numbers)}"
    for content in ("model", "bad"):
        (tmp_path / "file").write_text(f"{content} {name}")
        udfstore("put", tmp_path / "file", "--tag", name, "--socket", server)
    udfstore("rollback", name, "--socket", server)
    return name


def load(blob: OpenBlob) -> bytes:
    content = blob.read()
    if content.startswith(b"bad"):
        raise ValueError("not a model")
    return content


def followed(store: Store, tag: str) -> None:
    """Return when the server knows that somebody follows it."""
    eventually(lambda: store.await_followers(tag, 1, 0))


@pytest.mark.parametrize(
    "change", [["tag", "TAG", "TAG@1"], ["rollback", "TAG", "--to", "1"], ["put", "FILE", "--tag", "TAG"]]
)
def test_a_move_that_all_followers_take(
    udfstore: Run, server: Path, store: Store, tag: str, tmp_path: Path, change: list[str]
) -> None:
    (tmp_path / "file").write_text("another")
    words = [word.replace("TAG", tag).replace("FILE", str(tmp_path / "file")) for word in change]
    with store.follow(tag, load) as model:
        followed(store, tag)
        moved = udfstore(*words, "--wait", "30", "--socket", server)
        assert (moved.status, model.version) == (0, 4)
        assert f"{tag}@4 is in use by all who follow it: pumps / pump1" in moved.err


def test_followers_that_fail_are_named_with_the_reason(udfstore: Run, server: Path, store: Store, tag: str) -> None:
    with store.follow(tag, load):
        followed(store, tag)
        moved = udfstore("tag", tag, f"{tag}@2", "--wait", "--socket", server)
    assert moved.status == 4
    assert f"1 of 1 followers could not take {tag}@4 into use: pumps / pump1: @4: ValueError: not a model" in moved.err
    assert udfstore("stat", tag, "--json", "--socket", server).json["tags"] == [f"{tag}@4"], "the move stands"


def test_followers_that_lag_are_named_with_what_they_have(udfstore: Run, server: Path, store: Store, tag: str) -> None:
    """One that says what it uses, and never follows a move."""
    entry = store.get_tag(tag)
    assert entry.id is not None
    store.used(tag, 3, entry.id)
    moved = udfstore("tag", tag, f"{tag}@1", "--wait", "0", "--socket", server)
    assert moved.status == 1
    assert f"1 of 1 followers do not have {tag}@4 after 0 s: pumps / pump1 has @3" in moved.err


def test_without_followers_nobody_is_waited_for(udfstore: Run, server: Path, tag: str) -> None:
    moved = udfstore("tag", tag, f"{tag}@1", "--wait", "--json", "--socket", server)
    assert (moved.status, moved.json["version"]) == (0, 4)
    assert "nobody" in moved.err


def test_a_deleted_tag_is_waited_for_by_nobody(udfstore: Run, server: Path, store: Store, tag: str) -> None:
    with store.follow(tag, load):
        followed(store, tag)
        deleted = udfstore("untag", tag, "--wait", "--socket", server)
    assert deleted.status == 0
    assert "1 go on with what they have" in deleted.err


def test_a_store_without_a_server_has_nobody_to_wait_for(udfstore: Run, tmp_path: Path) -> None:
    words = ["put", __file__, "--tag", "x", "--root", tmp_path / "root"]
    assert udfstore(*words, "--wait").status == 2
    assert udfstore("ls", "--root", tmp_path / "root").status == 3, "and nothing was saved"
    assert udfstore("put", __file__, "--wait", "5").status == 2
