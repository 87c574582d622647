"""Removal: how condemned content leaves, in steps that a crash may break off anywhere (design: condemn, trash, erase).

The log says what shall be; the files follow. At the start `settle` brings files into line with the log.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from udfstore.calls import Deleted
from udfstore.digest import BlobId
from udfstore.errors import Closing, Gone, NoSpace, UdfstoreError
from udfstore.model import Author
from udfstore.store import osfs, upkeep
from udfstore.store.blobs import Files
from udfstore.store.catalog import Catalog
from udfstore.store.committer import Committer
from udfstore.store.keeping import IN_A_RECORD
from udfstore.store.layout import Layout, blob_of
from udfstore.store.meters import StoreMeters
from udfstore.store.records import State
from udfstore.store.view import View

SECOND = 1_000_000_000


class Remover:
    """Moves condemned files out. One thread of its own, because the committer's must not wait for folders' syncs.

    `stopped`: what nobody waits for is left to the next sweep.
    """

    def __init__(
        self,
        catalog: Catalog,
        files: Files,
        committer: Committer,
        grace_s: int,
        meters: StoreMeters,
        settle: Callable[[Sequence[BlobId]], None],
    ) -> None:
        """`settle` returns once the files of blobs are durable without the journal: a start would bring them back."""
        self._settle = settle
        self._catalog, self._files, self._committer = catalog, files, committer
        self._grace_ns = grace_s * SECOND
        self._meters = meters
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="remover")
        self._holds: set[object] = set()
        self._holding = threading.Lock()
        self.stopped = False

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Leave in the trash whatever is removed while this is open; a sweep after it takes it. The log keeps too."""
        hold = object()
        with self._holding:
            self._holds.add(hold)
        try:
            yield
        finally:
            self._holds.discard(hold)

    @contextlib.contextmanager
    def unheld(self) -> Iterator[bool]:
        """Whether there is no `hold`; none begins while this is open."""
        with self._holding:
            yield not self._holds

    def follow(self, condemned: Future[Deleted], now: bool) -> Future[Deleted]:
        """The future of a deletion: resolved when the record that `condemned` waits for is followed by the file."""
        done: Future[Deleted] = Future()
        done.set_running_or_notify_cancel()

        def remove(deleted: Deleted) -> None:
            try:
                with osfs.telling(f"removing blob {deleted.id.short}"):
                    self._remove((deleted.id,), now)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the deletion
                done.set_exception(error)
            else:
                done.set_result(deleted)

        def judged(condemned: Future[Deleted]) -> None:
            error = condemned.exception()
            if error is not None:
                done.set_exception(error)
                return
            try:
                self._pool.submit(remove, condemned.result())
            except RuntimeError:  # the pool is shut down
                done.set_exception(Closing("the store is being closed; the deletion is noted, and done at its start"))

        condemned.add_done_callback(judged)
        return done

    def remove(self, ids: Sequence[BlobId]) -> None:
        """Unlink files of condemned blobs at once, in the background; what fails is left to the sweep."""

        def unlink() -> None:
            for start in range(0, len(ids), IN_A_RECORD):
                if self.stopped:
                    return
                with contextlib.suppress(UdfstoreError), osfs.telling("removing what snapshots kept"):
                    self._remove(ids[start : start + IN_A_RECORD], True)

        with contextlib.suppress(RuntimeError):  # the pool is shut down; the sweep after the start does it
            self._pool.submit(unlink)

    def take_out(self, ids: Sequence[BlobId], now: bool) -> None:
        """Move files of condemned blobs to the trash; `now`: unlink them."""
        for start in range(0, len(ids), IN_A_RECORD):
            with osfs.telling("removing what nothing keeps"):
                self._remove(ids[start : start + IN_A_RECORD], now)

    def bring_back(self, ids: Sequence[BlobId], author: Author) -> None:
        """Bring content back that is on its way out. Raises `Gone` where the file of the first of them is unlinked,
        and `NoSpace` where the author would have more of its own back than its quota allows.

        The file is there before the log says so: a start, or the next sweep, sees to what was broken off.
        """
        with contextlib.ExitStack() as locks:
            for id in sorted(set(ids), key=lambda id: id.raw):
                locks.enter_context(self._files.lock(id))
            with self._catalog.reading() as view:
                rows = [view.blob(id) for id in dict.fromkeys(ids)]
            gone = [row for row in rows if row is not None and not row.state.here]
            back = [row.id for row in gone if row.state is State.CONDEMNED and self._untrash(row.id)]
            if gone and gone[0].id == ids[0] and ids[0] not in back:
                raise Gone(f"blob {ids[0]} was removed, and its file is unlinked; saving its content brings it back")
            try:
                if back:
                    self._committer.call(upkeep.brought_back(back, author))
            except NoSpace:
                with osfs.telling("leaving in the trash what has no room"):
                    self._files.to_trash(*back)
                raise

    def _untrash(self, id: BlobId) -> bool:
        with osfs.telling(f"bringing blob {id.short} back"):
            try:
                self._files.from_trash(id)
            except FileNotFoundError:
                return self._files.size(id) is not None  # it is condemned, and was not moved yet
        return True

    def sweep(self, now_ns: int, now: bool) -> int:
        """Unlink what was condemned at least the grace time ago (`now`: all of it); says how many blobs.

        One that cannot be removed does not keep the others, unless the store takes no writes for it; the first error is
        raised at the end.
        """
        with self._catalog.reading() as view:
            leaving = view.condemned()
        for row in leaving:
            if row.state_ns > now_ns and not self._is_over:
                self._committer.call(upkeep.grace_anew(row.id))
        due = [row.id for row in leaving if row.state_ns <= now_ns and (now or now_ns - row.state_ns >= self._grace_ns)]
        count = 0
        errors: list[UdfstoreError] = []
        for start in range(0, len(due), IN_A_RECORD):
            ids = due[start : start + IN_A_RECORD]
            try:
                count += self._unlink(ids)
            except UdfstoreError as failed:
                errors.append(failed)
                for id in ids:  # all but those that cannot be removed
                    with contextlib.suppress(UdfstoreError):
                        count += self._unlink((id,))
        self._meters.swept(failed=bool(errors))
        if errors:
            raise errors[0]
        return count

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be written."""
        return self.stopped or bool(self._committer.problem)

    def _unlink(self, ids: Sequence[BlobId]) -> int:
        if self._is_over:
            return 0
        with osfs.telling(f"removing blob {ids[0].short}" if len(ids) == 1 else "removing blobs"):
            return self._remove(ids, True)

    def stop(self) -> None:
        """Leave to the next sweep what nobody waits for: there may be more of it than there is time for an end."""
        self.stopped = True

    def close(self) -> None:
        """Finish what is under way."""
        self.stop()
        self._pool.shutdown()

    def _remove(self, ids: Sequence[BlobId], erase: bool) -> int:
        with contextlib.ExitStack() as locks:
            for id in sorted(ids, key=lambda id: id.raw):  # one order, because others may do the same
                locks.enter_context(self._files.lock(id))
            with self._catalog.reading() as view:
                rows = [view.blob(id) for id in ids]
            # The others were saved again meanwhile.
            leaving = [row.id for row in rows if row is not None and row.state is State.CONDEMNED]
            self._settle(leaving)
            self._files.to_trash(*leaving)
            if not erase or self._holds or not leaving:
                return 0
            self._files.erase(*leaving)
            self._committer.call(upkeep.erased(leaving))
            self._meters.removed(len(leaving))
            return len(leaving)


def settle(layout: Layout, files: Files, view: View, say: Callable[[str], None]) -> None:
    """Finish or undo at the start what a crash broke off.

    Condemned files still in place go to the trash. Of the files in the trash, those of erased blobs go for good, those
    of blobs that were rescued come back (or go, where the content was saved anew).
    """
    for leaving in view.condemned():
        files.to_trash(leaving.id)
    for path in layout.trash.iterdir():
        id = blob_of(path.name)
        row = view.blob(id) if id else None
        if id is None or row is None or row.state is State.CONDEMNED:
            continue
        if row.state.here and files.size(id) is None:
            files.from_trash(id)
            say(f"blob {id} was wanted again while it was being removed: brought back")
        else:
            files.erase(id)
