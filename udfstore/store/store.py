"""The store: blobs, tags and their history below one root, for many threads of one process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

from udfstore import admin
from udfstore.calls import Delete, Deleted, Hold, Move, Moved, Noted, Release, Rollback, Saved, Undeleted, Untag, Used
from udfstore.digest import BlobId
from udfstore.errors import Closing, Corrupt, NotFound, ReadOnly
from udfstore.model import NOWHERE, Author, BlobInfo, Place
from udfstore.quota import NO_QUOTAS, Quotas
from udfstore.refs import Ref, Tag
from udfstore.signing import NO_SIGNERS, Signers
from udfstore.store import backup, changes, check, keeping, osfs, upkeep
from udfstore.store.blobs import BlobFile, hash_file
from udfstore.store.changes import SHOWN, Change
from udfstore.store.committer import Judge, answer
from udfstore.store.keeping import Gone
from udfstore.store.limits import StoreLimits
from udfstore.store.parts import Parts
from udfstore.store.reads import Reads
from udfstore.store.records import State
from udfstore.store.resolve import Resolved, check_size, find_removed, resolve
from udfstore.store.resumable import Uploads
from udfstore.store.scrub import Scrub
from udfstore.store.small import Elsewhere, Small
from udfstore.store.upload import ANY_ROOM, Room, Upload, Yard, check_announced
from udfstore.store.view import BlobRow

HASHING = 4
"""Threads that hash saves while they are written; more saves at once than that keep the cores busy anyway."""


ELSEWHERE = 2
"""Threads that save what `save_small` could not give to the journal: content that is there, for the most part."""

DAY_NS = 86400 * 10**9


def _saved(id: BlobId, size: int, existed: bool, moved: Moved | None) -> Saved:
    return Saved(id, size, existed, moved.entries[0] if moved else None)


def _ignore(_: str) -> None:
    """Nobody listens."""


class Store(Reads):
    """One store, open and owned by this process until `close`.

    Methods may be called from any thread and may block on the disk. Reads of tags and entries see the newest committed
    revision. What the disk refuses comes as `NoSpace`, `ReadOnly`, `Denied`, `Busy` or `InternalError`; a damaged
    catalog as `Corrupt`.
    """

    def __init__(
        self,
        root: Path,
        *,
        create: bool = True,
        owner: str = "",
        limits: StoreLimits = StoreLimits(),  # noqa: B008 - frozen
        clock: Callable[[], int] = time.time_ns,
        say: Callable[[str], None] = _ignore,
        signers: Signers = NO_SIGNERS,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:
        """Open the store at `root`, or make one there when the folder is missing or empty and `create`.

        `owner` is where this process listens, for people who find the root in use. `clock` gives nanoseconds since
        1970. `say` gets lines for people: what recovery did, progress of a rebuild. `signers` say which tags move only
        with a signature, `quotas` how much content entries of an author may keep.

        Raises `NotFound` (no store there), `UsageError` (not a store), `Denied` (another user's, writable by others,
        not writable), `ReadOnly` (file system), `Conflict` (in use; names pid and socket), `Unsupported` (newer layout
        or unknown feature), `Corrupt` (FORMAT damaged, log or blobs missing). A log with rot opens for reading, and
        `problem` says what is wrong.
        """
        parts = Parts(Path(root), create, owner, limits, clock, say, signers, quotas)
        self.root: Path = parts.layout.root
        self.limits: StoreLimits = parts.limits
        self.id = parts.format.id
        """The store ID, 16 bytes."""
        self.epoch = parts.format.epoch
        self.quotas = quotas
        self.meters, self.gauges = parts.meters, parts.gauges
        self._parts = parts
        self._closed = False
        self._hashing = ThreadPoolExecutor(HASHING, "hash")
        self._elsewhere = ThreadPoolExecutor(ELSEWHERE, "save")
        self._yard = Yard(
            staging=parts.layout.staging,
            files=parts.files,
            limits=parts.limits,
            clock=parts.clock,
            known_saved_ns=self._known_saved_ns,
            index=self._index,
            save_small=lambda small: parts.committer.submit(upkeep.index_small(small), small),
            small_bytes=parts.small_bytes,
            hashing=self._hashing,
            meters=self.meters,
        )
        self.uploads = Uploads(parts.layout.uploads, self._yard, self._check_writable, say)
        """The resumable ones."""

    @property
    def revision(self) -> int:
        """The newest committed revision; 0 for a store without records."""
        return self._parts.committer.revision

    @property
    def problem(self) -> str:
        """Why the store takes no writes; "" while it does."""
        return self._parts.committer.problem

    @property
    def on_commit(self) -> list[Callable[[int], None]]:
        """Called with the newest revision after each commit, on the committer's thread, before changes are answered.

        They must be short and must not raise.
        """
        return self._parts.committer.on_commit

    def close(self) -> None:
        """Finish queued changes, note the clean end in the log, let go of the root. May be called again."""
        if not self._closed:
            self._closed = True
            self._elsewhere.shutdown()
            self._hashing.shutdown()
            self._parts.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- content ---------------------------------------------------------------------------------------------------

    def upload(self, id: BlobId | None = None, size: int | None = None, room: Room = ANY_ROOM) -> Upload:
        """Begin a save; `id` and `size` announce what comes, into `room`.

        Raises `NoSpace`, `TooLarge`, `ReadOnly`.
        """
        self._check_writable()
        return Upload(self._yard, id, size, room)

    @property
    def small_bytes(self) -> int:
        """The largest content that `save_small` takes; -1: none."""
        return self._parts.small_bytes

    def save_small(
        self,
        content: bytes,
        sizes: Sequence[int | None],
        ids: Sequence[BlobId | None],
        move: Move | None,
        author: Author,
        room: Room = ANY_ROOM,
    ) -> Future[Saved]:
        """Queue a save of small content, and a move of a tag to it; the future brings what a save and a move would.

        `sizes` and `ids` are what the sender said of it, None for nothing: `Mismatch` where that is not so; `NoSpace`
        where `room` has none.
        """
        self._check_writable()
        own = BlobId.of(content)
        check_announced(len(content), own, sizes, ids)
        self._yard.check_limit(len(content))
        room.take(own, len(content))
        small, saved = Small(own, content), Future[Saved]()
        saved.set_running_or_notify_cancel()
        saved.add_done_callback(lambda done: room.give_back() if done.exception() else None)
        judge = upkeep.index_small(small)
        if move is not None:
            judge = upkeep.both(judge, changes.judge(move, author))

        def landed(done: Future[Moved | None]) -> Saved:
            moved = done.result()
            self.meters.saved(len(content), existed=False)
            return _saved(own, len(content), False, moved)

        def judged(done: Future[Moved | None]) -> None:
            if not isinstance(done.exception(), Elsewhere):
                answer(saved, lambda: landed(done))
                return
            try:
                self._elsewhere.submit(answer, saved, lambda: self._save_elsewhere(content, move, author))
            except RuntimeError:  # its threads have ended
                saved.set_exception(Closing("the store is being closed"))

        self._parts.committer.submit(judge, small).add_done_callback(judged)
        return saved

    def _save_elsewhere(self, content: bytes, move: Move | None, author: Author) -> Saved:
        upload = self.upload(None, len(content))
        upload.write(content)
        id, existed = upload.commit()
        return _saved(id, len(content), existed, self.submit(move, author).result() if move else None)

    def present(self, id: BlobId) -> int | None:
        """The size of a blob that a save may leave out: whole, durable, and not on its way out; else None.

        A blob that was marked for collection is rescued first. One whose file was touched is hashed.
        """
        with osfs.telling(f"looking at blob {id.short}"), self._parts.files.lock(id):
            wanted = self.want(id)
            with self._reads() as view:
                row = view.blob(id)
            size = self._parts.files.size(id)
            if size is None or (row is not None and (row.size != size or not row.state.here)):
                return None
            if not wanted:
                return None
            if self.problem:
                return size
            if not self._parts.files.untouched(id, size, row.saved_ns if row else None):
                return None
            if row is not None and row.state is State.MARKED and not self._parts.committer.call(upkeep.rescue(id)):
                return None
            return size

    def want(self, id: BlobId) -> bool:
        """Keep content from going with a snapshot for the next minutes; False: it is going already."""
        return self._parts.files.wanted.want(id, self._parts.clock())

    def open(self, id: BlobId) -> BlobFile:
        """Open a blob for reading; its content is not hashed. Raises `NotFound`, `Gone`, `Corrupt`."""
        return self.open_ref(Ref.of(id))[1]

    def open_ref(self, ref: Ref) -> tuple[Resolved, BlobFile]:
        """What a ref names, and its file as by `open`: one look into the catalog for both."""
        found, row, file = self._open(ref)
        try:
            check_size(found.id, row, file.size)
        except Corrupt:
            file.close()
            raise
        return found, file

    def verify(self, id: BlobId) -> BlobInfo:
        """Hash a blob's file. One that does not match its name goes to quarantine (`Corrupt`); saving heals it."""
        found: BlobId | Corrupt
        with self._open(Ref.of(id))[2] as file:
            try:
                found = hash_file(file)
            except Corrupt as cut_off:
                found = cut_off
        if found != id and self._quarantined(id):
            raise Corrupt(f"the stored bytes of blob {id} are damaged; saving the content again heals it", got=found)
        if not self.problem:
            self._parts.committer.call(upkeep.verified((id,)))
        return self.info(Ref.of(id))

    def check(self, since_ns: int | None = None, repair: bool = False) -> Generator[list[admin.CheckItem]]:
        """Hold files, log and catalog against each other, as `admin.Check` has it, a step at a time.

        `Busy`, `NoSpace` and the like say that it cannot be done at present.
        """
        if self._closed:
            raise Closing("the store is closed")
        return check.everything(self._parts, since_ns, repair)

    def scrub(self, days: float) -> Scrub:
        """Hash content again that was not verified for so many days; what is damaged goes to quarantine."""
        return Scrub(self._parts, self._parts.clock() - int(days * DAY_NS), repair=True)

    @contextlib.contextmanager
    def backup(self) -> Iterator[Generator[list[admin.Item]]]:
        """What a backup needs to know, as `admin.Backup` has it; until the end `open_held` has all its content.

        What is removed meanwhile stays in the trash. Raises `Corrupt` where the log is damaged.
        """
        with self._parts.remover.hold(), contextlib.closing(backup.pages(self._parts)) as pages:
            if self._closed:
                raise Closing("the store is closed")
            yield pages

    def open_held(self, id: BlobId) -> BlobFile:
        """As `open`, for content that a backup holds, though it was removed meanwhile. Raises `NotFound`."""
        with osfs.telling(f"opening blob {id.short}"):
            try:
                return self._parts.files.open_held(id)
            except FileNotFoundError:
                raise NotFound(f"there is no blob {id}") from None

    def missing(self, ids: Sequence[BlobId]) -> list[BlobId]:
        """Those that a save would have to bring, in the order asked; judged as by `present`."""
        return [id for id in ids if self.present(id) is None]

    def free_bytes(self) -> int:
        """Bytes that the disk would still take."""
        with osfs.telling("looking at the free space"):
            return osfs.free_bytes(self.root)

    @property
    def is_short(self) -> bool:
        """Whether the free space nears its floor."""
        return self.free_bytes() < 2 * self.limits.floor_bytes

    def collect(
        self, grace_s: int | None = None, *, now: bool = False, dry_run: bool = False
    ) -> Iterator[list[admin.Garbage]]:
        """Mark what nothing keeps, and remove what has been marked for the grace time; gives all of it, in batches.

        Each batch is told when it is done; who goes on no further leaves the rest as it is. `grace_s`: another grace
        time than the usual. `now`: files are unlinked at once. `dry_run`: nothing is changed. Raises `Closing` after
        `stop_sweeping`.
        """
        if not dry_run:
            self._check_writable()
        yield from self._parts.collector.collect(grace_s, now=now, dry_run=dry_run)

    def undelete(self, ref: Ref, author: Author) -> Undeleted:
        """Bring removed content back, and what it links, while its file is in the trash.

        Raises `NotFound`, `Gone`, `UsageError` as `resolve`; `Gone` when the file is unlinked; `NoSpace` when the
        quota of the author, whom it counts for, has no room for it.
        """
        self._check_writable()
        with self._reads() as view:
            id = find_removed(view, ref)
            ids = [id, *view.links_of(id)]
        self._parts.remover.bring_back(ids, author)
        with self._reads() as view:
            row = view.blob(id)
            versions = tuple(entry.ref for entry in view.naming(id, SHOWN))
            return Undeleted(id, row.size if row else 0, versions, view.naming_count(id) - len(versions))

    def sweep(self, now: bool = False) -> int:
        """Unlink removed blobs whose time in the trash is over (`now`, or short of room: all of them); says how many.

        What snapshots that were let go could not take along, because somebody wanted it, goes too; and resumable
        uploads without progress; and what tells of such snapshots leaves the log.

        Raises what kept one of them, after all the others are gone.
        """
        self._check_writable()
        with osfs.telling("taking the reserve again"):
            self._parts.reserve.restore(self._parts.limits.floor_bytes)
        self.uploads.expire()
        self.let_go(()).result()
        try:
            return self._parts.remover.sweep(self._parts.clock(), now or self.is_short)
        finally:
            self._parts.shedder.shed(self._parts.clock())

    def stop_sweeping(self) -> None:
        """Let sweeps end soon, for a process that is about to: what is left goes with the first one after a start."""
        self._parts.remover.stop()

    # --- changes ---------------------------------------------------------------------------------------------------

    @overload
    def submit(
        self, call: Move | Rollback | Untag | Hold | Release, author: Author, *, reserved: bool = False
    ) -> Future[Moved]: ...
    @overload
    def submit(self, call: Delete, author: Author, *, reserved: bool = False) -> Future[Deleted]: ...
    @overload
    def submit(self, call: Used, author: Author, *, place: Place = NOWHERE) -> Future[Noted]: ...
    @overload
    def submit(
        self, call: Change, author: Author, *, reserved: bool = False, place: Place = NOWHERE
    ) -> Future[Any]: ...
    def submit(self, call: Change, author: Author, *, reserved: bool = False, place: Place = NOWHERE) -> Future[Any]:
        """Queue a change; the future brings its result once it is durable, or why it was refused.

        Futures are resolved on the committer's thread, those of deletions on the remover's: callbacks must be short.
        `reserved` lets it write tags below `snapshots/`; `place` is where the author works, for a `Used`. A request
        that made a record before is answered with that.
        """
        future = self._parts.committer.submit(changes.judge(call, author, reserved=reserved, place=place))
        if isinstance(call, Delete):
            return self._parts.remover.follow(future, call.now)
        return future

    def let_go(self, tags: Sequence[Tag]) -> Future[Gone]:
        """Remove, without a grace time, what only versions of these tags kept that retention has let go."""
        return self._remove(keeping.let_go(tags))

    def drop(
        self, untag: Sequence[Tag], versions: Sequence[tuple[Tag, int]], request: bytes, author: Author
    ) -> Future[Gone]:
        """Untag snapshots' names, and remove without a grace time what they and those versions alone kept."""
        return self._remove(keeping.drop(untag, versions, request, author))

    def _remove(self, judge: Judge) -> Future[Gone]:
        gone = Future[Gone]()
        gone.set_running_or_notify_cancel()

        def judged(condemned: Future[Gone]) -> None:
            if condemned.exception() is None and condemned.result().blobs:
                self._parts.remover.remove(condemned.result().blobs)
            answer(gone, condemned.result)

        self._parts.committer.submit(judge).add_done_callback(judged)
        return gone

    # --- inside ----------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._closed:
            raise Closing("the store is closed")
        if self.problem:
            raise ReadOnly(f"the store takes no writes: {self.problem}")

    def _open(self, ref: Ref) -> tuple[Resolved, BlobRow | None, BlobFile]:
        with self._reads() as view:
            found = resolve(view, self._parts.files, ref)
            id, row = found.id, view.blob(found.id)
        with osfs.telling(f"opening blob {id.short}"):
            try:
                return found, row, self._parts.files.open(id)
            except FileNotFoundError:
                check_size(id, row, None)
                raise

    def _quarantined(self, id: BlobId) -> bool:
        """Hash a blob's file once more, now that nobody can replace it; whether it was damaged and put away."""
        files = self._parts.files
        with osfs.telling(f"moving blob {id.short} to quarantine"), files.lock(id):
            return not files.untouched(id, files.size(id) or 0, None)

    def _known_saved_ns(self, id: BlobId) -> int | None:
        with self._reads() as view:
            row = view.blob(id)
        return row.saved_ns if row else None

    def _index(self, id: BlobId, size: int, saved_ns: int) -> None:
        if self._parts.committer.call(upkeep.index(id, size, saved_ns)):
            self._parts.files.erase(id)
