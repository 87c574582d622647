"""A connection that is a node of a task, lived word by word on an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import pytest
from kit import SECONDS, ServerProcess

from udfstore import Conflict, NoServer, UdfstoreError
from udfstore.aio import AsyncStore, connect
from udfstore.client.membership import Membership
from udfstore.tasks import Answer, Asked, Joined, Model, Node, Reason, Restart, Restore, Taken


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run an asynchronous test on each backend; it fails when it does not end."""

    def run(test: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            with anyio.fail_after(SECONDS):
                await test()

        anyio.run(limited, backend=request.param)

    return run


Word = TypeVar("Word", Joined, Restore, Asked, Restart)


async def word(membership: Membership, kind: type[Word]) -> Word:
    """The next word, which has to be of that kind."""
    found = await membership.next()
    assert isinstance(found, kind)
    return found


async def answering(store: AsyncStore, membership: Membership, state: bytes, *models: Model) -> None:
    """Answer every question with this state, until the end."""
    while (asked := await membership.next()) is not None:
        assert isinstance(asked, Asked)
        saved = await store.save(state)
        membership.answer(Answer(asked.round, saved.id, saved.size, models=models))


async def left_with(store: AsyncStore, node: Node, state: bytes) -> Joined:
    """Live a node's life from join to a last snapshot."""
    async with store.join(node) as membership:
        first = await membership.next()
        if isinstance(first, Restore):
            membership.restored()
        joined = await word(membership, Joined) if isinstance(first, Restore) else first
        assert isinstance(joined, Joined)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answering, store, membership, state)
            await membership.leave()
    return joined


async def newest(store: AsyncStore, task: str) -> dict[str, bytes]:
    """The state of each node in the newest snapshot."""
    return {state.name: await store.load(state.blob) async for state in store.states(task)}


