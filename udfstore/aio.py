"""The Python API for asynchronous code: trio, asyncio, and a notebook's top-level await (extra `aio`).

    async with udfstore.aio.connect() as store:
        data = await store.load("models/pump")

The names are those of `udfstore.connect`; what answers is awaited, what lists or watches is iterated with `async for`.
Calls of many tasks share one connection. A cancelled call is taken back, and the connection stays usable.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

try:
    import anyio.lowlevel
    import anyio.to_thread
except ImportError as error:
    raise ImportError("the asynchronous client needs anyio: pip install 'udfstore[aio]'") from error

from udfstore import calls
from udfstore.client import arguments, operations, where
from udfstore.client.admin_async import AsyncAdminCalls
from udfstore.client.asynchronous import AsyncLink, Opening
from udfstore.client.conversation import ConnectionLost, Conversation
from udfstore.client.files import FileBlob, OpenBlob, SpooledBlob, new_spool
from udfstore.client.follow import Loader, Swap
from udfstore.client.following import AsyncFollower
from udfstore.client.link import PASSES_DESCRIPTORS
from udfstore.client.link import connect as connect_socket
from udfstore.client.membership import Membership
from udfstore.client.operations import Operation, Take
from udfstore.client.remote import report
from udfstore.client.retry import Retry, usual
from udfstore.client.sources import Content, Source
from udfstore.client.tasks_async import AsyncTaskCalls
from udfstore.client.watching import Watching
from udfstore.digest import BlobId
from udfstore.errors import Closing, Conflict, Gone, Mismatch, NoServer, UdfstoreError, UsageError
from udfstore.model import BlobInfo, Claim, Entry, Event
from udfstore.refs import Prefix, Ref, Tag
from udfstore.tasks import NOWHERE, Node, Place

Model = TypeVar("Model")
AnyRef = Ref | BlobId | Tag | str


def connect(
    socket_path: str | os.PathLike[str] | None = None,
    *,
    claim: Claim | None = None,
    place: Place = NOWHERE,
    descriptors: bool = True,
) -> Opening[AsyncStore]:
    """Connect as `udfstore.connect` does: `await` it for a store, or `async with` it for one that closes by itself."""
    paths = where.sockets() if socket_path is None else [Path(socket_path)]
    return Opening(AsyncStore(paths, where.claim() if claim is None else claim, place, descriptors=descriptors)._first)


class AsyncStore(AsyncTaskCalls, AsyncAdminCalls):
    """A store behind a server's socket, for tasks of one event loop; see `udfstore.client.base.BaseStore`."""

    def __init__(
        self, paths: Iterable[Path], claim: Claim, place: Place = NOWHERE, *, descriptors: bool = True
    ) -> None:
        self._paths = list(paths)
        self._claim = claim
        self._place = place
        self._descriptors = descriptors and PASSES_DESCRIPTORS
        self._closed = False
        self._store_id = b""
        self._link: AsyncLink | None = None
        self._connecting = anyio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the connection; calls that wait on it get `ConnectionLost`. May be called twice."""
        self._closed = True
        if self._link is not None:
            self._link.close()

    @property
    def epoch(self) -> int:
        """The store's epoch, as the server told it when it was last connected to."""
        welcome = self._link.talk.welcome if self._link else None
        return welcome.epoch if welcome else 0

    @property
    def revision(self) -> int:
        """The newest revision when the server was last connected to."""
        welcome = self._link.talk.welcome if self._link else None
        return welcome.revision if welcome else 0

    # --- content ---

    async def save(
        self,
        content: Content,
        *,
        tag: Tag | str | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
        id: BlobId | str | None = None,
        links: Iterable[BlobId | str] = (),
    ) -> calls.Saved:
        """Store content: bytes, a path, or a file open in mode 'rb'. With `tag`, the tag moves to it in one step."""
        source = await anyio.to_thread.run_sync(Source.of, content)
        try:
            call, commit = arguments.save(source.size, tag, note, labels, expected_version, id, links)

            def save(talk: Conversation) -> Operation:
                return operations.save(talk, call, source.read, commit, source.handed)

            result = await self._run(save, source.rewind)
            return arguments.answer(result, calls.Saved)
        finally:
            source.close()

    async def load(self, ref: AnyRef) -> bytes:
        """The content of a blob, checked against its ID."""
        content = io.BytesIO()

        def begin(head: calls.Loading) -> Take:
            content.seek(0)
            content.truncate()
            return content.write

        await self.load_into(ref, begin)
        return content.getvalue()  # the buffer itself, not a copy of it

    async def load_into(self, ref: AnyRef, begin: Callable[[calls.Loading], Take]) -> calls.Loading:
        """Load a blob piece by piece; `begin` and what it returns run in worker threads."""
        try:
            head: calls.Loading = await self._run(lambda talk: operations.load(talk, calls.Load(Ref.of(ref)), begin))
        except Mismatch:
            await self.verify((await self.stat(ref)).id)
            raise
        return head

    async def open(self, ref: AnyRef) -> OpenBlob:
        """Open a blob for reading: its own file where the server passes it, else a temporary one that was checked."""
        info, file = await self._run(lambda talk: operations.find(talk, Ref.of(ref)))
        if file is not None:
            return OpenBlob(FileBlob(info, file, partial(report, self._paths, self._claim, info.id)))
        spool = await anyio.to_thread.run_sync(new_spool)

        def begin(head: calls.Loading) -> Take:
            spool.seek(0)
            spool.truncate()
            return spool.write

        try:
            await self.load_into(info.id, begin)
            await anyio.to_thread.run_sync(spool.seek, 0)
        except BaseException:
            spool.close()
            raise
        return OpenBlob(SpooledBlob(info, spool))

    async def stat(self, ref: AnyRef) -> BlobInfo:
        """What the store knows of a blob."""
        return arguments.answer(await self._ask(calls.Stat(Ref.of(ref))), BlobInfo)

    async def verify(self, ref: AnyRef) -> BlobInfo:
        """Have the stored file hashed again. Raises `Corrupt` when it is not what its name says."""
        return arguments.answer(await self._ask(calls.Verify(Ref.of(ref))), BlobInfo)

    async def why(self, ref: AnyRef) -> calls.Kept:
        """What keeps a blob."""
        return arguments.answer(await self._ask(calls.Why(Ref.of(ref))), calls.Kept)

    async def delete(self, ref: AnyRef, *, force: bool = False, now: bool = False) -> calls.Deleted:
        """Remove a blob's content; refused with `Conflict` while a tag names it now, unless `force`."""
        call = calls.Delete(Ref.of(ref), force, now, arguments.request())
        return arguments.answer(await self._ask(call), calls.Deleted)

    async def undelete(self, ref: AnyRef) -> calls.Undeleted:
        """Bring removed content back, and what it links, while its file is in the trash: `Gone` when it is unlinked."""
        return arguments.answer(await self._ask(calls.Undelete(Ref.of(ref))), calls.Undeleted)

    async def missing(self, ids: Iterable[BlobId | str]) -> list[BlobId]:
        """Which of these blobs the store does not have, in the order asked."""
        absent: list[BlobId] = []
        for call in arguments.missing(ids):
            absent += arguments.answer(await self._ask(call), calls.MissingIds).ids
        return absent

    def blobs(self) -> AsyncIterator[BlobInfo]:
        """All blobs, oldest first."""
        return self._items(calls.ListBlobs(), BlobInfo)

    # --- tags ---

    async def tag(
        self,
        name: Tag | str,
        ref: AnyRef,
        *,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> Entry:
        """Move a tag; `expected_version`: what it must be now (0: it must name nothing), else `Conflict`."""
        step = calls.Step(arguments.tag(name), Ref.of(ref), expected_version, labels)
        return (await self._change(calls.Move((step,), note, arguments.request()))).entries[0]

    async def move(
        self,
        steps: Mapping[str, AnyRef],
        *,
        expected: Mapping[str, int] | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Entry, ...]:
        """Move several tags in one step: all of them or none."""
        call = calls.Move(arguments.steps(steps, expected or {}, labels), note, arguments.request())
        return (await self._change(call)).entries

    async def get_tag(self, ref: Ref | Tag | str) -> Entry:
        """The newest entry of a tag, or that of `tag@version`."""
        return arguments.answer(await self._ask(calls.GetTag(Ref.of(ref))), Entry)

    def tags(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The newest entry of each tag below a prefix (ends in `/` or is empty) or of one tag, by name."""
        return self._items(calls.ListTags(Prefix.parse(prefix)), Entry)

    def history(self, name: Tag | str) -> AsyncIterator[Entry]:
        """All entries of a tag, newest first."""
        return self._items(calls.History(arguments.tag(name)), Entry)

    async def rollback(
        self,
        name: Tag | str,
        *,
        to: int | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> Entry:
        """Move a tag back: to version `to`, or to the one before the version whose content it has now."""
        moved = await self.rolled_back(name, to=to, note=note, labels=labels, expected_version=expected_version)
        return moved.entries[0]

    async def rolled_back(
        self,
        name: Tag | str,
        *,
        to: int | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> calls.Moved:
        """As `rollback`, with what was before and the versions that were passed over."""
        if expected_version is None:
            try:
                expected_version = (await self.get_tag(arguments.tag(name))).version
            except Gone:
                expected_version = 0
        call = calls.Rollback(arguments.tag(name), to, expected_version, note, labels, arguments.request())
        return await self._change(call)

    async def untag(self, name: Tag | str, *, note: str = "", expected_version: int | None = None) -> Entry:
        """Delete a tag. Its history stays, and `rollback` brings it back."""
        call = calls.Untag((arguments.tag(name),), (expected_version,), note, arguments.request())
        return (await self._change(call)).entries[0]

    async def hold(self, name: Tag | str, note: str) -> Entry:
        """Keep a tag where it is: until `release`, every move of it is a `Conflict` that says `note`."""
        return (await self._change(calls.Hold(arguments.tag(name), note, arguments.request()))).entries[0]

    async def release(self, name: Tag | str, *, note: str = "") -> Entry:
        """Let a held tag move again. `Conflict` where it is not held."""
        return (await self._change(calls.Release(arguments.tag(name), note, arguments.request()))).entries[0]

    def watch(self, prefix: str = "", *, since: int | None = None, epoch: int = 0) -> AsyncGenerator[Event]:
        """Events of all tags below a prefix, or of one tag, for ever; with no gap and no repeat over reconnects."""
        return self._watch(calls.Watch(Prefix.parse(prefix), since, epoch))

    async def _watch(
        self,
        call: calls.Watch,
        patience: Callable[[], float] = usual,
        anew: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
    ) -> AsyncGenerator[Event]:
        watching = Watching(call)
        retry = Retry(anyio.current_time, patience)
        before: AsyncLink | None = None
        while True:
            try:
                link = await self._linked(retry)
                if before not in (None, link):
                    await anew()
                before = link
                async with aclosing(link.iterate(operations.pages(link.talk, watching.call(self.epoch)))) as pages:
                    async for items in pages:
                        for event in watching.new(items):
                            yield event
            except UdfstoreError as error:
                if self._closed:
                    return
                if not isinstance(error, NoServer | Closing):
                    raise
                await anyio.sleep(retry.delay(error))

    @asynccontextmanager
    async def follow(
        self, name: Tag | str, loader: Loader[Model], *, fallback: Model | None = None, swap: Swap = "beside"
    ) -> AsyncIterator[AsyncFollower[Model]]:
        """Keep `loader(open_blob)` of a tag's newest blob at hand while this is open; the loader runs in a thread."""
        follower = AsyncFollower(self, arguments.tag(name), loader, fallback, swap)
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.run)
            await follower.first()
            try:
                if follower.error is not None and (fallback is None or follower.pinned is not None):
                    raise follower.error
                yield follower
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - raised below, outside of the group that would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def join(self, node: Node) -> Opening[Membership]:
        """Be a node of a task, on a connection of its own; see `Membership` for the conversation that follows."""
        return Opening(partial(self._join, node))

    # --- the server ---

    async def status(self) -> calls.Health:
        """How the store and its server are."""
        return arguments.answer(await self._ask(calls.Status()), calls.Health)

    # --- one connection after the other ---

    async def _first(self) -> AsyncStore:
        self._link = await self._connect()
        return self

    async def _join(self, node: Node) -> Membership:
        return Membership(await self._connect(node), node)

    async def _connect(self, node: Node | None = None) -> AsyncLink:
        place = NOWHERE if node else self._place
        talk = Conversation(self._claim, node, place, descriptors=self._descriptors)
        link = await AsyncLink.open(connect_socket(self._paths), talk)
        welcome = link.talk.welcome
        assert welcome is not None
        if self._store_id and welcome.store_id != self._store_id:
            link.close()
            raise Conflict("another store answers at the socket now; connect anew")
        self._store_id = welcome.store_id
        return link

    async def _linked(self, retry: Retry) -> AsyncLink:
        """The connection, made anew if it was lost. Waits, outside of the lock, as long as `retry` allows."""
        while True:
            async with self._connecting:
                if self._link is not None and not (self._link.lost or self._closed):
                    retry.linked()
                    return self._link
                if self._link is not None:
                    self._link.close()
                if self._closed:
                    raise UsageError("this store was closed")
                try:
                    self._link = await self._connect()
                    continue  # and look whether it was closed meanwhile
                except NoServer as error:
                    failure = error
            await anyio.sleep(retry.delay(failure))

    async def _run(
        self, start: Callable[[Conversation], Operation], repeat: Callable[[], object] = lambda: None
    ) -> Any:
        retry = Retry(anyio.current_time)
        while True:
            link = await self._linked(retry)
            try:
                return await link.run(start(link.talk))
            except (ConnectionLost, Closing) as error:
                if self._closed:
                    raise
                repeat()
                await anyio.sleep(retry.delay(error))

    async def _ask(self, call: calls.PlainCall) -> calls.Result:
        result: calls.Result = await self._run(lambda talk: operations.ask(talk, call))
        return result

    async def _change(self, call: calls.ChangeCall) -> calls.Moved:
        return arguments.answer(await self._ask(call), calls.Moved)

    async def _items(self, call: calls.StreamCall, kind: type[Model]) -> AsyncGenerator[Model]:
        retry = Retry(anyio.current_time)
        told = False
        while True:
            link = await self._linked(retry)
            try:
                async with aclosing(link.iterate(operations.pages(link.talk, call))) as pages:
                    async for items in pages:
                        told = True
                        for item in arguments.only(items, kind):
                            yield item
                return
            except (ConnectionLost, Closing) as error:
                if told or self._closed:
                    raise  # the list may have changed: only the caller can begin anew
                await anyio.sleep(retry.delay(error))
