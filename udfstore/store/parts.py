"""What an open store is made of, and the order in which it comes up and goes down."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from udfstore.digest import BlobId
from udfstore.errors import NotFound, UdfstoreError
from udfstore.quota import Quotas
from udfstore.signing import Signers
from udfstore.store import osfs, removal, start, upkeep
from udfstore.store.blobs import Files
from udfstore.store.collecting import Collector
from udfstore.store.committer import Committer
from udfstore.store.format import JOURNAL, SHED
from udfstore.store.gauges import Gauges
from udfstore.store.journal import Journal
from udfstore.store.limits import StoreLimits
from udfstore.store.log import FileLog
from udfstore.store.meters import StoreMeters
from udfstore.store.removal import Remover
from udfstore.store.replay import replay
from udfstore.store.root import Lock, Reserve, begin, find_root, finish, is_fresh, read_format, require
from udfstore.store.shedding import Shedder
from udfstore.store.small import Lander


class Parts:
    """What an open store is made of, acquired in the order of a start and released in reverse."""

    def __init__(
        self,
        path: Path,
        create: bool,
        owner: str,
        limits: StoreLimits,
        clock: Callable[[], int],
        say: Callable[[str], None],
        signers: Signers,
        quotas: Quotas,
    ) -> None:
        self.limits, self.clock = limits, clock
        self._format_lock = threading.Lock()
        self.checking = threading.Lock()
        """Held by whoever holds the catalog against one that is made beside it."""
        self.meters = StoreMeters()
        self.layout = find_root(path, create)
        with contextlib.ExitStack() as undo:
            if not self.layout.lock.exists():  # what was never a store is refused before a LOCK is left in it
                self._is_fresh(create)
            lock = Lock(self.layout, owner)
            undo.callback(lock.release)
            fresh = self._is_fresh(create)
            self.format = begin(self.layout) if fresh else read_format(self.layout)
            log = FileLog(self.layout, self.format.id, limits, say)
            undo.callback(log.close)
            if fresh:
                with osfs.telling("making the log"):
                    log.create()
                finish(self.layout)
            self.reserve = Reserve(self.layout, limits.reserve_bytes)
            self.files = Files(self.layout)
            problem = self._recover(log, say, undo)
            self.journal = journal = self._open_journal(undo) if not problem else None
            self.small_bytes = limits.small_bytes if journal else -1
            """The largest content that may become durable through the journal; -1: none."""
            self.committer = Committer(
                log,
                self.catalog,
                self.files,
                limits,
                clock=clock,
                release_reserve=self.reserve.release,
                require=self._require,
                signers=signers,
                quotas=quotas,
                problem=problem,
                meters=self.meters,
                lander=Lander(self.layout, self.files, journal, limits) if journal else None,
            )
            self.gauges = Gauges(self.catalog)
            self.files.in_doubt = self.committer.fail
            self.remover = Remover(
                self.catalog,
                self.files,
                self.committer,
                limits.trash_grace_s,
                self.meters,
                settle=journal.settle if journal else lambda ids: None,
            )
            self.shedder = Shedder(
                self.layout,
                self.format.id,
                self.catalog,
                self.committer,
                self.remover,
                lambda: self._require(SHED),
            )
            self.collector = Collector(self.catalog, self.committer, self.remover, limits, clock)
            self._opened_at = self.committer.revision
            self.committer.start()
            self._release = undo.pop_all()

    def _is_fresh(self, create: bool) -> bool:
        """Whether a store has to be made here, which without `create` is refused (`NotFound`)."""
        fresh = is_fresh(self.layout)
        if fresh and not create:
            raise NotFound(f"there is no store at {self.layout.root}")
        return fresh

    def _recover(self, log: FileLog, say: Callable[[str], None], undo: contextlib.ExitStack) -> str:
        with osfs.telling(f"opening {self.layout.root}"), start.telling():
            # Names that a killed process left become durable before anybody relies on them.
            osfs.syncfs(self.layout.root)
            start.empty_staging(self.layout)
            if osfs.free_bytes(self.layout.root) < self.limits.reserve_bytes:
                self.reserve.release()
            held, stuck = self._replay(say)
            self.catalog, problem = start.open_catalog(self.layout, self.format.id, log, say)
            undo.callback(lambda: self.catalog.close())
            if not problem:
                self._settle(log, held, say)
                log.prepare()
            else:
                say(f"the log is damaged; the store opens for reading only: {problem}")
            self.reserve.restore(self.limits.floor_bytes)
        return problem or stuck

    def _settle(self, log: FileLog, held: Sequence[BlobId], say: Callable[[str], None]) -> None:
        """Bring files and catalog into line. A catalog that turns out to be damaged is made anew."""
        try:
            start.index(self.catalog, self.layout, held)
            removal.settle(self.layout, self.files, self.catalog.view, say)
        except sqlite3.OperationalError as error:
            raise osfs.told(OSError(0, str(error)), "bringing the files into line with the catalog") from error
        except sqlite3.DatabaseError as error:
            say(f"the catalog is damaged ({error}): making it from the log and the files")
            self.catalog.close()
            self.catalog = start.rebuild(self.layout, self.format.id, log, say)
            start.index(self.catalog, self.layout, held)
            removal.settle(self.layout, self.files, self.catalog.view, say)

    def _replay(self, say: Callable[[str], None]) -> tuple[list[BlobId], str]:
        """Blobs that the journal held; or why it still holds them: it is left as it is, and nothing is written."""
        try:
            return replay(self.layout, self.format.id, self.files, self.limits, say), ""
        except OSError as error:
            if not osfs.refused(error):
                raise
            stuck = f"small blobs cannot be brought back from the journal: {error.strerror}; restart when there is room"
        say(stuck)
        return [], stuck

    def _open_journal(self, undo: contextlib.ExitStack) -> Journal | None:
        if not self.limits.small_bytes:
            return None
        with osfs.telling("opening the journal"):
            journal = Journal(
                self.layout,
                self.format.id,
                self.limits,
                begin=lambda: self._require(JOURNAL),
                fail=lambda problem: self.committer.fail(problem),
            )
        undo.callback(journal.close)
        return journal

    def _require(self, feature: str) -> None:
        with self._format_lock:
            self.format = require(self.layout, self.format, feature)

    def close(self) -> None:
        """Release everything. What is queued is finished first."""
        with self._release:
            if not self.committer.problem:
                # Behind it every deletion has handed its file to the remover, which may itself need the committer.
                with contextlib.suppress(UdfstoreError):
                    self.committer.call(lambda _: upkeep.nothing)
            self.remover.close()
            if not self.committer.problem and self.committer.revision != self._opened_at:
                with contextlib.suppress(UdfstoreError):  # the next start finds an end that is not clean, and judges
                    self.committer.call(upkeep.closed)
            self.committer.stop()
