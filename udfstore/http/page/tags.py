"""Tags as a tree, and the history of one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.errors import Gone, NotFound
from udfstore.http.asking import PAGE, Asked, Asker, cursor_to, place_in
from udfstore.http.page.render import blob_url, go, link, number, page, tag_url
from udfstore.http.page.rollback import is_here, version_before
from udfstore.model import Caller, Entry
from udfstore.refs import SNAPSHOTS, Prefix, Ref, Tag
from udfstore.service import Service
from udfstore.store import Store

ABOVE = 10
"""Versions shown above the one that is asked for."""

BATCHES = 10
"""Of a hundred records of use each, in which the first uses of a version are looked for."""

SHOWN = 20
"""Places of those that are told."""

router = APIRouter()


@dataclass(slots=True)
class Folder:
    """Tags that begin alike: `path` ends in `/`, the root's is empty."""

    name: str
    path: str
    folders: dict[str, Folder] = field(default_factory=dict)
    tags: list[tuple[str, Entry]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Made:
    """What a rollback made: its entry, and the tasks that were to start from another state with what they start from.

    None for a task that does not wait for it any more.
    """

    entry: Entry
    starts: tuple[tuple[str, tasks.Snapshot | None], ...]


@dataclass(frozen=True, slots=True)
class History:
    """One tag."""

    newest: Entry
    entries: list[Entry]
    older: bool
    gone: set[int]
    """Versions whose content is gone."""
    uses: list[tasks.Use]
    """The newest of each node."""
    asked: Entry | None = None
    """The version that was asked for."""
    used: tuple[tasks.Use, ...] = ()
    """Where that one was taken into use first."""
    made: Made | None = None
    suspect: Entry | None = None
    """The version that a rollback would get away from; None: there is nothing to go back to."""

    @property
    def back(self) -> bool:
        """Whether the tag went back to before the version that was asked for."""
        return self.asked is not None and _went_back(self.newest, self.asked)


@router.get("/tags")
async def tree(
    request: Request,
    house: Asked,
    under: Annotated[str, Query(max_length=1024)] = "",
    cursor: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """All tags, or those below a folder."""
    if under and not under.endswith("/"):
        under = f"{under}/"
    prefix, after = Prefix.parse(under), place_in(cursor)
    found = await house.reading(_listed, house.service.store, prefix, after)
    return page(
        request,
        "tags.html",
        here="tags",
        root=_tree(found, under),
        under=under,
        folders=_folders(under),
        empty=not found,
        later=bool(after),
        next=link("/tags", under=under or None, cursor=cursor_to(found[-1].tag)) if len(found) == PAGE else "",
    )


@router.get("/tags/{name:path}")
async def tag(
    request: Request,
    house: Asked,
    caller: Asker,
    name: str,
    before: Annotated[str, Query(max_length=20)] = "",
    made: Annotated[str, Query(max_length=20)] = "",
    state: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """The history of a tag. `models/pump@3` marks that version."""
    ref = Ref.parse(name)
    if ref.tag is None:
        return go(blob_url((await house.reading(house.service.store.resolve, ref)).id))
    asked = _Asked(ref.tag, ref.version, number(before, "before"), number(made, "made"), tuple(state or ())[:PAGE])
    history = await house.reading(_look, house.service, caller, asked)
    last = history.entries[-1].version
    return page(
        request,
        "tag.html",
        here="tags",
        tag=ref.tag,
        folders=_folders(ref.tag.name),
        history=history,
        next=link(tag_url(ref.tag.name), before=last) if history.older else "",
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    tag: Tag
    version: int | None
    before: int | None
    made: int | None
    states: tuple[str, ...]


def _look(service: Service, caller: Caller, asked: _Asked) -> History:
    store = service.store
    newest = store.history(asked.tag, None, 1)[0]
    one, before = None, asked.before
    if asked.version is not None:
        one = store.entry(Ref(f"{asked.tag}", tag=asked.tag, version=asked.version))
        if before is None and one.version <= newest.version - PAGE:
            before = one.version + ABOVE
    entries = store.history(asked.tag, before, PAGE)
    if not entries:
        raise NotFound(f"{asked.tag} has no version below {before}")
    uses = next(service.tasks.list_uses(caller, tasks.ListUses(tag=asked.tag)), [])
    return History(
        newest=newest,
        entries=entries,
        older=entries[-1].version > 1,
        gone=_gone(store, entries),
        uses=uses,
        asked=one,
        used=_used(service, caller, one) if one else (),
        made=_made(service, caller, asked),
        suspect=_suspect(store, newest, one),
    )


def _went_back(newest: Entry, asked: Entry) -> bool:
    return newest.id != asked.id and 0 < newest.origin < asked.version


def _suspect(store: Store, newest: Entry, asked: Entry | None) -> Entry | None:
    """The version to get away from: what the tag has now, unless another content was asked for."""
    if asked is None or asked.id == newest.id:
        suspect = newest
    elif _went_back(newest, asked):
        return None
    else:
        suspect = asked
    to = version_before(store, suspect)
    return suspect if to is not None and to.id != newest.id else None


def _used(service: Service, caller: Caller, entry: Entry) -> tuple[tasks.Use, ...]:
    """The first use of a version at each place, as far as the newest records tell."""
    found: dict[object, tasks.Use] = {}
    batches = service.tasks.list_uses(caller, tasks.ListUses(tag=Tag(entry.tag), everything=True))
    for batch in islice(batches, BATCHES):
        found |= {(use.place, not use.place.task and use.author): use for use in batch if use.version == entry.version}
    return tuple(found.values())[:SHOWN]


def _gone(store: Store, entries: list[Entry]) -> set[int]:
    here: dict[BlobId, bool] = {}
    for entry in entries:
        if entry.id is not None and entry.id not in here:
            here[entry.id] = is_here(store, entry.id)
    return {entry.version for entry in entries if entry.id is not None and not here[entry.id]}


def _made(service: Service, caller: Caller, asked: _Asked) -> Made | None:
    """What the address says was made, as the store has it."""
    if asked.made is None:
        return None
    try:
        entry = service.store.entry(Ref(f"{asked.tag}", tag=asked.tag, version=asked.made))
    except NotFound:
        return None
    known = service.tasks.confirmed()
    return Made(entry, tuple((task, _start(service, caller, task)) for task in asked.states if task in known))


def _start(service: Service, caller: Caller, task: str) -> tasks.Snapshot | None:
    """The snapshot that was chosen for the next start of a task; None: there is none, or it has started."""
    record = service.tasks.shelf.record(task)
    if record is None or record.use is None or record.use.snapshot is None:
        return None
    try:
        return service.tasks.find_snapshot(caller, tasks.FindSnapshot(task, record.use.snapshot.hex))
    except (NotFound, Gone):
        return None


def _listed(store: Store, prefix: Prefix, after: str) -> list[Entry]:
    """A page of tags, those of snapshots left out where all are asked for."""
    found: list[Entry] = []
    while len(found) < PAGE and (batch := store.tags(prefix, after, PAGE)):
        after = batch[-1].tag
        found += [entry for entry in batch if prefix.text or not entry.tag.startswith(SNAPSHOTS)]
        if not prefix.text and after.startswith(SNAPSHOTS):
            after = f"{SNAPSHOTS}\x7f"  # behind all of them
    return found[:PAGE]


def _tree(entries: list[Entry], under: str) -> Folder:
    root = Folder("", under)
    for entry in entries:
        *above, name = entry.tag.removeprefix(under).split("/")
        folder = root
        for part in above:
            folder = folder.folders.setdefault(part, Folder(part, f"{folder.path}{part}/"))
        folder.tags.append((name or entry.tag, entry))
    return root


def _folders(path: str) -> list[tuple[str, str]]:
    """The folders above a tag, each by its name and its path."""
    parts = path.split("/")[:-1]
    return [(part, "/".join(parts[: place + 1]) + "/") for place, part in enumerate(parts)]
