"""What the HTTP front needs of the server it is a part of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, TypeVarTuple

from udfstore import calls
from udfstore.model import Caller
from udfstore.service import Service

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


class House(Protocol):
    """The service, threads to run it in, and what only the server knows."""

    service: Service

    async def reading(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what reads files in a thread. It runs to its end: a cancel waits for it."""
        ...

    async def writing(self, do: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        """Run what writes files in a thread. It runs to its end: a cancel waits for it."""
        ...

    async def ask(self, caller: Caller, call: calls.PlainCall) -> Any:
        """Answer a call that has one result, wherever it has to be answered. Raises what the service raises."""
        ...

    async def committed(self, after: int) -> None:
        """Wait until the store's revision is beyond `after`, or the server stops."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the server takes no new requests."""
        ...
