"""What a host needs of whoever it works for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from udfstore.wire.framing import Frame


class Front(Protocol):
    """Where a UDF's answers go. All three are called in the order in which the UDF sent what they bring."""

    async def data(self, frames: Sequence[Frame]) -> None:
        """Points, begins and ends (kinds 16 to 18) of the UDF, in order. Waiting here holds the UDF back."""

    def alive(self, frame: Frame) -> None:
        """The UDF answered a keepalive."""

    def failed(self, why: str) -> None:
        """The UDF ended with an error response, or cannot be brought back. Nothing follows."""
