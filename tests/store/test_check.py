"""Checks: what damage is found, whom it is said to hit, and what is done about it; a sound store is left in peace."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from store_kit import (
    JOURNALED,
    TINY,
    Clock,
    abandon,
    blob_path,
    commit,
    delete,
    move,
    open_store,
    overwrite,
    read,
    removed,
    save,
    untag,
)

from udfstore.admin import Checked, Finding, FindingKind
from udfstore.digest import BlobId
from udfstore.errors import Corrupt
from udfstore.refs import Ref
from udfstore.store import Store
from udfstore.store.check import set_catalog_aside
from udfstore.store.groups import SEGMENT_HEAD_BYTES, decode_group

MODEL = b"a model of the pump"
STATE = b"the state of a node"
MANIFEST = b"names the state"


def fill(store: Store) -> None:
    """A model under two tags, an older one, a snapshot, content without a name, and some that is gone."""
    move(store, "models/pump", save(store, b"older"), note="first")
    move(store, "models/pump", save(store, MODEL))
    move(store, "models/pump/good", "models/pump")
    commit(store, MANIFEST, STATE)
    save(store, b"unnamed")
    delete(store, save(store, b"gone"), now=True)
    move(store, "old", save(store, b"old"))
    untag(store, "old")


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store)
    return store


def check(store: Store, since_ns: int | None = None, repair: bool = False) -> tuple[list[Finding], Checked]:
    items = [item for step in store.check(since_ns, repair) for item in step]
    last = [item for item in items if isinstance(item, Checked)][-1]
    return [item for item in items if isinstance(item, Finding)], last


def findings(store: Store, **options: bool) -> list[Finding]:
    return check(store, **options)[0]


def flip(path: Path, place: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


# --- a sound store ---------------------------------------------------------------------------------------------------


def test_nothing_is_found_in_a_sound_store(filled: Store) -> None:
    found, checked = check(filled)
    assert found == []
    contents = (b"older", MODEL, MANIFEST, STATE, b"unnamed", b"old")
    assert (checked.blobs, checked.bytes) == (6, sum(map(len, contents)))
    assert (checked.of_bytes, checked.revision) == (checked.bytes, filled.revision)
    assert not (filled.root / "catalog.new").exists()


def test_nothing_is_found_in_an_empty_store(store: Store) -> None:
    assert check(store) == ([], Checked(store._parts.clock(), 0, 0, 0, 0))


@pytest.mark.parametrize("limits", [TINY, JOURNALED])
def test_nothing_is_found_after_a_start_from_the_log_alone(root: Path, clock: Clock, limits: object) -> None:
    with open_store(root, clock=clock, limits=limits) as store:
        fill(store)
        abandon(store)
    for path in root.glob("catalog.db*"):
        path.unlink()
    with open_store(root, clock=clock, limits=limits) as store:
        assert findings(store) == []


def test_nothing_is_found_where_the_log_was_shed(root: Path, clock: Clock) -> None:
    with open_store(root, clock=clock, limits=TINY) as store:
        fill(store)
        for number in range(100):
            commit(store, b"manifest %d" % number, b"state %d" % number)
        removed(store)
        clock.advance(3 * 3600)
        store.sweep()
        chain_was_shed = (root / "log" / "00000001").stat().st_size < TINY.segment_bytes
        assert chain_was_shed
        assert findings(store) == []


def test_what_was_shed_and_is_still_in_the_catalog_is_no_finding(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(root, clock=clock, limits=TINY) as store:
        for number in range(100):
            commit(store, b"manifest %d" % number, b"state %d" % number)
        removed(store)
        clock.advance(3 * 3600)
        monkeypatch.setattr("udfstore.store.shedding._forget", lambda revisions: lambda desk: 1 / 0)
        with pytest.raises(Exception, match="division"):
            store.sweep()
        assert findings(store) == []


def test_nothing_is_found_while_others_save_move_and_delete(root: Path) -> None:
    with open_store(root, limits=JOURNALED) as store:
        done = threading.Event()

        def work() -> None:
            number = 0
            while not done.is_set():
                number += 1
                id = save(store, b"content %d" % number)
                move(store, f"t/{number % 7}", id)
                delete(store, save(store, b"short lived %d" % number), now=True)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for _ in range(5):
                assert findings(store) == []
                assert findings(store, repair=True) == []
        finally:
            done.set()
            worker.join()


def test_a_check_goes_on_where_one_was_broken_off(filled: Store, clock: Clock) -> None:
    clock.advance(100)
    began = clock.ns
    steps = filled.check()
    for step in steps:
        if any(isinstance(item, Checked) and item.blobs for item in step):
            break
    steps.close()
    clock.advance(1)
    assert check(filled, since_ns=began)[1].blobs == 0
    assert filled.info(Ref.of(BlobId.of(MODEL))).verified_ns == began
    other = save(filled, b"other")
    flip(blob_path(filled, BlobId.of(MODEL)))
    assert check(filled, since_ns=began)[0] == []
    assert check(filled, since_ns=clock.ns + 1)[1].blobs == 7
    assert filled.info(Ref.of(other)).verified_ns == clock.ns


def test_what_a_clock_that_was_ahead_verified_is_verified_again(filled: Store, clock: Clock) -> None:
    clock.advance(3600)
    check(filled)
    clock.advance(-3600)
    assert check(filled, since_ns=clock.ns)[1].blobs == 6


def test_what_is_large_takes_several_steps(store: Store) -> None:
    save(store, bytes(10 << 20))
    told = [item.bytes for step in store.check() for item in step if isinstance(item, Checked)]
    assert told == sorted(told)
    assert len(set(told)) >= 3


# --- content ---------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    overwrite(path, path.read_bytes()[:-1])


def grow(path: Path) -> None:
    overwrite(path, path.read_bytes() + b"\0")


def zero(path: Path) -> None:
    overwrite(path, bytes(path.stat().st_size))


def empty(path: Path) -> None:
    overwrite(path, b"")


def hide(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


DAMAGES: tuple[tuple[Callable[[Path], None], FindingKind, str], ...] = (
    (flip, FindingKind.DAMAGED, "its bytes are those of sha256:"),
    (truncate, FindingKind.DAMAGED, "its file has 18 bytes instead of 19"),
    (grow, FindingKind.DAMAGED, "its file has 20 bytes instead of 19"),
    (zero, FindingKind.DAMAGED, "its bytes are those of sha256:"),
    (empty, FindingKind.DAMAGED, "its file has 0 bytes instead of 19"),
    (Path.unlink, FindingKind.MISSING, "it has no file"),
    (hide, FindingKind.UNREADABLE, "symbolic links"),
)


@pytest.mark.parametrize(("damage", "kind", "says"), DAMAGES, ids=[damage.__name__ for damage, *_ in DAMAGES])
def test_damage_to_content_is_found_and_nothing_is_touched(
    filled: Store, damage: Callable[[Path], None], kind: FindingKind, says: str
) -> None:
    id = BlobId.of(MODEL)
    path = blob_path(filled, id)
    damage(path)
    (found,) = findings(filled)
    assert (found.kind, found.id, found.mended) == (kind, id, False)
    assert says in found.text
    assert found.place == f"blobs/{id.hex[:2]}/{id.hex}"
    assert (found.refs, found.more) == (("models/pump/good@1", "models/pump@2"), 0)
    assert list((filled.root / "quarantine").iterdir()) == []
    assert path.is_symlink() == (damage is hide)
    assert filled.info(Ref.of(BlobId.of(STATE))).verified_ns


@pytest.mark.parametrize("damage", [flip, truncate, grow, zero, empty])
def test_repair_takes_damaged_content_out_of_use_and_keeps_it(filled: Store, damage: Callable[[Path], None]) -> None:
    id = BlobId.of(MODEL)
    damage(blob_path(filled, id))
    bad = blob_path(filled, id).read_bytes()
    (found,) = findings(filled, repair=True)
    assert (found.kind, found.mended) == (FindingKind.DAMAGED, False)
    assert "quarantine" in found.text
    (kept,) = (filled.root / "quarantine").iterdir()
    assert kept.read_bytes() == bad
    with pytest.raises(Corrupt):
        filled.open(id)
    (found,) = findings(filled)
    assert (found.kind, found.text) == (FindingKind.MISSING, "it has no file, but damaged ones in quarantine/")
    save(filled, MODEL)
    assert findings(filled) == []
    assert read(filled, "models/pump") == MODEL


@pytest.mark.parametrize("content", [STATE, MANIFEST])
def test_damage_to_a_snapshot_names_it(filled: Store, content: bytes) -> None:
    flip(blob_path(filled, BlobId.of(content)))
    (found,) = findings(filled)
    assert found.refs == ("snapshots/pump/auto@1",)


def test_only_so_many_versions_are_named(filled: Store) -> None:
    for number in range(70):
        move(filled, f"t/{number}", BlobId.of(MODEL))
    flip(blob_path(filled, BlobId.of(MODEL)))
    (found,) = findings(filled)
    assert (len(found.refs), found.more, found.refs[0]) == (50, 22, "t/69@1")


def test_what_a_link_keeps_is_missed_though_nobody_listed_it(filled: Store) -> None:
    id = BlobId.of(STATE)
    sql(filled, "DELETE FROM blobs WHERE id = ?", id.raw)
    sql(filled, "UPDATE totals SET blobs = blobs - 1, bytes = bytes - ?", len(STATE))
    sql(filled, "UPDATE owners SET blobs = blobs - 1, bytes = bytes - ? WHERE text = 'server'", len(STATE))
    blob_path(filled, id).unlink()
    (found,) = findings(filled)
    assert (found.kind, found.id, found.refs) == (FindingKind.MISSING, id, ("snapshots/pump/auto@1",))


def test_content_that_the_catalog_lost_is_listed_again_when_asked(filled: Store) -> None:
    id = BlobId.of(b"unnamed")
    sql(filled, "DELETE FROM blobs WHERE id = ?", id.raw)
    sql(filled, "UPDATE totals SET blobs = blobs - 1, bytes = bytes - 7")
    assert [(found.kind, found.id, found.mended) for found in findings(filled)] == [(FindingKind.UNLISTED, id, False)]
    assert id not in [info.id for info in filled.blobs()]
    assert [found.mended for found in findings(filled, repair=True)] == [True]
    assert id in [info.id for info in filled.blobs()]
    assert findings(filled) == []


def test_a_scrub_goes_through_what_was_not_verified_for_days(filled: Store, clock: Clock) -> None:
    flip(blob_path(filled, BlobId.of(MODEL)))
    assert [found for step in filled.scrub(1).steps() for found in step] == []
    clock.advance(86401)
    scrub = filled.scrub(1)
    (found,) = (found for step in scrub.steps() for found in step)
    assert (found.kind, found.refs[0], scrub.blobs) == (FindingKind.DAMAGED, "models/pump/good@1", 6)
    assert len(list((filled.root / "quarantine").iterdir())) == 1
    again = filled.scrub(1)
    assert [found.kind for step in again.steps() for found in step] == [FindingKind.MISSING]
    assert again.blobs == 0


# --- the log ---------------------------------------------------------------------------------------------------------


def second_group(root: Path) -> int:
    """Where the second group of the log begins."""
    return SEGMENT_HEAD_BYTES + decode_group((root / "log" / "00000001").read_bytes(), SEGMENT_HEAD_BYTES).length


def test_damage_in_the_middle_of_the_log_is_found_and_left(filled: Store) -> None:
    path = filled.root / "log" / "00000001"
    place = second_group(filled.root)
    flip(path, place + 100)
    before = path.read_bytes()
    for repair in (False, True):
        (found,) = findings(filled, repair=repair)
        assert (found.kind, found.mended) == (FindingKind.LOG, False)
        assert found.place == f"log/00000001, offset {place}"
        assert found.text.startswith("revision 2: ")
        assert found.refs == ("models/pump@2",)
    assert path.read_bytes() == before


def test_a_group_that_was_cut_out_is_missed(filled: Store) -> None:
    path = filled.root / "log" / "00000001"
    data, place = path.read_bytes(), second_group(filled.root)
    length = decode_group(data, place).length
    path.write_bytes(data[:place] + data[place + length :] + bytes(length))
    (found,) = findings(filled)
    assert (found.text, found.refs) == (
        "revision 2: the group here does not follow the one before",
        ("models/pump@2",),
    )


def test_a_missing_segment_is_found_with_what_it_told(root: Path) -> None:
    with open_store(root, limits=TINY) as store:
        id = save(store, b"x")
        for _ in range(12):
            move(store, "t", id, note="n" * 4000)
        assert (root / "log" / "00000004").exists()
        (root / "log" / "00000002").unlink()
        (found,) = findings(store)
        assert found.place == f"log/00000002, offset {SEGMENT_HEAD_BYTES}"
        assert found.text.endswith("the segment is missing")
        assert found.text.startswith("revisions 4 to ")
        assert found.refs[-1] == "t@4"


def test_the_last_revision_is_missed_too(filled: Store) -> None:
    revision, head = filled.revision, filled._parts.catalog.view.head()
    flip(filled.root / "log" / "00000001", head.start + 10)
    (found,) = findings(filled)
    assert found.text.startswith(f"revision {revision}: ")
    assert found.refs == ("old@2",)


def test_a_log_that_stopped_the_store_is_told_with_what_lies_behind(root: Path) -> None:
    with open_store(root) as store:
        fill(store)
    flip(root / "log" / "00000001", second_group(root) + 100)
    for path in root.glob("catalog.db*"):
        path.unlink()
    with open_store(root) as store:
        stopped, damage = findings(store, repair=True)
        assert (stopped.kind, stopped.text) == (FindingKind.STOPPED, store.problem)
        assert (damage.kind, damage.text.partition(":")[0]) == (FindingKind.LOG, "revision 2")


# --- the catalog -----------------------------------------------------------------------------------------------------


def sql(store: Store, query: str, *values: object) -> None:
    """Change the catalog behind the store's back."""
    db = sqlite3.connect(store.root / "catalog.db", isolation_level=None)
    assert db.execute(query, values).rowcount > 0
    db.close()


