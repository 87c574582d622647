"""Who is connected, which models they have in use against those that their tags name, and what failed to load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from udfstore import tasks
from udfstore.calls import Following, Session
from udfstore.errors import UdfstoreError
from udfstore.http.asking import Asked, Asker
from udfstore.http.page.look import PAGE, RECORDS, first
from udfstore.http.page.render import page
from udfstore.model import NOWHERE, Caller, Entry
from udfstore.refs import Ref, Tag
from udfstore.service import Service

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Followed:
    """A tag that a connection follows, and where that stands. `newest` None: the tag names nothing now."""

    following: Following
    newest: Entry | None

    @property
    def same(self) -> bool:
        """Whether it has the content that the tag names."""
        return self.newest is not None and self.following.id is not None and self.newest.id == self.following.id

    @property
    def behind(self) -> int:
        """How many versions the tag has that came after the one in use; a rollback to its content is none."""
        if self.newest is None or self.same or not self.following.version:
            return 0
        return max(0, self.newest.version - self.following.version)


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection, and what it follows."""

    session: Session
    host: tasks.HostKind | None
    """What drives its task, if it is a node of one."""
    follows: tuple[Followed, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that a follower could not take into use. `past`: it has a later one by now, or the tag has moved on."""

    use: tasks.Use
    newest: Entry | None

    @property
    def past(self) -> bool:
        """Whether the tag names another version by now."""
        return self.newest is None or self.newest.version != self.use.version


@dataclass(frozen=True, slots=True)
class Udfs:
    """What the page shows."""

    connected: list[Connected]
    more: int
    nodes: int
    followers: int
    behind: int
    failed: int
    failures: list[Failure]


@router.get("/udfs")
async def udfs(request: Request, house: Asked, caller: Asker, everyone: Annotated[bool, Query()] = False) -> Response:
    """The UDFs. `everyone`: connections too that are no node and follow nothing."""
    found = await house.reading(look_at, house.service, caller, everyone)
    return page(request, "udfs.html", here="udfs", found=found, everyone=everyone)


def look_at(service: Service, caller: Caller, everyone: bool) -> Udfs:
    """Read what the page shows: in a thread."""
    sessions = service.register.sessions()
    failed = [use for use in first(service.tasks.list_uses(caller, tasks.ListUses()), RECORDS) if use.error]
    tags = {f.tag for session in sessions for f in session.following} | {use.tag for use in failed[:PAGE]}
    newest = {tag: _newest(service, tag) for tag in tags}
    hosts = {name: live.host for name, live in service.tasks.live().items()}
    every = [_connected(session, hosts, newest) for session in sessions]
    shown = [c for c in every if everyone or c.session.role or c.follows]
    shown.sort(key=lambda c: (c.session.place == NOWHERE, c.session.place.task, c.session.place.node, c.session.id))
    follows = [followed for c in every for followed in c.follows]
    return Udfs(
        connected=shown[:PAGE],
        more=max(0, len(shown) - PAGE),
        nodes=sum(bool(c.session.role) for c in every),
        followers=sum(bool(c.follows) for c in every),
        behind=sum(bool(followed.behind) for followed in follows),
        failed=sum(bool(followed.following.error) for followed in follows),
        failures=[Failure(use, newest[use.tag]) for use in failed[:PAGE]],
    )


def _connected(session: Session, hosts: Mapping[str, tasks.HostKind], newest: Mapping[str, Entry | None]) -> Connected:
    follows = tuple(Followed(following, newest[following.tag]) for following in session.following)
    return Connected(session, hosts.get(session.place.task) if session.role else None, follows)


def _newest(service: Service, tag: str) -> Entry | None:
    try:
        return service.store.entry(Ref.of(Tag(tag)))
    except UdfstoreError:
        return None
