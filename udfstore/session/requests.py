"""Requests: `calls` values on one side, protobuf on the other.

Reading checks what the wire cannot: names, lengths of IDs, limits of notes and labels. What is wrong is a `UsageError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from udfstore import admin, calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.model import check_note, check_request
from udfstore.refs import Prefix, Ref, Tag
from udfstore.session.values import (
    can_of,
    check_number,
    ids_of,
    maybe_id,
    maybe_labels,
    maybe_number,
    ms_of,
    policy_of,
    put_labels,
    put_number,
    raw_of,
    reason_of,
    seconds_of,
)
from udfstore.wire import limits


def call_to_pb(number: int, call: calls.Call, credit: int = 0) -> pb.Call:
    """The message that opens a call, and grants as much of it."""
    message = pb.Call(call=number, request=getattr(call, "request", b""), credit=credit)
    name, fill = _WRITE[type(call)]
    op = getattr(message, name)
    op.SetInParent()
    fill(op, call)
    return message


def call_from_pb(message: pb.Call) -> calls.Call:
    """The call that a message opens. Raises `UsageError` for an operation that this release does not know."""
    name = message.WhichOneof("op")
    if name is None:
        raise UsageError("a call without an operation that this server knows", expected=", ".join(_READ))
    return _READ[name](getattr(message, name), message.request)


def commit_to_pb(number: int, commit: calls.Commit) -> pb.Commit:
    """The message that ends a save's content."""
    message = pb.Commit(call=number, size=commit.size, id=raw_of(commit.id))
    if commit.target is not None:
        target = message.target
        target.tag, target.note = commit.target.tag.name, commit.target.note
        put_labels(target, commit.target.labels)
        put_number(target, "expected", commit.target.expected)
        target.links.extend(link.raw for link in commit.target.links)
    return message


def commit_from_pb(message: pb.Commit, request: bytes) -> calls.Commit:
    """The end of a save; `request` is that of its call, needed when a tag moves with it."""
    target = None
    if message.HasField("target"):
        check_request(request)
        t = message.target
        target = calls.Target(
            Tag.parse(t.tag), check_note(t.note), maybe_labels(t), maybe_number(t, "expected"), ids_of(t.links)
        )
    return calls.Commit(message.size, maybe_id(message.id), target, request)


def _write_save(op: Any, call: calls.Save) -> None:
    op.id, op.descriptor, op.offset = raw_of(call.id), call.descriptor, call.offset
    put_number(op, "size", call.size)


def _write_load(op: Any, call: calls.Load) -> None:
    op.ref, op.offset = call.ref.text, call.offset
    put_number(op, "length", call.length)
    put_number(op, "descriptor_from", call.descriptor_from)


def _write_ref(op: Any, call: Any) -> None:
    op.ref = call.ref.text


def _write_nothing(op: Any, call: Any) -> None:
    pass


def _write_delete(op: Any, call: calls.Delete) -> None:
    op.ref, op.force, op.now = call.ref.text, call.force, call.now


def _write_move(op: Any, call: calls.Move) -> None:
    op.note = call.note
    for step in call.steps:
        one = op.steps.add(tag=step.tag.name, ref=step.ref.text, links=[link.raw for link in step.links])
        put_number(one, "expected", step.expected)
        put_labels(one, step.labels)


def _write_rollback(op: Any, call: calls.Rollback) -> None:
    op.tag, op.note = call.tag.name, call.note
    put_number(op, "to", call.to)
    put_number(op, "expected", call.expected)
    put_labels(op, call.labels)


def _write_untag(op: Any, call: calls.Untag) -> None:
    op.tags.extend(tag.name for tag in call.tags)
    op.expected.extend(-1 if number is None else number for number in call.expected)
    op.note = call.note


def _write_hold(op: Any, call: calls.Hold | calls.Release) -> None:
    op.tag, op.note = call.tag.name, call.note


def _write_watch(op: Any, call: calls.Watch) -> None:
    op.prefix, op.epoch = call.prefix.text, call.epoch
    put_number(op, "since", call.since)


