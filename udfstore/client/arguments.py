"""From what a user gives to what is asked, and from what came to what was asked for. The shells share it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from udfstore import calls, tasks
from udfstore.admin import Can, Check, Collect
from udfstore.digest import BlobId
from udfstore.errors import InternalError, UsageError
from udfstore.model import REQUEST_BYTES, Event, check_labels, check_note, datetime_of
from udfstore.refs import Ref, Tag

Kind = TypeVar("Kind")


def request() -> bytes:
    """A new request number."""
    return os.urandom(REQUEST_BYTES)


def tag(name: Tag | str) -> Tag:
    """A tag from its name."""
    return name if isinstance(name, Tag) else Tag.parse(name)


def save(
    size: int | None,
    name: Tag | str | None,
    note: str,
    labels: Mapping[str, str] | None,
    expected_version: int | None,
    id: BlobId | str | None,
    links: Iterable[BlobId | str],
) -> tuple[calls.Save, calls.Commit]:
    """The two calls of a save. Raises `UsageError` for a note, labels, version or links without a tag to bear them."""
    announced = blob_id(id) if id is not None else None
    if name is None:
        if note or labels or expected_version is not None or tuple(links):
            raise UsageError("note, labels, expected version and links belong to a tag: name one")
        return calls.Save(announced, size), calls.Commit(0)
    target = calls.Target(
        tag(name),
        check_note(note),
        None if labels is None else check_labels(labels),
        expected_version,
        tuple(map(blob_id, links)),
    )
    number = request()
    return calls.Save(announced, size, number), calls.Commit(0, None, target, number)


def steps(
    moves: Mapping[str, Ref | BlobId | Tag | str], expected: Mapping[str, int], labels: Mapping[str, str] | None
) -> tuple[calls.Step, ...]:
    """The steps of a move. Raises `UsageError` for an expected version of a tag that does not move."""
    for name in expected:
        if name not in moves:
            raise UsageError("an expected version of a tag that is not moved", got=name)
    return tuple(calls.Step(tag(name), Ref.of(ref), expected.get(name), labels) for name, ref in moves.items())


def policy(name: tasks.Policy | str) -> tasks.Policy:
    """A policy from its name."""
    try:
        return tasks.Policy(name)
    except ValueError:
        known = ", ".join(policy.value for policy in tasks.Policy)
        raise UsageError("no such policy of restoring", expected=known, got=repr(name)) from None


def can(name: Can | str) -> Can:
    """What a token is good for, from its name."""
    try:
        return Can(name)
    except ValueError:
        known = ", ".join(can.value for can in Can)
        raise UsageError("not something that a token can", expected=known, got=repr(name)) from None


def use(
    task: str, snapshot: str | int | BlobId, before: Ref | BlobId | Tag | str | None, now: bool
) -> tasks.UseSnapshot:
    """The choice of what a task is given. Raises `UsageError` unless one way of choosing is named."""
    if bool(snapshot) == (before is not None):
        raise UsageError("a choice names either a snapshot (or `fresh`), or a ref that it is from before")
    return tasks.UseSnapshot(task, str(snapshot), None if before is None else Ref.of(before), now, request())


def uses(task: str, name: Tag | str | None, at: datetime | int | None, everything: bool) -> tasks.ListUses:
    """The question for what was in use. Raises `UsageError` unless it is about a task or about a tag."""
    if bool(task) == (name is not None):
        raise UsageError("what was in use is asked of a task, or of a tag")
    if isinstance(at, datetime):  # which knows microseconds: all of that one
        at = nanoseconds(at) + 999
    return tasks.ListUses(task, None if name is None else tag(name), at, everything)


def nanoseconds(at: datetime) -> int:
    """A time in nanoseconds since 1970."""
    return (at.astimezone(UTC) - datetime_of(0)) // timedelta(microseconds=1) * 1000


def check(since: datetime | int | None, repair: bool) -> Check:
    """The question for what is wrong with a store."""
    return Check(nanoseconds(since) if isinstance(since, datetime) else since, repair)


def missing(ids: Iterable[BlobId | str]) -> Iterator[calls.Missing]:
    """As many questions as it takes."""
    asked = [blob_id(id) for id in ids]
    for start in range(0, len(asked), calls.MISSING_IDS):
        yield calls.Missing(tuple(asked[start : start + calls.MISSING_IDS]))


def blob_id(id: BlobId | str) -> BlobId:
    """An ID from its text."""
    return id if isinstance(id, BlobId) else BlobId.parse(id)


def collect(grace: float | None, now: bool, dry_run: bool) -> Collect:
    """The call for room. Raises `UsageError` for a grace time that is none."""
    if grace is not None and not 0 <= grace < 1 << 32:
        raise UsageError("the grace time is a number of seconds from 0", got=grace)
    return Collect(dry_run, None if grace is None else math.ceil(grace), now)


def answer(result: calls.Result, kind: type[Kind]) -> Kind:
    """The result, known to be of the kind that was asked for."""
    if not isinstance(result, kind):
        raise InternalError(
            "a result of another kind than was asked for", expected=kind.__name__, got=type(result).__name__
        )
    return result


def only(items: Iterable[calls.Item | Event], kind: type[Kind]) -> Iterator[Kind]:
    """The items, known to be of the kind that was asked for."""
    for item in items:
        if not isinstance(item, kind):
            raise InternalError(
                "an item of another kind than was asked for", expected=kind.__name__, got=type(item).__name__
            )
        yield item
