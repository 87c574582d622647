"""What only asynchronous code can do: many tasks on one connection, and cancelling any of them at any moment."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import pytest
from kit import SECONDS, ServerProcess, eventually

from udfstore import BlobId, Claim, NoServer, OpenBlob, UdfstoreError, UsageError
from udfstore.aio import AsyncStore, connect

MIB = 1 << 20
Content = Callable[..., bytes]


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run an asynchronous test on each backend; it fails when it does not end."""

    def run(test: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            with anyio.fail_after(SECONDS):
                await test()

        anyio.run(limited, backend=request.param)

    return run


async def connections(store: AsyncStore, job: str) -> list[int]:
    """The numbers of the connections that claim to be of a job."""
    return [session.id async for session in store.sessions() if session.author.claim.job == job]


@asynccontextmanager
async def same_connection(server: ServerProcess, job: str) -> AsyncIterator[AsyncStore]:
    """A store whose connection at the end must be the one it began with."""
    async with connect(server.socket, claim=Claim(job=job)) as store:
        before = await connections(store, job)
        assert len(before) == 1
        yield store
        assert await connections(store, job) == before


def test_a_connection_is_awaited_and_closed(run: Any, server: ServerProcess, content: Content) -> None:
    async def main() -> None:
        store = await connect(server.socket)
        saved = await store.save(content())
        assert await store.load(saved.id) == content()
        await store.aclose()
        await store.aclose()
        with pytest.raises(UsageError, match="closed"):
            await store.status()

    run(main)


def test_many_tasks_share_one_connection(run: Any, server: ServerProcess, unique: str, content: Content) -> None:
    """More than the server takes at once."""

    async def main() -> None:
        loaded: dict[int, bytes] = {}
        async with same_connection(server, unique) as store, anyio.create_task_group() as tasks:

            async def use(number: int) -> None:
                await store.save(content(number), tag=f"{unique}/x{number}")
                loaded[number] = await store.load(f"{unique}/x{number}")

            for number in range(200):
                tasks.start_soon(use, number)
        assert loaded == {number: content(number) for number in range(200)}

    run(main)


def test_large_transfers_of_several_tasks(run: Any, server: ServerProcess) -> None:
    contents = [os.urandom(5 * MIB) for _ in range(4)]

    async def main() -> None:
        async with connect(server.socket) as store, anyio.create_task_group() as tasks:

            async def carry(data: bytes) -> None:
                assert await store.load((await store.save(data)).id) == data

            for data in contents:
                tasks.start_soon(carry, data)

    run(main)


def test_a_load_that_is_cancelled_leaves_the_connection_usable(run: Any, server: ServerProcess, unique: str) -> None:
    data = os.urandom(20 * MIB)

    async def main() -> None:
        async with same_connection(server, unique) as store:
            id = (await store.save(data)).id
            for _ in range(3):
                with anyio.CancelScope() as scope:
                    await store.load_into(id, lambda head: lambda part: anyio.from_thread.run_sync(scope.cancel))
                assert scope.cancelled_caught
            assert await store.load(id) == data

    run(main)


def test_a_save_that_is_cancelled_leaves_nothing_and_the_connection_usable(
    run: Any, server: ServerProcess, unique: str, content: Content
) -> None:
    async def main() -> None:
        async with same_connection(server, unique) as store:
            for wanted in range(3):
                with anyio.CancelScope() as scope:
                    endless = Endless(wanted, partial(anyio.from_thread.run_sync, scope.cancel))
                    await store.save(endless, tag=f"{unique}/x")
                assert scope.cancelled_caught
            assert [entry async for entry in store.tags(f"{unique}/")] == []
            assert (await store.save(content())).id == BlobId.of(content())
            staging = server.root / "staging"
            await anyio.to_thread.run_sync(eventually, lambda: not list(staging.iterdir()))

    run(main)


class Endless:
    """Content that comes for ever, and calls something in front of some piece."""

    def __init__(self, at: int, call: Callable[[], object]) -> None:
        self._left = at
        self._call = call

    def seekable(self) -> bool:
        return False

    def read(self, most: int) -> bytes:
        if self._left == 0:
            self._call()
        self._left -= 1
        return bytes(most)


def test_a_watch_that_is_cancelled_leaves_the_connection_usable(
    run: Any, server: ServerProcess, unique: str, content: Content
) -> None:
    """Also for those who wait beside it: the cancelled one may have been the one who read for all."""

    async def main() -> None:
        async with same_connection(server, unique) as store, anyio.create_task_group() as tasks:
            waiting = [anyio.Event() for _ in range(3)]
            told = [anyio.Event() for _ in range(3)]
            scopes = [anyio.CancelScope() for _ in range(3)]

            async def watch(number: int) -> None:
                with scopes[number]:
                    async with aclosing(store.watch(f"{unique}/")) as events:
                        async for event in events:
                            (told if event.entries else waiting)[number].set()

            for number in range(3):
                tasks.start_soon(watch, number)
                await waiting[number].wait()
            scopes[0].cancel()
            await store.save(content(), tag=f"{unique}/x")
            for number in (1, 2):
                await told[number].wait()
                scopes[number].cancel()
            assert not told[0].is_set()

    run(main)


def test_calls_that_were_cancelled_make_room_for_others(
    run: Any, server: ServerProcess, unique: str, content: Content
) -> None:
    async def main() -> None:
        async with same_connection(server, unique) as store:
            for _ in range(5):
                async with anyio.create_task_group() as tasks:
                    waiting = [anyio.Event() for _ in range(64)]

                    async def watch(ready: anyio.Event) -> None:
                        async with aclosing(store.watch(f"{unique}/")) as events:
                            async for _ in events:
                                ready.set()

                    for ready in waiting:
                        tasks.start_soon(watch, ready)
                    for ready in waiting:
                        await ready.wait()
                    tasks.cancel_scope.cancel()
            assert (await store.save(content())).id == BlobId.of(content())

    run(main)


def test_a_task_that_asyncio_cancels_leaves_the_connection_usable(
    server: ServerProcess, unique: str, content: Content
) -> None:
    async def main() -> None:
        async with asyncio.timeout(SECONDS), same_connection(server, unique) as store:
            waiting = asyncio.Event()

            async def watch() -> None:
                async for _ in store.watch(f"{unique}/"):
                    waiting.set()

            for _ in range(3):
                waiting.clear()
                task = asyncio.create_task(watch())
                await waiting.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await store.save(content())).id == BlobId.of(content())

    asyncio.run(main())