def _write_used(op: Any, call: calls.Used) -> None:
    op.tag, op.version, op.id, op.error = call.tag.name, call.version, call.id.raw, call.error


def _write_task(op: Any, call: Any) -> None:
    op.task = call.task


def _write_delete_task(op: Any, call: tasks.DeleteTask) -> None:
    op.task, op.all = call.task, call.everything


def _write_snapshot(op: Any, call: tasks.FindSnapshot | tasks.ListStates) -> None:
    op.task, op.snapshot = call.task, call.snapshot


def _write_save_snapshot(op: Any, call: tasks.SaveSnapshot) -> None:
    op.task, op.reason, op.name = call.task, call.reason.value, call.name


def _write_name_snapshot(op: Any, call: tasks.NameSnapshot) -> None:
    op.task, op.name, op.snapshot, op.note = call.task, call.name, call.snapshot, call.note


def _write_use_snapshot(op: Any, call: tasks.UseSnapshot) -> None:
    op.task, op.snapshot, op.now = call.task, call.snapshot, call.now
    op.before = "" if call.before is None else call.before.text


def _write_delete_snapshots(op: Any, call: tasks.DeleteSnapshots) -> None:
    op.task, op.all = call.task, call.everything
    op.snapshots.extend(call.snapshots)


def _write_plan_restore(op: Any, call: tasks.PlanRestore) -> None:
    op.task, op.dag, op.snapshot = call.task, call.dag, call.snapshot
    op.policy = pb.Policy.Value(call.policy.name)


def _write_list_uses(op: Any, call: tasks.ListUses) -> None:
    op.task, op.all = call.task, call.everything
    op.tag = "" if call.tag is None else call.tag.name
    if call.at_ns is not None:
        op.at_ns = call.at_ns


def _write_await_followers(op: Any, call: tasks.AwaitFollowers) -> None:
    op.tag, op.version, op.timeout_ms = call.tag.name, call.version, ms_of("the timeout", call.timeout)


def _write_add_token(op: Any, call: admin.AddToken) -> None:
    op.name, op.can = call.name, pb.Can.Value(call.can.name)


def _write_collect(op: Any, call: admin.Collect) -> None:
    op.dry_run, op.now = call.dry_run, call.now
    put_number(op, "grace_s", call.grace_s)


def _write_check(op: Any, call: admin.Check) -> None:
    op.repair = call.repair
    if call.since_ns is not None:
        op.since_ns = call.since_ns


_WRITE: dict[type, tuple[str, Callable[[Any, Any], None]]] = {
    calls.Save: ("save", _write_save),
    calls.Load: ("load", _write_load),
    calls.Stat: ("stat", _write_ref),
    calls.Verify: ("verify", _write_ref),
    calls.Why: ("why", _write_ref),
    calls.ListBlobs: ("list_blobs", _write_nothing),
    calls.Missing: ("missing", lambda op, call: op.ids.extend(id.raw for id in call.ids)),
    calls.Delete: ("delete", _write_delete),
    calls.Move: ("move", _write_move),
    calls.Rollback: ("rollback", _write_rollback),
    calls.Untag: ("untag", _write_untag),
    calls.Hold: ("hold", _write_hold),
    calls.Release: ("release", _write_hold),
    calls.GetTag: ("get_tag", _write_ref),
    calls.ListTags: ("list_tags", lambda op, call: setattr(op, "prefix", call.prefix.text)),
    calls.History: ("history", lambda op, call: setattr(op, "tag", call.tag.name)),
    calls.Watch: ("watch", _write_watch),
    calls.Used: ("used", _write_used),
    calls.Status: ("status", _write_nothing),
    calls.Sessions: ("sessions", _write_nothing),
    tasks.ListTasks: ("list_tasks", _write_nothing),
    tasks.DeleteTask: ("delete_task", _write_delete_task),
    tasks.ListSnapshots: ("list_snapshots", _write_task),
    tasks.FindSnapshot: ("find_snapshot", _write_snapshot),
    tasks.ListStates: ("list_states", _write_snapshot),
    tasks.SaveSnapshot: ("save_snapshot", _write_save_snapshot),
    tasks.NameSnapshot: ("name_snapshot", _write_name_snapshot),
    tasks.UseSnapshot: ("use_snapshot", _write_use_snapshot),
    tasks.DeleteSnapshots: ("delete_snapshots", _write_delete_snapshots),
    tasks.PlanRestore: ("plan_restore", _write_plan_restore),
    tasks.ListUses: ("list_uses", _write_list_uses),
    tasks.AwaitFollowers: ("await_followers", _write_await_followers),
    admin.AddToken: ("add_token", _write_add_token),
    admin.RemoveToken: ("remove_token", lambda op, call: setattr(op, "name", call.name)),
    admin.ListTokens: ("list_tokens", _write_nothing),
    admin.MakeLink: ("make_link", _write_nothing),
    admin.ReadMetrics: ("read_metrics", lambda op, call: setattr(op, "names", call.names)),
    admin.Backup: ("backup", _write_nothing),
    admin.Collect: ("collect", _write_collect),
    calls.Undelete: ("undelete", _write_ref),
    admin.Check: ("check", _write_check),
}


