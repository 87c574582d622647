"""The committer: the one thread that decides changes, writes the log and keeps the catalog up.

It takes everything that is queued, makes small content that comes along durable with one sync of the journal, judges
each change in turn against a catalog that already has the ones before it, writes their records as one group with one
sync, commits the catalog, and answers. It never waits for more company: the next group gathers while this one syncs.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any

from udfstore.errors import Busy, Closing, InternalError, ReadOnly, TooLarge, UdfstoreError
from udfstore.model import Author, Kind
from udfstore.quota import NO_QUOTAS, Quotas
from udfstore.signing import NO_SIGNERS, Signers
from udfstore.store.blobs import Files
from udfstore.store.catalog import Catalog
from udfstore.store.groups import group_bytes
from udfstore.store.limits import StoreLimits
from udfstore.store.log import HeadMoved, Log, LogFailed
from udfstore.store.meters import StoreMeters
from udfstore.store.records import Record, encode
from udfstore.store.retention import Rule
from udfstore.store.small import Elsewhere, Lander, Small

HOUSE = Author(front="server")
"""Author of what the store does by itself."""


RESTART = "restart the server when the cause is mended"


@dataclass(frozen=True, slots=True)
class Desk:
    """What a judge has before it. Whatever it writes to the catalog itself needs no record to be made again.

    `require` makes FORMAT say that a release must know a feature.
    """

    catalog: Catalog
    files: Files
    now_ns: int
    require: Callable[[str], None]
    signers: Signers
    quotas: Quotas = NO_QUOTAS
    rules: Sequence[Rule] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The records to write (perhaps none), and the answer once the last of them has that revision."""

    records: tuple[Record, ...]
    answer: Callable[[int], Any]


Judge = Callable[[Desk], Decision]
"""Decides one change, or refuses it with an `UdfstoreError`. May be called again when the log moved meanwhile."""


@dataclass(frozen=True, slots=True)
class Job:
    """A change that waits, and the small content that has to be there before it is judged."""

    judge: Judge
    future: Future[Any]
    small: Small | None = None


@dataclass(slots=True)
class _Round:
    """One group in the making: what each job came to, and the records so far."""

    first: int
    settled: list[tuple[Job, Callable[[], Any]]]
    written: list[tuple[Kind, bytes]]
    bytes: int = 0

    @property
    def next(self) -> int:
        return self.first + len(self.written)