@pytest.mark.parametrize("doing", ["watching", "saving", "asking"])
def test_closing_wakes_whoever_waits(run: Any, own_server: ServerProcess, doing: str) -> None:
    async def main() -> None:
        store = await connect(own_server.socket)
        waiting = anyio.Event()

        def hang() -> None:
            own_server.pause()
            anyio.from_thread.run_sync(waiting.set)

        async def watch() -> None:
            async for _ in store.watch("models/"):
                waiting.set()

        async def save() -> None:
            with pytest.raises(NoServer):
                await store.save(Endless(0, hang))

        async def ask() -> None:
            own_server.pause()
            waiting.set()
            with pytest.raises(UdfstoreError):
                await store.status()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon({"watching": watch, "saving": save, "asking": ask}[doing])
            await waiting.wait()
            await store.aclose()

    run(main)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_is_raised_while_following_comes_out_as_it_is(
    run: Any, server: ServerProcess, unique: str, content: Content, error: type[BaseException]
) -> None:
    async def main() -> None:
        async with connect(server.socket) as store:
            await store.save(content(), tag=f"{unique}/x")
            raised = error("mine")
            with pytest.raises(error) as caught:
                async with store.follow(f"{unique}/x", lambda blob: blob.read()):
                    raise raised
            assert caught.value is raised

    run(main)


def test_following_ends_in_the_middle_of_a_load(run: Any, server: ServerProcess, unique: str, content: Content) -> None:
    """Whoever leaves waits for the loader, whose thread cannot be stopped."""
    loading, go_on = threading.Event(), threading.Event()

    def load(blob: OpenBlob) -> int | None:
        if blob.version == 2:
            loading.set()
            assert go_on.wait(SECONDS)
        return blob.version

    async def main() -> None:
        async with connect(server.socket) as store:
            await store.save(content(1), tag=f"{unique}/x")
            with anyio.CancelScope() as scope:
                async with store.follow(f"{unique}/x", load) as model:
                    await store.save(content(2), tag=f"{unique}/x")
                    await anyio.to_thread.run_sync(loading.wait, SECONDS)
                    scope.cancel()
                    go_on.set()
            assert model.value == model.version
            assert (await store.stat(f"{unique}/x")).size == len(content(2))

    run(main)


def test_two_stores_of_one_loop_are_two_connections(
    run: Any, server: ServerProcess, unique: str, content: Content
) -> None:
    async def main() -> None:
        claim = Claim(job=unique)
        async with connect(server.socket, claim=claim) as one, connect(server.socket, claim=claim) as two:
            id = (await one.save(content())).id
            assert await two.load(id) == content()
            assert len(await connections(one, unique)) == 2

    run(main)
