"""Which state each node of a task is given when it starts, and why. Pure: the same answer is shown and carried out.

    strict     the newest snapshot, if it is of the same DAG; else every node starts fresh
    upstream   a node whose ID is in the newest snapshot gets its state, whatever else changed
    key        as upstream; and a node with a key gets the state of that key, wherever it stands now

The newest snapshot is the rule and a `Choice` the exception. Between siblings, nodes that only their place tells apart,
a state goes to a node with the same key, or with the same options; else it is ambiguous and goes to nobody. A state
that a node could not be restored from is set aside for that node, by its blob, and the node gets what it had in the
snapshot before, as long as those are of the same DAG; a state from before a change never comes back by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from udfstore.digest import BlobId
from udfstore.errors import Conflict, NotFound
from udfstore.snapshots.dag import Fingerprint, Identity, NodeId
from udfstore.snapshots.manifest import Manifest, NodeSnapshot, Snapshot
from udfstore.tasks import Policy


@dataclass(frozen=True, slots=True)
class Choice:
    """What `snapshot use` chose for the next start of a task: the snapshot of that manifest; None: fresh."""

    snapshot: BlobId | None


@dataclass(frozen=True, slots=True)
class Aside:
    """A state that a node could not be restored from: it is not tried with that node again."""

    node: NodeId
    blob: BlobId


class Why(enum.Enum):
    """Why a node gets what it gets."""

    SAME_NODE = "the same node"
    SAME_KEY = "the same key"
    NO_SNAPSHOT = "the task has no snapshot"
    FRESH_CHOSEN = "a fresh start was chosen"
    OTHER_DAG = "the snapshot is of another DAG and the policy is strict"
    NO_STATE = "the snapshot has no state of this node"
    OTHER_KEY = "the state there belongs to a key that this node does not have"
    AMBIGUOUS = "a sibling may have made the state: the options differ and no key decides"
    SET_ASIDE = "restoring it failed before, and no earlier snapshot of this DAG has another state"


@dataclass(frozen=True, slots=True)
class Given:
    """What one node gets: `state` of `snapshot`, or nothing (both None), and `why`."""

    node: Identity
    why: Why
    state: NodeSnapshot | None = None
    snapshot: Snapshot | None = None

    def __str__(self) -> str:
        source = f"from {self.snapshot}" if self.snapshot else "fresh"
        return f"{self.node.name}: {source} ({self.why.value})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What every node of a task gets, in the order asked for.

    `base` is the snapshot that the start is from. `lost` are its states that no node gets; they stay in the snapshot.
    """

    fingerprint: Fingerprint
    policy: Policy
    base: Snapshot | None
    nodes: tuple[Given, ...]
    lost: tuple[NodeSnapshot, ...]


def plan(
    nodes: Iterable[Identity],
    fingerprint: Fingerprint,
    snapshots: Sequence[Snapshot],
    *,
    policy: Policy = Policy.STRICT,
    choice: Choice | None = None,
    aside: Collection[Aside] = (),
) -> Plan:
    """What nodes of a task with that DAG would get now. `snapshots` are those kept, newest first.

    Raises `NotFound` when the chosen snapshot is not among them, and `Conflict` when it is of another DAG and the
    policy is strict: what was asked for by name is never replaced by a fresh start in silence.
    """
    row = _from_base(snapshots, choice)
    base = row[0] if row else None
    if choice and base and policy is Policy.STRICT and base.manifest.fingerprint != fingerprint:
        raise Conflict(
            f"{base} is of another DAG: choose one of this DAG, or allow it with the policy upstream or key",
            expected=fingerprint[:8],
            got=base.manifest.fingerprint[:8],
        )
    given = tuple(_give(node, fingerprint, row, policy, choice, aside) for node in nodes)
    taken = {(g.state.id, g.state.key) for g in given if g.state}
    lost = tuple(s for s in base.manifest.nodes if (s.id, s.key) not in taken) if base else ()
    return Plan(fingerprint, policy, base, given, lost)


def carried(
    ids: Collection[NodeId], fingerprint: Fingerprint, base: Manifest | None, policy: Policy
) -> tuple[NodeSnapshot, ...]:
    """The states of a snapshot that nodes of a DAG may still ask for: rounds carry them until their nodes connect.

    `ids` are those of the whole DAG. More than `plan` gives today: who a node is, its key and options, is known only
    once it connects.
    """
    if base is None or (policy is Policy.STRICT and base.fingerprint != fingerprint):
        return ()
    same = base.fingerprint == fingerprint
    kept = (s for s in base.nodes if same or s.id in ids or (policy is Policy.KEY and s.key))
    return tuple(replace(state, carried=True) for state in kept)


def made_before(snapshots: Sequence[Snapshot], model: BlobId, first_used_ns: int | None = None) -> Snapshot:
    """The newest snapshot made before any node had a model in use; `snapshots` are those kept, newest first.

    `first_used_ns` is when a node of the task first had it, where the store's log knows: a model may have come and
    gone between two snapshots. Raises `NotFound`.
    """
    found: Snapshot | None = None
    for snapshot in snapshots:
        if any(used.blob == model for node in snapshot.manifest.nodes for used in node.models):
            found = None
        elif found is None and (first_used_ns is None or snapshot.manifest.time_ns < first_used_ns):
            found = snapshot
    if found is None:
        raise NotFound("no snapshot is kept from before that model was in use", got=model.short)
    return found


def _from_base(snapshots: Sequence[Snapshot], choice: Choice | None) -> Sequence[Snapshot]:
    """The snapshot that a start is from, and those before it."""
    if choice is None:
        return snapshots
    if choice.snapshot is None:
        return ()
    for place, snapshot in enumerate(snapshots):
        if snapshot.id == choice.snapshot:
            return snapshots[place:]
    raise NotFound("the chosen snapshot is not kept any more", got=choice.snapshot.short)


def _give(
    node: Identity,
    fingerprint: Fingerprint,
    row: Sequence[Snapshot],
    policy: Policy,
    choice: Choice | None,
    aside: Collection[Aside],
) -> Given:
    if not row:
        return Given(node, Why.FRESH_CHOSEN if choice else Why.NO_SNAPSHOT)
    dag = row[0].manifest.fingerprint
    if policy is Policy.STRICT and dag != fingerprint:
        return Given(node, Why.OTHER_DAG)
    refused = False
    for snapshot in takewhile(lambda s: s.manifest.fingerprint == dag, row):
        why, state = _match(node, snapshot.manifest.nodes, policy)
        if state is not None and Aside(node.id, state.blob) not in aside:
            return Given(node, why, state, snapshot)
        # Only a failed restore goes further back: a node without a state in the newest snapshot has none.
        if state is None and not refused:
            return Given(node, why)
        refused = True
    return Given(node, Why.SET_ASIDE)


def _match(node: Identity, states: Sequence[NodeSnapshot], policy: Policy) -> tuple[Why, NodeSnapshot | None]:
    near = {node.id, *node.siblings}
    for state in states:
        if node.key and state.key == node.key and (policy is Policy.KEY or state.id in near):
            return Why.SAME_KEY, state
    here = [state for state in states if state.id == node.id]
    if not here:
        return Why.NO_STATE, None
    state = min(here, key=lambda state: bool(state.key))
    alone = not (state.siblings or node.siblings)
    # Whoever has the state's key may stand among the siblings now, or anywhere under the policy key.
    if state.key and (node.key or not alone or policy is Policy.KEY):
        return Why.OTHER_KEY, None
    if not alone and state.options != node.options:
        return Why.AMBIGUOUS, None
    return Why.SAME_NODE, state
