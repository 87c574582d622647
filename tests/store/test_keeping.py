"""Retention at work: what automatic snapshots alone kept goes with them at once, and nothing else does."""

from __future__ import annotations

import contextlib
import errno
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from store_kit import (
    AUTHOR,
    SMALL,
    Clock,
    abandon,
    blob_path,
    commit,
    delete,
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

from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import Busy, Conflict, Gone, UdfstoreError
from udfstore.model import Kind
from udfstore.refs import Ref, Tag
from udfstore.store import Store, keeping, upkeep
from udfstore.store.committer import HOUSE
from udfstore.store.log import Head
from udfstore.store.wanted import MOST, WANTED_NS, Wanted

AUTO = Tag.parse("snapshots/pump/auto")
GOLDEN = Tag.parse("snapshots/pump/named/golden")


def here(store: Store, content: bytes) -> bool:
    """Whether content can be had; its file agrees."""
    id = BlobId.of(content)
    removed(store)
    there = blob_path(store, id).exists()
    try:
        store.open(id).close()
    except Gone:
        assert not there
        return False
    assert there
    return True


def name(store: Store, tag: Tag, manifest: bytes, *states: bytes) -> None:
    step = Step(tag, Ref.of(BlobId.of(manifest)), 0, {}, tuple(map(BlobId.of, states)))
    store.submit(Move((step,), "", request()), AUTHOR, reserved=True).result()


def links(store: Store) -> list[tuple[bytes, str, int]]:
    with store._parts.catalog.reading() as view:
        return view.db.execute("SELECT id, tag, version FROM links ORDER BY id, tag, version").fetchall()


def test_the_eleventh_takes_the_first_along(store: Store) -> None:
    rounds(store, 1, 10, b"same")
    assert all(here(store, b"state %d" % n) for n in range(1, 11))
    rounds(store, 11, 11, b"same")
    assert not here(store, b"state 1")
    assert not here(store, b"manifest 1")
    assert here(store, b"state 2")
    assert here(store, b"same")
    assert list((store.root / "trash").iterdir()) == [], "without a grace time"
    assert [entry.version for entry in store.kept(AUTO)] == list(range(11, 1, -1))
    with pytest.raises(Gone, match="history remains"):
        store.resolve(Ref.parse("snapshots/pump/auto@1"))


def test_what_anything_else_keeps_stays(store: Store) -> None:
    for n, state in enumerate((b"tagged", b"linked", b"other task", b"named", b"old version"), 1):
        commit(store, b"manifest %d" % n, state)
    move(store, "tagged", BlobId.of(b"tagged"))
    move(store, "linking", save(store, b"x"), links=(BlobId.of(b"linked"),))
    commit(store, b"of fan", b"other task", task="fan")
    name(store, GOLDEN, b"manifest 4", b"named")
    move(store, "old", BlobId.of(b"old version"))
    move(store, "old", BlobId.of(b"x"))
    rounds(store, 6, 20)
    for state in (b"tagged", b"linked", b"other task", b"named", b"old version"):
        assert here(store, state), state
    assert [here(store, b"manifest %d" % n) for n in range(1, 6)] == [False, False, False, True, False]


def test_a_round_that_comes_back_to_a_state_keeps_it(store: Store, clock: Clock) -> None:
    commit(store, b"manifest 1", b"back and forth")
    rounds(store, 2, 10)
    assert save(store, b"back and forth"), "the node saves it, its round is not over"
    rounds(store, 11, 12)
    assert here(store, b"back and forth")
    commit(store, b"manifest 13", b"back and forth")
    rounds(store, 14, 22)
    clock.advance(400)
    store.sweep()
    assert here(store, b"back and forth")
    rounds(store, 23, 23)
    assert not here(store, b"back and forth")


@pytest.mark.parametrize("how", ["save", "present", "want"])
def test_what_was_wanted_goes_when_nobody_came_for_it(store: Store, clock: Clock, how: str) -> None:
    id = BlobId.of(b"state 1")
    rounds(store, 1, 10)
    if how == "save":
        save(store, b"state 1")
    else:
        assert getattr(store, how)(id)
    rounds(store, 11, 11)
    assert here(store, b"state 1")
    assert not here(store, b"manifest 1")
    clock.advance(WANTED_NS / 10**9)
    assert store.sweep() == 0
    assert not here(store, b"state 1")


def test_what_was_wanted_goes_with_a_later_round(store: Store, clock: Clock) -> None:
    rounds(store, 1, 10)
    assert store.want(BlobId.of(b"state 1"))
    rounds(store, 11, 11)
    assert here(store, b"state 1")
    clock.advance(WANTED_NS / 10**9)
    rounds(store, 12, 12)
    assert not here(store, b"state 1")


def test_content_that_is_removed_can_come_back(store: Store) -> None:
    rounds(store, 1, 11)
    assert store.present(BlobId.of(b"state 1")) is None
    commit(store, b"manifest 12", b"state 1")
    assert read(store, BlobId.of(b"state 1")) == b"state 1"
    assert store.info(Ref.of(BlobId.of(b"state 1"))).size == 7


def test_a_manifest_that_is_saved_again_keeps_its_states_again(store: Store, clock: Clock) -> None:
    commit(store, b"manifest", b"state")
    name(store, GOLDEN, b"manifest", b"state")
    before = links(store)
    delete(store, BlobId.of(b"manifest"), force=True)
    assert links(store) == []
    save(store, b"manifest")
    assert links(store) == before
    rounds(store, 1, 20)
    clock.advance(400)
    store.sweep()
    assert here(store, b"state")


def test_names_go_with_what_they_alone_kept(store: Store) -> None:
    rounds(store, 1, 1)
    name(store, GOLDEN, b"manifest 1", b"state 1")
    rounds(store, 2, 11)
    assert here(store, b"state 1")
    number = request()
    gone = store.drop([GOLDEN], [], number, AUTHOR).result()
    assert set(gone.blobs) == {BlobId.of(b"manifest 1"), BlobId.of(b"state 1")}
    assert not here(store, b"state 1")
    with store._parts.catalog.reading() as view:
        made = view.requested(number)
    assert made is not None
    assert (made[1].kind, made[1].author) == (Kind.CONDEMN, AUTHOR)
    revision = store.revision
    assert store.drop([GOLDEN], [], number, AUTHOR).result() == gone
    removed(store)
    assert store.revision == revision
    with pytest.raises(Gone, match="untagged"):
        store.entry(Ref.of(GOLDEN))


def test_a_name_goes_alone_where_a_number_keeps_its_snapshot(store: Store) -> None:
    rounds(store, 1, 1)
    name(store, GOLDEN, b"manifest 1", b"state 1")
    number = request()
    assert store.drop([GOLDEN], [], number, AUTHOR).result().blobs == ()
    with pytest.raises(Gone, match="untagged"):
        store.entry(Ref.of(GOLDEN))
    assert here(store, b"manifest 1")
    assert here(store, b"state 1")
    revision = store.revision
    for again in (number, request()):
        assert store.drop([GOLDEN, Tag.parse("snapshots/pump/named/never")], [], again, AUTHOR).result().blobs == ()
    assert store.revision == revision
    rounds(store, 2, 11)
    assert not here(store, b"manifest 1"), "a name that was taken away keeps nothing"


def test_what_is_asked_for_goes_though_somebody_wanted_it(store: Store, clock: Clock) -> None:
    rounds(store, 1, 2)
    assert all(store.want(BlobId.of(content)) for content in (b"manifest 1", b"state 1"))
    assert store.drop([], [(AUTO, 1)], request(), AUTHOR).result().blobs == (BlobId.of(b"manifest 1"),)
    assert here(store, b"state 1")
    clock.advance(WANTED_NS / 10**9)
    store.sweep()
    assert not here(store, b"state 1")


def test_what_the_oldest_kept_snapshot_names_is_not_deleted(store: Store) -> None:
    rounds(store, 1, 12)
    for content in (b"manifest 3", b"state 3"):
        with pytest.raises(Conflict, match="snapshots/pump/auto@3 names now"):
            delete(store, BlobId.of(content))
        assert here(store, content)


def test_a_number_is_dropped_alone(store: Store) -> None:
    rounds(store, 1, 3, b"same")
    store.drop([], [(AUTO, 2)], request(), AUTHOR).result()
    assert [here(store, b"state %d" % n) for n in (1, 2, 3)] == [True, False, True]
    assert here(store, b"same")
    assert [entry.version for entry in store.kept(AUTO)] == [3, 1]


def test_an_untagged_task_keeps_nothing_of_before(store: Store) -> None:
    rounds(store, 1, 3)
    store.drop([AUTO], [], request(), AUTHOR).result()
    assert store.kept(AUTO) == []
    assert not here(store, b"state 3")
    rounds(store, 4, 4)
    assert [entry.version for entry in store.kept(AUTO)] == [5]


def test_more_than_one_step_takes_goes_in_several(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "AT_ONCE", 3)
    commit(store, b"manifest", *(b"%d" % n for n in range(8)))
    assert len(store.drop([AUTO], [], request(), AUTHOR).result().blobs) == 3
    left = [here(store, b"%d" % n) for n in range(8)]
    assert left.count(True) == 6
    for _ in range(2):
        store.sweep()
    assert store.totals()[:2] == (0, 0)


def test_many_blobs_are_told_once_each_in_several_records() -> None:
    blobs = [(BlobId.of(b"%d" % n), n) for n in range(2 * keeping.IN_A_RECORD + 1)]
    made = keeping.records(Kind.CONDEMN, blobs, 1)
    assert [len(record.blobs) for record in made] == [keeping.IN_A_RECORD, keeping.IN_A_RECORD, 1]
    assert [blob for record in made for blob in record.blobs] == blobs


# --- broken off ------------------------------------------------------------------------------------------------------


def test_a_kill_before_anything_was_let_go_is_made_good_by_the_next_round(root: Path) -> None:
    store = open_store(root)
    rounds(store, 1, 10)
    step = Step(AUTO, Ref.of(save(store, b"manifest 11")), None, {}, (save(store, b"state 11"),))
    store.submit(Move((step,), "", request()), HOUSE, reserved=True).result()
    abandon(store)
    with open_store(root) as store:
        assert here(store, b"state 1")
        rounds(store, 12, 12)
        assert [here(store, b"state %d" % n) for n in (1, 2, 3)] == [False, False, True]


def test_a_removal_broken_off_anywhere_is_finished(root: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    store = open_store(root, clock=clock)
    rounds(store, 1, 10)
    abandon(store)
    seam = ("rename", "fsync_folder", "unlink")
    for when in range(1, 30):
        store = open_store(root, clock=clock)
        n = 10 + when
        with failing(monkeypatch, seam, errno.EIO, when) as count:
            with contextlib.suppress(UdfstoreError):
                rounds(store, n, n)
            removed(store)
            reached = count() >= when
        abandon(store)
        with open_store(root, clock=clock) as store:
            rounds(store, n, n)
            removed(store)
            clock.advance(4000)
            store.sweep()
            assert list((root / "trash").iterdir()) == []
            kept = store.kept(AUTO)
            assert len(kept) == 10
            for entry in kept:
                assert read(store, entry.ref)
            files = sum(1 for _ in (root / "blobs").glob("*/*"))
            assert files == store.totals()[0] <= 22
        if not reached:
            return
    pytest.fail("a round has more steps than were tried")


def test_a_catalog_made_anew_keeps_the_same(root: Path, clock: Clock) -> None:
    with open_store(root, clock=clock) as store:
        rounds(store, 1, 12, b"same")
        name(store, GOLDEN, b"manifest 5", b"state 5", b"same")
        store.drop([], [(AUTO, 7)], request(), AUTHOR).result()
        save(store, b"manifest 1")
        removed(store)
        before = links(store), store.totals(), store.kept(AUTO)
    for path in root.glob("catalog.db*"):
        path.unlink()
    with open_store(root, clock=clock) as store:
        assert (links(store), store.totals(), store.kept(AUTO)) == before
        rounds(store, 13, 13)
        assert not here(store, b"state 3")


def test_a_state_that_was_lost_keeps_no_snapshot_from_going(root: Path) -> None:
    with open_store(root) as store:
        rounds(store, 1, 10)
        blob_path(store, BlobId.of(b"state 1")).unlink()
    forget_catalog(root)
    with open_store(root) as store:
        rounds(store, 11, 11)
        assert not here(store, b"manifest 1")


def test_savers_and_rounds_side_by_side(store: Store) -> None:
    """A node that goes back and forth between states never finds one gone between its save and its round."""
    failures: list[UdfstoreError] = []

    def node(task: str) -> None:
        for n in range(60):
            try:
                commit(store, b"%s %d" % (task.encode(), n), b"state %d" % (n % 13), b"%d" % (n % 11), task=task)
            except UdfstoreError as error:
                failures.append(error)

    threads = [threading.Thread(target=node, args=(task,)) for task in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for task in "abc":
        for entry in store.kept(Tag.parse(f"snapshots/{task}/auto")):
            for link in entry.links:
                assert read(store, link)


# --- who relies on what ---------------------------------------------------------------------------------------------


def test_nobody_relies_on_what_is_leaving() -> None:
    wanted, one, two = Wanted(), BlobId.of(b"1"), BlobId.of(b"2")
    assert wanted.want(one, 0)
    assert not wanted.leave(one, WANTED_NS - 1)
    assert wanted.leave(two, 0)
    assert not wanted.want(two, 1), "the record that removes it is not there for all to see yet"
    wanted.left()
    assert wanted.want(two, 2)
    wanted.postpone([one])
    assert (wanted.postponed(), wanted.postponed()) == ([one], [])
    wanted.settle([one])
    assert wanted.leave(one, 1), "an entry keeps it, or nobody does"


def test_a_step_that_is_refused_ends_no_other(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that is leaving is lent to nobody before the record of it is there for all to see."""
    with open_store(root, clock=clock, limits=replace(SMALL, queue=1)) as store:
        rounds(store, 1, 10)
        clock.advance(WANTED_NS / 10**9)
        committer = store._parts.committer
        append, lent, waits = committer._log.append, list[bool](), list[Future[None]]()

        def between(written: list[tuple[Kind, bytes]], after: int) -> Head:
            if any(kind is Kind.CONDEMN for kind, _ in written):
                waits.append(committer.submit(lambda _: upkeep.nothing))
                with pytest.raises(Busy):
                    store.let_go(()).result()
                lent.append(store.want(BlobId.of(b"state 1")))
            return append(written, after=after)

        monkeypatch.setattr(committer._log, "append", between)
        rounds(store, 11, 11)
        assert [waiting.result() for waiting in waits] == [None]
        assert lent == [False]
        assert not here(store, b"state 1")


def test_the_newest_wanted_are_remembered() -> None:
    wanted = Wanted()
    ids = [BlobId.of(b"%d" % n) for n in range(MOST + 1)]
    for id in ids:
        wanted.want(id, 0)
    assert (wanted.leave(ids[0], 1), wanted.leave(ids[1], 1)) == (True, False)