def page_of(root: Path, name: str) -> int:
    """Where the first page of a table or an index of the catalog lies."""
    db = sqlite3.connect(root / "catalog.db")
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    db.close()
    return int(page - 1) * 4096


WRONG: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "records": ("UPDATE records SET note = 'forged' WHERE revision = 1", ()),
    "entries": ("UPDATE entries SET size = 9 WHERE tag = 'models/pump' AND version = 2", ("models/pump@2",)),
    "a version that never was": (
        "INSERT INTO entries SELECT tag, 3, revision, 9, id, size, origin, source, labels, links, held FROM entries"
        " WHERE tag = 'models/pump' AND version = 2",
        ("models/pump@3",),
    ),
    "a version that is gone": ("DELETE FROM entries WHERE tag = 'models/pump/good'", ("models/pump/good@1",)),
    "a hold that nobody has": (
        "UPDATE entries SET held = 1 WHERE tag = 'models/pump' AND version = 2",
        ("models/pump@2",),
    ),
    "tags": ("UPDATE tags SET version = 1 WHERE tag = 'models/pump'", ("models/pump@2",)),
    "links": ("DELETE FROM links", ("snapshots/pump/auto@1",)),
    "states": ("DELETE FROM states", ()),
    "blobs": ("UPDATE blobs SET state = 3 WHERE size = 19", ("models/pump/good@1", "models/pump@2")),
    "a time of a removal": ("UPDATE blobs SET state_ns = 1 WHERE size = 4", ()),
    "totals": ("UPDATE totals SET blobs = blobs + 1", ()),
    "head": ("UPDATE head SET chain = zeroblob(32)", ()),
    "an order of columns": ("UPDATE tags SET tag = x'ff' WHERE tag = 'models/pump'", None),
    "a state of nothing": ("UPDATE blobs SET state = 2 WHERE size = 7", ()),
    "text that is none": ("UPDATE records SET note = CAST(x'ff' AS TEXT) WHERE revision = 1", None),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_catalog_that_says_something_else_is_found_and_made_anew(root: Path, wrong: str) -> None:
    query, refs = WRONG[wrong]
    with open_store(root) as store:
        fill(store)
        sql(store, query)
        found = findings(store, repair=True)
        assert {finding.kind for finding in found} == {FindingKind.CATALOG}
        assert all(finding.place == "catalog.db" for finding in found)
        if refs is not None:
            assert any(set(refs) <= set(finding.refs) for finding in found)
    kept = set_catalog_aside(root)
    assert kept.read_bytes()[:6] == b"SQLite"
    with open_store(root) as store:
        assert findings(store) == []
        assert read(store, "models/pump") == MODEL


