"""The rounds of one task: when its nodes are asked for their state, and what becomes of the answers. Pure.

Each method is an event and returns commands, in order; `now` is in seconds of any clock that never goes back. The
shell carries the commands out, and calls `tick` when `deadline` has come.

            interval, stop, manual, kapacitor                last answer
    idle ───────────────────────────────────▶ asking ─────────────────────▶ committing
     ▲                                          │ │                              │
     ├── void: a node came or left, refused, ───┘ └── nothing changed ──┐        │
     │   or the deadline passed                                         │        │
     └──────────────────────────────────────────────────────────────────┴────────┘

- A round is all or nothing: every connected node answered and one manifest is committed, or nothing changed.
- A round never drops state: what nodes that are not connected had is carried over, marked `carried`. Only a node itself
  gives its state up, by an empty answer.
- Whoever asked for a round is answered once. An ask on demand or of a node that stops waits for a round that opens
  after it, and lives through a void one within its deadline; Kapacitor takes the round that runs, or one that ended
  just now, and after a void one the newest good snapshot.
- A server that is about to end opens no round and waits for none, but for one that a node's last state belongs to.

The shell tells `join` once a node has been restored, not before: what it still is to be given is carried until then.
A connection's answers come in the order of its questions, so an answer without a number belongs to the oldest of them.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

from udfstore.digest import BlobId
from udfstore.errors import Conflict, InternalError, UsageError
from udfstore.snapshots.dag import Fingerprint, Identity
from udfstore.snapshots.manifest import Manifest, NodeSnapshot, Snapshot, in_order
from udfstore.tasks import Model, Reason

INTERVAL_S = 60.0
"""How often a node's state is taken unless it says otherwise: what Kapacitor does."""

LEAST_INTERVAL_S = 1.0
"""Shortest interval a node may ask for: each round costs the task a pause and the store a sync."""

DEADLINE_S = 30.0
"""How long a round, and whoever asked for it, waits for answers."""

RECENT_S = 5.0
"""A round that ended so long ago still answers Kapacitor, which asks all nodes of a task one after another."""


STOPPING = "the server is shutting down"
"""Why nobody is asked any more."""


@dataclass(frozen=True, slots=True)
class Member:
    """A connected node. `restored` is the manifest that its state came from; None: it started fresh."""

    node: Identity
    interval: float = INTERVAL_S
    restored: BlobId | None = None

    def __post_init__(self) -> None:
        if not LEAST_INTERVAL_S <= self.interval < float("inf"):
            raise UsageError(
                f"the snapshot interval of the node {self.node.name!r}",
                expected=f"{LEAST_INTERVAL_S:g} s or more",
                got=f"{self.interval:g} s",
            )


@dataclass(frozen=True, slots=True)
class State:
    """A node's answer: its state as a durable blob, and the models it had in use. Size 0 means no state."""

    blob: BlobId
    size: int
    models: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a node for its state."""

    round: int
    node: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Store a manifest of these nodes and move the task's tag to it; then call `committed` or `not_committed`."""

    round: int
    task: str
    fingerprint: Fingerprint
    reason: Reason
    nodes: tuple[NodeSnapshot, ...]

    def manifest(self, time_ns: int) -> Manifest:
        """The manifest, made at that time: nanoseconds since 1970."""
        return Manifest(self.task, self.fingerprint, time_ns, self.reason, self.nodes)


class End(enum.Enum):
    """How a round ended."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Ended:
    """A round is over: for log and metrics. `why` says what made it void."""

    round: int
    reason: Reason
    end: End
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer one who asked: `snapshot` is the newest good manifest (None: there is none yet).

    `good`: it holds what was asked for; else `why` not.
    """

    ticket: Hashable
    snapshot: BlobId | None
    good: bool
    why: str = ""


Command = Ask | Commit | Ended | Answer


@dataclass(frozen=True, slots=True)
class _Waiter:
    ticket: Hashable
    reason: Reason
    node: str
    until: float

    @property
    def patient(self) -> bool:
        """Whether it wants a state from after it asked; Kapacitor takes what there is."""
        return self.reason is not Reason.KAPACITOR


@dataclass(slots=True)
class _Round:
    number: int
    reason: Reason
    until: float
    waiters: list[_Waiter]
    answers: dict[str, State | None] = field(default_factory=dict)
    commit: tuple[NodeSnapshot, ...] | None = None
    """What is being committed; None while nodes are asked."""


