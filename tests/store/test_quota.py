"""Whom content counts for, and what entries of an author may keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store_kit import (
    AUTHOR,
    abandon,
    blob_path,
    commit,
    counted,
    delete,
    dump,
    forget_catalog,
    hold,
    move,
    open_store,
    read,
    removed,
    request,
    rollback,
    save,
    untag,
)

from udfstore.calls import Move, Rollback, Step
from udfstore.errors import Conflict, NoSpace
from udfstore.model import Author
from udfstore.quota import Quotas
from udfstore.refs import Ref, Tag
from udfstore.store import Store

ADA, BOB, CI = AUTHOR, Author("socket", 1001), Author("http", token="ci")
MOST = 100


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    """One where Ada may have 100 bytes, and everybody else 50."""
    with open_store(root, quotas=Quotas({"uid 1000": MOST}, 50)) as store:
        yield store
        if not store._closed:
            assert used(store) == counted(store)


def used(store: Store) -> dict[str, tuple[int, int]]:
    return {owner: (blobs, size) for owner, blobs, size in store.owners()}


def test_content_counts_once_for_whoever_named_it_first(store: Store) -> None:
    id = save(store, bytes(40))
    assert used(store) == {}
    move(store, "a", id, author=BOB)
    for author in (ADA, CI, BOB):
        move(store, "b", id, author=author)
    assert used(store) == {"uid 1001": (1, 40)}
    untag(store, "a")
    assert store.owned("uid 1001") == 40, "the history still names it"
    assert store.owned("uid 7") == 0


def test_removal_gives_room_back_and_undelete_takes_it_again(store: Store) -> None:
    id = save(store, bytes(40))
    move(store, "a", id)
    delete(store, id, force=True)
    assert used(store) == {}
    store.undelete(Ref.of(id), BOB)
    assert used(store) == {"uid 1000": (1, 40)}
    delete(store, id, force=True, now=True)
    assert used(store) == {}
    save(store, bytes(40))
    assert used(store) == {"uid 1000": (1, 40)}, "its history names it"


def test_nobody_has_its_own_back_from_the_trash_above_its_quota(store: Store) -> None:
    first = save(store, bytes(60))
    move(store, "a", first)
    delete(store, first, force=True)
    move(store, "a", save(store, bytes(range(60))))
    with pytest.raises(NoSpace, match="60 bytes more would pass the quota of uid 1000, who uses 60"):
        store.undelete(Ref.of(first), ADA)
    removed(store)
    assert used(store) == {"uid 1000": (1, 60)}
    assert not blob_path(store, first).exists()
    store.undelete(Ref.of(first), BOB)  # whom it does not count for: an operator, say
    assert used(store) == {"uid 1000": (2, 120)}
    assert read(store, first) == bytes(60)


def test_what_passes_the_quota_is_refused_alone_and_says_why(store: Store) -> None:
    move(store, "a", save(store, bytes(60)))
    big, small = save(store, bytes(41)), save(store, bytes(range(40)))
    with pytest.raises(NoSpace, match=r"41 bytes more would pass the quota of uid 1000, who uses 60") as refused:
        move(store, "b", big)
    assert (refused.value.expected, refused.value.got) == ("at most 100 bytes", "101")
    move(store, "b", small)
    move(store, "c", small)
    assert read(store, "a") == bytes(60)
    untag(store, "b")
    with pytest.raises(NoSpace):
        move(store, "a", save(store, b"1"))
    delete(store, "a", force=True)
    move(store, "d", big)
    assert used(store) == {"uid 1000": (2, 81)}


def test_one_step_counts_as_a_whole_and_each_blob_once(store: Store) -> None:
    one, two = save(store, bytes(50)), save(store, bytes(51))
    steps = [Step(Tag.parse(name), Ref.of(id)) for name, id in (("a", one), ("b", two), ("c", one))]
    with pytest.raises(NoSpace, match="101 bytes more"):
        store.submit(Move(tuple(steps), "", request()), ADA).result()
    store.submit(Move((steps[0], steps[2]), "", request()), ADA).result()
    assert used(store) == {"uid 1000": (1, 50)}


def test_a_repeat_is_answered_though_the_quota_is_full(store: Store) -> None:
    id, number = save(store, bytes(MOST)), request()
    made = move(store, "a", id, number=number)
    assert move(store, "a", id, number=number).entries == made.entries


def test_rollback_and_hold_keep_what_was_kept(store: Store) -> None:
    move(store, "a", save(store, bytes(60)))
    move(store, "a", save(store, bytes(range(40))))
    assert rollback(store, "a").size == 60
    assert hold(store, "a").held
    with pytest.raises(Conflict):
        store.submit(Rollback(Tag.parse("a"), request=request()), BOB).result()


def test_links_count_too(store: Store) -> None:
    """Else content could be kept without a name."""
    part, whole = save(store, bytes(30)), save(store, b"whole")
    move(store, "a", whole, links=(part,), author=BOB)
    move(store, "part", part)
    assert used(store) == {"uid 1001": (2, 35)}
    with pytest.raises(NoSpace, match="16 bytes more would pass the quota of uid 1001, who uses 35"):
        move(store, "b", whole, links=(save(store, bytes(16)),), author=BOB)
    delete(store, whole, force=True)
    assert used(store) == {"uid 1000": (1, 30)}, "what its part is kept by now"
    store.undelete(Ref.of(whole), ADA)
    assert used(store) == {"uid 1001": (2, 35)}


def test_what_the_server_keeps_has_no_quota(store: Store) -> None:
    commit(store, bytes(60), bytes(200))
    assert used(store) == {"server": (2, 260)}
    move(store, "mine", save(store, bytes(200)))
    assert used(store) == {"server": (2, 260)}


def test_another_quota_counts_from_the_next_start(root: Path) -> None:
    with open_store(root) as store:
        move(store, "a", save(store, bytes(60)))
    with open_store(root, quotas=Quotas({"uid 1000": 50})) as store:
        move(store, "b", "a")
        with pytest.raises(NoSpace):
            move(store, "b", save(store, b"1"))
        move(store, "b", save(store, bytes(500)), author=BOB)
    with open_store(root, quotas=Quotas({"uid 1000": 61})) as store:
        move(store, "b", save(store, b"1"))


def test_a_catalog_made_anew_counts_the_same(root: Path, store: Store) -> None:
    part = save(store, bytes(30))
    move(store, "a", save(store, b"whole"), links=(part,), author=CI)
    move(store, "b", save(store, b"gone"))
    delete(store, "b", force=True)
    removed(store)
    before: dict[str, Any] = dump(store)
    assert used(store) == {"token ci": (2, 35)}
    abandon(store)
    forget_catalog(root)
    with open_store(root) as again:
        assert dump(again) == before
        assert used(again) == counted(again) == {"token ci": (2, 35)}
        assert [item for batch in again.check() for item in batch if hasattr(item, "kind")] == []


def test_check_sees_wrong_sums(store: Store) -> None:
    move(store, "a", save(store, bytes(30)))
    catalog = store._parts.catalog
    catalog.view.db.execute("UPDATE owners SET bytes = 29 WHERE text = 'uid 1000'")
    (found,) = [item for batch in store.check() for item in batch if hasattr(item, "kind")]
    assert found.text == "what counts for whom is not what its rows say"
    catalog.view.db.execute("UPDATE owners SET bytes = 30 WHERE text = 'uid 1000'")
