"""A store and a dict side by side, over any order of calls, restarts and kills."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from store_kit import (
    AUTHOR,
    DAMAGES,
    TINY,
    Clock,
    abandon,
    commit_saved,
    counted,
    delete,
    dump,
    forget_catalog,
    hold,
    lose_power,
    move,
    not_synced,
    open_store,
    read,
    release,
    removed,
    rollback,
    save,
    untag,
)

from udfstore.admin import Fate, Finding
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, NotFound
from udfstore.model import Author
from udfstore.refs import Prefix, Ref, Tag
from udfstore.store import Rule, Store, collecting, shedding

TAGS = ("a", "m/a", "m/b")
AUTO = "snapshots/p/auto"
KEPT = 3
VERSIONS = 2
DAY_NS = 86_400 * 10**9
CONTENTS = tuple(bytes([n]) * (n * 700 + 1) for n in range(4))
MEMORY = Path("/dev/shm")
AUTHORS = (AUTHOR, Author("http", token="ci"), Author("socket", 1001))

tags = st.sampled_from(TAGS)
contents = st.sampled_from(CONTENTS)


class StoreAgainstModel(RuleBasedStateMachine):
    limits = replace(TINY, retention=(Rule("m/*", versions=VERSIONS), Rule(AUTO, versions=KEPT)))

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="udfstore-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = Clock()
        self.store = self.open()
        self.here: set[bytes] = set()
        self.known: set[bytes] = set()
        self.let_go: set[bytes] = set()
        """Content that went with a snapshot, named by no entry: known for as long as the log tells of it."""
        self.marked: dict[bytes, int] = {}
        """Content that nothing keeps, and since when that is known."""
        self.looked = 0
        self.entries: dict[str, list[bytes | None]] = {}
        self.origins: dict[str, list[int]] = {}
        self.held: set[str] = set()
        self.rounds = 0
        self.manifests: dict[bytes, set[bytes]] = {}
        """The manifests that are kept, oldest first, and what they link."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(shedding, "WORTH_BYTES", 1 << 20)

    def open(self) -> Store:
        return open_store(self.folder / "root", clock=self.clock, limits=self.limits)

    def teardown(self) -> None:
        self.patch.undo()
        try:
            found = [item for items in self.store.check() for item in items if isinstance(item, Finding)]
        finally:
            self.store.close()
            shutil.rmtree(self.folder)
        assert found == []

    def add(self, tag: str, content: bytes | None, origin: int = 0) -> None:
        self.entries.setdefault(tag, []).append(content)
        self.marked.pop(content or b"", None)
        self.origins.setdefault(tag, []).append(origin)

    @rule(content=contents)
    def save(self, content: bytes) -> None:
        save(self.store, content)
        self.here.add(content)
        self.known.add(content)
        self.let_go.discard(content)
        self.marked.pop(content, None)

    @rule(tag=tags, content=contents, expected=st.none() | st.integers(0, 3), author=st.sampled_from(AUTHORS))
    def move(self, tag: str, content: bytes, expected: int | None, author: Author) -> None:
        history = self.entries.get(tag, [])
        live = bool(history) and history[-1] is not None
        error: Any = None
        if tag in self.held or (expected is not None and (live if expected == 0 else len(history) != expected)):
            error = Conflict
        elif content not in self.here:
            error = self.absent(content)
        if error:
            with pytest.raises(error):
                move(self.store, tag, BlobId.of(content), expected=expected)
            return
        entry = move(self.store, tag, BlobId.of(content), expected=expected, author=author).entries[0]
        self.add(tag, content)
        assert entry.version == len(self.entries[tag])

    @rule(tag=tags)
    def rollback(self, tag: str) -> None:
        history = self.entries.get(tag, [])
        if not history:
            with pytest.raises(NotFound):
                rollback(self.store, tag)
            return
        if tag in self.held:
            with pytest.raises(Conflict, match="held"):
                rollback(self.store, tag)
            return
        base = len(history) if history[-1] is None else self.origins[tag][-1] or len(history)
        others = [version for version in range(1, base) if history[version - 1] != history[-1]]
        fitting = [version for version in others if history[version - 1] in self.here]
        if not fitting:
            with pytest.raises(Conflict):
                rollback(self.store, tag)
            return
        origin = self.origins[tag][fitting[-1] - 1] or fitting[-1]
        assert rollback(self.store, tag).origin == origin
        self.add(tag, history[fitting[-1] - 1], origin)

    @rule(tag=tags)
    def untag(self, tag: str) -> None:
        history = self.entries.get(tag, [])
        if not history or history[-1] is None or tag in self.held:
            with pytest.raises(Conflict if tag in self.held else Gone if history else NotFound):
                untag(self.store, tag)
            return
        untag(self.store, tag)
        self.add(tag, None)

    @rule(tag=tags)
    def hold(self, tag: str) -> None:
        history = self.entries.get(tag, [])
        if not history or tag in self.held or history[-1] not in self.here:
            with pytest.raises(Conflict if tag in self.held else Gone if history else NotFound):
                hold(self.store, tag)
            return
        assert hold(self.store, tag).held
        self.held.add(tag)
        self.add(tag, history[-1], self.origins[tag][-1])

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.held)))
        assert not release(self.store, tag).held
        self.held.remove(tag)
        self.add(tag, self.entries[tag][-1], self.origins[tag][-1])

    @rule(content=contents, force=st.booleans(), now=st.booleans())
    def delete(self, content: bytes, force: bool, now: bool) -> None:
        id = BlobId.of(content)
        named = any(history[-1] == content for history in self.entries.values()) or self.linked(content)
        error: Any = None
        if content not in self.here:
            error = self.absent(content)
        elif named and not force:
            error = Conflict
        if error:
            with pytest.raises(error):
                delete(self.store, id, force=force, now=now)
            return
        deleted = delete(self.store, id, force=force, now=now)
        assert len(deleted.versions) == sum(history.count(content) for history in self.entries.values())
        self.here.discard(content)
        self.marked.pop(content, None)

    @rule(content=contents)
    def undelete(self, content: bytes) -> None:
        removed(self.store)
        id = BlobId.of(content)
        if content not in self.here and not (self.store.root / "trash" / id.hex).exists():
            with pytest.raises(self.absent(content)):
                self.store.undelete(Ref.of(id), AUTHOR)
            return
        back = self.store.undelete(Ref.of(id), AUTHOR)
        assert len(back.versions) == sum(history.count(content) for history in self.entries.values())
        self.here.add(content)
        self.let_go.discard(content)

    def absent(self, content: bytes) -> Any:
        if content in self.let_go:
            return (Gone, NotFound)
        return Gone if content in self.known else NotFound

    def keeps(self, content: bytes) -> bool:
        """Whether a version that counts names content, or a snapshot links it."""
        for tag, history in self.entries.items():
            live = [named for named in history if named is not None]
            if content in (live[-VERSIONS:] if tag.startswith("m/") else live):
                return True
        return self.linked(content)

    def linked(self, content: bytes) -> bool:
        return any(content in links for links in self.manifests.values())

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def take_a_snapshot(self, data: st.DataObject) -> None:
        """What only the manifest that is let go has kept goes with it, at once."""
        links = data.draw(st.sets(st.sampled_from(sorted(self.here))))
        self.clock.advance(301)  # what was saved before is wanted no more
        self.rounds += 1
        manifest = b"manifest %d" % self.rounds
        commit_saved(self.store, manifest, links)
        self.manifests[manifest] = links
        for content in links:
            self.marked.pop(content, None)
        self.drop_the_oldest()

    def drop_the_oldest(self) -> None:
        if len(self.manifests) > KEPT:
            gone = self.manifests.pop(next(iter(self.manifests)))
            went = {content for content in gone & self.here if not self.keeps(content)}
            named = {content for history in self.entries.values() for content in history}
            self.here -= went
            self.let_go |= went - named

    @rule(count=st.integers(1, 8))
    def take_many(self, count: int) -> None:
        """So that the log fills segments."""
        for _ in range(count):
            self.rounds += 1
            manifest = b"manifest %d" % self.rounds
            self.clock.advance(301)
            commit_saved(self.store, manifest, ())
            self.manifests[manifest] = set()
            self.drop_the_oldest()

    @rule(seconds=st.integers(1, 8000))
    def sweep(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.store.sweep()

    @rule(seconds=st.integers(0, 200_000))
    def collect(self, seconds: int) -> None:
        """What nothing keeps goes a day after that was found out, and nothing else does."""
        self.clock.advance(seconds)
        now = self.clock()
        with self.store._parts.catalog.reading() as view:
            last = max(self.looked, view.last_ns())
        self.looked = now
        self.marked = {content: ns for content, ns in self.marked.items() if ns <= now <= last + collecting.FAR_NS}
        fates = {}
        for content in self.here:
            if not self.keeps(content):
                since = self.marked.get(content)
                over = since is not None and now - since >= DAY_NS
                fates[BlobId.of(content)] = Fate.MARKED if since is None else Fate.REMOVED if over else Fate.WAITS
                self.marked.setdefault(content, now)
        assert {one.id: one.fate for batch in self.store.collect() for one in batch} == fates
        went = {content for content in self.here if fates.get(BlobId.of(content)) is Fate.REMOVED}
        self.here -= went
        for content in went:
            del self.marked[content]

    @rule(seconds=st.integers(1, 10_000_000))
    def set_the_clock_back(self, seconds: int) -> None:
        self.clock.advance(-seconds)

    @rule(killed=st.booleans(), catalog_lost=st.booleans())
    def restart(self, killed: bool, catalog_lost: bool) -> None:
        removed(self.store)
        before = dump(self.store)
        abandon(self.store) if killed else self.store.close()
        if catalog_lost:
            forget_catalog(self.store.root)
        self.store = self.open()
        self.looked = 0
        if killed:
            assert dump(self.store) == before

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def lose_a_file(self, data: st.DataObject) -> None:
        content = data.draw(st.sampled_from(sorted(self.here)))
        id = BlobId.of(content)
        (self.store.root / "blobs" / id.hex[:2] / id.hex).unlink()
        save(self.store, content)
        self.marked.pop(content, None)

    @invariant()
    def tells_the_same(self) -> None:
        assert self.store.problem == ""
        for content in CONTENTS:
            id = BlobId.of(content)
            if content in self.here:
                assert read(self.store, id) == content
            else:
                with pytest.raises(self.absent(content)):
                    self.store.open(id)
        live = {tag: history for tag, history in self.entries.items() if history[-1] is not None}
        auto = [AUTO] if self.manifests else []
        assert [entry.tag for entry in self.store.tags(Prefix.parse(""))] == sorted([*live, *auto])
        contents = [*self.here, *self.manifests]
        assert self.store.totals() == (len(contents), sum(map(len, contents)), len(live) + len(auto))
        owned = {owner: (blobs, size) for owner, blobs, size in self.store.owners()}
        assert owned == counted(self.store)
        for manifest in self.manifests:
            assert read(self.store, BlobId.of(manifest)) == manifest
        kept = [entry.version for entry in self.store.kept(Tag.parse(AUTO))]
        assert kept == list(range(self.rounds, self.rounds - len(self.manifests), -1))
        for tag, history in self.entries.items():
            told = self.store.history(Tag.parse(tag))
            ids = [content and BlobId.of(content) for content in history]
            assert [(entry.version, entry.id) for entry in reversed(told)] == list(enumerate(ids, 1))
            assert told[0].held == (tag in self.held)
            if history[-1] in self.here:
                assert self.store.info(Ref.parse(tag)).entry == told[0]


StoreAgainstModel.TestCase.settings = settings(
    derandomize=True,
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStoreAgainstModel = StoreAgainstModel.TestCase


class JournaledStoreAgainstModel(StoreAgainstModel):
    """The same with a journal, and power cuts that take what was never synced."""

    limits = replace(StoreAgainstModel.limits, small_bytes=4096, journal_bytes=8 * 16 << 10)

    @rule(catalog_lost=st.booleans(), damage=st.sampled_from(DAMAGES))
    def lose_power(self, catalog_lost: bool, damage: Callable[[Path], None]) -> None:
        lose_power(self.store, damage)
        if catalog_lost:
            forget_catalog(self.store.root)
        self.store = self.open()
        self.looked = 0
        assert not not_synced(self.store)

    @rule()
    def checkpoint(self) -> None:
        journal = self.store._parts.journal
        assert journal is not None
        journal.settle(not_synced(self.store))


JournaledStoreAgainstModel.TestCase.settings = StoreAgainstModel.TestCase.settings
TestJournaledStoreAgainstModel = JournaledStoreAgainstModel.TestCase
