"""The tail of the log: what a crash can leave is cut and kept aside, everything else is rot and stops writing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from store_kit import abandon, failing, move, open_store, read, save

from udfstore.errors import Corrupt, ReadOnly
from udfstore.refs import Tag
from udfstore.store import Store
from udfstore.store.groups import MAGIC, SEGMENT_HEAD_BYTES, decode_group

Edit = Callable[[bytearray], None]


def segment(root: Path, number: int = 1) -> Path:
    return root / "log" / f"{number:08d}"


def places(root: Path) -> list[tuple[int, int]]:
    """Start and end of each group in the first segment."""
    data, at, found = segment(root).read_bytes(), SEGMENT_HEAD_BYTES, []
    while data[at : at + 4] == MAGIC:
        length = decode_group(data, at).length
        found.append((at, at + length))
        at += length
    return found


def edit(path: Path, change: Edit) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def forget_catalog(root: Path) -> None:
    for path in root.glob("catalog.db*"):
        path.unlink()


@pytest.fixture
def three(root: Path) -> Path:
    """A store that was killed after three moves of `t`, its catalog lost."""
    store = open_store(root)
    id = save(store, b"x")
    for _ in range(3):
        move(store, "t", id)
    abandon(store)
    forget_catalog(root)
    return root


def copy(root: Path) -> Path:
    other = root.with_name("copy")
    shutil.rmtree(other, ignore_errors=True)
    return Path(shutil.copytree(root, other))


def versions(store: Store) -> int:
    return store.history(Tag.parse("t"))[0].version


def check_cut(root: Path, kept: int) -> None:
    """The log opens with `kept` moves, says what it cut, and takes new ones."""
    said: list[str] = []
    with open_store(root, say=said.append) as store:
        assert store.problem == ""
        assert versions(store) == kept
        assert any("never acknowledged" in line for line in said)
        assert move(store, "t", "t@1").entries[0].version == kept + 1
    with open_store(root) as store:
        assert versions(store) == kept + 1


def check_rot(root: Path, *says: str, kept: int) -> None:
    """The log opens for reading with `kept` moves, and names the damage."""
    before = segment(root).read_bytes()
    for _ in range(2):
        with open_store(root) as store:
            for word in says:
                assert word in store.problem
            assert read(store, f"t@{kept}") == b"x"
            with pytest.raises(ReadOnly, match="offset"):
                move(store, "t", "t@1")
            with pytest.raises(ReadOnly):
                store.upload()
    assert segment(root).read_bytes() == before, "nothing is repaired unasked"


def test_a_last_group_with_any_byte_zeroed_to_its_end_is_cut(three: Path) -> None:
    start, end = places(three)[-1]
    for cut in range(start, end, 11):
        root = copy(three)
        edit(segment(root), lambda data, cut=cut: data.__setitem__(slice(cut, end), bytes(end - cut)))
        with open_store(root) as store:
            assert (store.problem, versions(store)) == ("", 2)
        assert not any(segment(root).read_bytes()[start:end])
        copies = [path.read_bytes() for path in (root / "log").glob("cut-*")]
        whole = segment(three).read_bytes()[start:cut].rstrip(b"\0")
        assert copies == ([whole] if whole else [])


def test_pages_of_the_last_group_may_be_lost_in_any_order(three: Path) -> None:
    start, end = places(three)[-1]
    edit(segment(three), lambda data: data.__setitem__(slice(start, end - 20), bytes(end - 20 - start)))
    check_cut(three, 2)


def test_any_byte_changed_in_the_last_group_is_cut_without_a_catalog(three: Path) -> None:
    start, end = places(three)[-1]
    for place in range(start, end, 13):
        root = copy(three)
        edit(segment(root), lambda data, place=place: data.__setitem__(place, data[place] ^ 0x55))
        with open_store(root) as store:
            assert (store.problem, versions(store)) == ("", 2)
        assert len(list((root / "log").glob("cut-*"))) == 1


def test_the_same_damage_below_the_catalogs_revision_is_rot(root: Path) -> None:
    store = open_store(root)
    id = save(store, b"x")
    for _ in range(3):
        move(store, "t", id)
    abandon(store)
    start, end = places(root)[-1]
    edit(segment(root), lambda data: data.__setitem__(end - 60, data[end - 60] ^ 1))
    check_rot(root, "revision 3", f"offset {start}", "record 1 of 1", kept=3)


def test_a_damaged_clean_end_is_rot(root: Path) -> None:
    with open_store(root) as store:
        move(store, "t", save(store, b"x"))
    start, end = places(root)[-1]
    edit(segment(root), lambda data: data.__setitem__(slice(start, end), bytes(end - start)))
    check_rot(root, "revision 2", kept=1)


def test_damage_that_a_whole_group_follows_is_rot(three: Path) -> None:
    start, _ = places(three)[1]
    edit(segment(three), lambda data: data.__setitem__(start + 60, data[start + 60] ^ 1))
    check_rot(three, f"offset {start}", "behind revision 1", "revision 3 follows", kept=1)


def test_a_tail_longer_than_a_group_is_rot(three: Path) -> None:
    _, end = places(three)[-1]
    edit(segment(three), lambda data: data.__setitem__(end + (16 << 10), 1))
    check_rot(three, "more is damaged than one group", kept=3)


def test_damage_in_two_segments_is_rot(root: Path) -> None:
    store = open_store(root)
    id = save(store, b"x")
    move(store, "t", id)
    while not segment(root, 2).exists():
        move(store, "u", id, note="n" * 4000)
    abandon(store)
    _, end = places(root)[-1]
    edit(segment(root), lambda data: data.__setitem__(end, 1))
    edit(segment(root, 2), lambda data: data.__setitem__(SEGMENT_HEAD_BYTES, 1))
    check_rot(root, "more is damaged than one group", kept=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "65535 bytes instead of 65536"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "65537 bytes instead of 65536"),
        (lambda path: path.write_bytes(b""), "head is damaged"),
        (lambda path: edit(path, lambda data: data.__setitem__(10, 9)), "head is damaged"),
        (lambda path: path.write_bytes(bytes(64 << 10)), "head is damaged"),
    ],
    ids=["short", "grown", "empty", "head", "zeroed"],
)
def test_a_segment_that_is_not_what_was_made_is_rot(root: Path, change: Callable[[Path], None], says: str) -> None:
    with open_store(root) as store:
        move(store, "t", save(store, b"x"))
    change(segment(root))
    check_rot(root, says, "00000001", kept=1)


def test_a_missing_segment_is_rot(root: Path) -> None:
    with open_store(root) as store:
        id = save(store, b"x")
        move(store, "t", id)
        for _ in range(40):
            move(store, "u", id, note="n" * 4000)
    assert segment(root, 3).exists()
    segment(root, 2).unlink()
    check_rot(root, "segment 00000002 is missing", kept=1)
    forget_catalog(root)
    check_rot(root, "segment 00000002 is missing", kept=1)


def test_a_log_without_its_first_segment_is_refused(root: Path) -> None:
    with open_store(root) as store:
        move(store, "t", save(store, b"x"))
    segment(root).unlink()
    with pytest.raises(Corrupt, match="log is missing"):
        open_store(root)


def test_a_log_of_another_store_is_rot(root: Path) -> None:
    with open_store(root) as store:
        move(store, "t", save(store, b"x"))
    with open_store(root.with_name("other")) as store:
        move(store, "t", save(store, b"x"))
    shutil.copy(segment(root.with_name("other")), segment(root))
    check_rot(root, "another store", kept=1)


def test_cutting_may_be_broken_off_anywhere(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = places(three)[-1]
    edit(segment(three), lambda data: data.__setitem__(slice(end - 9, end), bytes(9)))
    torn = segment(three).read_bytes()[start : end - 9]
    for when in range(1, 4):
        names = ("write", "pwrite", "fdatasync", "fsync_folder")
        with failing(monkeypatch, names, errno.EIO, when), pytest.raises(Exception, match="Input/output"):
            open_store(three)
    check_cut(three, 2)
    copies = [path.read_bytes() for path in (three / "log").glob("cut-*")]
    assert torn in copies


def test_the_log_goes_on_over_many_segments(root: Path) -> None:
    with open_store(root) as store:
        id = save(store, b"x")
        for _ in range(60):
            move(store, "t", id, note="n" * 3000)
    assert len(list((root / "log").glob("0*"))) > 3
    forget_catalog(root)
    with open_store(root) as store:
        assert versions(store) == 60
        assert len(store.history(Tag.parse("t"), limit=1000)) == 60
