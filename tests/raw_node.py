"""A node that does what a test wants: joins, saves its state when it is asked, or answers something else."""

from __future__ import annotations

from pathlib import Path

from raw_client import RawClient

from udfstore._pb import udfstore_pb2 as pb


class RawNode(RawClient):
    """A connection that said it is a node; `fields` are those of its `pb.Node`."""

    def __init__(self, path: Path, task: str = "task", name: str = "node", **fields: object) -> None:
        self._node = pb.Node(task=task, name=name, **fields)  # type: ignore[arg-type]
        self.plain = self._node.plain
        self.given: bytes | None = None
        """The state that it was restored from."""
        self._asked: list[int] = []
        self._calls = 0
        super().__init__(path, credit=False)

    def begin(self, credit: bool) -> None:
        """Hear the welcome and say hello as a node."""
        self.welcome = self.next().welcome
        self.send(pb.Response(hello=pb.Hello(protocol=1, credit=credit, node=self._node)))

    def next(self) -> pb.Request:
        """The next message; keepalives are answered."""
        while (message := super().next()).WhichOneof("message") == "keepalive":
            self.send(pb.Response(keepalive=pb.KeepaliveResponse(time=message.keepalive.time)))
        return message

    def until(self, kind: str) -> pb.Request:
        """The next message of a kind; others are passed over, but for questions."""
        while (message := self.next()).WhichOneof("message") != kind:
            if message.WhichOneof("message") == "snapshot":
                self._asked.append(message.snapshot.round)
        return message

    def number(self) -> int:
        """For a new call."""
        self._calls += 1
        return self._calls

    def fault(self) -> pb.Fault:
        """The end of the conversation."""
        fault = self.until("fault").fault
        assert fault.call == 0
        assert self.rest() == []
        return fault

    # --- its place ---

    def arrive(self) -> pb.Joined:
        """Take the state that it is given, if any, and its place."""
        message = self.next()
        if message.WhichOneof("message") == "restore":
            self.given = self.content(message.restore)
            self.send(pb.Response(restore=pb.RestoreResponse(success=True)))
            message = self.next()
        assert message.WhichOneof("message") == "joined", message
        return message.joined

    def content(self, restore: pb.RestoreRequest) -> bytes:
        """The state of a restore."""
        if self.plain:
            return restore.snapshot
        self.call(self.number(), load=pb.Load(ref=restore.blob.hex()))
        self.until("head")
        content = b""
        while (message := self.next()).WhichOneof("message") == "chunk":
            content += message.chunk.data
        assert message.result.loaded.length == len(content) == restore.size
        return content

    # --- its state ---

    def question(self) -> int:
        """The number of the round that it is asked for."""
        return self._asked.pop(0) if self._asked else self.until("snapshot").snapshot.round

    def answer(self, state: bytes, round: int | None = None, *models: pb.Model) -> None:
        """Give its state, for the next question or for that round."""
        number = self.question() if round is None else round
        if self.plain or not state:
            answer = pb.SnapshotResponse(round=number, snapshot=state, models=models)
        else:
            saved = self.save(self.number(), state)
            answer = pb.SnapshotResponse(round=number, blob=saved.id, size=len(state), models=models)
        self.send(pb.Response(snapshot=answer))

    def leave(self, state: bytes) -> None:
        """Say goodbye, give the last state, and see the server close."""
        self.send(pb.Response(goodbye=pb.Goodbye()))
        self.answer(state)
        assert self.rest() == []


def ask(client: RawClient, number: int, task: str = "task", name: str = "", reason: str = "manual") -> None:
    """Ask for a snapshot; `taken` reads what became of it."""
    client.call(number, save_snapshot=pb.SaveSnapshot(task=task, reason=reason, name=name))


def taken(client: RawClient) -> pb.Taken:
    """The answer to the oldest `ask`."""
    return client.until("result").result.taken


def keep(path: Path, node: RawNode, task: str, state: bytes) -> pb.Snapshot:
    """Have a snapshot taken with that state of the only node of a task."""
    with RawClient(path) as client:
        ask(client, 1, task)
        node.answer(state)
        answer = taken(client)
    assert answer.good, answer.why
    return answer.snapshot
