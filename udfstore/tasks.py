"""Tasks, their nodes and snapshots as every room speaks of them: who a node is, what can be asked, what is answered.

Times are nanoseconds since 1970 (`…_ns`), intervals seconds. The calls are carried and answered as those of
`udfstore.calls`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.model import NOBODY, Author
from udfstore.model import NOWHERE as NOWHERE
from udfstore.model import Place as Place
from udfstore.refs import Ref, Tag

FRESH = "fresh"
"""Stands where a snapshot is chosen: none."""


class Policy(enum.Enum):
    """What a change of the DAG leaves of a task's state."""

    STRICT = "strict"
    UPSTREAM = "upstream"
    KEY = "key"


class HostKind(enum.Enum):
    """Who drives the UDFs of a task: itself, Kapacitor through a bridge, or `udfstore run`."""

    DIRECT = "direct"
    KAPACITOR = "kapacitor"
    RUN = "run"


class Reason(enum.Enum):
    """Why a snapshot was taken."""

    INTERVAL = "interval"
    STOP = "stop"
    MANUAL = "manual"
    KAPACITOR = "kapacitor"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a node had in use: the version of a tag, and the blob that it names."""

    tag: str
    version: int
    blob: BlobId


# --- a connection that is a node -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """What a connection says to be a node of a task.

    `dag` is the task's DAG as JSON (docs/dag.md), `fingerprint` that of one that the server knows; neither: no DAG.
    `key` is the stable key of the node's state, `options` a digest of its options. `interval` is how often its state is
    taken, `timeout` how often a complete frame is expected of it; 0: the server's default. `snapshot`: be given the
    state of that snapshot (number, name, ID or `fresh`) of the task `source` (empty: its own); empty: the newest, or
    what was chosen by `snapshot use`. Nothing from before `not_before_ns` is given. `resumed` is the session that it
    had: it is not restored again; `restored` the manifest that it was restored from then. `plain`: states travel inside
    the messages.
    """

    task: str
    name: str
    dag: bytes = b""
    fingerprint: str = ""
    key: str = ""
    options: str = ""
    interval: float = 0.0
    policy: Policy = Policy.STRICT
    host: HostKind = HostKind.DIRECT
    take_over: bool = False
    no_save: bool = False
    plain: bool = False
    resumed: int = 0
    restored: BlobId | None = None
    snapshot: str = ""
    source: str = ""
    not_before_ns: int = 0
    timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Joined:
    """The node is in place. `owner`: nobody else is this node; its state is stored.

    `manifest` is what its state is from and `number` that snapshot's; None and 0: it starts fresh. `why`: for people.
    """

    owner: bool
    manifest: BlobId | None = None
    number: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    """A state for the node: in `blob`, of `size` bytes, or `plain`. To be answered once, by whether it worked."""

    manifest: BlobId
    number: int
    size: int
    blob: BlobId | None = None
    plain: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """The node's state is wanted for that round. To be answered once, with the same number."""

    round: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Another state was chosen for the node: it shall leave and come back fresh."""

    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer: `blob` of `size` bytes, or `plain` content; neither: it has no state. `error`: why no answer.

    `round` 0: that of the oldest question that has no answer yet.
    """

    round: int
    blob: BlobId | None = None
    size: int = 0
    plain: bytes = b""
    models: tuple[Model, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """A node's answer to a restore; `error` is empty when it worked."""

    error: str = ""


# --- what can be asked ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListTasks:
    """All tasks that have snapshots or connected nodes, by name, in pages of `Task`."""


@dataclass(frozen=True, slots=True)
class DeleteTask:
    """Delete a task's automatic snapshots and what is known of it; `everything`: the named ones too.

    Answered with `Dropped`. `Conflict` while a node of it is connected.
    """

    task: str
    everything: bool = False
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class ListSnapshots:
    """The snapshots of a task that are kept, newest first, in pages of `Snapshot`."""

    task: str


@dataclass(frozen=True, slots=True)
class FindSnapshot:
    """One snapshot, by number, name, manifest ID or eight or more of its digits; empty: the newest."""

    task: str
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class ListStates:
    """The node states of one snapshot, in pages of `NodeState`."""

    task: str
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class SaveSnapshot:
    """Take a snapshot now, and give it `name` too unless that is empty. Answered with `Taken`, when its round ended."""

    task: str
    reason: Reason = Reason.MANUAL
    name: str = ""


@dataclass(frozen=True, slots=True)
class NameSnapshot:
    """Give a snapshot a name, for good. Answered with the `Snapshot`."""

    task: str
    name: str
    snapshot: str = ""
    note: str = ""
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class UseSnapshot:
    """Choose what a task is given at its next start: `snapshot` (or `fresh`), or the newest from before `before`.

    `before` is a ref: the newest snapshot made before any node of the task had it in use. `now`: connected nodes are
    restarted from it. Answered with the `Snapshot`, None for fresh.
    """

    task: str
    snapshot: str = ""
    before: Ref | None = None
    now: bool = False
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteSnapshots:
    """Delete snapshots of a task, or `everything` of it. Answered with `Dropped`."""

    task: str
    snapshots: tuple[str, ...] = ()
    everything: bool = False
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class PlanRestore:
    """What each node of a DAG (JSON) would be given now, in pages of `Given`. Changes nothing."""

    task: str
    dag: bytes
    policy: Policy = Policy.STRICT
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class ListUses:
    """What followers took into use, newest first, in pages of `Use`: of a `task`, or of a `tag`.

    The newest record of each node and tag up to `at_ns` (None: now), or all of them with `everything`.
    """

    task: str = ""
    tag: Tag | None = None
    at_ns: int | None = None
    everything: bool = False


@dataclass(frozen=True, slots=True)
class AwaitFollowers:
    """Wait until every connection that follows a tag has `version` or a later one, or failed on it; at most `timeout`.

    Answered in pages of `Session`: those that follow the tag, as they are then.
    """

    tag: Tag
    version: int
    timeout: float


# --- what is answered ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One task snapshot: `id` of its manifest, its `number` (0: it has none any more) and its names."""

    id: BlobId
    task: str
    number: int
    names: tuple[str, ...]
    time_ns: int
    reason: Reason
    fingerprint: str
    nodes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `nodes` are those connected. `confirmed_ns`: when a round last ended well (0: there is none).

    `chosen` is the manifest that the next start is from, `fresh` that it starts without; neither: from the newest.
    `problem`: why the last round was void, else empty.
    """

    name: str
    fingerprint: str
    host: HostKind
    nodes: tuple[str, ...] = ()
    newest: Snapshot | None = None
    confirmed_ns: int = 0
    automatic: int = 0
    named: int = 0
    chosen: BlobId | None = None
    fresh: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node's part of a snapshot; see `udfstore.snapshots.manifest.NodeSnapshot`."""

    id: str
    name: str
    blob: BlobId
    size: int
    key: str = ""
    options: str = ""
    restored: BlobId | None = None
    carried: bool = False
    models: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """The newest good snapshot (None: there is none). `good`: it holds what was asked for; else `why` not."""

    snapshot: Snapshot | None
    good: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The snapshots that are deleted."""

    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """What one node would get: `state` of `snapshot`, or nothing; `lost`: no node, but a state that nobody gets."""

    node: str
    id: str
    why: str
    state: NodeState | None = None
    snapshot: Snapshot | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A record: somebody took `tag@version` into use at `place`, or failed to (`error`)."""

    revision: int
    time_ns: int
    tag: str
    version: int
    id: BlobId
    author: Author = NOBODY
    place: Place = NOWHERE
    error: str = ""


StreamCall = ListTasks | ListSnapshots | ListStates | PlanRestore | ListUses | AwaitFollowers
ChangeCall = DeleteTask | NameSnapshot | UseSnapshot | DeleteSnapshots
PlainCall = FindSnapshot | SaveSnapshot | ChangeCall
Call = StreamCall | PlainCall
Result = Snapshot | Taken | Dropped
Item = Task | Snapshot | NodeState | Given | Use
