"""A connection that is a node of a task, for tasks of an event loop; `member` has the one for threads."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from udfstore import calls, tasks
from udfstore.client import arguments, operations
from udfstore.client.asynchronous import AsyncLink
from udfstore.client.conversation import ConnectionLost
from udfstore.digest import BlobId
from udfstore.refs import Tag
from udfstore.session.events import NodeWord


class Membership:
    """A node of a task, on a connection of its own that is not made anew when it is lost.

        async with store.join(Node("cpu-alert", "anomaly2")) as membership:
            while (event := await membership.next()) is not None:
                ...

    Somebody has to be in `next` all the time: only there the server's keepalives are answered, and one that is not
    answered in time ends the connection. States are saved and loaded through the store, whose connection is another.
    """

    def __init__(self, link: AsyncLink, node: tasks.Node) -> None:
        welcome = link.talk.welcome
        assert welcome is not None, "a link is open once the welcome came"
        self.node = node
        self.session = welcome.session
        """The number of this conversation: what the next one says that it resumes."""
        self._link = link

    async def next(self) -> NodeWord | None:
        """The next thing that the server says to this node; None when it has closed after `leave`.

        A `Restore` is answered by `restored`, an `Asked` by `answer`. Raises the server's own error when it ended the
        conversation with one (`Conflict`: the node was refused, or the state that it could not restore was set aside
        and it may join again), and `ConnectionLost` when the connection broke.
        """
        try:
            event: NodeWord | None = await self._link.run(operations.told(self._link.talk))
        except ConnectionLost as error:
            raise self._link.talk.said or error from None
        return event

    def answer(self, answer: tasks.Answer) -> None:
        """Answer an `Asked`."""
        self._link.talk.session.answer(answer)
        self._link.push()

    def restored(self, error: str = "") -> None:
        """Answer a `Restore`: it worked, or `error` says why not."""
        self._link.talk.session.restored(tasks.Restored(error))
        self._link.push()

    async def take(self, reason: tasks.Reason = tasks.Reason.KAPACITOR) -> tasks.Taken:
        """Have a snapshot of the task taken now; another task is in `next` and answers for this node meanwhile."""
        call = tasks.SaveSnapshot(self.node.task, reason)
        return arguments.answer(await self._link.run(operations.ask(self._link.talk, call)), tasks.Taken)

    async def used(self, name: Tag | str, version: int, id: BlobId | str, *, error: str = "") -> int:
        """Record for this node that a version was taken into use, or why it could not be; as `AsyncStore.used`.

        Said here, not through the store: the server shows what this connection follows, and waits for it to follow.
        """
        call = calls.Used(arguments.tag(name), version, arguments.blob_id(id), error, arguments.request())
        return arguments.answer(await self._link.run(operations.ask(self._link.talk, call)), calls.Noted).revision

    async def leave(self) -> None:
        """Say goodbye, and return when the server has taken a last snapshot and closed.

        Another task is in `next` and answers meanwhile; it gets None at the end.
        """
        await self._link.run(operations.left(self._link.talk))

    async def aclose(self) -> None:
        """End the connection at once, without a last snapshot. May be called twice."""
        self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
