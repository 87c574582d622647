"""What every store does, whatever lies under it: a test class inherits `StoreConformance` and gives its fixtures.

`at_rest` is the way around the store: the bytes that it keeps for a blob.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from store_kit import AUTHOR, START_NS, Clock, commit, delete, move, read, request, rollback, save, untag

from udfstore.calls import Delete, Move, Noted, Rollback, Saved, Step, Untag, Used
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, Mismatch, NotFound, UsageError
from udfstore.model import Place
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import Store

ALL = Prefix.parse("")


class StoreConformance:
    """The suite. Subclasses give `store` and `at_rest` as fixtures."""

    @pytest.fixture
    def at_rest(self, store: Store) -> Callable[[BlobId], bytes]:
        raise RuntimeError("a subclass gives `at_rest`")

    # --- content

    @pytest.mark.parametrize("content", [b"", b"x", b"model" * 100_000], ids=["empty", "one", "large"])
    def test_content_comes_back_and_lies_there_as_it_is(
        self, store: Store, at_rest: Callable[[BlobId], bytes], content: bytes
    ) -> None:
        id = save(store, content)
        assert at_rest(id) == content
        assert read(store, id) == content
        assert store.info(Ref.of(id)).size == len(content)

    def test_content_in_pieces_is_the_same_content(self, store: Store) -> None:
        upload = store.upload()
        for piece in (b"a", bytearray(b"b"), memoryview(b"cd")):
            upload.write(piece)
        assert upload.size == 4
        assert upload.commit(4, BlobId.of(b"abcd")) == (BlobId.of(b"abcd"), False)

    def test_parts_of_content(self, store: Store) -> None:
        with store.open(save(store, b"0123456789")) as file:
            assert (file.pread(3, 4), file.pread(8, 10), file.pread(20, 1)) == (b"3456", b"89", b"")

    def test_the_second_save_is_the_first(self, store: Store) -> None:
        save(store, b"same")
        upload = store.upload()
        upload.write(b"same")
        assert upload.commit() == (BlobId.of(b"same"), True)
        assert store.totals() == (1, 4, 0)

    def test_content_that_is_not_what_was_announced(self, store: Store) -> None:
        other = BlobId.of(b"other")
        for upload, size, id in (
            (store.upload(id=other), None, None),
            (store.upload(), None, other),
            (store.upload(size=7), None, None),
            (store.upload(), 7, None),
        ):
            upload.write(b"short")
            with pytest.raises(Mismatch) as caught:
                upload.commit(size, id)
            assert caught.value.expected
            assert caught.value.got
        upload = store.upload(size=3)
        with pytest.raises(Mismatch, match="more bytes"):
            upload.write(b"content")
        upload.abort()
        assert store.totals() == (0, 0, 0)

    def test_content_in_several_requests_is_the_same_content(self, store: Store) -> None:
        name = store.uploads.begin(4, BlobId.of(b"abcd"), AUTHOR).name
        for offset, piece in enumerate((b"a", b"b")):
            part = store.uploads.append(name, offset)
            part.write(piece)
            assert part.commit().offset == offset + 1
        with pytest.raises(Conflict):
            store.uploads.append(name, 1)
        part = store.uploads.append(name, 2)
        part.write(b"cd")
        assert part.finish() == store.uploads.find(name).saved == Saved(BlobId.of(b"abcd"), 4, existed=False)
        assert read(store, BlobId.of(b"abcd")) == b"abcd"

    def test_what_is_missing(self, store: Store) -> None:
        here, not_here = save(store, b"here"), BlobId.of(b"not here")
        assert store.present(here) == 4
        assert store.present(not_here) is None
        assert store.missing([not_here, here]) == [not_here]
        for look in (lambda: store.open(not_here), lambda: store.info(Ref.of(not_here))):
            with pytest.raises(NotFound):
                look()

    def test_blobs_come_oldest_first_in_pages(self, store: Store) -> None:
        ids = {save(store, bytes([n])) for n in range(5)}
        first = store.blobs(limit=3)
        rest = store.blobs((first[-1].saved_ns, first[-1].id), 3)
        found = [(info.saved_ns, info.id) for info in (*first, *rest)]
        assert found == sorted(found)
        assert {id for _, id in found} == ids

    # --- tags

    def test_a_tag_moves_and_remembers(self, store: Store) -> None:
        one, two = save(store, b"one"), save(store, b"two!")
        first = move(store, "models/x", one, note="first", labels={"score": "0.9"})
        second = move(store, "models/x", two, expected=1)
        assert first.before == (None,)
        assert second.before == first.entries
        (entry,) = second.entries
        assert (entry.version, entry.id, entry.size, entry.author, entry.source) == (2, two, 4, AUTHOR, str(two))
        assert store.entry(Ref.parse("models/x")) == entry
        assert store.entry(Ref.parse("models/x@1")) == store.entry(Ref.parse("models/x@-1")) == first.entries[0]
        assert store.entry(Ref.parse("models/x@1")).labels == {"score": "0.9"}
        assert store.history(Tag.parse("models/x")) == [*second.entries, *first.entries]
        assert store.history(Tag.parse("models/x"), before=2) == list(first.entries)
        assert store.resolve(Ref.parse("models/x")).entry == entry
        assert store.info(Ref.of(two)).tags == ("models/x@2",)

    def test_labels_and_links_follow_the_source_unless_given(self, store: Store) -> None:
        part, whole = save(store, b"part"), save(store, b"whole")
        move(store, "a", whole, labels={"k": "v"}, links=(part,))
        (copied,) = move(store, "b", "a").entries
        (given,) = move(store, "c", "a", labels={}).entries
        assert (copied.labels, copied.links, copied.source) == ({"k": "v"}, (part,), "a")
        assert (given.labels, given.links) == ({}, (part,))
        assert [entry.tag for entry in store.why(Ref.of(part)).linked] == ["c", "b", "a"]

    @pytest.mark.parametrize(("expected", "refused"), [(None, False), (1, False), (0, True), (2, True)])
    def test_expected_version_of_a_tag_that_is(self, store: Store, expected: int | None, refused: bool) -> None:
        id = save(store, b"x")
        move(store, "t", id)
        if not refused:
            assert move(store, "t", id, expected=expected).entries[0].version == 2
            return
        with pytest.raises(Conflict) as caught:
            move(store, "t", id, expected=expected)
        assert caught.value.got == "version 1"

    def test_expected_zero_means_that_it_names_nothing_now(self, store: Store) -> None:
        id = save(store, b"x")
        move(store, "t", id, expected=0)
        untag(store, "t")
        assert move(store, "t", id, expected=0).entries[0].version == 3
        with pytest.raises(Conflict):
            move(store, "new", id, expected=1)

    def test_several_tags_move_together_or_not_at_all(self, store: Store) -> None:
        id = save(store, b"x")
        steps = tuple(Step(Tag.parse(name), Ref.of(id), 0) for name in ("b", "a"))
        moved = store.submit(Move(steps, request=request()), AUTHOR).result()
        assert [(e.tag, e.revision) for e in moved.entries] == [("b", 1), ("a", 1)]
        both = (Step(Tag.parse("c"), Ref.of(id)), Step(Tag.parse("a"), Ref.of(id), 7))
        with pytest.raises(Conflict):
            store.submit(Move(both, request=request()), AUTHOR).result()
        assert [entry.tag for entry in store.tags(ALL)] == ["a", "b"]

    @pytest.mark.parametrize(
        "call",
        [
            Move(()),
            Move((Step(Tag.parse("t"), Ref.parse("t")),) * 2),
            Move(tuple(Step(Tag.parse(f"t{n}"), Ref.parse("t")) for n in range(33))),
            Move((Step(Tag.parse("snapshots/t/auto"), Ref.parse("t")),)),
            Move((Step(Tag.parse("u"), Ref.parse("t"), labels={"": "x"}),)),
            Move((Step(Tag.parse("u"), Ref.parse("t")),), note="n" * 5000),
            Untag((Tag.parse("t"),), expected=(1, 2)),
        ],
        ids=["no step", "twice", "too many", "reserved", "labels", "note", "expected"],
    )
    def test_a_change_that_makes_no_sense(self, store: Store, call: Move | Untag) -> None:
        move(store, "t", save(store, b"x"))
        numbered = type(call)(**{**_fields(call), "request": request()})
        with pytest.raises(UsageError):
            store.submit(numbered, AUTHOR).result()
        with pytest.raises(UsageError, match="16 bytes"):
            store.submit(call, AUTHOR).result()
        assert store.revision == 1

    def test_snapshot_calls_may_write_below_snapshots(self, store: Store) -> None:
        step = Step(Tag.parse("snapshots/t/auto"), Ref.of(save(store, b"x")))
        moved = store.submit(Move((step,), request=request()), AUTHOR, reserved=True).result()
        assert moved.entries[0].tag == "snapshots/t/auto"

    def test_a_ref_to_nothing(self, store: Store) -> None:
        move(store, "t", save(store, b"x"))
        for ref in ("nothing", "t@2", "t@-1", str(BlobId.of(b"never")), "0123456789"):
            with pytest.raises(NotFound):
                store.resolve(Ref.parse(ref))
            with pytest.raises(NotFound):
                move(store, "u", ref)
        with pytest.raises(NotFound):
            store.history(Tag.parse("nothing"))

    def test_short_ids(self, store: Store) -> None:
        id = save(store, b"x")
        assert store.resolve(Ref.parse(id.hex[:8])).id == store.resolve(Ref.parse(f"sha256:{id.hex[:9]}")).id == id
        other = save(store, b"y")
        move(store, id.hex[:8], other)
        assert store.resolve(Ref.parse(id.hex[:8])).id == other, "the tag wins"

    def test_untag_and_back(self, store: Store) -> None:
        one, two = save(store, b"one"), save(store, b"two")
        move(store, "t", one)
        move(store, "t", two)
        moved = untag(store, "t")
        assert [(e.version, e.id) for e in moved.entries] == [(3, None)]
        assert moved.before[0] is not None
        assert moved.before[0].id == two
        with pytest.raises(Gone, match="rollback t"):
            store.entry(Ref.parse("t"))
        with pytest.raises(Gone):
            store.resolve(Ref.parse("t"))
        with pytest.raises(Gone):
            untag(store, "t")
        assert store.entry(Ref.parse("t@3")).id is None
        with pytest.raises(Gone):
            store.resolve(Ref.parse("t@3"))
        assert (store.tags(ALL), store.totals()[2]) == ([], 0)
        back = rollback(store, "t")
        assert (back.version, back.id, back.origin, back.source) == (4, two, 2, "t@2")
        assert rollback(store, "t").id == one

    def test_rollback_goes_back_and_never_forward(self, store: Store) -> None:
        ids = [save(store, bytes([n])) for n in range(3)]
        for id in ids:
            move(store, "t", id)
        first, second = rollback(store, "t"), rollback(store, "t")
        assert [(e.version, e.id, e.origin) for e in (first, second)] == [(4, ids[1], 2), (5, ids[0], 1)]
        with pytest.raises(Conflict, match="nothing before"):
            rollback(store, "t")
        there = rollback(store, "t", to=3)
        assert (there.id, there.origin) == (ids[2], 3)
        with pytest.raises(Conflict, match="already"):
            rollback(store, "t", to=6)
        with pytest.raises(NotFound):
            rollback(store, "t", to=9)
        with pytest.raises(Conflict, match="moved"):
            rollback(store, "t", expected=5)

    def test_a_move_to_an_older_version_remembers_its_origin(self, store: Store) -> None:
        ids = [save(store, bytes([n])) for n in range(2)]
        for id in ids:
            move(store, "t", id)
        assert move(store, "t", "t@1").entries[0].origin == 1
        assert move(store, "t", "t@2").entries[0].origin == 2
        assert move(store, "t", "t@3").entries[0].origin == 1, "the origin of an origin is the first one"
        assert move(store, "u", "t@1").entries[0].origin == 0

    def test_rollback_passes_over_what_is_gone(self, store: Store) -> None:
        ids = [save(store, bytes([n])) for n in range(3)]
        for id in ids:
            move(store, "t", id)
        delete(store, ids[1])
        moved = store.submit(Rollback(Tag.parse("t"), request=request()), AUTHOR).result()
        assert (moved.entries[0].id, moved.skipped) == (ids[0], ("t@2",))
        with pytest.raises(Gone):
            rollback(store, "t", to=2)

    def test_tags_by_prefix_in_pages(self, store: Store) -> None:
        id = save(store, b"x")
        for tag in ("a", "a-b", "a/b", "a/b/c", "a0", "b"):
            move(store, tag, id)
        assert [e.tag for e in store.tags(Prefix.parse("a/"))] == ["a/b", "a/b/c"]
        assert [e.tag for e in store.tags(Prefix.parse("a"))] == ["a"]
        assert [e.tag for e in store.tags(ALL, after="a", limit=2)] == ["a-b", "a/b"]
        assert len(store.tags(ALL)) == 6

    # --- events

    def test_events_come_whole_and_in_order(self, store: Store) -> None:
        id = save(store, b"x")
        move(store, "m/a", id)
        steps = tuple(Step(Tag.parse(name), Ref.of(id)) for name in ("m/b", "n", "m/a"))
        store.submit(Move(steps, request=request()), AUTHOR).result()
        move(store, "n", id)
        untag(store, "m/a")
        events, cursor = store.events(Prefix.parse("m/"), 0)
        assert cursor == store.revision == 4
        told = [(event.revision, [entry.ref for entry in event.entries]) for event in events]
        assert told == [(1, ["m/a@1"]), (2, ["m/b@1", "m/a@2"]), (4, ["m/a@3"])]
        assert store.events(Prefix.parse("m/"), 0, limit=2) == (events[:2], 2)
        assert store.events(Prefix.parse("m/"), 2) == (events[2:], 4)
        assert store.events(Prefix.parse("q"), 4) == ([], 4)

    # --- removal

    def test_delete_is_refused_while_a_tag_names_it(self, store: Store) -> None:
        id, part = save(store, b"x"), save(store, b"part")
        move(store, "t", id, links=(part,))
        for ref in (id, part):
            with pytest.raises(Conflict, match="t@1"):
                delete(store, ref)
        move(store, "t", save(store, b"y"), links=())
        assert delete(store, id).versions == ("t@1",)
        with pytest.raises(Gone):
            store.open(id)
        with pytest.raises(Gone, match="history remains"):
            store.resolve(Ref.parse("t@1"))
        with pytest.raises(Gone):
            delete(store, id)
        with pytest.raises(Gone):
            move(store, "t", id)
        assert store.present(id) is None
        assert store.entry(Ref.parse("t@1")).id == id
        assert id not in [info.id for info in store.blobs()]

    @pytest.mark.parametrize("now", [False, True])
    def test_deleted_content_can_be_saved_again(self, store: Store, now: bool) -> None:
        id = save(store, b"x")
        move(store, "t", id)
        delete(store, "t@1", force=True, now=now)
        assert store.totals() == (0, 0, 1)
        assert save(store, b"x") == id
        assert read(store, "t") == b"x"
        assert store.totals() == (1, 1, 1)

    def test_an_open_reader_keeps_what_it_reads(self, store: Store) -> None:
        id = save(store, b"content")
        with store.open(id) as file:
            delete(store, id, now=True)
            assert file.pread(0, 7) == b"content"

    def test_what_a_kept_snapshot_needs_is_not_deleted(self, store: Store) -> None:
        for n in range(12):
            commit(store, b"manifest %d" % n, b"state %d" % n, b"same")
        state = BlobId.of(b"state 2")
        with pytest.raises(Conflict, match="snapshots/pump/auto@3"):
            delete(store, state)
        with pytest.raises(Conflict, match="snapshots/pump/auto@3"):
            delete(store, BlobId.of(b"manifest 2"))
        assert delete(store, state, force=True).id == state

    def test_a_tag_below_snapshots_may_be_escaped_and_long(self, store: Store) -> None:
        task = "~c3~a4" * 64
        commit(store, b"manifest", b"state", task=task)
        tag = f"snapshots/{task}/auto"
        assert read(store, tag) == read(store, f"{tag}@1") == b"manifest"
        assert [entry.tag for entry in store.tags(Prefix.parse(f"snapshots/{task}/"))] == [tag]
        assert store.events(Prefix.parse(tag), 0)[0][0].entries[0].ref == f"{tag}@1"

    # --- uses

    def test_the_newest_use_of_each_node_and_tag(self, store: Store, clock: Clock) -> None:
        ids = [save(store, bytes([n])) for n in range(2)]
        for tag in ("m/a", "m/b"):
            for id in ids:
                move(store, tag, id)
        for task, node, tag, version, error in (
            ("pump", "n1", "m/a", 1, ""),
            ("pump", "n1", "m/a", 2, "no"),
            ("pump", "n2", "m/b", 1, ""),
            ("fan", "n1", "m/a", 1, ""),
            ("", "", "m/a", 2, ""),
        ):
            clock.advance(1)
            used = Used(Tag.parse(tag), version, ids[version - 1], error, request())
            store.submit(used, AUTHOR, place=Place(task, node)).result()

        def told(task: str = "", tag: str = "", seconds: int | None = None, everything: bool = False) -> list[str]:
            until = None if seconds is None else START_NS + seconds * 10**9
            uses = store.used(store.uses(task, tag, until, everything))
            return [f"{u.place.task}/{u.place.node} {u.tag}@{u.version} {u.error}".strip() for u in uses]

        assert told("pump") == ["pump/n2 m/b@1", "pump/n1 m/a@2 no"]
        assert told("pump", seconds=1) == ["pump/n1 m/a@1"]
        assert told("pump", everything=True) == ["pump/n2 m/b@1", "pump/n1 m/a@2 no", "pump/n1 m/a@1"]
        assert told(tag="m/a") == ["/ m/a@2", "fan/n1 m/a@1", "pump/n1 m/a@2 no"]
        assert told("fan", "m/b") == []
        assert store.first_use("pump", ids[0]) == START_NS + 10**9
        assert store.first_use("pump", ids[1]) is None, "it failed"

    def test_a_use_is_the_same_wherever_it_is_repeated_from(self, store: Store) -> None:
        id = save(store, b"x")
        move(store, "t", id)
        used = Used(Tag.parse("t"), 1, id, "", request())
        first = store.submit(used, AUTHOR, place=Place("pump", "n")).result()
        assert store.submit(used, AUTHOR).result() == first

    # --- repeats

    def test_a_repeated_request_gets_the_first_answer(self, store: Store) -> None:
        one, two = save(store, b"one"), save(store, b"two")
        move(store, "t", one)
        move(store, "t", two)
        calls = [
            Move((Step(Tag.parse("u"), Ref.parse("t"), 0),), "note", request()),
            Rollback(Tag.parse("t"), expected=2, request=request()),
            Untag((Tag.parse("u"),), request=request()),
            Used(Tag.parse("t"), 2, two, "no memory", request()),
        ]
        answers = [store.submit(call, AUTHOR).result() for call in calls]
        revision = store.revision
        assert isinstance(answers[3], Noted)
        assert [store.submit(call, AUTHOR).result() for call in calls] == answers
        assert store.revision == revision

    def test_a_repeated_delete_gets_the_first_answer(self, store: Store) -> None:
        id = save(store, b"x")
        move(store, "t", id)
        call = Delete(Ref.parse("t@1"), True, False, request())
        first = store.submit(call, AUTHOR).result()
        assert store.submit(call, AUTHOR).result() == first

    def test_a_request_number_is_for_one_change(self, store: Store) -> None:
        id, number = save(store, b"x"), request()
        move(store, "t", id, number=number)
        for call in (
            Move((Step(Tag.parse("u"), Ref.of(id)),), "", number),
            Untag((Tag.parse("t"),), request=number),
            Used(Tag.parse("t"), 1, id, "", number),
        ):
            with pytest.raises(Conflict, match="another change"):
                store.submit(call, AUTHOR).result()

    def test_used_must_name_what_the_version_is(self, store: Store) -> None:
        move(store, "t", save(store, b"x"))
        with pytest.raises(NotFound):
            store.submit(Used(Tag.parse("t"), 2, BlobId.of(b"x"), "", request()), AUTHOR).result()
        with pytest.raises(Mismatch):
            store.submit(Used(Tag.parse("t"), 1, BlobId.of(b"y"), "", request()), AUTHOR).result()


def _fields(call: Move | Untag) -> dict[str, object]:
    return {name: getattr(call, name) for name in call.__dataclass_fields__}
