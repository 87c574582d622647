"""What is counted at the fronts, and what operators are told of tasks and followers."""

from __future__ import annotations

import os
from concurrent.futures import Future

import pytest
from service_kit import CALLER, Box

from udfstore import calls
from udfstore.errors import Conflict
from udfstore.model import Author, Place
from udfstore.refs import Ref, Tag
from udfstore.service import Histogram, Live, Meters
from udfstore.service.meters import kind_of
from udfstore.service.watched import Having, WatchedTask, followed, tasks
from udfstore.session.outbox import Outbox
from udfstore.tasks import HostKind

SECOND = 10**9


# --- fronts ---


def test_calls_are_counted_by_front_kind_and_outcome() -> None:
    meters = Meters()
    meters.ended(meters.begin("socket", "get-tag"))
    meters.ended(meters.begin("socket", "get-tag"), "not-found")
    meters.ended(meters.begin("http", "get-tag"))
    under_way = meters.begin("http", "save")
    fronts = meters.fronts()
    assert fronts["socket"].kinds["get-tag"].codes == {"ok": 1, "not-found": 1}
    assert fronts["socket"].kinds["get-tag"].seconds.count == 2
    assert fronts["http"].kinds["get-tag"].codes == {"ok": 1}
    assert (fronts["http"].kinds["save"].open, fronts["http"].kinds["save"].codes) == (1, {})
    meters.ended(under_way)
    assert meters.fronts()["http"].kinds["save"].open == 0
    assert fronts["http"].kinds["save"].open == 1, "what was read stays as it was"


def test_a_request_ends_with_what_became_of_it() -> None:
    meters = Meters()
    with meters.request("http", "move"):
        pass
    with meters.request("http", "move") as request:
        request.code = "denied"
    with pytest.raises(Conflict), meters.request("http", "move"):
        raise Conflict("it moved meanwhile")
    with pytest.raises(ZeroDivisionError), meters.request("http", "move"):
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), meters.request("http", "move"):
        raise KeyboardInterrupt
    move = meters.fronts()["http"].kinds["move"]
    assert move.codes == {"ok": 1, "denied": 1, "conflict": 1, "internal": 1, "cancelled": 1}
    assert (move.open, move.seconds.count) == (0, 5)


def test_what_lasts_as_long_as_its_caller_wants_has_no_time() -> None:
    meters = Meters()
    with meters.request("socket", kind_of(calls.Watch)):
        pass
    watch = meters.fronts()["socket"].kinds["watch"]
    assert (watch.codes, watch.seconds.count) == ({"ok": 1}, 0)


def test_a_conversation_that_ends_takes_its_calls_along() -> None:
    meters = Meters()
    with meters.conversation("socket", lambda: 7) as conversation:
        conversation.begin(1, calls.GetTag)
        conversation.begin(2, calls.Load)
        conversation.ended(1)
        conversation.ended(1, "internal")  # it had ended before
        front = meters.fronts()["socket"]
        assert (front.open, front.connected, front.buffered, front.kinds["load"].open) == (1, 1, 7, 1)
    front = meters.fronts()["socket"]
    assert (front.open, front.connected, front.buffered, front.kinds["load"].open) == (0, 1, 0, 0)
    assert (front.kinds["get-tag"].codes, front.kinds["load"].codes) == ({"ok": 1}, {"cancelled": 1})


def test_every_call_has_a_word_of_its_own() -> None:
    kinds = [kind_of(kind) for kind in (calls.GetTag, calls.Save, calls.ListBlobs, calls.Why)]
    assert kinds == ["get-tag", "save", "list-blobs", "why"]


def test_a_histogram_counts_a_value_in_the_bounds_that_hold_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value)
    assert list(histogram) == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert (histogram.count, histogram.sum) == (4, 102.0)


def test_an_outbox_knows_what_waits_in_it() -> None:
    outbox = Outbox()
    outbox.put(b"small")
    outbox.put_chunk(1, b"head", b"content")
    outbox.put_chunk(2, b"head", b"other content")
    outbox.put(b"behind it", 2)
    assert outbox.bytes == 5 + 11 + 17 + 9
    outbox.drop(2)
    assert outbox.bytes == 5 + 11
    outbox.flush(lambda buffers, token: min(4, sum(map(len, buffers))))
    assert outbox.bytes == 0


# --- the store's own ---