def test_a_catalog_with_damaged_pages_is_found(root: Path) -> None:
    with open_store(root) as store:
        fill(store)
    data = bytearray((root / "catalog.db").read_bytes())
    page = page_of(root, "entries")
    data[page : page + 200] = bytes(200)
    (root / "catalog.db").write_bytes(data)
    with open_store(root) as store:
        (found,) = findings(store)
        assert (found.kind, found.place) == (FindingKind.CATALOG, "catalog.db")
    set_catalog_aside(root)
    with open_store(root) as store:
        assert findings(store) == []


def test_a_start_that_meets_damage_in_the_catalog_makes_it_anew(root: Path) -> None:
    with open_store(root) as store:
        fill(store)
    data = bytearray((root / "catalog.db").read_bytes())
    page = page_of(root, "blobs_leaving")
    data[page : page + 200] = bytes(200)
    (root / "catalog.db").write_bytes(data)
    said: list[str] = []
    with open_store(root, say=said.append) as store:
        assert "the catalog is damaged" in said[0]
        assert findings(store) == []


def test_a_loose_blob_of_another_size_than_listed_is_found(filled: Store) -> None:
    sql(filled, "UPDATE blobs SET size = 8 WHERE size = 7")
    sql(filled, "UPDATE totals SET bytes = bytes + 1")
    (found,) = findings(filled)
    assert (found.kind, found.text) == (FindingKind.CATALOG, "the catalog gives it 8 bytes, it has 7")


def test_no_catalog_is_set_aside_while_somebody_has_the_store_open(filled: Store) -> None:
    with pytest.raises(Exception, match="in use"):
        set_catalog_aside(filled.root)
