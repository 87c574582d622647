"""What tells of automatic snapshots that are long gone leaves log and catalog, and nothing else does."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_kit import (
    AUTHOR,
    TINY,
    Clock,
    abandon,
    blob_path,
    commit,
    delete,
    dump,
    failing,
    forget_catalog,
    move,
    open_store,
    read,
    removed,
    request,
    rounds,
    save,
)

from udfstore.calls import Delete, Move, Step, Used
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Gone, NotFound, ReadOnly, UdfstoreError
from udfstore.model import Kind
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import Store, osfs, shedding
from udfstore.store.format import parse
from udfstore.store.groups import SEGMENT_HEAD_BYTES
from udfstore.store.layout import Layout
from udfstore.store.log import Head, read_groups, read_segment

AUTO = Tag.parse("snapshots/pump/auto")
GOLDEN = Tag.parse("snapshots/pump/named/golden")
LATER = shedding.REMEMBERED_NS / 10**9


@pytest.fixture
def store(root: Path, clock: Clock) -> Any:
    with open_store(root, clock=clock, limits=TINY) as store:
        yield store


def age(store: Store, clock: Clock) -> None:
    """An hour passes, and housekeeping is done."""
    removed(store)
    clock.advance(LATER)
    store.sweep()


def name(store: Store, tag: Tag, number: int) -> None:
    step = Step(tag, Ref.of(BlobId.of(b"manifest %d" % number)), 0, {}, (BlobId.of(b"state %d" % number),))
    store.submit(Move((step,), "", request()), AUTHOR, reserved=True).result()


def versions(store: Store, tag: Tag = AUTO) -> list[int]:
    return [entry.version for entry in store.history(tag, limit=100_000)]


def log_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "log").iterdir())


def made_anew(root: Path, clock: Clock) -> dict[str, list[tuple[Any, ...]]]:
    """What a catalog made from log and files of a store that was abandoned holds."""
    copy = root.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    forget_catalog(copy)
    store = open_store(copy, clock=clock, limits=TINY)
    try:
        assert store.problem == ""
        return dump(store)
    finally:
        abandon(store)


def test_only_what_was_dropped_goes(store: Store, clock: Clock) -> None:
    rounds(store, 1, 12)
    name(store, GOLDEN, 5)
    move(store, "models/a", save(store, b"model"))
    rounds(store, 13, 60)
    move(store, "models/a", save(store, b"other"))
    assert versions(store) == list(range(60, 0, -1))
    store.sweep()
    assert len(versions(store)) == 60, "a request may be repeated for an hour"
    before = log_bytes(store.root)
    age(store, clock)
    assert log_bytes(store.root) < before / 2
    left = versions(store)
    assert left[:10] == list(range(60, 50, -1))
    assert 5 in left, "its snapshot has a name"
    assert len(left) < 25, "but for those of the last two segments"
    assert versions(store, GOLDEN) == [1]
    assert versions(store, Tag.parse("models/a")) == [2, 1]
    assert [entry.version for entry in store.kept(AUTO)] == list(range(60, 50, -1))
    for entry in (*store.kept(AUTO), store.entry(Ref.of(GOLDEN))):
        assert [read(store, id) for id in (entry.id, *entry.links) if id]
    rounds(store, 61, 61)
    assert versions(store)[0] == 61


def test_what_was_shed_answers_as_it_should(store: Store, clock: Clock) -> None:
    rounds(store, 1, 40)
    move(store, "t", save(store, b"kept"))
    removed(store)
    revision = store.revision
    assert store.resolve(Ref.parse("t")).id == BlobId.of(b"kept")
    age(store, clock)
    with pytest.raises(Gone, match="not kept any more"):
        store.entry(Ref.parse("snapshots/pump/auto@1"))
    with pytest.raises(NotFound, match="no version 41"):
        store.entry(Ref.parse("snapshots/pump/auto@41"))
    for content in (b"manifest 1", b"state 1"):
        with pytest.raises(NotFound):
            store.open(BlobId.of(content))
    assert store.revision == revision
    events, until = store.events(Prefix.parse(""), 0, 1000)
    assert until == revision
    told = [(entry.tag, entry.version) for event in events for entry in event.entries]
    assert told == [(AUTO.name, version) for version in reversed(versions(store))] + [("t", 1)]


def test_what_somebody_deleted_stays_gone(store: Store, clock: Clock) -> None:
    unnamed, named = save(store, b"unnamed"), save(store, b"named")
    move(store, "t", named)
    delete(store, unnamed, now=True)
    delete(store, named, force=True, now=True)
    rounds(store, 1, 1)
    delete(store, BlobId.of(b"state 1"), force=True, now=True)
    save(store, b"back")
    delete(store, BlobId.of(b"back"), now=True)
    save(store, b"back")
    rounds(store, 2, 60)
    age(store, clock)
    assert 1 not in versions(store)
    for id in (unnamed, named, BlobId.of(b"state 1")):
        with pytest.raises(Gone):
            store.open(id)
    assert read(store, BlobId.of(b"back")) == b"back"
    with store._parts.catalog.reading() as view:
        assert view.states(BlobId.of(b"back")) == []
        assert len(view.states(unnamed)) == 2


def test_a_repeated_request_is_answered_for_an_hour(store: Store, clock: Clock) -> None:
    rounds(store, 1, 5)
    number = request()
    gone = store.drop([], [(AUTO, 5)], number, AUTHOR).result()
    rounds(store, 6, 60)
    removed(store)
    clock.advance(LATER - 1)
    store.sweep()
    revision = store.revision
    assert store.drop([], [(AUTO, 5)], number, AUTHOR).result() == gone
    assert store.revision == revision
    made = store.made(number)
    assert made
    assert set(made.blobs) == set(gone.blobs)
    age(store, clock)
    assert store.made(number) is None


def test_what_was_used_stays_but_of_versions_that_went(store: Store, clock: Clock) -> None:
    move(store, "t", save(store, b"model"))
    store.submit(Used(Tag.parse("t"), 1, BlobId.of(b"model"), request=request()), AUTHOR).result()
    rounds(store, 1, 1)
    store.submit(Used(AUTO, 1, BlobId.of(b"manifest 1"), request=request()), AUTHOR).result()
    rounds(store, 2, 60)
    assert len(store.uses("", "", None, True)) == 2
    age(store, clock)
    (use,) = store.used(store.uses("", "", None, True))
    assert use.tag == "t"


def test_a_task_that_was_deleted_leaves_its_end_alone(root: Path, store: Store, clock: Clock) -> None:
    rounds(store, 1, 30)
    store.drop([AUTO], [], request(), AUTHOR).result()
    for n in range(60):
        commit(store, b"of fan %d" % n, task="fan")
    age(store, clock)
    assert versions(store) == [31]
    rounds(store, 31, 31)
    assert versions(store) == [32, 31]


def test_ends_of_the_server_go_too(root: Path, clock: Clock) -> None:
    for n in range(1, 60):
        with open_store(root, clock=clock, limits=TINY) as store:
            rounds(store, n, n)
            removed(store)
    with open_store(root, clock=clock, limits=TINY) as store:
        age(store, clock)
        assert sum(row[1] == Kind.CLOSED.value for row in dump(store)["records"]) < 15


def test_format_says_so_from_the_first_time_on(store: Store, clock: Clock) -> None:
    rounds(store, 1, 60)
    removed(store)
    assert parse((store.root / "FORMAT").read_text()).features == ()
    age(store, clock)
    assert parse((store.root / "FORMAT").read_text()).features == ("shed",)
    rounds(store, 61, 99)
    age(store, clock)
    assert parse((store.root / "FORMAT").read_text()).features == ("shed",)


def test_log_and_catalog_do_not_grow_with_age(root: Path, clock: Clock) -> None:
    """Two thousand rounds, one a minute: as large as after five hundred."""
    store = open_store(root, clock=clock, limits=TINY)
    sizes = []
    for n in range(1, 2001):
        commit(store, b"manifest %d" % n, b"state %d" % (n % 17), task=f"t{n % 2}")
        clock.advance(60)
        if n % 20 == 0:
            removed(store)
            store.sweep()
        if n % 500 == 0:
            sizes.append((log_bytes(root), (root / "catalog.db").stat().st_size))
            rows = {table: len(rows) for table, rows in dump(store).items()}
            assert max(rows.values()) < 900, rows
    segments = len(list((root / "log").iterdir()))
    assert sizes[-1][0] - sizes[0][0] < 200 * segments, "a head and a gap for each segment"
    assert sizes[-1][1] < 1.1 * sizes[0][1], "free pages are used again"
    before = dump(store)
    abandon(store)
    assert made_anew(root, clock) == before
    with open_store(root, clock=clock, limits=TINY) as store:
        assert dump(store) == before, "and a start finds its catalog as it was"


# --- any order of things ---------------------------------------------------------------------------------------------

TASKS = ("a", "b")
ROUNDS = st.tuples(st.just("rounds"), st.sampled_from(TASKS), st.integers(5, 20), st.integers(0, 4))
AGE = st.tuples(st.just("age"), st.integers(100, 8000))
STEPS = st.one_of(
    *(ROUNDS, ROUNDS, ROUNDS, AGE, AGE),
    st.tuples(st.just("drop"), st.sampled_from(TASKS), st.integers(0, 12)),
    st.tuples(st.just("name"), st.sampled_from(TASKS), st.integers(0, 9)),
    st.tuples(st.just("unname"), st.sampled_from(TASKS)),
    st.tuples(st.just("rm"), st.integers(0, 4)),
    st.tuples(st.just("save"), st.integers(0, 4)),
    st.tuples(st.just("untag"), st.sampled_from(TASKS)),
    st.tuples(st.just("tag"), st.integers(0, 4)),
)


@settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, max_size=30))
def test_a_catalog_made_anew_at_any_time_tells_the_same(
    steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """States that come back, names, deletions by hand: the log has what the catalog has, and what is kept is there."""
    root, clock = tmp_path_factory.mktemp("store") / "root", Clock()
    store = open_store(root, clock=clock, limits=TINY)
    patch = pytest.MonkeyPatch()
    patch.setattr(shedding, "WORTH_BYTES", 1 << 20)
    count = 0
    highest = dict.fromkeys(TASKS, 0)
    try:
        for step in steps:
            match step:
                case ("rounds", task, many, state):
                    for _ in range(many):
                        count += 1
                        clock.advance(301)
                        commit(store, b"manifest %d" % count, b"state %d" % state, b"of %d" % count, task=task)
                case ("save", state):
                    save(store, b"state %d" % state)
                case _:
                    with contextlib.suppress(UdfstoreError):  # there is nothing to do it to
                        act(store, clock, *step)
            removed(store)
            check_kept(store, highest)
        before = dump(store)
    finally:
        patch.undo()
        abandon(store)
    assert made_anew(root, clock) == before


def act(store: Store, clock: Clock, what: str, *how: Any) -> None:
    match what, *how:
        case "age", seconds:
            clock.advance(seconds)
            store.sweep()
        case "tag", state:
            move(store, f"t{state}", BlobId.of(b"state %d" % state))
        case "rm", state:
            store.submit(Delete(Ref.of(BlobId.of(b"state %d" % state)), True, True, request()), AUTHOR).result()
        case "untag", task:
            store.drop([Tag.parse(f"snapshots/{task}/auto")], [], request(), AUTHOR).result()
        case "unname", task:
            store.drop([Tag.parse(f"snapshots/{task}/named/n")], [], request(), AUTHOR).result()
        case "drop", task, back:
            tag = Tag.parse(f"snapshots/{task}/auto")
            newest = store.history(tag)[0].version
            store.drop([], [(tag, newest - back)], request(), AUTHOR).result()
        case "name", task, back:
            for entry in store.kept(Tag.parse(f"snapshots/{task}/auto"))[back : back + 1]:
                step = Step(Tag.parse(f"snapshots/{task}/named/n"), Ref.of(entry.id or ""), 0, {}, entry.links)
                store.submit(Move((step,), "", request()), AUTHOR, reserved=True).result()


def check_kept(store: Store, highest: dict[str, int]) -> None:
    assert store.problem == ""
    for task in TASKS:
        tag = Tag.parse(f"snapshots/{task}/auto")
        try:
            newest = store.history(tag, limit=1)[0].version
        except NotFound:
            continue
        assert newest >= highest[task], "a version is used twice"
        highest[task] = newest
        kept = store.kept(tag)
        assert all(newest - 10 < entry.version <= newest for entry in kept)
        for entry in kept:
            assert entry.id
            assert read(store, entry.id)
    for tags in store.tags(Prefix.parse("t")):
        assert len(store.history(Tag.parse(tags.tag))) == tags.version


# --- broken off ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of a process, as far as files are concerned."""


