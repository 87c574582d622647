"""One blob: what names and keeps it, and what can be said of its content without showing it as what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from udfstore.calls import Kept
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Gone, NotFound, UdfstoreError, UsageError
from udfstore.http.asking import Asked
from udfstore.http.page import hexdump, safetensors
from udfstore.http.page.render import blob_url, go, page
from udfstore.model import Entry
from udfstore.refs import Ref
from udfstore.store import Store

FIRST_BYTES = 512

_DIGITS = re.compile(r"[0-9a-f]{8,64}", re.ASCII)

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Content:
    """What is shown of the content. `problem`: why nothing is."""

    size: int = 0
    dump: tuple[hexdump.Line, ...] = ()
    header: safetensors.Header | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of a blob; `gone`: why there is no more than what named it."""

    kept: Kept | None
    named: tuple[Entry, ...]
    content: Content
    gone: str = ""


@router.get("/blobs/{id}")
async def blob(request: Request, house: Asked, id: str) -> Response:
    """The page of a blob, by its ID or the beginning of that."""
    store = house.service.store
    digits = id.removeprefix("sha256:")
    if not _DIGITS.fullmatch(digits):
        raise UsageError("not a blob ID", expected="64 hex digits, or eight or more of them", got=repr(id[:80]))
    ref = Ref.parse(f"sha256:{digits}")
    if ref.id is None:
        return go(blob_url((await house.reading(store.resolve, ref)).id))
    shown = await house.reading(_look, store, ref.id)
    return page(request, "blob.html", status=410 if shown.gone else 200, here="tags", id=ref.id, shown=shown)


def content_of(store: Store, id: BlobId) -> Content:
    """What is shown of a blob's content."""
    try:
        with store.open(id) as file:
            dump = hexdump.lines(file.pread(0, FIRST_BYTES))
            return Content(file.size, tuple(dump), safetensors.read(file.pread, file.size))
    except UdfstoreError as error:
        return Content(problem=error.message)


def _look(store: Store, id: BlobId) -> Shown:
    try:
        kept = store.why(Ref.of(id))
    except (Gone, Corrupt) as error:
        return Shown(None, tuple(store.naming(id)), Content(), error.message)
    except NotFound:
        named = tuple(store.naming(id))
        if not named:
            raise
        return Shown(None, named, Content(), "its content is not here")
    return Shown(kept, kept.named, content_of(store, id))
