"""One connection of Kapacitor's, and the UDF behind it.

Theory of operation. Frames of Kapacitor are taken in order. Data goes to the host and waits there while the UDF can
take no more, so that Kapacitor is held back as without a bridge. Info, Init and Restore run beside the reading, one
after the other: keepalives that come meanwhile are answered here, everything else waits for them. Snapshots run beside
the data. While the UDF cannot be expected to answer, Kapacitor's clock is kept from running out by an answer a second
that nobody asked for, which needs no reading: it may have stopped at a pipe that is full.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

import structlog
import trio

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge import kapacitor, options
from udfstore.bridge.config import Bridge
from udfstore.bridge.dots import Telling, Told
from udfstore.bridge.host import Front, Host, HostSettings, Shelter
from udfstore.bridge.kapacitor import DATA, Judge, maybe_info
from udfstore.bridge.known import Known
from udfstore.bridge.link import Out, Streams, frames, runs
from udfstore.bridge.reference import Reference, maybe_decode
from udfstore.bridge.udf import INFO, INIT, KEEPALIVE, RESTORE, SNAPSHOT
from udfstore.errors import Conflict, ProtocolError, UdfstoreError
from udfstore.snapshots import check_name
from udfstore.tasks import HostKind, Node
from udfstore.wire import codec
from udfstore.wire.framing import Frame

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

FEED_SECONDS = 1.0
"""Between two keepalives that nobody asked for. Kapacitor's shortest timeouts in use are some seconds."""

KNOWN_INFO_SECONDS = 10.0
"""A UDF may take so long for Info where the answer is known: kapacitord waits for it at its start."""


Hosts = Callable[[HostSettings, Shelter, Front], AbstractAsyncContextManager[Host]]