def test_a_node_leaves_its_state_and_is_given_it_back(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        node = Node(unique[-100:], "n")
        async with connect(server.socket) as store:
            joined = await left_with(store, node, b"one")
            assert (joined.owner, joined.manifest, joined.number) == (True, None, 0)
            snapshot = await store.snapshot(node.task)
            assert snapshot.reason is Reason.STOP
            async with store.join(node) as membership:
                restore = await membership.next()
                assert isinstance(restore, Restore)
                assert restore.blob is not None
                assert (await store.load(restore.blob), restore.size, restore.number) == (b"one", 3, 1)
                membership.restored()
                assert await membership.next() == Joined(True, snapshot.id, 1, "the same node")

    run(main)


def test_a_snapshot_that_is_asked_for_holds_state_and_models(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        async with connect(server.socket) as store, store.join(Node(unique[-100:], "n")) as membership:
            await word(membership, Joined)
            model = Model("models/x", 3, (await store.save(b"model")).id)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answering, store, membership, b"state", model)
                taken = await membership.take()
                tasks.cancel_scope.cancel()
            assert taken.good
            assert taken.snapshot is not None
            assert taken.snapshot.reason is Reason.KAPACITOR
            states = [state async for state in store.states(unique[-100:])]
            assert [(s.name, s.size, s.models) for s in states] == [("n", 5, (model,))]

    run(main)


def test_what_a_node_uses_is_recorded_for_it(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        async with connect(server.socket) as store, store.join(Node(unique[-100:], "n")) as membership:
            await word(membership, Joined)
            entry = (await store.save(unique.encode(), tag=f"{unique}/x")).entry
            assert entry is not None
            assert entry.id is not None
            await membership.used(entry.tag, 1, entry.id)
            used = [use async for use in store.uses(unique[-100:])]
            assert [(use.tag, use.version, use.place.node) for use in used] == [(entry.tag, 1, "n")]
            followers = await store.await_followers(entry.tag, 1, 5)
            assert [session.id for session in followers] == [membership.session]

    run(main)


def test_a_state_that_cannot_be_restored_is_set_aside(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        node = Node(unique[-100:], "n")
        async with connect(server.socket) as store:
            for state in (b"good", b"bad"):
                await left_with(store, node, state)
            async with store.join(node) as membership:
                restore = await word(membership, Restore)
                assert restore.number == 2
                membership.restored("cannot read that")
                with pytest.raises(Conflict, match="cannot read that"):
                    await membership.next()
            async with store.join(node) as membership:
                restore = await word(membership, Restore)
                assert restore.number == 1

    run(main)


def test_a_node_that_was_refused_is_told_why(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        async with connect(server.socket) as store:
            async with store.join(Node(unique[-100:], "n", fingerprint="ab" * 32)) as membership:
                with pytest.raises(UdfstoreError, match="fingerprint"):
                    await membership.next()
            assert (await store.status()).problem == "", "and the store's own connection is as good as before"

    run(main)


def test_a_node_is_told_to_restart_from_what_was_chosen(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        node = Node(unique[-100:], "n")
        async with connect(server.socket) as store:
            for state in (b"one", b"two"):
                await left_with(store, node, state)
            membership = await store.join(node)
            await word(membership, Restore)
            membership.restored()
            await word(membership, Joined)
            await store.use_snapshot(node.task, 1, now=True)
            await word(membership, Restart)
            await membership.aclose()
            async with store.join(node) as membership:
                restore = await word(membership, Restore)
                assert restore.number == 1

    run(main)


def test_the_second_of_a_node_has_a_copy_and_stores_nothing(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        node = Node(unique[-100:], "n")
        async with connect(server.socket) as store, store.join(node) as first:
            assert (await word(first, Joined)).owner
            async with store.join(node) as second:
                assert not (await word(second, Joined)).owner

    run(main)


def test_a_node_that_was_cut_off_resumes_and_is_asked_at_once(run: Any, own_server: ServerProcess) -> None:
    async def main() -> None:
        async with connect(own_server.socket) as store:
            async with store.join(Node("t", "n")) as first:
                await word(first, Joined)
                await anyio.to_thread.run_sync(own_server.restart)
                with pytest.raises(NoServer):
                    await first.next()
            async with store.join(Node("t", "n", resumed=first.session)) as again:
                assert (await word(again, Joined)).owner
                await word(again, Asked)

    run(main)


def test_keepalives_are_answered_while_somebody_listens(run: Any, server: ServerProcess, unique: str) -> None:
    """The shortest timeout there is, and rounds once a second: without answers it would be over before the first."""

    async def main() -> None:
        node = Node(unique[-100:], "n", interval=1.0, timeout=0.1)
        async with connect(server.socket) as store, store.join(node) as membership:
            await word(membership, Joined)
            asked = await word(membership, Asked)
            membership.answer(Answer(asked.round, error="not now"))
            await word(membership, Asked)

    run(main)


def test_states_may_travel_inside_the_messages(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        node = Node(unique[-100:], "n", plain=True)
        async with connect(server.socket) as store:
            async with store.join(node) as membership:
                await word(membership, Joined)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(membership.leave)
                    asked = await word(membership, Asked)
                    membership.answer(Answer(asked.round, size=1 << 20, plain=bytes(1 << 20)))
                    assert await membership.next() is None
            assert await newest(store, node.task) == {"n": bytes(1 << 20)}
            async with store.join(node) as membership:
                restore = await word(membership, Restore)
                assert restore.plain == bytes(1 << 20)

    run(main)


def test_a_node_that_goes_without_goodbye_leaves_no_trace_of_a_round(
    run: Any, server: ServerProcess, unique: str
) -> None:
    async def main() -> None:
        async with connect(server.socket) as store:
            async with store.join(Node(unique[-100:], "n")) as membership:
                await word(membership, Joined)
            with pytest.raises(NoServer, match="closed here"):
                await membership.next()
            assert [s async for s in store.snapshots(unique[-100:])] == []

    run(main)


def test_cancelling_next_loses_no_word(run: Any, server: ServerProcess, unique: str) -> None:
    async def main() -> None:
        taken: list[Taken] = []
        async with connect(server.socket) as store, store.join(Node(unique[-100:], "n")) as membership:
            await word(membership, Joined)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await membership.next()

            async def take() -> None:
                taken.append(await store.save_snapshot(unique[-100:]))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take)
                asked = await word(membership, Asked)
                membership.answer(Answer(asked.round, error="no state today"))
            assert not taken[0].good
            assert "no state today" in taken[0].why

    run(main)