def _read_save(op: Any, request: bytes) -> calls.Save:
    size = maybe_number(op, "size")
    if op.descriptor and size is None:
        raise UsageError("a save by descriptor without a size", expected="how many bytes of the file are the content")
    check_number("offset + size", op.offset + (size or 0))
    return calls.Save(maybe_id(op.id), size, request, op.descriptor, op.offset)


def _read_missing(op: Any, request: bytes) -> calls.Missing:
    if len(op.ids) > calls.MISSING_IDS:
        raise UsageError(f"one call asks for at most {calls.MISSING_IDS} IDs", got=len(op.ids))
    return calls.Missing(ids_of(op.ids))


def _read_move(op: Any, request: bytes) -> calls.Move:
    if not 1 <= len(op.steps) <= calls.MOVES:
        raise UsageError(f"one move has 1 to {calls.MOVES} steps", got=len(op.steps))
    steps = tuple(
        calls.Step(Tag.parse(s.tag), Ref.parse(s.ref), maybe_number(s, "expected"), maybe_labels(s), ids_of(s.links))
        for s in op.steps
    )
    return calls.Move(steps, check_note(op.note), check_request(request))


def _read_rollback(op: Any, request: bytes) -> calls.Rollback:
    return calls.Rollback(
        Tag.parse(op.tag),
        maybe_number(op, "to"),
        maybe_number(op, "expected"),
        check_note(op.note),
        maybe_labels(op),
        check_request(request),
    )


def _read_untag(op: Any, request: bytes) -> calls.Untag:
    if not 1 <= len(op.tags) <= calls.MOVES:
        raise UsageError(f"one call deletes 1 to {calls.MOVES} tags", got=len(op.tags))
    if len(op.expected) not in (0, len(op.tags)):
        raise UsageError("expected versions: one for each tag, or none", got=len(op.expected))
    expected = tuple(None if number < 0 else number for number in op.expected)
    return calls.Untag(tuple(Tag.parse(tag) for tag in op.tags), expected, check_note(op.note), check_request(request))


def _read_used(op: Any, request: bytes) -> calls.Used:
    version = check_number("version", op.version)
    return calls.Used(Tag.parse(op.tag), version, BlobId(op.id), check_note(op.error), check_request(request))


def _read_name_snapshot(op: Any, request: bytes) -> tasks.NameSnapshot:
    return tasks.NameSnapshot(op.task, op.name, op.snapshot, check_note(op.note), check_request(request))


def _read_use_snapshot(op: Any, request: bytes) -> tasks.UseSnapshot:
    before = Ref.parse(op.before) if op.before else None
    return tasks.UseSnapshot(op.task, op.snapshot, before, op.now, check_request(request))


