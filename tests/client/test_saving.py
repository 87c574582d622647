"""What can be saved, what is refused, and what comes back."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import SECONDS, in_thread

from udfstore import BlobId, Conflict, Mismatch, NotFound, UsageError

MIB = 1 << 20
Content = Callable[..., bytes]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_content_in_memory_is_stored_as_it_is(store: Any, content: Content, kind: Callable[[bytes], Any]) -> None:
    data = content(kind)
    saved = store.save(kind(data))
    assert (saved.id, saved.size, saved.existed) == (BlobId.of(data), len(data), False)
    assert store.load(saved.id) == data


def test_several_chunks_come_back_whole_and_in_order(store: Any, unique: str) -> None:
    data = b"".join(f"{unique}{number:08}".encode() for number in range(60_000))
    assert len(data) > 3 * MIB
    assert store.save(data).id == BlobId.of(data)
    assert store.load(BlobId.of(data)) == data


def test_views_of_other_items_than_bytes_are_stored_as_their_bytes(store: Any, content: Content) -> None:
    data = content().ljust(200, b".")[:200]
    assert store.save(memoryview(data).cast("Q")).id == BlobId.of(data)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read_from_the_disk(store: Any, folder: Path, content: Content, kind: Callable[[Path], Any]) -> None:
    data = content(kind)
    (folder / "model").write_bytes(data)
    saved = store.save(kind(folder / "model"))
    assert store.load(saved.id) == data


def test_text_is_a_path_and_never_content(store: Any) -> None:
    with pytest.raises(FileNotFoundError):
        store.save("no such file")


@pytest.mark.parametrize("buffering", [0, -1])
def test_an_open_file_is_read_from_where_it_stands(store: Any, folder: Path, content: Content, buffering: int) -> None:
    (folder / "model").write_bytes(b"header" + content(buffering))
    with open(folder / "model", "rb", buffering=buffering) as file:
        file.read(6)
        saved = store.save(file)
        assert not file.closed, "whoever opened it closes it"
    assert store.load(saved.id) == content(buffering)


def test_a_file_that_stands_behind_its_end_is_empty(store: Any, folder: Path) -> None:
    (folder / "model").write_bytes(b"short")
    with open(folder / "model", "rb") as file:
        file.seek(100)
        assert store.save(file).id == BlobId.of(b"")


def test_content_that_only_exists_in_memory_as_a_file(store: Any, content: Content) -> None:
    saved = store.save(io.BytesIO(content()))
    assert store.load(saved.id) == content()


def test_a_compressed_file_is_stored_as_what_it_reads(store: Any, folder: Path, content: Content) -> None:
    """Its descriptor is that of the compressed bytes, whose number is another."""
    with gzip.open(folder / "model.gz", "wb") as file:
        file.write(content() * 1000)
    with gzip.open(folder / "model.gz", "rb") as file:
        saved = store.save(file)
    assert store.load(saved.id) == content() * 1000


def test_a_pipe_that_cannot_seek(store: Any, content: Content) -> None:
    data = content() * 20_000
    out, into = os.pipe()

    def write() -> None:
        with open(into, "wb") as writing:
            writing.write(data)

    written = in_thread(write)
    with open(out, "rb") as pipe:
        saved = store.save(pipe)
    written.result(SECONDS)
    assert (saved.id, saved.size) == (BlobId.of(data), len(data))


def test_a_pipe_that_would_block_is_not_taken_for_its_end(store: Any) -> None:
    out, into = os.pipe()
    os.set_blocking(out, False)
    with open(out, "rb", buffering=0) as pipe, open(into, "wb", buffering=0) as writing:
        writing.write(b"the first half")
        with pytest.raises(UsageError, match="non-blocking"):
            store.save(pipe)


def test_nothing_is_a_blob_too(store: Any, unique: str) -> None:
    saved = store.save(b"", tag=f"{unique}/empty")
    assert (saved.id, saved.size) == (BlobId.of(b""), 0)
    assert store.load(f"{unique}/empty") == b""


@pytest.mark.parametrize("wrong", [None, 7, ["model"], object()])
def test_what_cannot_be_saved_is_refused_with_the_ways_that_work(store: Any, wrong: object) -> None:
    with pytest.raises(TypeError, match="give bytes, a path, or a file open for reading in mode 'rb'"):
        store.save(wrong)


class _Texts:
    """A file of texts that does not say so."""

    def read(self, most: int) -> str:
        return "text"

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("file", [io.StringIO("text"), _Texts()], ids=["text file", "reader of texts"])
def test_a_file_of_text_is_refused_and_names_the_mode(store: Any, content: Content, file: Any) -> None:
    with pytest.raises(TypeError, match="'rb'"):
        store.save(file)
    assert store.load(store.save(content()).id) == content(), "the connection is as good as before"


@pytest.mark.parametrize(
    "told", [{"note": "why"}, {"labels": {"score": "1"}}, {"expected_version": 0}, {"links": [BlobId.of(b"")]}]
)
def test_what_belongs_to_a_tag_is_refused_without_one(store: Any, told: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="belong to a tag"):
        store.save(b"content", **told)


def test_a_save_with_a_tag_says_who_why_and_what(store: Any, unique: str, content: Content) -> None:
    store.save(b"a part")
    saved = store.save(content(), tag=f"{unique}/x", note="why", labels={"score": "0.9"}, links=[BlobId.of(b"a part")])
    entry = saved.entry
    assert (entry.tag, entry.version, entry.id, entry.size) == (f"{unique}/x", 1, saved.id, saved.size)
    assert (entry.note, entry.labels, entry.links) == ("why", {"score": "0.9"}, (BlobId.of(b"a part"),))
    assert entry.author.uid == os.getuid()
    assert store.get_tag(f"{unique}/x") == entry


def test_the_same_content_is_stored_once(store: Any, content: Content) -> None:
    assert not store.save(content()).existed
    assert store.save(content()).existed


class _Unread:
    """A file that nobody may read."""

    def read(self, most: int) -> bytes:
        raise AssertionError("read, although the store has it")

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("tagged", [False, True])
def test_announced_content_that_is_there_is_not_read(store: Any, unique: str, content: Content, tagged: bool) -> None:
    id = store.save(content()).id
    saved = store.save(_Unread(), id=id, tag=f"{unique}/x" if tagged else None)
    assert (saved.id, saved.size, saved.existed) == (id, len(content()), True)
    assert (saved.entry is not None) == tagged
    if tagged:
        assert store.load(f"{unique}/x") == content()


def test_content_that_is_not_what_was_announced_is_not_stored(store: Any, unique: str, content: Content) -> None:
    wanted = BlobId.of(content("wanted"))
    with pytest.raises(Mismatch) as caught:
        store.save(content("other"), id=wanted, tag=f"{unique}/x")
    assert (caught.value.expected, caught.value.got) == (str(wanted), str(BlobId.of(content("other"))))
    assert set(store.missing([wanted, BlobId.of(content("other"))])) == {wanted, BlobId.of(content("other"))}
    with pytest.raises(NotFound):
        store.get_tag(f"{unique}/x")


def test_a_save_with_a_stale_expected_version_moves_nothing(store: Any, unique: str, content: Content) -> None:
    store.save(content(1), tag=f"{unique}/x", expected_version=0)
    store.save(content(2), tag=f"{unique}/x", expected_version=1)
    with pytest.raises(Conflict) as caught:
        store.save(content(3), tag=f"{unique}/x", expected_version=1)
    assert (caught.value.expected, caught.value.got) == ("version 1", "version 2")
    assert store.load(f"{unique}/x") == content(2)


def test_which_of_many_blobs_are_missing(store: Any, content: Content) -> None:
    """More than one question holds."""
    ids = [BlobId.of(content(number)) for number in range(1500)]
    here = {ids[3], ids[1200], ids[1499]}
    for number in (3, 1200, 1499):
        store.save(content(number))
    assert store.missing(map(str, ids)) == [id for id in ids if id not in here]


def test_what_the_store_knows_of_a_blob(store: Any, unique: str, content: Content) -> None:
    id = store.save(content(1), tag=f"{unique}/x").id
    store.save(content(2), tag=f"{unique}/y")
    store.tag(f"{unique}/y", id)
    store.tag(f"{unique}/x", f"{unique}/y@1")
    known = store.stat(f"{unique}/y")
    assert (known.id, known.size, known.tags, known.history) == (id, len(content(1)), (f"{unique}/y@2",), 1)
    assert known.saved_ns > 0
    kept = store.why(id)
    assert {entry.ref for entry in kept.named} == {f"{unique}/x@1", f"{unique}/y@2"}
