"""A node's way to its place, as its host sees it: what may be said to it now, and what it may answer.

A node is restored at most once, then joined, then asked as often as the shell likes:

    hello ─┬─ restore ── its answer ─┬─ joined ─┬─ ask ── its answer ─┐
           └─────────────────────────┘          └─────────────────────┘

An answer to a restore that was not asked for, or a second one, is out of order. Answers to an ask are passed on
whatever round they name.
"""

from __future__ import annotations

from udfstore import tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Blame, ProtocolError
from udfstore.session import nodes
from udfstore.session.events import Alive
from udfstore.session.nodes import Stage
from udfstore.session.values import cut


class Hosted:
    """A node at its host. Before its hello, and at a client for good, there is none: nothing may be said to it.

    `plain_bytes` is the largest state that may travel inside an answer.
    """

    def __init__(self, plain_bytes: int) -> None:
        self.node: tasks.Node | None = None
        self.stage = Stage.AWAY
        self._plain_bytes = plain_bytes

    @property
    def plain_bytes(self) -> int:
        """The largest state that this node may send inside an answer: 0 unless it said `plain`."""
        return self._plain_bytes if self.node is not None and self.node.plain else 0

    # --- what it answers ---

    def on_keepalive(self, message: pb.KeepaliveResponse) -> Alive:
        return Alive()

    def on_snapshot(self, message: pb.SnapshotResponse) -> tasks.Answer:
        plain = self.node is not None and self.node.plain
        return nodes.answer_from_pb(message, plain=plain, most=self.plain_bytes)

    def on_restore(self, message: pb.RestoreResponse) -> tasks.Restored:
        nodes.expect(self.node, self.stage, "an answer to a restore", (Stage.ASKED,), Blame.REMOTE)
        self.stage = Stage.RESTORED
        return nodes.restored_from_pb(message)

    # --- what is said to it ---

    def restore(self, restore: tasks.Restore) -> pb.Request:
        """See `HostSession.restore`."""
        node = self._expect("a restore", Stage.AWAY)
        if node.resumed:
            raise ProtocolError("a restore of a node that resumed: its own state is newer", blame=Blame.LOCAL)
        message = nodes.restore_to_pb(restore, plain=node.plain, most=self.plain_bytes)
        self.stage = Stage.ASKED
        return pb.Request(restore=message)

    def joined(self, joined: tasks.Joined) -> pb.Request:
        """See `HostSession.joined`."""
        self._expect("joined", Stage.AWAY, Stage.RESTORED)
        self.stage = Stage.JOINED
        return pb.Request(joined=nodes.joined_to_pb(joined))

    def ask(self, round: int) -> pb.Request:
        """See `HostSession.ask`."""
        self._expect("a snapshot", Stage.JOINED)
        return pb.Request(snapshot=pb.SnapshotRequest(round=round))

    def keepalive(self, time_ns: int) -> pb.Request:
        """See `HostSession.keepalive`."""
        self._expect("a keepalive", *Stage)
        return pb.Request(keepalive=pb.KeepaliveRequest(time=time_ns))

    def restart(self, why: str) -> pb.Request:
        """See `HostSession.restart`."""
        self._expect("a restart", *Stage)
        return pb.Request(restart=pb.Restart(why=cut(why)))

    def _expect(self, what: str, *stages: Stage) -> tasks.Node:
        return nodes.expect(self.node, self.stage, what, stages, Blame.LOCAL)
