"""Tasks and followers as operators watch them: how old is what a task would restart from, and who lacks a model.

Everything here reads the catalog and blocks: it belongs into a thread.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from udfstore.service.service import Service

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WatchedTask:
    """A task that the store knows, or that has connected nodes."""

    name: str
    running: bool
    nodes: int
    """Connected nodes that own their place."""
    age_s: float | None
    """Since a round last ended well, or since its nodes came where none ever did; None: it has neither."""
    problem: str
    """Why the last round of a running task was void; "" if it was not."""


class Having(enum.Enum):
    """Whether a follower has the newest version of its tag."""

    CURRENT = "current"
    LAGGING = "lagging"
    FAILED = "failed"
    """It could not load it."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One tag that one connection follows. `lag_s` is for how long it has not had the newest version (0: it has)."""

    tag: str
    having: Having
    lag_s: float


def tasks(service: Service, now_ns: int) -> list[WatchedTask]:
    """All tasks, by name."""
    live = service.tasks.live()
    came: dict[str, int] = {}
    for task, role, since_ns in service.register.nodes():
        if role == "owner":
            came[task] = min(since_ns, came.get(task, since_ns))
    found = []
    for name, confirmed_ns in sorted(service.tasks.confirmed().items()):
        run = live.get(name)
        since_ns = confirmed_ns or came.get(name, 0)
        age_s = max(0, now_ns - since_ns) / SECOND if since_ns else None
        found.append(
            WatchedTask(name, run is not None, len(run.nodes) if run else 0, age_s, run.problem if run else "")
        )
    return found


def followed(service: Service, now_ns: int) -> list[Followed]:
    """What every connection follows."""
    followers, gauges = service.register.every_follower(), service.store.gauges
    newest = gauges.newest({follower.tag for follower in followers})
    made: dict[tuple[str, int], int | None] = {}
    found = []
    for follower in followers:
        tag = follower.tag
        now = newest.get(tag)
        if now is None or now.id is None or follower.version >= now.version or follower.id == now.id:
            found.append(Followed(tag, Having.CURRENT, 0.0))
            continue
        lacks = tag, follower.version + 1 if follower.version else follower.failed
        if lacks not in made:
            made[lacks] = gauges.since(*lacks)
        lag_s = max(0, now_ns - (made[lacks] or now_ns)) / SECOND
        having = Having.FAILED if follower.failed >= now.version else Having.LAGGING
        found.append(Followed(tag, having, lag_s))
    return found
