"""Watches: what is there, then every change, once, whatever happens to the connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import SECONDS, ServerProcess, in_thread

import udfstore
from udfstore import Conflict, UsageError

Content = Callable[..., bytes]


def test_what_is_there_comes_first_then_what_changes(store: Any, unique: str, content: Content) -> None:
    for name in ("a", "b"):
        store.save(content(name), tag=f"{unique}/{name}")
    store.save(content("beside"), tag=f"{unique}-beside")
    events = store.watch(f"{unique}/")
    present = [next(events) for _ in range(3)]
    assert [[entry.ref for entry in event.entries] for event in present] == [[f"{unique}/a@1"], [f"{unique}/b@1"], []]
    assert all(event.present for event in present)

    store.tag(f"{unique}-beside", f"{unique}/a")
    moved = store.move({f"{unique}/a": f"{unique}/b", f"{unique}/c": f"{unique}/b", f"{unique}-x": f"{unique}/b"})
    event = next(events)
    assert not event.present
    assert [entry.ref for entry in event.entries] == [f"{unique}/a@2", f"{unique}/c@1"]
    assert event.entries == tuple(entry for entry in moved if entry.tag.startswith(f"{unique}/"))
    deletion = store.untag(f"{unique}/c")
    assert next(events).entries == (deletion,)
    events.close()


def test_one_tag_is_watched_by_its_name(store: Any, unique: str, content: Content) -> None:
    events = store.watch(f"{unique}/x")
    assert next(events).entries == ()
    store.save(content(1), tag=f"{unique}/x/below")
    store.save(content(2), tag=f"{unique}/x")
    assert next(events).entries[0].ref == f"{unique}/x@1"
    events.close()


def test_a_watch_resumes_after_a_revision(store: Any, unique: str, content: Content) -> None:
    first, *others = [store.save(content(number), tag=f"{unique}/x").entry for number in range(4)]
    events = store.watch(f"{unique}/", since=first.revision, epoch=store.epoch)
    assert [next(events).entries for _ in others] == [(entry,) for entry in others]
    events.close()


def test_more_history_than_one_answer_holds_is_told_in_order(store: Any, unique: str, content: Content) -> None:
    id = store.save(content()).id
    since = store.status().revision
    for _ in range(60):
        store.tag(f"{unique}/x", id, note="n" * 4096)
    events = store.watch(f"{unique}/x", since=since)
    assert [next(events).entries[0].version for _ in range(60)] == list(range(1, 61))
    events.close()


def test_a_watch_of_another_epoch_is_a_conflict(store: Any) -> None:
    with pytest.raises(Conflict, match="restored from a backup"):
        next(store.watch("", since=0, epoch=store.epoch + 1))


def test_a_watch_from_beyond_the_newest_revision_is_a_conflict(store: Any) -> None:
    with pytest.raises(Conflict, match="beyond the newest revision"):
        next(store.watch("", since=store.status().revision + 1))


def test_a_prefix_that_could_begin_no_tag_is_refused_at_once(store: Any) -> None:
    with pytest.raises(UsageError):
        store.watch("a//b")


def test_calls_may_be_made_inside_the_loop(store: Any, unique: str, content: Content) -> None:
    """Each event leads to the next one."""
    store.save(content(0), tag=f"{unique}/x")
    seen = []
    events = store.watch(f"{unique}/x")
    for event in events:
        for entry in event.entries:
            seen.append(store.load(entry.ref))
            if len(seen) < 5:
                store.save(content(len(seen)), tag=entry.tag)
        if len(seen) == 5:
            break
    events.close()
    assert seen == [content(number) for number in range(5)]


def test_closing_the_store_ends_a_watch(store: Any, unique: str, content: Content) -> None:
    store.save(content(), tag=f"{unique}/x")
    told = threading.Event()

    def watch() -> list[bool]:
        seen = []
        for event in store.watch(f"{unique}/x"):
            seen.append(event.present)
            if not event.entries:
                told.set()
        return seen

    watching = in_thread(watch)
    assert told.wait(SECONDS)
    store.close()
    assert watching.result(SECONDS) == [True, True]


def test_a_watch_over_a_killed_server_has_no_gap_and_no_repeat(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], content: Content
) -> None:
    moves = 200
    begun = threading.Event()
    half_way = [threading.Event() for _ in range(2)]
    watcher = connect_to(own_server.socket)
    with udfstore.connect(own_server.socket) as mover:
        id = mover.save(content()).id

        def watch() -> list[int]:
            seen: list[int] = []
            for event in watcher.watch("models/"):
                begun.set()
                seen += [entry.version for entry in event.entries]
                for number, reached in enumerate(half_way, 1):
                    if len(seen) >= 60 * number:
                        reached.set()
                if len(seen) >= moves:
                    break
            return seen

        def move() -> list[int]:
            return [mover.tag("models/x", id).version for _ in range(moves)]

        watching = in_thread(watch)
        assert begun.wait(SECONDS), "what was moved before would not be told"
        moving = in_thread(move)
        for reached in half_way:
            assert reached.wait(SECONDS)
            own_server.restart()
        assert moving.result(SECONDS) == list(range(1, moves + 1)), "each move happened once"
        assert watching.result(SECONDS) == list(range(1, moves + 1))


def test_a_watch_that_missed_changes_while_the_server_was_away_is_told_them(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], content: Content
) -> None:
    watcher = connect_to(own_server.socket)
    watcher.save(content(1), tag="models/x")
    events = watcher.watch("models/")
    assert [next(events).entries for _ in range(2)][1] == ()
    own_server.kill()
    with udfstore.open_store(own_server.root) as meanwhile:
        meanwhile.save(content(2), tag="models/x")
        meanwhile.save(content(3), tag="models/x")
    own_server.start()
    assert [next(events).entries[0].version for _ in range(2)] == [2, 3]
    events.close()
