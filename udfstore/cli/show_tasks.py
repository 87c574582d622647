"""What people read of tasks, snapshots and followers. Pure: the time is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from udfstore.calls import Following, Session
from udfstore.cli.show import author, facts, one_line, size, when
from udfstore.model import NOWHERE, Place
from udfstore.tasks import Given, NodeState, Snapshot, Task, Use

_SPANS = ((86_400, "day"), (3600, "h"), (60, "min"), (1, "s"))


def ago(time_ns: int, now_ns: int) -> str:
    """How long ago, in the largest unit that fits: `3 min ago`."""
    if not time_ns:
        return "never"
    seconds = (now_ns - time_ns) // 1_000_000_000
    for span, unit in _SPANS:
        if seconds >= span:
            count = seconds // span
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''} ago"
    return "just now"


def number(snapshot: Snapshot) -> str:
    """What to call a snapshot by: its number, else its first name."""
    return str(snapshot.number) if snapshot.number else one_line(snapshot.names[0]) if snapshot.names else "-"


def place(where: Place) -> str:
    """A node of a task."""
    return "" if where == NOWHERE else one_line(f"{where.task} / {where.node}")


def _count(amount: int, what: str) -> str:
    return f"{amount} {what}{'s' if amount != 1 else ''}"


def task_row(task: Task, now_ns: int) -> Sequence[str]:
    """A task as `tasks` lists it."""
    nodes = f"{_count(len(task.nodes), 'node')}: {one_line(', '.join(task.nodes))}" if task.nodes else "not connected"
    newest = "no snapshot"
    if task.newest is not None:
        newest = f"snapshot {number(task.newest)}, {ago(task.confirmed_ns or task.newest.time_ns, now_ns)}"
    kept = f"{task.automatic} kept, {task.named} named"
    return one_line(task.name), task.host.value, nodes, newest, kept, _remarks(task)


def _remarks(task: Task) -> str:
    start = "next start: fresh" if task.fresh else f"next start: {task.chosen.short}" if task.chosen else ""
    void = f"last round void: {one_line(task.problem)}" if task.problem else ""
    return "; ".join(remark for remark in (start, void) if remark)


def snapshot_row(snapshot: Snapshot, now_ns: int) -> Sequence[str]:
    """A snapshot as `snapshot ls` lists it."""
    return (
        str(snapshot.number or "-"),
        snapshot.id.short,
        when(snapshot.time_ns),
        ago(snapshot.time_ns, now_ns),
        snapshot.reason.value,
        _count(snapshot.nodes, "node"),
        size(snapshot.bytes),
        one_line(", ".join(snapshot.names)),
    )


def snapshot_facts(snapshot: Snapshot, now_ns: int) -> Iterator[str]:
    """All that is known of a snapshot but its states."""
    return facts(
        [
            ("id", str(snapshot.id)),
            ("task", one_line(snapshot.task)),
            ("number", str(snapshot.number or "")),
            ("names", one_line(", ".join(snapshot.names))),
            ("taken", f"{when(snapshot.time_ns)}, {ago(snapshot.time_ns, now_ns)}, {snapshot.reason.value}"),
            ("fingerprint", snapshot.fingerprint),
            ("states", f"{_count(snapshot.nodes, 'node')}, {size(snapshot.bytes)}"),
        ]
    )


def state_row(state: NodeState) -> Sequence[str]:
    """A node's part of a snapshot."""
    models = ", ".join(f"{model.tag}@{model.version}" for model in state.models)
    remarks = [f"key {one_line(state.key)}"] if state.key else []
    remarks += ["carried over: it was not connected"] if state.carried else []
    remarks += [f"restored from {state.restored.short}"] if state.restored else []
    remarks += [f"with {models}"] if models else []
    return one_line(state.name), state.id[:8], state.blob.short, size(state.size), "; ".join(remarks)


def given_row(given: Given) -> Sequence[str]:
    """A node of a plan, and what it would get."""
    if given.lost:
        gets = "lost"
    elif given.state is None or given.snapshot is None:
        gets = "fresh"
    else:
        gets = f"snapshot {number(given.snapshot)}, {given.state.blob.short}, {size(given.state.size)}"
    return one_line(given.node), given.id[:8], gets, one_line(given.why)


def session_row(session: Session, now_ns: int) -> Sequence[str]:
    """A connection as `sessions` lists it."""
    follows = "; ".join(map(following, session.following))
    role = f"{session.role} of " if session.role else ""
    where = f"{role}{place(session.place)}"
    calls = _count(session.calls, "call")
    heard = f"heard {ago(session.heard_ns, now_ns)}"
    return str(session.id), author(session.author), where, ago(session.since_ns, now_ns), heard, calls, follows


def following(followed: Following) -> str:
    """What a connection has in use of a tag, and what it could not take into use."""
    has = f"{followed.tag}@{followed.version}" if followed.version else f"{followed.tag}: nothing"
    return has + (f", failed on {one_line(followed.error)}" if followed.error else "")


def use_row(use: Use, now_ns: int) -> Sequence[str]:
    """A record of use as `used` lists it."""
    failed = f"failed: {one_line(use.error)}" if use.error else ""
    ref = f"{use.tag}@{use.version}"
    by = author(use.author)
    return ref, use.id.short, when(use.time_ns), ago(use.time_ns, now_ns), place(use.place) or "-", by, failed