def test_a_store_counts_what_saves_brought_and_what_was_removed(box: Box) -> None:
    id = box.save(b"four")
    box.save(b"four")
    box.service.upload(CALLER, calls.Save(id))  # announced: its content is not even sent
    box.ask(calls.Delete(Ref.of(id), now=True, request=os.urandom(16)))
    figures = box.store.meters.read()
    assert (figures.new.count, figures.new.bytes) == (1, 4)
    assert (figures.existed.count, figures.existed.bytes) == (2, 8)
    assert figures.blob_seconds.count == 1, "nothing is synced that was there"
    assert figures.removed == 1
    # The index of a save is no record: the two are the deletion and the end of its file.
    assert (figures.group_records.count, figures.group_records.sum) == (2, 2.0)


def test_what_was_removed_waits_in_the_trash(box: Box) -> None:
    id = box.save(b"four")
    box.ask(calls.Delete(Ref.of(id), request=os.urandom(16)))
    amounts = box.store.gauges.amounts()
    assert (amounts.blobs, amounts.leaving, amounts.leaving_bytes) == (0, 1, 4)
    assert box.store.sweep(now=True) == 1
    assert box.store.gauges.amounts().leaving == 0
    assert (box.store.meters.read().sweeps, box.store.meters.read().failed_sweeps) == (1, 0)


# --- tasks ---


def test_a_task_is_as_old_as_its_last_good_round(box: Box) -> None:
    box.commit({"a": b"1"}, "pump")
    saved_ns = box.clock.ns
    box.commit({"a": b"2"}, "idle")
    fan = box.service.register.enter(Author("socket"), saved_ns + 3 * SECOND)
    box.service.register.introduce(fan, fan.author, Place("fan", "a"))
    box.service.register.joined(fan, owner=True)
    box.tasks.live = lambda: {
        "pump": Live(("a", "b"), "none", HostKind.RUN, saved_ns + 5 * SECOND, "a node did not answer"),
        "fan": Live(("a",), "none", HostKind.RUN),
    }
    now = box.clock.ns + 100 * SECOND
    by_name = {task.name: task for task in tasks(box.service, now)}
    idle_ns = box.store.entry(Ref.parse("snapshots/idle/auto")).time_ns
    assert by_name == {
        "fan": WatchedTask("fan", True, 1, (now - saved_ns) / SECOND - 3, ""),
        "idle": WatchedTask("idle", False, 0, (now - idle_ns) / SECOND, ""),
        "pump": WatchedTask("pump", True, 2, (now - saved_ns) / SECOND - 5, "a node did not answer"),
    }


# --- followers ---


def moved(box: Box, content: bytes, tag: str = "models/a") -> calls.Moved:
    step = calls.Step(Tag.parse(tag), Ref.of(box.save(content)))
    answer: calls.Moved = box.ask(calls.Move((step,), "", os.urandom(16)))
    return answer


def test_a_follower_has_the_newest_version_or_lags_or_failed(box: Box) -> None:
    (first,) = moved(box, b"one").entries
    assert first.id is not None
    follower = box.service.register.enter(Author("socket"), 0)
    use = calls.Used(Tag.parse(first.tag), 1, first.id, "", os.urandom(16))

    def used(call: calls.Used) -> None:
        noted: Future[calls.Noted] = box.service.used(follower, call)
        noted.result()

    def having(now_ns: int) -> tuple[Having, float]:
        (only,) = followed(box.service, now_ns)
        assert only.tag == "models/a"
        return only.having, only.lag_s

    used(use)
    assert having(box.clock.ns) == (Having.CURRENT, 0.0)
    (second,) = moved(box, b"two").entries
    (third,) = moved(box, b"three").entries
    assert third.id is not None
    assert having(second.time_ns + 9 * SECOND) == (Having.LAGGING, 9.0), "since the first version that it lacks"
    used(calls.Used(use.tag, 3, third.id, "OSError: cut off", os.urandom(16)))
    assert having(second.time_ns + 9 * SECOND) == (Having.FAILED, 9.0)
    moved(box, b"one")
    assert having(box.clock.ns) == (Having.CURRENT, 0.0), "the model that it has is the newest again"
    box.ask(calls.Untag((use.tag,), request=os.urandom(16)))
    assert having(box.clock.ns) == (Having.CURRENT, 0.0), "a deleted tag takes no model away"
    box.service.register.leave(follower)
    assert followed(box.service, box.clock.ns) == []