def _read_plan_restore(op: Any, request: bytes) -> tasks.PlanRestore:
    if len(op.dag) > limits.DAG_BYTES:
        raise UsageError(f"a DAG has at most {limits.DAG_BYTES} bytes", got=len(op.dag))
    return tasks.PlanRestore(op.task, op.dag, policy_of(op.policy), op.snapshot)


def _read_list_uses(op: Any, request: bytes) -> tasks.ListUses:
    tag = Tag.parse(op.tag) if op.tag else None
    return tasks.ListUses(op.task, tag, op.at_ns if op.HasField("at_ns") else None, op.all)


def _read_await_followers(op: Any, request: bytes) -> tasks.AwaitFollowers:
    version, timeout = check_number("version", op.version), seconds_of("the timeout", op.timeout_ms)
    return tasks.AwaitFollowers(Tag.parse(op.tag), version, timeout)


_READ: dict[str, Callable[[Any, bytes], calls.Call]] = {
    "save": _read_save,
    "load": lambda op, _: calls.Load(
        Ref.parse(op.ref), op.offset, maybe_number(op, "length"), maybe_number(op, "descriptor_from")
    ),
    "stat": lambda op, _: calls.Stat(Ref.parse(op.ref)),
    "verify": lambda op, _: calls.Verify(Ref.parse(op.ref)),
    "why": lambda op, _: calls.Why(Ref.parse(op.ref)),
    "list_blobs": lambda op, _: calls.ListBlobs(),
    "missing": _read_missing,
    "delete": lambda op, request: calls.Delete(Ref.parse(op.ref), op.force, op.now, check_request(request)),
    "move": _read_move,
    "rollback": _read_rollback,
    "untag": _read_untag,
    "hold": lambda op, request: calls.Hold(Tag.parse(op.tag), check_note(op.note), check_request(request)),
    "release": lambda op, request: calls.Release(Tag.parse(op.tag), check_note(op.note), check_request(request)),
    "get_tag": lambda op, _: calls.GetTag(Ref.parse(op.ref)),
    "list_tags": lambda op, _: calls.ListTags(Prefix.parse(op.prefix)),
    "history": lambda op, _: calls.History(Tag.parse(op.tag)),
    "watch": lambda op, _: calls.Watch(Prefix.parse(op.prefix), maybe_number(op, "since"), op.epoch),
    "used": _read_used,
    "status": lambda op, _: calls.Status(),
    "sessions": lambda op, _: calls.Sessions(),
    "list_tasks": lambda op, _: tasks.ListTasks(),
    "delete_task": lambda op, request: tasks.DeleteTask(op.task, op.all, check_request(request)),
    "list_snapshots": lambda op, _: tasks.ListSnapshots(op.task),
    "find_snapshot": lambda op, _: tasks.FindSnapshot(op.task, op.snapshot),
    "list_states": lambda op, _: tasks.ListStates(op.task, op.snapshot),
    "save_snapshot": lambda op, _: tasks.SaveSnapshot(op.task, reason_of(op.reason), op.name),
    "name_snapshot": _read_name_snapshot,
    "use_snapshot": _read_use_snapshot,
    "delete_snapshots": lambda op, request: tasks.DeleteSnapshots(
        op.task, tuple(op.snapshots), op.all, check_request(request)
    ),
    "plan_restore": _read_plan_restore,
    "list_uses": _read_list_uses,
    "await_followers": _read_await_followers,
    "add_token": lambda op, _: admin.AddToken(admin.check_token_name(op.name), can_of(op.can)),
    "remove_token": lambda op, _: admin.RemoveToken(op.name),
    "list_tokens": lambda op, _: admin.ListTokens(),
    "make_link": lambda op, _: admin.MakeLink(),
    "read_metrics": lambda op, _: admin.ReadMetrics(op.names),
    "backup": lambda op, _: admin.Backup(),
    "collect": lambda op, _: admin.Collect(op.dry_run, maybe_number(op, "grace_s"), op.now),
    "undelete": lambda op, _: calls.Undelete(Ref.parse(op.ref)),
    "check": lambda op, _: admin.Check(op.since_ns if op.HasField("since_ns") else None, op.repair),
}