@pytest.fixture
def aged(root: Path, clock: Clock) -> Path:
    """A store whose log may shed, abandoned."""
    store = open_store(root, clock=clock, limits=TINY)
    rounds(store, 1, 60, b"same")
    move(store, "t", save(store, b"kept"))
    removed(store)
    abandon(store)
    clock.advance(LATER)
    return root


SEAM = ("write", "fdatasync", "rename", "fsync_folder")
"""What a segment takes to be written anew; `FORMAT` before the first one takes the same."""


def kill(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, when: int) -> bool:
    """End a sweep at that call of the seam; whether it came to it."""
    count = 0

    def wrap(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == when:
                raise Killed
            return real(*arguments)

        return call

    store = open_store(root, clock=clock, limits=TINY)
    with monkeypatch.context() as patch:
        for name in SEAM:
            patch.setattr(osfs, name, wrap(getattr(osfs, name)))
        with contextlib.suppress(Killed):
            store.sweep()
    abandon(store)
    return count >= when


@pytest.mark.parametrize("catalog_lost", [False, True])
def test_killed_at_any_step_the_rest_is_done_later(
    aged: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, catalog_lost: bool
) -> None:
    whole = Path(shutil.copytree(aged, aged.with_name("whole")))
    with open_store(aged, clock=clock, limits=TINY) as store:
        store.sweep()
        expected = dump(store)
    for when in range(1, 200):
        shutil.rmtree(aged)
        shutil.copytree(whole, aged)
        if not kill(aged, clock, monkeypatch, when):
            assert when > 20, "several segments have shed"
            return
        if catalog_lost:
            forget_catalog(aged)
        with open_store(aged, clock=clock, limits=TINY) as store:
            assert store.problem == ""
            assert [entry.version for entry in store.kept(AUTO)] == list(range(60, 50, -1))
            assert read(store, "t") == b"kept"
            store.sweep()
            assert dump(store) == expected
    pytest.fail("shedding has more steps than were tried")


def test_killed_before_the_catalog_follows(aged: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(aged, clock=clock, limits=TINY)
    before = dump(store)

    def killed(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shedding, "_forget", killed)
        with pytest.raises(Killed):
            store.sweep()
    abandon(store)
    with open_store(aged, clock=clock, limits=TINY) as store:
        assert {**dump(store), "head": []} == {**before, "head": []}, "it knows what the log does not"
        store.sweep()
        after = dump(store)
        assert len(after["records"]) < len(before["records"]) / 2
        abandon(store)
    assert made_anew(aged, clock) == after


@pytest.mark.parametrize(("error", "stops"), [(errno.EIO, True), (errno.ENOSPC, False)])
def test_a_disk_that_refuses(
    aged: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: int, stops: bool
) -> None:
    """A failed sync ends all writing; a full disk only puts the shedding off."""
    for when in range(1, 9):
        copy = Path(shutil.copytree(aged, aged.with_name(f"copy {when}")))
        store = open_store(copy, clock=clock, limits=TINY)
        with failing(monkeypatch, SEAM, error, when, once=stops), pytest.raises(UdfstoreError, match="shedding"):
            store.sweep()
        assert ("anew failed" in store.problem) == stops
        assert stops or list((copy / "log").glob("*.new")) == []
        abandon(store)
        with open_store(copy, clock=clock, limits=TINY) as store:
            assert store.problem == ""
            store.sweep()
            assert len(versions(store)) < 25


def test_after_a_failed_sync_no_other_segment_is_written(
    aged: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [path.read_bytes() for path in segments(aged)]
    store = open_store(aged, clock=clock, limits=TINY)
    with failing(monkeypatch, ("fsync_folder",), errno.EIO, once=True) as count:
        with pytest.raises(UdfstoreError, match="shedding"):
            store.sweep()
        assert count() == 1, "a folder was synced again"
    assert [path.read_bytes() for path in segments(aged)] == before
    abandon(store)


def test_while_a_backup_is_made_the_log_stays(aged: Path, clock: Clock) -> None:
    with open_store(aged, clock=clock, limits=TINY) as store:
        with store.backup() as pages:
            next(pages)
            before = log_bytes(aged)
            store.sweep()
            assert log_bytes(aged) == before
        store.sweep()
        assert log_bytes(aged) < before


def test_a_catalog_older_than_what_was_shed_is_made_anew(root: Path, clock: Clock) -> None:
    """One that lies in a segment that was written anew, and one that missed what later ones told."""
    store = open_store(root, clock=clock, limits=TINY)
    saved = []
    for n in range(1, 61):
        commit(store, b"manifest %d" % n, b"state %d" % n)
        if n in (1, 5, 50):
            removed(store)
            abandon(store)
            saved.append(shutil.copy(root / "catalog.db", root.with_name(f"{n}.db")))
            store = open_store(root, clock=clock, limits=TINY)
    age(store, clock)
    expected = dump(store)
    abandon(store)
    for old in saved:
        forget_catalog(root)
        shutil.copy(old, root / "catalog.db")
        said: list[str] = []
        store = open_store(root, clock=clock, limits=TINY, say=said.append)
        assert (store.problem, dump(store)) == ("", expected)
        assert any("older than what the log has shed" in line for line in said)
        abandon(store)


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shed(aged: Path, clock: Clock) -> Path:
    """A store whose log has shed."""
    store = open_store(aged, clock=clock, limits=TINY)
    store.sweep()
    abandon(store)
    return aged


def segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "log").iterdir() if path.name.isdigit())


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_log_that_has_shed_is_one_chain(shed: Path) -> None:
    id = parse((shed / "FORMAT").read_text()).id
    layout = Layout(shed)
    *_, (_, head) = read_groups(lambda number: read_segment(layout, id, number), Head())
    with open_store(shed, limits=TINY) as store:
        assert store._parts.catalog.view.head() == head
    assert segments(shed)[1].stat().st_size == 76 + 120, "of this one nothing is left"


def test_damage_in_a_gap_is_rot_and_named(shed: Path, clock: Clock) -> None:
    path = segments(shed)[1]
    for place in (76, 76 + 10, 76 + 30, 76 + 119):
        copy = Path(shutil.copytree(shed, shed.with_name(f"copy {place}")))
        flip(copy / "log" / path.name, place)
        with open_store(copy, clock=clock, limits=TINY) as store:
            assert store.problem == ""
            with store.backup() as pages, pytest.raises(Corrupt, match="the log is damaged here"):
                list(pages)
        forget_catalog(copy)
        with open_store(copy, clock=clock, limits=TINY) as store:
            assert "log 00000001" in store.problem
            assert "a whole group at revision" in store.problem
            with pytest.raises(ReadOnly):
                move(store, "t", "t@1")


def test_a_segment_that_is_damaged_is_left_alone(aged: Path, clock: Clock) -> None:
    path = segments(aged)[1]
    flip(path, 1000)
    damaged = path.read_bytes()
    with open_store(aged, clock=clock, limits=TINY) as store:
        for _ in range(2):
            with pytest.raises(Corrupt, match="log 00000002, offset"):
                store.sweep()
        assert path.read_bytes() == damaged
        assert segments(aged)[2].stat().st_size < TINY.segment_bytes / 2, "the others have shed"
        assert not any(blob_path(store, BlobId.of(b"state %d" % n)).exists() for n in range(1, 51))


def test_a_segment_with_a_damaged_beginning_does_not_keep_the_others(aged: Path, clock: Clock) -> None:
    flip(segments(aged)[1], SEGMENT_HEAD_BYTES)
    with open_store(aged, clock=clock, limits=TINY) as store:
        for _ in range(2):
            with pytest.raises(Corrupt, match="log 00000002: no group begins here"):
                store.sweep()
        assert segments(aged)[2].stat().st_size < TINY.segment_bytes / 2, "the others have shed"


def test_a_missing_segment_is_rot_still(shed: Path, clock: Clock) -> None:
    segments(shed)[1].unlink()
    with open_store(shed, clock=clock, limits=TINY) as store:
        assert "segment 00000002 is missing" in store.problem
