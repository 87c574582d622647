"""The body of a request on its way into the store: gathered, written in threads, never more of it held than a piece."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio
from starlette.requests import ClientDisconnect, Request

from udfstore import calls
from udfstore.errors import Cancelled, UdfstoreError, UsageError
from udfstore.http.house import House
from udfstore.model import Caller
from udfstore.store import Upload

PIECE_BYTES = 1024 * 1024
"""Written at a time: hashing and writing it takes a millisecond, a thread's hop a tenth of that."""


async def take(request: Request, house: House, caller: Caller, call: calls.Save) -> calls.Saved:
    """Save the body of a request. Raises what the store raises, and `Cancelled` when its sender went away."""
    check_plain(request)
    begun = await house.writing(house.service.upload, caller, call)
    if isinstance(begun, calls.Saved):
        return begun
    upload: Upload = begun
    try:
        async for piece in pieces(request):
            await house.writing(upload.write, piece)
            house.service.meters.received("http", len(piece))
        return await house.writing(house.service.commit, caller, upload)
    except BaseException:
        with trio.CancelScope(shield=True):
            await house.writing(upload.abort)
        raise


async def pieces(request: Request, most: int = PIECE_BYTES) -> AsyncIterator[bytearray]:
    """The body in pieces of about `most` bytes, the last one shorter. Where it breaks off this raises, after it."""
    gathered = bytearray()
    broken: UdfstoreError | None = None
    try:
        async for chunk in request.stream():
            gathered += chunk
            if len(gathered) >= most:
                yield gathered
                gathered = bytearray()
    except ClientDisconnect:
        broken = Cancelled("the sender went away before the end of the content")
    except UdfstoreError as error:
        broken = error
    if gathered:  # also of a body that breaks off: an upload that can be gone on with keeps it
        yield gathered
    if broken is not None:
        raise broken


def check_plain(request: Request) -> None:
    """Refuse content in a coding: it would be stored as it comes, and nobody would know."""
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise UsageError("content is stored as it comes; send it without a Content-Encoding", got=coding[:80])
