"""Room is made: what nothing keeps is marked and goes after the grace time; what anything keeps stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from store_kit import (
    AUTHOR,
    JOURNALED,
    SMALL,
    Clock,
    abandon,
    blob_path,
    delete,
    forget_catalog,
    move,
    open_store,
    read,
    request,
    rollback,
    save,
    untag,
)

from udfstore.admin import Fate, Garbage
from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import Closing, Gone, NotFound
from udfstore.refs import Ref, Tag
from udfstore.store import Rule, Store, StoreLimits
from udfstore.store.keeping import IN_A_RECORD

DAY = 86_400
KEEP_TWO = replace(SMALL, retention=(Rule("m/**", versions=2),))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(tmp_path: Path, clock: Clock, limits: StoreLimits = SMALL) -> Store:
    return open_store(tmp_path / "root", clock=clock, limits=limits)


def collect(store: Store, **options: object) -> dict[BlobId, Garbage]:
    return {one.id: one for batch in store.collect(**options) for one in batch}  # type: ignore[arg-type]


def fates(store: Store, **options: object) -> dict[BlobId, Fate]:
    return {id: one.fate for id, one in collect(store, **options).items()}


def test_without_a_rule_nothing_goes_that_history_names(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        for n in range(1, 6):
            move(store, "m", save(store, b"version %d" % n), links=(save(store, b"part %d" % n),))
        untag(store, "m")
        for _ in range(3):
            clock.advance(10 * DAY)
            assert collect(store) == {}
            assert collect(store, grace_s=0) == {}
            store.sweep(now=True)
        for n in range(1, 6):
            rollback(store, "m", to=n)
            assert read(store, "m") == b"version %d" % n
            assert read(store, BlobId.of(b"part %d" % n)) == b"part %d" % n


def test_what_nothing_names_lives_for_the_grace_time(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        id = save(store, b"never named")
        found = collect(store)[id]
        assert (found.fate, found.why, found.goes_ns) == (Fate.MARKED, "nothing names it", clock() + DAY * 10**9)
        clock.advance(DAY - 1)
        assert fates(store) == {id: Fate.WAITS}
        assert read(store, id) == b"never named"
        clock.advance(1)
        assert fates(store, dry_run=True) == {id: Fate.REMOVED}
        assert read(store, id) == b"never named"
        assert fates(store) == {id: Fate.REMOVED}
        with pytest.raises(Gone, match="udfstore undelete"):
            store.open(id)
        assert (store.root / "trash" / id.hex).exists()
        assert collect(store) == {}
        clock.advance(3600)
        assert store.sweep() == 1
        assert not (store.root / "trash" / id.hex).exists()


def test_what_comes_to_be_wanted_meanwhile_stays(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        saved, asked, moved, linked = (save(store, text) for text in (b"saved", b"asked", b"moved", b"linked"))
        assert set(fates(store).values()) == {Fate.MARKED}
        clock.advance(DAY)
        save(store, b"saved")
        assert store.missing([asked]) == []
        move(store, "a", moved, links=(linked,))
        assert fates(store) == {saved: Fate.MARKED, asked: Fate.MARKED}
        clock.advance(DAY)
        assert fates(store) == {saved: Fate.REMOVED, asked: Fate.REMOVED}
        assert read(store, moved) == b"moved"
        assert read(store, linked) == b"linked"


def test_a_rule_lets_old_versions_go_with_their_parts(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, KEEP_TWO) as store:
        for n in range(1, 5):
            move(store, "m/a", save(store, b"version %d" % n), links=(save(store, b"part %d" % n),))
        move(store, "other", BlobId.of(b"version 1"))
        old, part = BlobId.of(b"version 2"), BlobId.of(b"part 2")
        found = collect(store)
        assert set(found) == {old, part}, "the first is what another tag names"
        assert (found[old].why, found[old].refs) == ("let go by m/** keep 2", ("m/a@2",))
        assert found[part].why == "linked only by what goes"
        clock.advance(DAY)
        assert set(fates(store).values()) == {Fate.REMOVED}
        with pytest.raises(Gone, match="history remains"):
            store.resolve(Ref.parse("m/a@2"))
        assert rollback(store, "m/a", to=1).version == 5, "its content is kept, though not by this tag"
        for ref in ("m/a", "m/a@4", "m/a@3"):
            read(store, ref)


def test_a_version_that_links_its_own_content_keeps_it_no_longer_than_others(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, replace(SMALL, retention=(Rule("m/**", versions=1),))) as store:
        first, second = save(store, b"first"), save(store, b"second")
        for id in (first, second):
            move(store, "m/a", id, links=(id,))
        assert fates(store, grace_s=0) == {first: Fate.REMOVED}


def test_content_that_comes_again_stays_as_long_as_its_newest_version(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, KEEP_TWO) as store:
        for content in (b"back and forth", b"other", b"back and forth", b"newest"):
            move(store, "m/a", save(store, content))
        assert set(collect(store, grace_s=0)) == {BlobId.of(b"other")}
        assert read(store, "m/a@3") == b"back and forth"


def test_a_rule_of_days(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, replace(SMALL, retention=(Rule("m/**", days=30),))) as store:
        for n in (1, 2):
            move(store, "m/a", save(store, b"version %d" % n))
        clock.advance(30 * DAY)
        assert collect(store) == {}
        clock.advance(1)
        assert fates(store, grace_s=0) == {BlobId.of(b"version 1"): Fate.REMOVED}
        assert read(store, "m/a") == b"version 2"


def test_a_version_that_was_let_go_may_be_gone_back_to_until_it_is_gone(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, KEEP_TWO) as store:
        for n in range(1, 4):
            move(store, "m/a", save(store, b"version %d" % n))
        first, second = BlobId.of(b"version 1"), BlobId.of(b"version 2")
        assert fates(store) == {first: Fate.MARKED}
        clock.advance(DAY)
        rollback(store, "m/a", to=1)
        assert fates(store) == {second: Fate.MARKED}
        assert read(store, "m/a") == b"version 1"


def test_a_rule_that_is_taken_back_takes_back_its_marks(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, KEEP_TWO) as store:
        for n in range(1, 4):
            move(store, "m/a", save(store, b"version %d" % n))
        first = BlobId.of(b"version 1")
        assert fates(store) == {first: Fate.MARKED}
    clock.advance(DAY)
    with opened(tmp_path, clock) as store:
        assert fates(store) == {}
    with opened(tmp_path, clock, KEEP_TWO) as store:
        assert fates(store) == {first: Fate.MARKED}, "the grace time begins anew"


def test_with_no_grace_all_goes_at_once_but_what_somebody_relies_on(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        loose, asked, named = save(store, b"loose"), save(store, b"asked"), save(store, b"named")
        move(store, "a", named)
        assert store.missing([asked]) == []
        assert fates(store, grace_s=0, now=True) == {loose: Fate.REMOVED, asked: Fate.MARKED}
        assert list((store.root / "trash").iterdir()) == []
        clock.advance(301)
        assert fates(store, grace_s=0, now=True) == {asked: Fate.REMOVED}
        assert read(store, named) == b"named"


def test_parts_go_no_earlier_than_what_links_them(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, KEEP_TWO) as store:
        part = save(store, b"part")
        assert fates(store) == {part: Fate.MARKED}
        move(store, "m/a", save(store, b"whole"), links=(part,))
        for n in range(2):
            move(store, "m/a", save(store, b"version %d" % n))
        clock.advance(DAY)
        whole = BlobId.of(b"whole")
        assert fates(store) == {whole: Fate.MARKED, part: Fate.MARKED}
        clock.advance(DAY)
        save(store, b"whole")
        assert fates(store) == {whole: Fate.MARKED, part: Fate.WAITS}
        assert read(store, part) == b"part"
        clock.advance(DAY)
        assert fates(store) == {whole: Fate.REMOVED, part: Fate.REMOVED}


def test_a_clock_that_stepped_starts_the_grace_anew(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        id = save(store, b"loose")
        clock.advance(365 * DAY)
        assert fates(store) == {id: Fate.MARKED}
        clock.advance(-365 * DAY)
        assert fates(store) == {id: Fate.MARKED}, "the mark is from the future"
        clock.advance(DAY - 1)
        assert fates(store) == {id: Fate.WAITS}
        clock.advance(365 * DAY)
        assert fates(store) == {id: Fate.MARKED}, "a year in which nobody looked is not believed"
        abandon(store)
    with opened(tmp_path, clock) as store:
        clock.advance(3 * DAY)
        assert fates(store) == {id: Fate.MARKED}, "nor three days after the last record"
        clock.advance(DAY)
        assert fates(store) == {id: Fate.REMOVED}


def test_marks_outlive_the_catalog(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        id = save(store, b"loose")
        assert fates(store) == {id: Fate.MARKED}
    forget_catalog(tmp_path / "root")
    clock.advance(DAY)
    with opened(tmp_path, clock) as store:
        assert fates(store) == {id: Fate.REMOVED}


def test_what_snapshots_left_behind_is_found(tmp_path: Path, clock: Clock) -> None:
    """It goes at once, as a rule; where a crash came in between, it goes as everything else."""
    with opened(tmp_path, clock) as store:
        for n in range(1, 31):
            step = Step(Tag.parse("snapshots/p/auto"), Ref.of(save(store, b"manifest %d" % n)), None, {}, ())
            store.submit(Move((step,), "", request()), AUTHOR, reserved=True).result()
        found = collect(store)
        assert set(found) == {BlobId.of(b"manifest %d" % n) for n in range(1, 21)}
        assert {one.why for one in found.values()} == {"let go by snapshots/*/auto keep 10"}


@pytest.mark.parametrize("limits", [SMALL, JOURNALED])
def test_removed_content_comes_back(tmp_path: Path, clock: Clock, limits: StoreLimits) -> None:
    with opened(tmp_path, clock, replace(limits, retention=(Rule("m/**", versions=1),))) as store:
        for n in (1, 2):
            move(store, "m/a", save(store, b"version %d" % n), links=(save(store, b"part %d" % n),))
        collect(store, grace_s=0)
        first, part = BlobId.of(b"version 1"), BlobId.of(b"part 1")
        with pytest.raises(Gone, match="undelete"):
            store.resolve(Ref.parse("m/a@1"))
        undeleted = store.undelete(Ref.parse("m/a@1"), AUTHOR)
        assert (undeleted.id, undeleted.size, undeleted.versions) == (first, 9, ("m/a@1",))
        assert (read(store, "m/a@1"), read(store, part)) == (b"version 1", b"part 1")
        assert store.undelete(Ref.of(first), AUTHOR) == undeleted, "once more is no error"
        assert fates(store) == {first: Fate.MARKED, part: Fate.MARKED}, "it has the whole grace time"
        delete(store, "m/a@2", force=True)
        assert store.undelete(Ref.parse(BlobId.of(b"version 2").hex[:10]), AUTHOR).versions == ("m/a@2",)
        assert read(store, "m/a") == b"version 2"


def test_what_is_unlinked_does_not_come_back(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        id = save(store, b"content")
        delete(store, id, now=True)
        with pytest.raises(Gone, match="saving its content"):
            store.undelete(Ref.of(id), AUTHOR)
        with pytest.raises(NotFound):
            store.undelete(Ref.of(BlobId.of(b"never")), AUTHOR)


def test_bringing_back_may_be_broken_off(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        id = save(store, b"content")
        delete(store, id)
        store._parts.files.from_trash(id)  # and here comes a kill
        abandon(store)
    with opened(tmp_path, clock) as store:
        assert not blob_path(store, id).exists()
        store.undelete(Ref.of(id), AUTHOR)
        assert read(store, id) == b"content"


def test_why_says_what_keeps_a_blob_and_when_it_goes(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock, KEEP_TWO) as store:
        for n in range(1, 4):
            move(store, "m/a", save(store, b"version %d" % n))
        move(store, "b", BlobId.of(b"version 3"))
        kept = store.why(Ref.parse("m/a"))
        assert (kept.rules, kept.let_go, kept.goes_ns) == (("", "m/** keep 2"), (), 0)
        gone = store.why(Ref.parse("m/a@1"))
        day_ns = DAY * 10**9
        assert (gone.rules, gone.let_go, gone.goes_ns) == (("m/** keep 2",), ("m/a@1",), clock() + day_ns)
        collect(store)
        clock.advance(100)
        assert store.why(Ref.parse("m/a@1")).goes_ns == clock() + day_ns - 100 * 10**9


def test_many_at_once(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        ids = {save(store, b"%d" % n) for n in range(300)}
        assert set(fates(store)) == ids
        clock.advance(DAY)
        assert set(fates(store).values()) == {Fate.REMOVED}
        assert store.totals() == (0, 0, 0)


def test_who_is_broken_off_by_the_end_of_the_server_is_told(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, clock) as store:
        for n in range(2 * IN_A_RECORD):
            save(store, b"%d" % n)
        batches = store.collect(0)
        while not next(batches):
            pass
        store.stop_sweeping()
        with pytest.raises(Closing, match="gc"):
            list(batches)
