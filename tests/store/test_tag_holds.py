"""A held tag stays where it is until its release, whatever happens to the store meanwhile."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from store_kit import (
    AUTHOR,
    START_NS,
    abandon,
    commit,
    delete,
    dump,
    failing,
    forget_catalog,
    hold,
    move,
    open_store,
    read,
    release,
    request,
    rollback,
    save,
    untag,
)

from udfstore.calls import Hold, Move, Release, Step
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, NoSpace, NotFound, Unsupported, UsageError
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import Store
from udfstore.store.format import parse


def features(store: Store) -> tuple[str, ...]:
    return parse((store.root / "FORMAT").read_text()).features


def newest(store: Store, tag: str = "t") -> int:
    return store.history(Tag.parse(tag))[0].version


def test_a_held_tag_is_not_moved_by_anybody(store: Store) -> None:
    one, two = save(store, b"1"), save(store, b"2")
    move(store, "t", one)
    move(store, "t", two, labels={"f1": "0.9"})
    held = hold(store, "t", "the inspector looks at it")
    assert (held.version, held.id, held.held, held.note) == (3, two, True, "the inspector looks at it")
    told = r"t is held at version 3 by uid 1000 \(pytest\): 'the inspector looks at it'; first: udfstore release t"
    for attempt in (
        lambda: move(store, "t", one),
        lambda: move(store, "t", one, expected=3),
        lambda: move(store, "t", one, expected=0),
        lambda: rollback(store, "t"),
        lambda: rollback(store, "t", 1),
        lambda: untag(store, "t"),
        lambda: untag(store, "other", "t"),
        lambda: hold(store, "t", "me too"),
    ):
        move(store, "other", one)
        with pytest.raises(Conflict, match=told):
            attempt()
    assert newest(store) == 3
    released = release(store, "t")
    assert (released.version, released.id, released.held, released.labels) == (4, two, False, {"f1": "0.9"})
    assert rollback(store, "t").id == one
    with pytest.raises(Conflict, match="t is not held"):
        release(store, "t")


def test_one_held_tag_keeps_back_all_that_move_with_it(store: Store) -> None:
    id = save(store, b"1")
    move(store, "t", id)
    hold(store, "t")
    steps = tuple(Step(Tag(name), Ref.of(id)) for name in ("a", "t"))
    with pytest.raises(Conflict, match="held"):
        store.submit(Move(steps, "", request()), AUTHOR).result()
    with pytest.raises(NotFound):
        store.history(Tag("a"))


def test_a_held_tag_takes_no_save_but_the_content_does_come(store: Store) -> None:
    move(store, "t", save(store, b"1"))
    hold(store, "t")
    id = save(store, b"2")
    with pytest.raises(Conflict, match="held"):
        move(store, "t", id)
    assert read(store, id) == b"2"


def test_only_a_tag_that_names_something_is_held(store: Store) -> None:
    with pytest.raises(NotFound):
        hold(store, "t")
    move(store, "t", save(store, b"1"))
    with pytest.raises(UsageError, match="why"):
        hold(store, "t", "")
    untag(store, "t")
    for act in (hold, release):
        with pytest.raises(Gone):
            act(store, "t")
    commit(store, b"manifest")
    with pytest.raises(UsageError, match="snapshot calls"):
        hold(store, "snapshots/pump/auto")


def test_a_hold_goes_neither_back_nor_forward(store: Store) -> None:
    """A rollback after it leads where it would have led without."""
    ids = [save(store, b"%d" % n) for n in range(4)]
    for id in ids:
        move(store, "t", id)
    assert rollback(store, "t").id == ids[2]
    assert (hold(store, "t").origin, release(store, "t").origin) == (3, 3)
    assert rollback(store, "t").id == ids[1]


def test_links_and_source_stay(store: Store) -> None:
    part, whole = save(store, b"part"), save(store, b"whole")
    move(store, "t", whole, links=(part,))
    for entry in (hold(store, "t"), release(store, "t")):
        assert (entry.links, entry.source) == ((part,), str(whole))
    with pytest.raises(Conflict, match="t@3"):
        delete(store, part)


def test_what_is_held_may_be_removed_by_force_and_let_go_then(store: Store) -> None:
    part, whole = save(store, b"part"), save(store, b"whole")
    move(store, "t", whole, links=(part,))
    hold(store, "t")
    with pytest.raises(Conflict, match="names now"):
        delete(store, whole)
    delete(store, whole, force=True)
    with pytest.raises(Gone):
        read(store, "t")
    assert release(store, "t").id == whole
    assert not store.why(Ref.of(part)).linked, "what is gone keeps nothing"
    with pytest.raises(Gone):
        hold(store, "t")
    save(store, b"whole")
    assert {entry.version for entry in store.why(Ref.of(part)).linked} == {1, 2, 3}


def test_watchers_and_lists_are_told(store: Store) -> None:
    move(store, "t", save(store, b"1"))
    before = store.revision
    hold(store, "t", "why")
    release(store, "t", "done")
    events, _ = store.events(Prefix.parse("t"), before)
    assert [(e.held, e.note, e.version) for event in events for e in event.entries] == [
        (True, "why", 2),
        (False, "done", 3),
    ]
    assert [entry.held for entry in store.history(Tag("t"))] == [False, True, False]
    hold(store, "t", "again")
    assert [(entry.held, entry.note) for entry in store.tags(Prefix.parse(""))] == [(True, "again")]
    assert store.info(Ref.parse("t")).entry == store.entry(Ref.parse("t"))


def test_a_repeat_is_answered_with_the_hold_it_made(store: Store) -> None:
    move(store, "t", save(store, b"1"))
    for call in (Hold(Tag("t"), "why", request()), Release(Tag("t"), "", request())):
        made = store.submit(call, AUTHOR).result()
        assert store.submit(call, AUTHOR).result() == made
    with pytest.raises(Conflict, match="another change"):
        store.submit(Hold(Tag("t"), "why", call.request), AUTHOR).result()


def test_a_hold_outlasts_kill_and_catalog(root: Path) -> None:
    store = open_store(root, clock=lambda: START_NS)
    move(store, "t", save(store, b"1"))
    hold(store, "t", "why")
    whole = dump(store)
    abandon(store)
    forget_catalog(root)
    with open_store(root) as again:
        assert dump(again) == whole
        with pytest.raises(Conflict, match="held at version 2"):
            untag(again, "t")


def test_a_release_that_does_not_know_holds_refuses_the_store_by_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(store, "t", save(store, b"1"))
    for attempt in (lambda: hold(store, "u"), lambda: hold(store, "t", "")):
        with pytest.raises((NotFound, UsageError)):
            attempt()
    assert features(store) == ()
    hold(store, "t")
    assert features(store) == ("holds",)
    monkeypatch.setattr("udfstore.store.format.FEATURES", frozenset({"journal", "shed"}))
    with pytest.raises(Unsupported, match="needs holds"):
        features(store)


def test_no_room_to_say_so_is_no_hold(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    move(store, "t", save(store, b"1"))
    with failing(monkeypatch, ("write", "create"), errno.ENOSPC), pytest.raises(NoSpace):
        hold(store, "t")
    assert (features(store), newest(store)) == ((), 1)
    assert hold(store, "t").held


def test_the_reason_is_told_in_one_line_and_not_without_end(store: Store) -> None:
    move(store, "t", save(store, b"1"))
    hold(store, "t", "line\n\x1b[2J" + "x" * 4000)
    with pytest.raises(Conflict) as caught:
        untag(store, "t")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 700
    assert BlobId.of(b"1") == store.entry(Ref.parse("t")).id
