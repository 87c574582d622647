"""A node's place at the server: joined and restored at its start, asked for snapshots, joined again when the server was
away."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from udfstore.aio import AsyncStore
from udfstore.bridge.life import State
from udfstore.bridge.shelter import Shelter
from udfstore.client.conversation import ConnectionLost
from udfstore.client.membership import Membership
from udfstore.client.retry import Retry
from udfstore.digest import BlobId
from udfstore.errors import Closing, NoServer, UdfstoreError
from udfstore.tasks import Answer, Asked, Joined, Model, Node, Place, Reason, Restart, Restore, Taken

NO_SESSION = 2**63 - 1
"""What a node says that it resumes when it began without a server: it has a state, and had no session."""

_AWAY = (NoServer, Closing)
_Word = Joined | Restore | Asked | Restart | None


class Cared(Protocol):
    """What the server's words are for."""

    async def give(self, state: State, store: AsyncStore) -> str:
        """Restore the UDF; why that failed, or nothing."""

    async def begin_anew(self) -> None:
        """A new child without a state in the place of one that failed to take one."""

    async def state(self, round: int) -> State:
        """The UDF's state now. Raises `UdfstoreError`."""

    async def restart(self) -> None:
        """Another state was chosen: a new child, which then enters the server anew."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in use."""


