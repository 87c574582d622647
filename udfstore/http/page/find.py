"""The search box: from whatever an alert says to the page of what it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from udfstore.errors import Gone, NotFound, UdfstoreError, UsageError
from udfstore.http.asking import Asked
from udfstore.http.page.render import blob_url, go, page, tag_url, task_url
from udfstore.model import Entry
from udfstore.refs import SNAPSHOTS, Prefix, Ref
from udfstore.service import Service

WORDS = 64
"""Pieces of a pasted text that are looked up."""

LOOKED_THROUGH = 2000
"""Tags whose names are searched for a piece of them."""

SHOWN = 50

_APART = re.compile(r"[\s,;=\"'`()\[\]{}<>|]+")
_ENDS = ".:!?"

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Found:
    """What a text may mean: the page that it names, or tags and tasks that have it in their names."""

    url: str = ""
    tags: tuple[Entry, ...] = ()
    tasks: tuple[str, ...] = ()


@router.get("/find")
async def find(
    request: Request, house: Asked, q: Annotated[str, Query(max_length=4000, description="Any text.")] = ""
) -> Response:
    """The page of what a text names, or what comes near."""
    text = q.strip()
    if not text:
        return page(request, "find.html", text="", found=Found())
    found = await house.reading(_look, house.service, text)
    if found.url:
        return go(found.url)
    return page(request, "find.html", status=200 if found.tags or found.tasks else 404, text=text, found=found)


def _look(service: Service, text: str) -> Found:
    tasks = service.tasks.confirmed()
    for word in _words(text):
        url = _page_of(service, word, tasks)
        if url:
            return Found(url)
    words = [name for word in _words(text) if len(name := word.partition("@")[0].lower()) > 1]
    tags = tuple(entry for entry in _tags(service) if any(word in entry.tag.lower() for word in words))
    near = tuple(task for task in sorted(tasks) if any(word in task.lower() for word in words))
    if len(tags) == 1 and not near:
        return Found(tag_url(tags[0].tag))
    if len(near) == 1 and not tags:
        return Found(task_url(near[0]))
    return Found("", tags[:SHOWN], near[:SHOWN])


def _words(text: str) -> Iterator[str]:
    """The text itself, then its pieces: first those that say most, a version or a whole ID."""
    yield text
    pieces = [piece.strip(_ENDS) for piece in _APART.split(text)[:WORDS]]
    yield from sorted(filter(None, dict.fromkeys(pieces)), key=_vagueness)


def _vagueness(word: str) -> int:
    return 0 if "@" in word else 1 if word.startswith("sha256:") else 2 if "/" in word else 3


def _page_of(service: Service, word: str, tasks: dict[str, int]) -> str:
    """Where what a word names is shown; "" where it names nothing."""
    try:
        ref = Ref.parse(word)
    except UsageError:
        return task_url(word) if word in tasks else ""
    if ref.tag is not None:
        try:
            entry = service.store.history(ref.tag, None, 1)[0]
            if ref.version is not None:
                entry = service.store.entry(ref)
            return tag_url(entry.tag, entry.version if ref.version is not None else 0)
        except NotFound:
            pass
    if word in tasks:
        return task_url(word)
    if ref.id is not None or ref.short:
        try:
            return blob_url(service.store.resolve(ref if not ref.short else Ref.parse(f"sha256:{ref.short}")).id)
        except Gone:
            return blob_url(ref.id) if ref.id is not None else ""
        except UdfstoreError:
            return ""
    return ""


def _tags(service: Service) -> Iterator[Entry]:
    after, seen = "", 0
    while seen < LOOKED_THROUGH and (batch := service.store.tags(Prefix(""), after)):
        after = batch[-1].tag
        for entry in batch:
            if not entry.tag.startswith(SNAPSHOTS):
                seen += 1
                yield entry
        if after.startswith(SNAPSHOTS):
            after = f"{SNAPSHOTS}\x7f"