class Committer:
    """Owner of the log and of the catalog's writing connection, from `start` to `stop`.

    `problem` says why nothing is written any more, "" while all is well. `on_commit` are called on this thread with the
    newest revision before the changes are answered; they must be short and must not raise.
    """

    def __init__(
        self,
        log: Log,
        catalog: Catalog,
        files: Files,
        limits: StoreLimits,
        *,
        clock: Callable[[], int],
        release_reserve: Callable[[], bool],
        require: Callable[[str], None],
        signers: Signers = NO_SIGNERS,
        quotas: Quotas = NO_QUOTAS,
        problem: str = "",
        meters: StoreMeters | None = None,
        lander: Lander | None = None,
    ) -> None:
        """`lander`: None where no change brings content along."""
        self.problem = problem
        self.on_commit: list[Callable[[int], None]] = []
        self.revision = catalog.view.head().revision
        self._log, self._catalog, self._files, self._limits = log, catalog, files, limits
        self._clock, self._release_reserve = clock, release_reserve
        self._require, self._signers, self._quotas = require, signers, quotas
        self._meters = meters or StoreMeters()
        self._lander = lander
        self._wake = threading.Condition()
        self._queue: deque[Job] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        """Begin to take changes."""
        self._thread.start()

    def submit(self, judge: Judge, small: Small | None = None) -> Future[Any]:
        """Queue a change. Answer or refusal comes through the future, resolved on the committer's thread.

        With `small` it is judged once that is durable under its name; `Elsewhere` where it cannot be.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._wake:
            refusal = self._refusal()
            if refusal is None:
                self._queue.append(Job(judge, future, small))
                self._wake.notify()
        if refusal is not None:
            future.set_exception(refusal)
        return future

    def call(self, judge: Judge) -> Any:
        """Queue a change and wait for its answer."""
        return self.submit(judge).result()

    def fail(self, problem: str) -> None:
        """Take no more changes until the restart, because of something that another thread met."""
        with self._wake:
            self.problem = self.problem or f"{problem}; {RESTART}"

    def stop(self) -> None:
        """Finish what is queued and end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _refusal(self) -> UdfstoreError | None:
        if self._stopping:
            return Closing("the store is being closed")
        if self.problem:
            return ReadOnly(f"the store takes no writes: {self.problem}")
        if len(self._queue) >= self._limits.queue:
            return Busy(f"{self._limits.queue} changes are waiting already; try again shortly")
        return None

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._stopping:
                    self._wake.wait()
                if not self._queue:
                    return
                jobs, self._queue = self._queue, deque()
            try:
                while jobs:
                    self._commit_some(jobs)
                    self._log.prepare()
                    if self._lander is not None:
                        self._lander.prepare()
            except Exception as error:  # noqa: BLE001 - whoever waits must be told even of a bug of ours
                self._give_up(jobs, f"the committer failed: {error!r}", InternalError)

    def _commit_some(self, jobs: deque[Job]) -> None:
        """Commit as many of the first jobs as one group holds, answer them and take them off `jobs`."""
        try:
            round = self._judge_and_append(jobs, self._land(jobs))
        except LogFailed as failure:
            self._give_up(jobs, str(failure), ReadOnly)
            return
        except OSError as error:
            self._give_up(jobs, f"writing the journal failed: {error.strerror or error}", ReadOnly)
            return
        except sqlite3.Error as error:
            self._give_up(jobs, f"the catalog cannot be written: {error}", ReadOnly)
            return
        for _ in round.settled:
            jobs.popleft()
        self._files.wanted.left()
        revision = round.next - 1
        moved, self.revision = revision > self.revision, revision
        try:
            for callback in tuple(self.on_commit) if moved else ():
                callback(revision)
        finally:
            for job, outcome in round.settled:
                answer(job.future, outcome)

    def _land(self, jobs: deque[Job]) -> int:
        """Make the content durable that the first jobs bring along; says how many of them may be judged."""
        smalls: list[Small] = []
        count = size = 0
        for job in jobs:
            if self._lander is not None and job.small is not None and job.small.waits:
                size += self._lander.size(job.small)
                if smalls and size > self._lander.most:
                    break
                smalls.append(job.small)
            count += 1
        if self._lander is not None and smalls:
            began = time.perf_counter()
            self._lander.land(smalls, self._catalog.view, self._clock())
            self._meters.landed(sum(small.saved_ns > 0 for small in smalls), time.perf_counter() - began)
        return count

    def _judge_and_append(self, jobs: deque[Job], count: int) -> _Round:
        refusal: UdfstoreError | None = None
        reserve_left = True
        while True:
            try:
                round = self._judge(islice(jobs, count), refusal)
                if round.written:
                    began = time.perf_counter()
                    self._catalog.set_head(self._log.append(round.written, after=round.first - 1))
                    self._meters.committed(len(round.written), time.perf_counter() - began)
                self._catalog.commit()
                return round
            except HeadMoved:
                self._catalog.rollback()
                self._catch_up()
            except UdfstoreError as error:
                self._catalog.rollback()
                if refusal is not None:
                    raise
                refusal = error  # nothing was written; changes that need no record still go through
            except LogFailed:
                self._catalog.rollback()
                raise
            except sqlite3.Error:
                # If the group is in the log already, `_catch_up` applies it from there, and the requests find what they
                # made when they are judged again: the same way that a repeated request goes.
                self._catalog.rollback()
                if not (reserve_left and self._release_reserve()):
                    raise
                reserve_left = False
                self._catch_up()

    def _judge(self, jobs: Iterable[Job], refusal: UdfstoreError | None) -> _Round:
        self._catalog.begin()
        round = _Round(self._catalog.view.head().revision + 1, [], [])
        desk = Desk(
            self._catalog,
            self._files,
            self._clock(),
            self._require,
            self._signers,
            self._quotas,
            self._limits.retention,
        )
        for job in jobs:
            if job.small is not None and job.small.refusal is not None:
                round.settled.append((job, _raising(job.small.refusal)))
                continue
            try:
                decision = job.judge(desk)
                records = [(record, encode(record)) for record in decision.records]
                for _, payload in records:
                    if len(payload) > self._limits.record_bytes:
                        raise TooLarge(
                            "one change holds too much", expected=self._limits.record_bytes, got=len(payload)
                        )
                if records and refusal is not None:
                    raise type(refusal)(refusal.message)
            except sqlite3.Error:
                raise
            except Exception as error:  # noqa: BLE001 - a bug in one judgement must not stop all the others
                round.settled.append((job, _raising(error)))
                continue
            size = sum(len(payload) for _, payload in records)
            count = len(round.written) + len(records)
            if round.written and group_bytes(round.bytes + size, count) > self._limits.group_bytes:
                break
            for record, payload in records:
                self._catalog.apply(round.next, record)
                round.written.append((record.kind, payload))
            round.bytes += size
            round.settled.append((job, _giving(decision.answer, round.next - 1)))
        return round

    def _catch_up(self) -> None:
        """Apply what the log has and the catalog has not."""
        for group, head in self._log.groups(self._catalog.view.head()):
            self._catalog.begin()
            self._catalog.apply_group(group, head)
            self._catalog.commit()

    def _give_up(self, jobs: deque[Job], problem: str, kind: type[UdfstoreError]) -> None:
        with self._wake:
            self.problem = self.problem or f"{problem}; {RESTART}"
            waiting = [*jobs, *self._queue]
            jobs.clear()
            self._queue.clear()
        with contextlib.suppress(sqlite3.Error):  # nothing is written any more, and readers do not see it
            self._catalog.rollback()
        self._files.wanted.left()
        for job in waiting:
            job.future.set_exception(kind(f"the store takes no writes: {self.problem}"))


def _giving(answer: Callable[[int], Any], revision: int) -> Callable[[], Any]:
    return lambda: answer(revision)


def _raising(error: Exception) -> Callable[[], Any]:
    known = (
        error
        if isinstance(error, UdfstoreError | Elsewhere)
        else InternalError(f"judging the change failed: {error!r}")
    )

    def fail() -> Any:
        raise known

    return fail


def answer(future: Future[Any], outcome: Callable[[], Any]) -> None:
    """Give a future what `outcome()` returns or raises."""
    try:
        result = outcome()
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for this change
        future.set_exception(error)
    else:
        future.set_result(result)
