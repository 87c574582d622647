"""Descriptors on their way to the frames that announce them. The core hands them on and never looks inside."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from udfstore.errors import ProtocolError

MOST = 16
"""That wait at once. Each comes with the first byte of its frame, so one or two are all that an honest peer needs; and
a thousand connections of another kind do not use up what a process may open."""


class Token(Protocol):
    """An open file."""

    def fileno(self) -> int: ...
    def close(self) -> object: ...


class Tokens:
    """What came and no frame has claimed yet, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Token] = deque()
        self.lost = False
        """Whether one went missing. From there on nobody can tell whose the next one is: none is kept."""

    def put(self, tokens: Iterable[Token]) -> None:
        """More of them, before the bytes that they came with. Raises `ProtocolError` when too many wait."""
        self._waiting.extend(tokens)
        if self.lost:
            self.close()
        if len(self._waiting) > MOST:
            raise ProtocolError(
                "more descriptors than frames that announce one", expected=f"at most {MOST}", got=len(self._waiting)
            )

    def maybe_claim(self) -> Token | None:
        """That of the frame at hand."""
        return self._waiting.popleft() if self._waiting else None

    def settle(self) -> None:
        """No frame is half read. Raises `ProtocolError` when some wait all the same."""
        if self._waiting:
            raise ProtocolError("a descriptor that no frame announces", got=len(self._waiting))

    def lose(self) -> None:
        """One should have come and did not."""
        self.lost = True
        self.close()

    def close(self) -> None:
        """Close all that wait."""
        while self._waiting:
            self._waiting.popleft().close()