class Rounds:
    """The rounds of a task with one DAG: a task whose DAG changes gets a new one, once no node is connected.

    `newest` is the newest snapshot, `kept` the states of nodes that are not connected (`restore.carried`).
    """

    def __init__(
        self,
        task: str,
        fingerprint: Fingerprint,
        *,
        newest: Snapshot | None = None,
        kept: Iterable[NodeSnapshot] = (),
        deadline: float = DEADLINE_S,
    ) -> None:
        self.task = task
        self.fingerprint = fingerprint
        self.newest = newest.id if newest else None
        self.confirmed: float | None = None
        """When a round last ended well: the age of the newest snapshot counts from here; None: from its own time."""
        self._saved = (newest.manifest.fingerprint, newest.manifest.nodes) if newest else (fingerprint, ())
        self._kept = tuple(kept)
        self._limit = deadline
        self._members: dict[str, Member] = {}
        self._queue: list[_Waiter] = []
        self._round: _Round | None = None
        self._count = 0
        self._opened = 0.0
        self._ended: float | None = None
        self._stopped = False

    # --- for the shell and the register ---

    @property
    def members(self) -> dict[str, Member]:
        """The connected nodes, by name."""
        return dict(self._members)

    @property
    def kept(self) -> tuple[NodeSnapshot, ...]:
        """The states that nodes which are not connected may be given, should they come."""
        return self._unclaimed()

    @property
    def running(self) -> int | None:
        """The number of the round that is open, None between rounds."""
        return self._round.number if self._round else None

    @property
    def deadline(self) -> float | None:
        """When to call `tick`; None: not before another event."""
        if self._round is not None:
            return None if self._round.commit is not None else self._round.until
        if self._stopped or not self._members:
            return None
        return self._opened + min(member.interval for member in self._members.values())

    # --- events ---

    def join(self, now: float, member: Member) -> list[Command]:
        """A node is connected and has its state. Raises `Conflict` when another connected node has its key."""
        name = member.node.name
        if name in self._members:
            raise InternalError("a node joined twice", got=repr(name))
        for other in self._members.values():
            if member.node.key and other.node.key == member.node.key:
                raise Conflict(f"the key {other.node.key!r} is that of the node {other.node.name!r}", got=repr(name))
        if not self._members:
            self._opened = now
        self._members[name] = member
        return [*self._membership(now, f"the node {name!r} connected"), *self._next(now)]

    def leave(self, now: float, name: str) -> list[Command]:
        """A node's connection has ended. What it asked for is forgotten."""
        if self._members.pop(name, None) is None:
            return []
        self._queue = [waiter for waiter in self._queue if waiter.node != name]
        if self._round is not None:
            self._round.waiters = [waiter for waiter in self._round.waiters if waiter.node != name]
        return [*self._membership(now, f"the node {name!r} left"), *self._next(now)]

    def ask(self, now: float, reason: Reason, ticket: Hashable, node: str = "") -> list[Command]:
        """Somebody wants a snapshot; `node` is the one that stops, or that Kapacitor asked. Gets one `Answer`."""
        waiter = _Waiter(ticket, reason, node, now + self._limit)
        if not waiter.patient and self._round is not None:
            self._round.waiters.append(waiter)
            return []
        if not waiter.patient and self._ended is not None and now - self._ended <= RECENT_S:
            good = self._ended == self.confirmed
            return [self._answer(waiter, good=good, why="" if good else "the round just before was void")]
        self._queue.append(waiter)
        return self._next(now)

    def answer(self, now: float, name: str, round: int, state: State | None) -> list[Command]:
        """A node answered; None: it has no state. An answer to another round is no answer."""
        asked = self._asked(name, round)
        if asked is None:
            return []
        asked.answers[name] = state
        if len(asked.answers) < len(self._members):
            return []
        nodes = self._collect(asked)
        if self._same(nodes):
            return [*self._good(now, asked, nodes, End.UNCHANGED), *self._next(now)]
        asked.commit = nodes
        return [Commit(asked.number, self.task, self.fingerprint, asked.reason, nodes)]

    def refuse(self, now: float, name: str, round: int, why: str) -> list[Command]:
        """A node answered, but not with a state that can be kept."""
        if self._asked(name, round) is None:
            return []
        return [*self._void(now, f"the node {name!r}: {why}"), *self._next(now)]

    def committed(self, now: float, round: int, manifest: BlobId) -> list[Command]:
        """The manifest is durable and the tag names it."""
        done, nodes = self._committing(round)
        self.newest, self._saved = manifest, (self.fingerprint, nodes)
        return [*self._good(now, done, nodes, End.COMMITTED), *self._next(now)]

    def not_committed(self, now: float, round: int, why: str) -> list[Command]:
        """The store did not take the manifest."""
        self._committing(round)
        return [*self._void(now, why), *self._next(now)]

    def tick(self, now: float) -> list[Command]:
        """Time has passed."""
        commands: list[Command] = []
        if self._round is not None and self._round.commit is None and now >= self._round.until:
            silent = [name for name in self._members if name not in self._round.answers]
            commands = self._void(now, f"no answer in time from {', '.join(map(repr, sorted(silent)))}", again=True)
        return [*commands, *self._next(now)]

    def stop(self, now: float) -> list[Command]:
        """The server is about to end: nodes that are asked could save nothing any more."""
        self._stopped = True
        commands: list[Command] = []
        open_ = self._round
        last = open_ is not None and any(waiter.reason is Reason.STOP for waiter in open_.waiters)
        if open_ is not None and open_.commit is None and not last:
            commands = self._void(now, STOPPING)
        return [*commands, *self._next(now)]

    # --- rules ---

    def _asked(self, name: str, round: int) -> _Round | None:
        """The open round, if that node still owes it an answer."""
        open_ = self._round
        if open_ is None or open_.number != round or open_.commit is not None or name in open_.answers:
            return None
        return open_ if name in self._members else None

    def _committing(self, round: int) -> tuple[_Round, tuple[NodeSnapshot, ...]]:
        open_ = self._round
        if open_ is None or open_.number != round or open_.commit is None:
            raise InternalError("no manifest of that round is being committed", got=round)
        return open_, open_.commit

    def _membership(self, now: float, why: str) -> list[Command]:
        if self._round is None or self._round.commit is not None:
            return []
        return self._void(now, why, again=True)

    def _next(self, now: float) -> list[Command]:
        """Between rounds: give up on who waited too long, and open the next one when it is due."""
        if self._round is not None:
            return []
        over = self._stopped or not self._members
        late = [waiter for waiter in self._queue if now >= waiter.until or over]
        self._queue = [waiter for waiter in self._queue if waiter not in late]
        why = (
            STOPPING if self._stopped else "no answer in time" if self._members else "no node of the task is connected"
        )
        commands: list[Command] = [self._answer(waiter, why=why) for waiter in late]
        due = self.deadline
        if self._queue:
            commands += self._open(now, self._queue[0].reason, min(waiter.until for waiter in self._queue))
        elif due is not None and now >= due:
            commands += self._open(now, Reason.INTERVAL, now + self._limit)
        return commands

    def _open(self, now: float, reason: Reason, until: float) -> list[Command]:
        self._count += 1
        self._opened = now
        self._round = _Round(self._count, reason, until, self._queue)
        self._queue = []
        return [Ask(self._count, name) for name in self._members]

    def _void(self, now: float, why: str, *, again: bool = False) -> list[Command]:
        """End the round without a snapshot; `again`: those who can wait, and have time left, get the next one."""
        over = self._close(now)
        stay = [waiter for waiter in over.waiters if again and waiter.patient and now < waiter.until]
        self._queue = stay + self._queue
        return [
            Ended(over.number, over.reason, End.VOID, why),
            *(self._answer(waiter, why=why) for waiter in over.waiters if waiter not in stay),
        ]

    def _good(self, now: float, over: _Round, nodes: tuple[NodeSnapshot, ...], end: End) -> list[Command]:
        self._close(now)
        self._kept = nodes
        self.confirmed = now
        return [Ended(over.number, over.reason, end), *(self._answer(waiter, good=True) for waiter in over.waiters)]

    def _close(self, now: float) -> _Round:
        if self._round is None:
            raise InternalError("no round is open")
        over, self._round, self._ended = self._round, None, now
        return over

    def _answer(self, waiter: _Waiter, *, good: bool = False, why: str = "") -> Answer:
        return Answer(waiter.ticket, self.newest, good, why)

    def _collect(self, asked: _Round) -> tuple[NodeSnapshot, ...]:
        """What the manifest names: the answers, and the states of nodes that are not connected."""
        fresh = (_snapshot(member, asked.answers[name]) for name, member in self._members.items())
        return in_order([*(state for state in fresh if state), *self._unclaimed()])

    def _unclaimed(self) -> tuple[NodeSnapshot, ...]:
        """The states kept that no connected node takes the place of: a key goes before the node's ID."""
        ids = {member.node.id for member in self._members.values()}
        keys = {member.node.key for member in self._members.values()}
        left = (s for s in self._kept if (s.key not in keys if s.key else s.id not in ids))
        return tuple(replace(state, carried=True) for state in left)

    def _same(self, nodes: tuple[NodeSnapshot, ...]) -> bool:
        """Whether the newest snapshot says all of this already: the same states, of the same nodes."""
        fingerprint, saved = self._saved
        return fingerprint == self.fingerprint and [*map(_essence, saved)] == [*map(_essence, nodes)]


def _snapshot(member: Member, state: State | None) -> NodeSnapshot | None:
    if state is None or not state.size:
        return None
    node = member.node
    return NodeSnapshot(
        id=node.id,
        name=node.name,
        blob=state.blob,
        size=state.size,
        key=node.key,
        options=node.options,
        siblings=len(node.siblings),
        restored=member.restored,
        models=state.models,
    )


def _essence(state: NodeSnapshot) -> NodeSnapshot:
    """A state without what may differ though nothing changed."""
    return replace(state, restored=None, carried=False, models=())
