"""Snapshots of running tasks: who a node is, what a snapshot names, when one is taken and who gets it back.

    Dag ── node IDs ──> plan ── what a node is given ──> Rounds ── who answered ──> Manifest
    names: how tasks and snapshots stand in tags

Pure: no file, socket or clock. Built from blobs and tags alone.
"""

from __future__ import annotations

from udfstore.snapshots.dag import (
    NO_DAG,
    Dag,
    Fingerprint,
    Identity,
    Node,
    NodeId,
    identity_of_name,
    node_id,
)
from udfstore.snapshots.dot import parse_dot
from udfstore.snapshots.manifest import Manifest, NodeSnapshot, Snapshot, decode, encode
from udfstore.snapshots.names import (
    SnapshotRef,
    SnapshotTag,
    auto_tag,
    check_name,
    escape,
    named_tag,
    record_tag,
    task_prefix,
    unescape,
)
from udfstore.snapshots.record import TaskRecord
from udfstore.snapshots.restore import Aside, Choice, Given, Plan, Why, carried, made_before, plan
from udfstore.snapshots.rounds import Answer, Ask, Commit, End, Ended, Member, Rounds, State
from udfstore.tasks import Model, Policy, Reason

__all__ = [
    "NO_DAG",
    "Answer",
    "Aside",
    "Ask",
    "Choice",
    "Commit",
    "Dag",
    "End",
    "Ended",
    "Fingerprint",
    "Given",
    "Identity",
    "Manifest",
    "Member",
    "Model",
    "Node",
    "NodeId",
    "NodeSnapshot",
    "Plan",
    "Policy",
    "Reason",
    "Rounds",
    "Snapshot",
    "SnapshotRef",
    "SnapshotTag",
    "State",
    "TaskRecord",
    "Why",
    "auto_tag",
    "carried",
    "check_name",
    "decode",
    "encode",
    "escape",
    "identity_of_name",
    "made_before",
    "named_tag",
    "node_id",
    "parse_dot",
    "plan",
    "record_tag",
    "task_prefix",
    "unescape",
]
