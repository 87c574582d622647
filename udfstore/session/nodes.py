"""What a node and its host say to each other: plain values on one side, protobuf on the other.

Names of tasks, nodes and snapshots, DAG and fingerprint are for whoever keeps the tasks to judge; here numbers, lengths
of IDs and what excludes each other are.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from udfstore import tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Blame, ProtocolError, TooLarge, UdfstoreError, UsageError
from udfstore.session.values import (
    check_number,
    cut,
    host_kind_of,
    maybe_id,
    model_from_pb,
    model_to_pb,
    ms_of,
    place_from_pb,
    policy_of,
    raw_of,
    seconds_of,
)
from udfstore.wire import limits

LEAST_INTERVAL_MS = 1000
"""Shortest interval that a node may ask for, but for 0: each round costs its task a pause and the store a sync."""

LEAST_TIMEOUT_MS = 100
"""Likewise of its timeout: the host sends two keepalives in that time."""


class Stage(enum.Enum):
    """How far a node is on its way to its place: restored at most once, then joined, then asked as often as need be."""

    AWAY = "neither restored nor joined"
    ASKED = "a restore is to be answered"
    RESTORED = "restored"
    JOINED = "joined"


def expect(node: tasks.Node | None, stage: Stage, what: str, stages: Sequence[Stage], blame: Blame) -> tasks.Node:
    """The node, if it is one and so far on its way that `what` may come. Raises `ProtocolError`."""
    if node is None:
        raise ProtocolError(f"{what} on a connection that is no node", blame=blame)
    if stage not in stages:
        expected = " or ".join(stage.value for stage in stages)
        raise ProtocolError(f"{what} out of order", expected=expected, got=stage.value, blame=blame)
    return node


def node_to_pb(node: tasks.Node) -> pb.Node:
    """The node of a hello. Raises `UsageError` for a time that is none; `check_hello` checks the rest."""
    return pb.Node(
        task=node.task,
        name=node.name,
        dag=node.dag,
        fingerprint=node.fingerprint,
        key=node.key,
        options=node.options,
        interval_ms=ms_of("the snapshot interval", node.interval),
        policy=node.policy.name,
        host=node.host.name,
        take_over=node.take_over,
        no_save=node.no_save,
        plain=node.plain,
        resumed=node.resumed,
        restored=raw_of(node.restored),
        snapshot=node.snapshot,
        source=node.source,
        not_before_ns=node.not_before_ns,
        timeout_ms=ms_of("the timeout", node.timeout),
    )


def node_from_pb(message: pb.Node) -> tasks.Node:
    """The node of a hello. Raises `UsageError` for one that makes no sense, `TooLarge` for a DAG over `DAG_BYTES`."""
    if not message.task or not message.name:
        raise UsageError("a node has a task and a name", got=f"task {message.task!r}, name {message.name!r}")
    if message.dag and message.fingerprint:
        raise UsageError("a node says its DAG or the fingerprint of one that the server knows, not both")
    if len(message.dag) > limits.DAG_BYTES:
        raise TooLarge(
            "a DAG too long for a hello; say its fingerprint, if the server knows it",
            expected=f"at most {limits.DAG_BYTES} bytes",
            got=len(message.dag),
        )
    if message.not_before_ns < 0:
        raise UsageError("not_before_ns counts from 1970", got=message.not_before_ns)
    return tasks.Node(
        task=message.task,
        name=message.name,
        dag=message.dag,
        fingerprint=message.fingerprint,
        key=message.key,
        options=message.options,
        interval=_span("the snapshot interval", message.interval_ms, LEAST_INTERVAL_MS),
        policy=policy_of(message.policy),
        host=host_kind_of(message.host),
        take_over=message.take_over,
        no_save=message.no_save,
        plain=message.plain,
        resumed=check_number("the session that it had", message.resumed),
        restored=maybe_id(message.restored),
        snapshot=message.snapshot,
        source=message.source,
        not_before_ns=message.not_before_ns,
        timeout=_span("the timeout", message.timeout_ms, LEAST_TIMEOUT_MS),
    )


def check_hello(hello: pb.Hello) -> tuple[tasks.Node | None, tasks.Place]:
    """Who a hello says that its connection is. Raises `UsageError` or `TooLarge` for what makes no sense."""
    node = node_from_pb(hello.node) if hello.HasField("node") else None
    place = place_from_pb(hello.place)
    if node is not None and place != tasks.NOWHERE:
        raise UsageError("a hello says which node this is, or where this client works, not both")
    if bool(place.task) != bool(place.node):
        raise UsageError("a place is a node of a task", got=f"task {place.task!r}, node {place.node!r}")
    return node, place


def _span(name: str, ms: int, least: int) -> float:
    if 0 < ms < least:
        raise UsageError(f"{name} of a node", expected=f"0 (the default) or {least} ms or more", got=f"{ms} ms")
    return seconds_of(name, ms)


# --- what the host says --------------------------------------------------------------------------------------------


def restore_to_pb(restore: tasks.Restore, *, plain: bool, most: int) -> pb.RestoreRequest:
    """A state for the node; `plain` and `most` (bytes) say how it travels; errors as of `answer_to_pb`."""
    if (restore.blob is None) is not plain:
        raise ProtocolError("a restore in another way than the hello said", expected=_way(plain), blame=Blame.LOCAL)
    _check_plain(restore.plain, most)
    return pb.RestoreRequest(
        snapshot=restore.plain,
        blob=raw_of(restore.blob),
        size=restore.size,
        manifest=restore.manifest.raw,
        number=restore.number,
    )


def restore_from_pb(message: pb.RestoreRequest, *, plain: bool) -> tasks.Restore:
    """A state for the node, in the way that its hello said. Raises `UsageError` for another."""
    blob = maybe_id(message.blob)
    if (blob is None) is not plain or (message.snapshot and not plain):
        raise UsageError("a restore in another way than the hello said", expected=_way(plain))
    manifest = maybe_id(message.manifest)
    if manifest is None:
        raise UsageError("a restore from no snapshot")
    size = len(message.snapshot) if plain else message.size
    return tasks.Restore(manifest, message.number, size, blob, message.snapshot)


def joined_to_pb(joined: tasks.Joined) -> pb.Joined:
    """The node is in place."""
    return pb.Joined(owner=joined.owner, manifest=raw_of(joined.manifest), number=joined.number, why=cut(joined.why))


def joined_from_pb(message: pb.Joined) -> tasks.Joined:
    """The node is in place."""
    return tasks.Joined(message.owner, maybe_id(message.manifest), message.number, message.why)


# --- what the node answers -----------------------------------------------------------------------------------------


def answer_to_pb(answer: tasks.Answer, *, plain: bool, most: int) -> pb.SnapshotResponse:
    """A node's answer; `plain` and `most` (bytes) say how its state travels.

    Raises `ProtocolError` (ours) for a state that travels in the other way, `TooLarge` for one that is too long.
    """
    if answer.blob is not None if plain else answer.plain:
        raise ProtocolError("a state in another way than the hello said", expected=_way(plain), blame=Blame.LOCAL)
    _check_plain(answer.plain, most)
    return pb.SnapshotResponse(
        round=answer.round,
        snapshot=answer.plain,
        blob=raw_of(answer.blob),
        size=answer.size if answer.blob is not None else 0,
        models=map(model_to_pb, answer.models),
        error=cut(answer.error),
    )


def answer_from_pb(message: pb.SnapshotResponse, *, plain: bool, most: int) -> tasks.Answer:
    """A node's answer. One that makes no sense is an answer with an error: it spoils a round, not the conversation."""
    if message.error:
        return tasks.Answer(message.round, error=cut(message.error))
    try:
        if message.blob if plain else message.snapshot:
            raise UsageError("it answered in another way than its hello said", expected=_way(plain))
        _check_plain(message.snapshot, most)
        return tasks.Answer(
            message.round,
            maybe_id(message.blob),
            check_number("the size", message.size) if message.blob else len(message.snapshot),
            message.snapshot,
            tuple(map(model_from_pb, message.models)),
        )
    except UdfstoreError as error:
        return tasks.Answer(message.round, error=cut(str(error)))


def restored_to_pb(restored: tasks.Restored) -> pb.RestoreResponse:
    """A node's answer to a restore."""
    return pb.RestoreResponse(success=not restored.error, error=cut(restored.error))


def restored_from_pb(message: pb.RestoreResponse) -> tasks.Restored:
    """A node's answer to a restore."""
    return tasks.Restored("" if message.success else cut(message.error) or "the node did not say why")


def _check_plain(state: bytes, most: int) -> None:
    if len(state) > most:
        raise TooLarge("a state too long to travel inside a message", expected=f"at most {most} bytes", got=len(state))


def _way(plain: bool) -> str:
    return "content inside the message (plain)" if plain else "a blob"
