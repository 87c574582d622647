"""What has to be allowed for each call. Total by test; where there are rules, a call that is not here is refused.

What a ref names is judged when it is resolved, and what an answer tells when it is shown: see gate.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from udfstore import admin, calls, tasks
from udfstore.refs import Prefix, Tag
from udfstore.service.rules import ALL, Need, Right
from udfstore.snapshots import auto_tag

READ, SNAPSHOT, WRITE, DELETE, ADMIN = Right


def reading(tag: str) -> Need:
    """To read one tag."""
    return Need((READ,), tag, tag)


def of_task(right: Right, task: str) -> Need:
    """A right to a task as a whole, which is judged by the tag of its automatic snapshots."""
    return Need((right,), auto_tag(task).name, f"the task {task!r}")


def _tags(right: Right, *tags: Tag) -> tuple[Need, ...]:
    return tuple(Need((right,), tag.name, tag.name) for tag in tags)


def _prefix(prefix: Prefix) -> tuple[Need, ...]:
    return () if prefix.many else (reading(prefix.text),)


def _task(right: Right) -> Callable[[Any], tuple[Need, ...]]:
    return lambda call: (of_task(right, call.task),)


def _take(call: tasks.SaveSnapshot) -> tuple[Need, ...]:
    named = (of_task(WRITE, call.task),) if call.name else ()
    return (of_task(SNAPSHOT, call.task), *named)


def _join(node: tasks.Node) -> tuple[Need, ...]:
    source = (of_task(READ, node.source),) if node.source else ()
    return (of_task(SNAPSHOT, node.task), *source)


def _uses(call: tasks.ListUses) -> tuple[Need, ...]:
    tag = (reading(call.tag.name),) if call.tag else ()
    return (*tag, *((of_task(READ, call.task),) if call.task else ()))


def _nothing(_: object) -> tuple[Need, ...]:
    return ()


_SAVING = (Need((WRITE, SNAPSHOT), "", "any content"),)
_REMOVING = (Need((DELETE,), "", "any content"),)
_OPERATING = (Need((ADMIN,), ALL, "this store"),)
_SEEING_ALL = (Need((READ,), ALL, "everything here, as this needs"),)

NEEDS: dict[type, Callable[[Any], tuple[Need, ...]]] = {
    calls.Save: lambda _: _SAVING,
    calls.Commit: lambda call: _tags(WRITE, call.target.tag) if call.target else (),
    calls.Load: _nothing,
    calls.Stat: _nothing,
    calls.Verify: _nothing,
    calls.Why: _nothing,
    calls.Missing: _nothing,
    calls.ListBlobs: _nothing,
    calls.Delete: lambda _: _REMOVING,
    calls.Undelete: lambda _: _REMOVING,
    calls.GetTag: _nothing,
    calls.ListTags: lambda call: _prefix(call.prefix),
    calls.History: lambda call: _tags(READ, call.tag),
    calls.Watch: lambda call: _prefix(call.prefix),
    calls.Move: lambda call: _tags(WRITE, *(step.tag for step in call.steps)),
    calls.Rollback: lambda call: _tags(WRITE, call.tag),
    calls.Hold: lambda call: _tags(WRITE, call.tag),
    calls.Release: lambda call: _tags(WRITE, call.tag),
    calls.Untag: lambda call: _tags(DELETE, *call.tags),
    calls.Used: lambda call: _tags(READ, call.tag),
    calls.Status: _nothing,
    calls.Sessions: _nothing,
    tasks.Node: _join,
    tasks.ListTasks: _nothing,
    tasks.ListSnapshots: _task(READ),
    tasks.FindSnapshot: _task(READ),
    tasks.ListStates: _task(READ),
    tasks.PlanRestore: _task(READ),
    tasks.ListUses: _uses,
    tasks.AwaitFollowers: lambda call: _tags(READ, call.tag),
    tasks.SaveSnapshot: _take,
    tasks.NameSnapshot: _task(WRITE),
    tasks.UseSnapshot: _task(WRITE),
    tasks.DeleteSnapshots: _task(DELETE),
    tasks.DeleteTask: _task(DELETE),
    admin.AddToken: lambda _: _OPERATING,
    admin.RemoveToken: lambda _: _OPERATING,
    admin.ListTokens: lambda _: _OPERATING,
    admin.Backup: lambda _: _OPERATING,
    admin.Check: lambda _: _OPERATING,
    admin.Collect: lambda _: _OPERATING,
    admin.MakeLink: lambda _: _SEEING_ALL,
    admin.ReadMetrics: lambda call: _SEEING_ALL if call.names else (),
}