class Standing:
    """The conversation of one node with its server, over all its connections."""

    def __init__(self, shelter: Shelter, host: Cared, log: structlog.typing.FilteringBoundLogger) -> None:
        self.joined: Joined | None = None
        self.entered = False
        """It joined afresh, so that what it has is what the server gave it."""
        self.store: AsyncStore | None = None
        self.store_id = b""
        self._shelter, self._host, self._log = shelter, host, log
        self._membership: Membership | None = None
        self._living = trio.CancelScope()
        self._ended = trio.Event()
        """Set while `_live` does not run."""
        self._ended.set()
        self._came = trio.Event()
        """Set while the server has this node."""
        self._session = NO_SESSION
        self._restored: BlobId | None = None
        self._node: Node | None = None

    @property
    def here(self) -> bool:
        """Whether the server is there and has this node."""
        return self._came.is_set()

    async def reach(self, place: Place, patience: float = 0.0) -> AsyncStore:
        """The store. Raises `NoServer`."""
        if self.store is None:
            self.store = await self._shelter.reach(patience, place)
            self.store_id = (await self.store.status()).store_id
        return self.store

    async def enter(self, nursery: trio.Nursery, node: Node, patience: float) -> Joined:
        """Join afresh, and have the UDF restored as the server decides. Raises `NoServer`, or why the node is refused.

        A state that the UDF cannot take is set aside by the server, and the one before it is tried with a new child.
        """
        self._node = node
        retry = Retry(trio.current_time, lambda: patience)
        while True:
            restoring = False
            try:
                words = await self._connect(nursery, node)
                while not isinstance(word := await self._next(words), Joined):
                    if isinstance(word, Restore):
                        restoring = True
                        await self._restore(word)
            except UdfstoreError as error:
                await self._drop()
                if isinstance(error, _AWAY):
                    await trio.sleep(retry.delay(error))
                elif not restoring:
                    raise
                if restoring:
                    await self._host.begin_anew()
            else:
                self.entered = True
                self._entered(word)
                self._begin(nursery, words)
                return word

    def resume(self, nursery: trio.Nursery, node: Node) -> None:
        """Join as a node that has a state, now or when the server is there."""
        self._node = node
        self._begin(nursery, None)

    async def take(self, reason: Reason) -> Taken:
        """Have a snapshot taken. Raises `NoServer` when the server is away."""
        if self._membership is None or not self.here:
            raise NoServer("the server is away")
        return await self._membership.take(reason)

    async def leave(self) -> None:
        """Leave after a last snapshot. Waits for a server that was here and is away; at once, if it never was."""
        if self.joined is not None:
            await self._came.wait()
            if self._membership is not None:
                with suppress(*_AWAY):
                    await self._membership.leave()

    async def exit(self) -> None:
        """Leave without one, and stay away."""
        self._living.cancel()
        await self._ended.wait()
        await self._drop()

    async def aclose(self) -> None:
        """Let go of everything."""
        await self.exit()
        await self._forget()

    # --- one connection ---

    async def _connect(self, nursery: trio.Nursery, node: Node) -> trio.MemoryReceiveChannel[_Word | UdfstoreError]:
        """A new connection, and what the server says on it: somebody has to listen all the time."""
        store = await self.reach(Place(node.task, node.name))
        membership = self._membership = await store.join(node)
        to, words = trio.open_memory_channel[_Word | UdfstoreError](math.inf)

        async def listen() -> None:
            with to:
                try:
                    while (word := await membership.next()) is not None:
                        to.send_nowait(word)
                    to.send_nowait(None)
                except UdfstoreError as error:
                    to.send_nowait(error)
                except trio.BrokenResourceError:  # nobody wants to hear more
                    pass

        nursery.start_soon(listen)
        return words

    async def _next(self, words: trio.MemoryReceiveChannel[_Word | UdfstoreError]) -> _Word:
        word = await words.receive()
        if isinstance(word, UdfstoreError):
            raise word
        return word

    async def _drop(self) -> None:
        membership, self._membership = self._membership, None
        if self.here:
            self._came = trio.Event()
        if membership is not None:
            await membership.aclose()

    async def _restore(self, word: Restore) -> None:
        """Have the UDF restored. If that fails, the server ends the conversation, and has the state set aside."""
        assert self._membership is not None
        assert self.store is not None
        state = State(word.plain, word.blob, word.size, word.manifest, word.number)
        error = await self._host.give(state, self.store)
        self._membership.restored(error)
        if error:
            self._log.warning("a state could not be restored", snapshot=word.number, why=error)

    def _entered(self, word: Joined) -> None:
        assert self._membership is not None
        assert self._node is not None
        self._came.set()
        self.joined, self._session, self._restored = word, self._membership.session, word.manifest
        if word.manifest is not None:
            self._shelter.note(self._node.task, self._node.name)
        self._log.info("joined", owner=word.owner, snapshot=word.number, why=word.why)

    # --- its life ---

    async def _live(
        self, nursery: trio.Nursery, words: trio.MemoryReceiveChannel[_Word | UdfstoreError] | None
    ) -> None:
        """Do what the server says, and join again whenever the connection is lost."""
        assert self._node is not None
        retry = Retry(trio.current_time, lambda: math.inf)
        away = False
        try:
            with self._living:
                while True:
                    try:
                        if words is None:
                            copy = self.joined is not None and not self.joined.owner  # and stays one
                            resumed = replace(
                                self._node,
                                resumed=self._session,
                                restored=self._restored,
                                no_save=self._node.no_save or copy,
                            )
                            words = await self._connect(nursery, resumed)
                        while (word := await self._next(words)) is not None:
                            retry.linked()
                            away = False
                            if isinstance(word, Joined):
                                self._entered(replace(word, manifest=self._restored))
                            elif isinstance(word, Asked):
                                await self._answer(word.round)
                            elif isinstance(word, Restart):
                                self._log.info("another state was chosen", why=word.why)
                                nursery.start_soon(self._host.restart)
                                return
                        return  # it left
                    except UdfstoreError as error:
                        if not away:
                            self._log.warning("not joined; tried again until it works", why=str(error))
                        away, words = True, None
                        await self._drop()
                        if not isinstance(error, _AWAY):
                            await self._forget()
                        await trio.sleep(retry.delay(error))
        finally:
            self._ended.set()

    def _begin(self, nursery: trio.Nursery, words: trio.MemoryReceiveChannel[_Word | UdfstoreError] | None) -> None:
        self._living, self._ended = trio.CancelScope(), trio.Event()
        nursery.start_soon(self._live, nursery, words)

    async def _forget(self) -> None:
        """Let go of the store: another one may answer there now."""
        store, self.store = self.store, None
        if store is not None:
            await self._shelter.leave(store)

    async def _answer(self, round: int) -> None:
        membership = self._membership
        assert membership is not None
        assert self._node is not None
        assert self.store is not None
        try:
            state = await self._host.state(round)
            blob, size = state.blob, state.size
            if state.plain:
                saved = await self.store.save(state.plain)
                blob, size = saved.id, saved.size
            if blob is not None:
                self._shelter.note(self._node.task, self._node.name)
            membership.answer(Answer(round, blob, size, models=(*self._host.models, *state.models) if blob else ()))
        except ConnectionLost:
            raise
        except UdfstoreError as error:
            self._log.warning("no snapshot", why=str(error))
            membership.answer(Answer(round, error=str(error)))
