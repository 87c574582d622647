"""What each user has of the server, so that nobody's programs leave nothing for the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from udfstore.errors import Busy
from udfstore.server.limits import ServerLimits


@dataclass(slots=True)
class Share:
    """What the connections of one user have together. `buffer` is what their calls may hold of content."""

    connections: int = 0
    calls: int = 0
    buffer: int = 0


@dataclass(slots=True)
class Shares:
    """The shares of all users who are connected, by uid."""

    limits: ServerLimits
    _of: dict[int, Share] = field(default_factory=dict)

    def enter(self, uid: int) -> Share:
        """One more connection of a user's. Raises `Busy`."""
        share, most = self._of.get(uid) or Share(), self.limits.connections_per_user
        if share.connections >= most:
            raise Busy(f"uid {uid} has as many connections as one user may have", expected=f"at most {most}")
        share.connections += 1
        self._of[uid] = share
        return share

    def leave(self, uid: int) -> None:
        """One of them is over."""
        share = self._of[uid]
        share.connections -= 1
        if not share.connections:
            del self._of[uid]


class Charges:
    """The open calls of one connection, as they count for its user."""

    def __init__(self, share: Share, limits: ServerLimits, uid: int) -> None:
        self._share, self._limits, self._uid = share, limits, uid
        self._open: dict[int, int] = {}

    def begin(self, number: int) -> None:
        """A call begins. Raises `Busy`; it counts all the same, until it `ended`."""
        share, most = self._share, self._limits.calls_per_user
        self._open[number] = 0
        share.calls += 1
        if share.calls > most:
            raise Busy(f"uid {self._uid} has as many calls open as one user may have", expected=f"at most {most}")

    def hold(self, number: int, size: int) -> None:
        """That call may hold so much content at once. Raises `Busy`."""
        share, most = self._share, self._limits.user_buffer_bytes
        self._open[number] += size
        share.buffer += size
        if share.buffer > most:
            raise Busy(
                f"uid {self._uid} has as much content on its way as one user may have", expected=f"at most {most} bytes"
            )

    def ended(self, number: int) -> None:
        """A call has ended, if it had not before."""
        size = self._open.pop(number, None)
        if size is not None:
            self._share.calls -= 1
            self._share.buffer -= size

    def close(self) -> None:
        """The connection is over."""
        for number in list(self._open):
            self.ended(number)
