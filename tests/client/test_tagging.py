"""Tags, their history, and the ways back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kit import ServerProcess

import udfstore
from udfstore import BlobId, Conflict, Gone, NotFound, UsageError

Content = Callable[..., bytes]


def three_versions(store: Any, name: str, content: Content) -> None:
    for number in (1, 2, 3):
        store.save(content(number), tag=name, note=f"model {number}")


def test_a_ref_names_a_version_from_either_end(store: Any, unique: str, content: Content) -> None:
    three_versions(store, f"{unique}/x", content)
    assert store.load(f"{unique}/x@1") == content(1)
    assert store.load(f"{unique}/x@-1") == content(2)
    assert store.load(f"{unique}/x@-2") == content(1)
    assert store.get_tag(f"{unique}/x@2").note == "model 2"
    with pytest.raises(NotFound, match="no version 7"):
        store.load(f"{unique}/x@7")
    with pytest.raises(NotFound, match=r"has no version so far back \(expected @-2 at most, got .*@-3\)"):
        store.load(f"{unique}/x@-3")
    with pytest.raises(NotFound):
        store.load(f"{unique}/nothing")


def test_a_blob_answers_to_the_first_digits_of_its_id(store: Any, content: Content) -> None:
    id = store.save(content()).id
    assert store.load(id.short) == content()
    assert store.stat(f"sha256:{id.hex[:9]}").id == id


def test_digits_that_several_ids_begin_with_are_refused_and_names_them(store: Any) -> None:
    """Two texts whose SHA-256 agree in the first eight digits, found by search."""
    first, second = store.save(b"model 61386").id, store.save(b"model 125049").id
    assert first.short == second.short
    with pytest.raises(UsageError, match="several blob IDs") as caught:
        store.load(first.short)
    assert first.hex[:16] in str(caught.value)
    assert second.hex[:16] in str(caught.value)
    assert store.stat(second.hex[:12]).id == second


def test_history_is_told_newest_first_with_notes(store: Any, unique: str, content: Content) -> None:
    three_versions(store, f"{unique}/x", content)
    history = list(store.history(f"{unique}/x"))
    assert [(entry.version, entry.note) for entry in history] == [(3, "model 3"), (2, "model 2"), (1, "model 1")]
    assert [entry.revision for entry in history] == sorted((entry.revision for entry in history), reverse=True)
    with pytest.raises(NotFound):
        list(store.history(f"{unique}/nothing"))


def test_history_and_tags_go_over_many_pages(store: Any, unique: str, content: Content) -> None:
    """A page holds at most 64 KiB: 40 entries with notes of 4 KiB need three, 120 names need two batches."""
    id = store.save(content()).id
    for number in range(40):
        store.tag(f"{unique}/x", id, note=f"{number} ".ljust(4096, "n"))
    told = [int(entry.note.split()[0]) for entry in store.history(f"{unique}/x")]
    assert told == list(reversed(range(40)))
    names = [f"{unique}/many/{number:03}" for number in range(120)]
    for start in range(0, 120, 30):
        store.move(dict.fromkeys(names[start : start + 30], id), note="n" * 4096)
    assert [entry.tag for entry in store.tags(f"{unique}/many/")] == names


def test_all_blobs_are_listed_oldest_first(store: Any, content: Content) -> None:
    """More than the hundred that the store reads at once."""
    ids = [store.save(content(number)).id for number in range(120)]
    wanted = set(ids)
    assert [blob.id for blob in store.blobs() if blob.id in wanted] == ids


def test_tags_are_listed_by_name_below_a_folder_or_alone(store: Any, unique: str, content: Content) -> None:
    for name in ("b", "a", "deep/c"):
        store.save(content(name), tag=f"{unique}/{name}")
    store.save(content("beside"), tag=f"{unique}beside")
    assert [entry.tag for entry in store.tags(f"{unique}/")] == [f"{unique}/a", f"{unique}/b", f"{unique}/deep/c"]
    assert [entry.tag for entry in store.tags(f"{unique}/a")] == [f"{unique}/a"]
    assert list(store.tags(f"{unique}/nothing")) == []


def test_several_tags_move_in_one_step_or_not_at_all(store: Any, unique: str, content: Content) -> None:
    one, two = store.save(content(1)).id, store.save(content(2)).id
    moved = store.move({f"{unique}/a": one, f"{unique}/b": two}, note="together")
    assert [(entry.tag, entry.id, entry.note) for entry in moved] == [
        (f"{unique}/a", one, "together"),
        (f"{unique}/b", two, "together"),
    ]
    assert moved[0].revision == moved[1].revision
    with pytest.raises(Conflict, match=f"{unique}/b has moved"):
        store.move({f"{unique}/a": two, f"{unique}/b": one}, expected={f"{unique}/a": 1, f"{unique}/b": 7})
    assert (store.load(f"{unique}/a"), store.load(f"{unique}/b")) == (content(1), content(2))
    with pytest.raises(UsageError, match="not moved"):
        store.move({f"{unique}/a": two}, expected={f"{unique}/b": 1})


def test_labels_go_with_the_content_from_tag_to_tag(store: Any, unique: str, content: Content) -> None:
    store.save(content(), tag=f"{unique}/candidate", labels={"score": "0.9"})
    assert store.tag(f"{unique}/live", f"{unique}/candidate").labels == {"score": "0.9"}
    assert store.tag(f"{unique}/live", f"{unique}/candidate", labels={"by": "hand"}).labels == {"by": "hand"}
    assert store.get_tag(f"{unique}/live").source == f"{unique}/candidate"


def test_a_tag_that_must_not_exist_yet(store: Any, unique: str, content: Content) -> None:
    id = store.save(content()).id
    assert store.tag(f"{unique}/x", id, expected_version=0).version == 1
    with pytest.raises(Conflict, match="exists"):
        store.tag(f"{unique}/x", id, expected_version=0)


@pytest.mark.parametrize("name", ["", "/", "a//b", "../etc", "-x", ".x", "a b", "x@1", "a/", "ü", "f" * 64, "x" * 257])
def test_names_that_no_tag_may_have_are_refused(store: Any, name: str) -> None:
    with pytest.raises(UsageError):
        store.tag(name, BlobId.of(b""))


def test_only_snapshot_calls_write_below_snapshots(store: Any, content: Content) -> None:
    id = store.save(content()).id
    with pytest.raises(UsageError, match="snapshot"):
        store.tag("snapshots/x", id)


def test_rollback_walks_back_and_never_forward_to_what_it_left(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    three_versions(store, name, content)
    fourth = store.rollback(name, note="bad model")
    assert (fourth.version, fourth.origin, fourth.note) == (4, 2, "bad model")
    assert store.load(name) == content(2)
    fifth = store.rollback(name)
    assert (fifth.version, fifth.origin) == (5, 1)
    assert store.load(name) == content(1)
    with pytest.raises(Conflict, match="nothing before version 1"):
        store.rollback(name)
    assert store.get_tag(name).version == 5


def test_rollback_passes_over_versions_with_the_content_it_leaves(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    for number in (1, 2, 2):
        store.save(content(number), tag=name)
    assert store.load(f"{name}@{store.rollback(name).version}") == content(1)


def test_rollback_to_a_version(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    three_versions(store, name, content)
    assert store.rollback(name, to=1).origin == 1
    assert store.load(name) == content(1)
    with pytest.raises(NotFound, match="no version 9"):
        store.rollback(name, to=9)


def test_a_second_persons_rollback_is_a_conflict_and_no_second_step(store: Any, unique: str, content: Content) -> None:
    """Both saw version 3."""
    name = f"{unique}/x"
    three_versions(store, name, content)
    store.rollback(name, expected_version=3)
    with pytest.raises(Conflict) as caught:
        store.rollback(name, expected_version=3)
    assert (caught.value.expected, caught.value.got) == ("version 3", "version 4")
    assert store.load(name) == content(2)


def test_rollback_passes_over_versions_whose_content_is_gone_and_names_them(
    store: Any, unique: str, content: Content
) -> None:
    name = f"{unique}/x"
    three_versions(store, name, content)
    store.delete(BlobId.of(content(2)))
    moved = store.rolled_back(name)
    assert moved.skipped == (f"{name}@2",)
    assert moved.before[0].ref == f"{name}@3"
    assert moved.entries[0].origin == 1
    assert store.load(name) == content(1)


def test_an_untagged_name_is_gone_and_rollback_brings_it_back(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    three_versions(store, name, content)
    deletion = store.untag(name, note="retired")
    assert (deletion.version, deletion.id, deletion.note) == (4, None, "retired")
    with pytest.raises(Gone, match="rollback"):
        store.load(name)
    with pytest.raises(Gone):
        store.untag(name)
    assert list(store.tags(name)) == []
    assert next(iter(store.history(name))).version == 4
    assert store.rollback(name).version == 5
    assert store.load(name) == content(3)


def test_untag_of_a_tag_that_moved_meanwhile(store: Any, unique: str, content: Content) -> None:
    three_versions(store, f"{unique}/x", content)
    with pytest.raises(Conflict):
        store.untag(f"{unique}/x", expected_version=2)
    assert store.untag(f"{unique}/x", expected_version=3).id is None


def test_content_that_a_tag_names_is_only_removed_by_force(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    id = store.save(content(), tag=name).id
    with pytest.raises(Conflict, match=name):
        store.delete(id)
    assert store.load(name) == content()
    deleted = store.delete(id, force=True)
    assert (deleted.id, deleted.size, deleted.versions) == (id, len(content()), (f"{name}@1",))
    for ref in (id, name, f"{name}@1"):
        with pytest.raises(Gone):
            store.load(ref)
    assert store.missing([id]) == [id]
    assert store.save(content()).id == id
    assert store.load(name) == content(), "saving it again brings it back"


def test_what_only_history_names_may_go(store: Any, unique: str, content: Content) -> None:
    three_versions(store, f"{unique}/x", content)
    assert store.delete(BlobId.of(content(1)), now=True).versions == (f"{unique}/x@1",)
    with pytest.raises(Gone, match="history remains"):
        store.load(f"{unique}/x@1")
    assert store.get_tag(f"{unique}/x@1").note == "model 1"


def test_what_a_follower_uses_is_recorded(store: Any, unique: str, content: Content) -> None:
    id = store.save(content(), tag=f"{unique}/x").id
    before = store.status().revision
    assert store.used(f"{unique}/x", 1, id) > before
    with pytest.raises(NotFound, match="no version 2"):
        store.used(f"{unique}/x", 2, id)


def test_the_store_says_how_it_is(store: Any, unique: str, content: Content) -> None:
    before = store.status()
    store.save(content(), tag=f"{unique}/x")
    health = store.status()
    assert health.problem == ""
    assert (health.blobs, health.bytes, health.tags) == (
        before.blobs + 1,
        before.bytes + len(content()),
        before.tags + 1,
    )
    assert health.revision == store.get_tag(f"{unique}/x").revision
    assert store.epoch == 1


def test_a_held_tag_stays_until_its_release(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    three_versions(store, name, content)
    held = store.hold(name, "the inspector looks at it")
    assert (held.version, held.held, held.note, held.id) == (
        4,
        True,
        "the inspector looks at it",
        BlobId.of(content(3)),
    )
    assert store.get_tag(name) == held == store.stat(name).entry
    for attempt in (
        lambda: store.save(content(4), tag=name),
        lambda: store.tag(name, f"{name}@1"),
        lambda: store.move({f"{unique}/y": name, name: f"{name}@1"}),
        lambda: store.rollback(name),
        lambda: store.untag(name),
        lambda: store.hold(name, "again"),
    ):
        with pytest.raises(Conflict, match=r"held at version 4 by .*'the inspector looks at it'"):
            attempt()
    assert store.load(BlobId.of(content(4))) == content(4)
    released = store.release(name, note="done")
    assert (released.version, released.held, released.note) == (5, False, "done")
    assert store.rollback(name).origin == 2
    assert [entry.held for entry in store.history(name)] == [False, False, True, False, False, False]
    with pytest.raises(Conflict, match="not held"):
        store.release(name)
    with pytest.raises(UsageError, match="why"):
        store.hold(name, "")


def test_a_hold_outlasts_the_server_that_took_it(own_server: ServerProcess) -> None:
    with udfstore.connect(own_server.socket) as store:
        store.save(b"1", tag="x")
        store.hold("x", "audit")
        own_server.restart()
        with pytest.raises(Conflict, match="'audit'"):
            store.untag("x")
        assert not store.release("x").held