class Relay:
    """Kapacitor on one side, one host on the other."""

    def __init__(
        self,
        bridge: Bridge,
        streams: Streams,
        shelter: Shelter,
        telling: Telling,
        known: Known,
        hosts: Hosts = Host.open,
    ) -> None:
        self._bridge = bridge
        self._streams = streams
        self._shelter = shelter
        self._telling = telling
        self._known = known
        self._hosts = hosts
        self._judge = Judge()
        self._out = Out(streams)
        self._stop = trio.CancelScope()
        """Around the reading: cancelled when nothing more of Kapacitor is wanted."""
        self._request: trio.Event | None = None
        """The Info, Init or Restore that runs; set when it has ended."""
        self._fed = 0.0
        """Since when the UDF has been excused, as trio's clock goes; 0: it is not."""
        self._heard = 0.0
        """When the UDF last said something, or Kapacitor was last seen to have more to say."""
        self._failure = ""
        self._dropped: Counter[str] = Counter()
        self._snapshot = b""
        """What Kapacitor keeps, as far as is known here."""
        self._snapshots = trio.Lock()
        self._task = ""
        self._host: Host

    @property
    def failure(self) -> str:
        """Why the UDF failed; empty: it did not."""
        return self._failure

    def stop(self) -> None:
        """End as at Kapacitor's end of input."""
        self._stop.cancel()

    async def run(self) -> None:
        """Relay until Kapacitor ends, then let the UDF end well."""
        settings = self._bridge.host_settings()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                async with self._hosts(settings, self._shelter, self) as self._host, trio.open_nursery() as beside:
                    beside.start_soon(self._feed)
                    with self._stop:
                        await self._read(beside)
                    await self._end_well(beside)
                self._out.finish()
        finally:
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await self._streams.aclose()

    async def _end_well(self, beside: trio.Nursery) -> None:
        """Kapacitor has ended: what it asked may still be answered, then the UDF takes a last snapshot and ends."""
        if self._request is not None:
            with trio.move_on_after(self._bridge.stop_seconds):
                await self._request.wait()
        await self._host.stop()
        beside.cancel_scope.cancel()

    # --- what the UDF says ---

    async def data(self, frames: Sequence[Frame]) -> None:
        """See `Front.data`."""
        self._heard = trio.current_time()
        self._say(frames)
        await self._out.room()

    def alive(self, frame: Frame) -> None:
        """See `Front.alive`."""
        self._heard = trio.current_time()
        self._say((frame,))

    def failed(self, why: str) -> None:
        """See `Front.failed`. A UDF that fails while it is asked something fails as the answer to that."""
        self._failure = self._failure or why
        _log.error("the UDF has failed", task=self._task, reason=why)
        if self._request is None:
            self._say((kapacitor.failed(why),))

    def _say(self, frames: Sequence[Frame]) -> None:
        """Tell Kapacitor what it may be told."""
        passed = []
        for frame in frames:
            if why := self._judge.why_not(frame):
                self._drop(f"{why} (field {frame.kind})")
            else:
                passed.append(frame)
        self._out.put(passed)

    def _drop(self, why: str) -> None:
        """Say so, at the first time and then ever more seldom: a UDF may do it with each point."""
        self._dropped[why] += 1
        count = self._dropped[why]
        if str(count).strip("0") == "1":
            _log.warning("a frame was not passed on", task=self._task, reason=why, count=count)

    async def _write(self) -> None:
        try:
            await self._out.write()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.stop()

    # --- what Kapacitor says ---

    async def _read(self, beside: trio.Nursery) -> None:
        try:
            async with aclosing(frames(self._streams.source, self._bridge.plain_bytes)) as received:
                async for several in received:
                    for run in runs(several, DATA):
                        await self._take(run, beside)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        except ProtocolError as error:
            self.failed(f"what comes is not Kapacitor's protocol: {error}")

    async def _take(self, run: Sequence[Frame], beside: trio.Nursery) -> None:
        """Frames of data, or one other frame."""
        kind = run[0].kind
        if kind == KEEPALIVE:
            self._keepalive(run[0])
            return
        if self._request is not None:
            await self._request.wait()
        if self._judge.ended:
            return
        if kind in DATA:
            await self._pass(run)
        elif kind in (INFO, INIT, RESTORE):
            self._judge.asked(kind)
            self._request = trio.Event()
            beside.start_soon(self._answer, self._request, run[0])
        elif kind == SNAPSHOT:
            self._judge.asked(kind)
            beside.start_soon(self._take_snapshot)
        else:
            self._drop(f"Kapacitor sent a request that is not known here (field {kind})")

    async def _pass(self, run: Sequence[Frame]) -> None:
        try:
            await self._host.data(run)
        except UdfstoreError as error:
            self.failed(str(error))

    def _keepalive(self, request: Frame) -> None:
        """The UDF's to answer, unless it is excused."""
        if self._request is None and not self._judge.ended and self._host.keepalive(request):
            return
        if self._excused() and not self._judge.ended:
            message = codec.decode(pb.Request, request)
            assert isinstance(message, pb.KeepaliveRequest)
            self._say((kapacitor.keepalive(message.time),))

    def _excused(self) -> bool:
        """Whether the UDF cannot answer now for a good reason, and has not had that for too long."""
        if self._request is None and not self._host.busy:
            self._fed = 0.0
            return False
        self._fed = self._fed or trio.current_time()
        return trio.current_time() - self._fed < self._bridge.keepalive_seconds

    async def _feed(self) -> None:
        """Keep Kapacitor's clock from running out, and notice when it is gone or gave up a UDF that takes nothing more.

        A UDF that is excused for less than a second, as at every start, adds no word to the conversation.
        """
        before = False
        while True:
            await trio.sleep(FEED_SECONDS)
            excused = self._excused() and not self._judge.ended
            if before and excused:
                self._say((kapacitor.keepalive(time.time_ns()),))
            before = excused
            if excused or not self._streams.ended():
                self._heard = trio.current_time()
            if self._streams.unread() or trio.current_time() - self._heard > self._bridge.stop_seconds:
                self.stop()

    # --- its questions ---

    async def _answer(self, done: trio.Event, request: Frame) -> None:
        answers: dict[int, Callable[[Frame], Awaitable[Frame]]] = {
            INFO: self._info,
            INIT: self._init,
            RESTORE: self._restore,
        }
        try:
            answer = await answers[request.kind](request)
            self._say((answer,))
        except UdfstoreError as error:
            _log.error("the UDF cannot be served", task=self._task, reason=str(error))
            self._say((self._refusal(request.kind, str(error)),))
        finally:
            self._request = None
            done.set()
        if self._failure:
            self._say((kapacitor.failed(self._failure),))

    def _refusal(self, kind: int, why: str) -> Frame:
        return {INIT: kapacitor.inited, RESTORE: kapacitor.restored}.get(kind, kapacitor.failed)(why)

    async def _info(self, request: Frame) -> Frame:
        """The UDF's own answer; the one it gave last, if it has none or thinks for too long."""
        known = maybe_info(self._known.get("info", self._bridge.name))
        with trio.move_on_after(math.inf if known is None else KNOWN_INFO_SECONDS):
            try:
                answer = await self._host.info()
                self._known.keep("info", self._bridge.name, bytes(answer.envelope))
                return answer
            except UdfstoreError as error:
                if known is None:
                    raise
                self._failure = ""  # of this child; its task fails at Init
                _log.error("the UDF gives no Info", command=self._bridge.name, reason=str(error))
        assert known is not None
        _log.warning("Kapacitor is given the Info that this command gave last", command=self._bridge.name)
        return known

    async def _init(self, request: Frame) -> Frame:
        init = codec.decode(pb.Request, request)
        assert isinstance(init, pb.InitRequest)
        self._task = init.taskID
        task = check_name(self._bridge.prefix + init.taskID, "the name of the task")
        name = check_name(init.nodeID, "the name of the node")
        told = await self._telling.of(init.taskID, self._bridge.dag_seconds)
        return await self._host.init(request, self._node(task, name, told, options.digest(init)))

    def _node(self, task: str, name: str, told: Told, digest: str) -> Node:
        dag = told.dag
        if dag is not None and name not in dag.ids:
            _log.warning("Kapacitor's DAG of the task lacks this node; it goes without", task=task, node=name)
            dag = None
        return Node(
            task,
            name,
            dag=b"" if dag is None else dag.to_json().encode(),
            options=digest,
            policy=self._bridge.policy,
            host=HostKind.KAPACITOR,
            no_save=self._bridge.no_save,
            take_over=self._bridge.take_over,
            not_before_ns=told.created_ns,
        )

    async def _restore(self, request: Frame) -> Frame:
        """Foreign bytes are the UDF's own. Behind a reference stands what udfstore restored after Init."""
        message = codec.decode(pb.Request, request)
        assert isinstance(message, pb.RestoreRequest)
        reference = maybe_decode(message.snapshot)
        self._snapshot = message.snapshot
        if reference is None:
            return await self._host.restore(request)
        if self._host.joined is None and self._bridge.without_store.mode == "fresh":
            _log.warning("the server is away: the UDF begins fresh, as told", kept=reference.manifest.short)
            return kapacitor.restored()
        await self._host.recall()
        self._compare(reference)
        return kapacitor.restored()

    def _compare(self, reference: Reference) -> None:
        """Say where what was restored is not what Kapacitor saw last.

        Raises `Conflict` when there is nothing of it in this store because it was kept in another one: to begin fresh
        then would lose it in silence.
        """
        joined = self._host.joined
        given = None if joined is None else joined.manifest
        why = "" if joined is None else joined.why
        said = {"task": self._task, "kept": reference.manifest.short, "given": given.short if given else "", "why": why}
        if reference.store_id != self._host.store_id:
            if given is None and self._bridge.without_store.mode != "fresh":
                raise Conflict(
                    "the state of this task was kept in another store, and this one has none: connect the bridge to "
                    "that store, bring its snapshots here, or start once with --without-store fresh",
                    expected=f"store {reference.store_id.hex()}",
                    got=self._host.store_id.hex(),
                )
            _log.warning("Kapacitor refers to another store than this one", **said)
        elif given is None:
            _log.warning("Kapacitor refers to a snapshot, but the UDF begins fresh", **said)
        elif given != reference.manifest:
            _log.info("the UDF begins from another snapshot than Kapacitor saw last", **said)

    async def _take_snapshot(self) -> None:
        """One at a time, each answered once: with what was kept before if there is nothing better."""
        async with self._snapshots:
            try:
                snapped = await self._host.snapshot(whole=self._bridge.hand_back)
            except UdfstoreError as error:
                _log.warning("no snapshot; Kapacitor keeps the one before", task=self._task, reason=str(error))
            else:
                self._snapshot = snapped.whole
                if snapped.manifest is not None:
                    reference = Reference(snapped.store_id, snapped.manifest, snapped.task, snapped.node)
                    self._snapshot = reference.encode()
            self._say((kapacitor.snapshot(self._snapshot),))
