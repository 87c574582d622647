"""What happened to a task, newest first: its snapshots and what each changed, between the models in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from udfstore.digest import BlobId
from udfstore.snapshots import NodeSnapshot, Snapshot
from udfstore.tasks import Use

USES = 200
"""Records of use on one page of a timeline."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A node had another model than in the snapshot before; version 0: none."""

    node: str
    tag: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a snapshot changed against the one before it (`first`: none is kept)."""

    first: bool = False
    other_dag: bool = False
    states: int = 0
    """Nodes whose state is another one."""
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    bytes: int = 0
    """How much larger it is."""
    swaps: tuple[Swap, ...] = ()
    restored: tuple[tuple[str, BlobId], ...] = ()
    """Nodes that had begun from another snapshot than before, and from which."""
    carried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """One line: a snapshot with what it changed, or a record of use."""

    time_ns: int
    snapshot: Snapshot | None = None
    changes: Changes | None = None
    use: Use | None = None


def told(snapshots: Sequence[Snapshot], uses: Sequence[Use], skip: int, count: int) -> list[Moment]:
    """The lines from the snapshot at place `skip` on, `count` of them, and of the uses in that time.

    Both are given newest first.
    """
    shown = snapshots[skip : skip + count]
    moments = [
        Moment(s.manifest.time_ns, s, changes(s, snapshots[place + 1] if place + 1 < len(snapshots) else None))
        for place, s in enumerate(shown, skip)
    ]
    # Uses belong to the page with the snapshot before them, and those after all snapshots to the first one.
    newest = snapshots[skip].manifest.time_ns if skip else None
    oldest = snapshots[skip + count].manifest.time_ns if skip + count < len(snapshots) else None
    between = (
        use for use in uses if (newest is None or use.time_ns < newest) and (oldest is None or use.time_ns >= oldest)
    )
    moments += [Moment(use.time_ns, use=use) for use in islice(between, USES)]
    return sorted(moments, key=lambda moment: moment.time_ns, reverse=True)


def changes(snapshot: Snapshot, before: Snapshot | None) -> Changes:
    """What a snapshot changed."""
    now = {node.name: node for node in snapshot.manifest.nodes}
    carried = tuple(node.name for node in now.values() if node.carried)
    if before is None:
        restored = tuple((node.name, node.restored) for node in now.values() if node.restored)
        return Changes(first=True, restored=restored, carried=carried)
    then = {node.name: node for node in before.manifest.nodes}
    both = [(then[name], node) for name, node in now.items() if name in then]
    return Changes(
        other_dag=snapshot.manifest.fingerprint != before.manifest.fingerprint,
        states=sum(old.blob != new.blob for old, new in both),
        came=tuple(name for name in now if name not in then),
        went=tuple(name for name in then if name not in now),
        bytes=_bytes(now) - _bytes(then),
        swaps=tuple(swap for old, new in both for swap in _swaps(old, new)),
        restored=tuple((new.name, new.restored) for old, new in both if new.restored and new.restored != old.restored),
        carried=carried,
    )


def _swaps(old: NodeSnapshot, new: NodeSnapshot) -> list[Swap]:
    before = {model.tag: model.version for model in old.models}
    after = {model.tag: model.version for model in new.models}
    return [
        Swap(new.name, tag, before.get(tag, 0), after.get(tag, 0))
        for tag in dict.fromkeys([*before, *after])
        if before.get(tag, 0) != after.get(tag, 0)
    ]


def _bytes(nodes: Mapping[str, NodeSnapshot]) -> int:
    return sum(node.size for node in nodes.values())
