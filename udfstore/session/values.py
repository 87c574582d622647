"""The nouns of the wire: plain values on one side, protobuf on the other, and the optional parts of messages."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from udfstore import admin, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.model import NOBODY, Author, BlobInfo, Claim, Entry, check_labels
from udfstore.refs import Tag

MOST = 2**63 - 1
"""The largest number that the catalog holds (SQLite, INTEGER)."""

TEXT = 4096
"""Most characters of a text for people that travels beside an answer, so that it always fits a small frame."""

_Enum = TypeVar("_Enum", bound=enum.Enum)


def entry_to_pb(entry: Entry) -> pb.Entry:
    """An entry of a tag's history."""
    return pb.Entry(
        tag=entry.tag,
        version=entry.version,
        id=raw_of(entry.id),
        size=entry.size,
        revision=entry.revision,
        time_ns=entry.time_ns,
        author=None if entry.author == NOBODY else author_to_pb(entry.author),
        note=entry.note,
        labels=entry.labels,
        origin=entry.origin,
        source=entry.source,
        links=[link.raw for link in entry.links],
        held=entry.held,
    )


def entry_from_pb(entry: pb.Entry) -> Entry:
    """An entry of a tag's history."""
    return Entry(
        entry.tag,
        entry.version,
        maybe_id(entry.id),
        entry.size,
        entry.revision,
        entry.time_ns,
        author_from_pb(entry.author) if entry.HasField("author") else NOBODY,
        entry.note,
        dict(entry.labels),
        entry.origin,
        entry.source,
        ids_of(entry.links),
        entry.held,
    )


def blob_to_pb(info: BlobInfo) -> pb.Blob:
    """What is known of a blob."""
    blob = pb.Blob(
        id=info.id.raw,
        size=info.size,
        saved_ns=info.saved_ns,
        verified_ns=info.verified_ns,
        tags=info.tags,
        history=info.history,
    )
    if info.entry is not None:
        blob.entry.CopyFrom(entry_to_pb(info.entry))
    return blob


def blob_from_pb(blob: pb.Blob) -> BlobInfo:
    """What is known of a blob."""
    entry = entry_from_pb(blob.entry) if blob.HasField("entry") else None
    return BlobInfo(BlobId(blob.id), blob.size, blob.saved_ns, blob.verified_ns, tuple(blob.tags), blob.history, entry)


def claim_to_pb(claim: Claim) -> pb.Claim:
    """What a caller says of itself."""
    return pb.Claim(person=claim.person, host=claim.host, job=claim.job, commit=claim.commit)


def claim_from_pb(claim: pb.Claim) -> Claim:
    """What a caller says of itself, checked."""
    return Claim(claim.person, claim.host, claim.job, claim.commit).check()


def author_to_pb(author: Author) -> pb.Author:
    """Who made a record."""
    return pb.Author(
        front=author.front,
        uid=author.uid,
        gids=author.gids,
        pid=author.pid,
        program=author.program,
        token=author.token,
        claim=None if author.claim == Claim() else claim_to_pb(author.claim),
    )


def author_from_pb(author: pb.Author) -> Author:
    """Who made a record."""
    c = author.claim
    claim = Claim(c.person, c.host, c.job, c.commit)
    return Author(author.front, author.uid, tuple(author.gids), author.pid, author.program, author.token, claim)


def place_to_pb(place: tasks.Place) -> pb.Place | None:
    """Where a client works; None: nowhere."""
    return None if place == tasks.NOWHERE else pb.Place(task=place.task, node=place.node)


def place_from_pb(place: pb.Place) -> tasks.Place:
    """Where a client works."""
    return tasks.Place(place.task, place.node)


def model_to_pb(model: tasks.Model) -> pb.Model:
    """A model in use."""
    return pb.Model(tag=model.tag, version=model.version, id=model.blob.raw)


def model_from_pb(model: pb.Model) -> tasks.Model:
    """A model in use, checked."""
    return tasks.Model(Tag.parse(model.tag).name, check_number("version", model.version), BlobId(model.id))


def snapshot_to_pb(snapshot: tasks.Snapshot) -> pb.Snapshot:
    """A task snapshot."""
    return pb.Snapshot(
        id=snapshot.id.raw,
        task=snapshot.task,
        number=snapshot.number,
        names=snapshot.names,
        time_ns=snapshot.time_ns,
        reason=snapshot.reason.value,
        fingerprint=snapshot.fingerprint,
        nodes=snapshot.nodes,
        bytes=snapshot.bytes,
    )


def snapshot_from_pb(message: pb.Snapshot) -> tasks.Snapshot:
    """A task snapshot."""
    return tasks.Snapshot(
        BlobId(message.id),
        message.task,
        message.number,
        tuple(message.names),
        message.time_ns,
        reason_of(message.reason),
        message.fingerprint,
        message.nodes,
        message.bytes,
    )


def state_to_pb(state: tasks.NodeState) -> pb.NodeState:
    """One node's part of a snapshot."""
    return pb.NodeState(
        id=state.id,
        name=state.name,
        blob=state.blob.raw,
        size=state.size,
        key=state.key,
        options=state.options,
        restored=raw_of(state.restored),
        carried=state.carried,
        models=map(model_to_pb, state.models),
    )


def state_from_pb(message: pb.NodeState) -> tasks.NodeState:
    """One node's part of a snapshot."""
    return tasks.NodeState(
        message.id,
        message.name,
        BlobId(message.blob),
        message.size,
        message.key,
        message.options,
        maybe_id(message.restored),
        message.carried,
        tuple(map(model_from_pb, message.models)),
    )


def token_to_pb(token: admin.Token) -> pb.Token:
    """A token, without its secret."""
    return pb.Token(name=token.name, can=token.can.name, added_ns=token.added_ns)


def token_from_pb(message: pb.Token) -> admin.Token:
    """A token, without its secret."""
    return admin.Token(message.name, can_of(message.can), message.added_ns)


def garbage_to_pb(garbage: admin.Garbage) -> pb.Garbage:
    """A blob that nothing keeps."""
    return pb.Garbage(
        id=garbage.id.raw,
        size=garbage.size,
        fate=garbage.fate.name,
        why=cut(garbage.why),
        refs=garbage.refs,
        goes_ns=garbage.goes_ns,
    )


def garbage_from_pb(garbage: pb.Garbage) -> admin.Garbage:
    """A blob that nothing keeps."""
    refs = tuple(garbage.refs)
    return admin.Garbage(BlobId(garbage.id), garbage.size, fate_of(garbage.fate), garbage.why, refs, garbage.goes_ns)


def can_of(number: int) -> admin.Can:
    """What a token is good for, by its number. Raises `UsageError` for one that this release does not know."""
    return _member(admin.Can, pb.Can, number, "right of a token")


def fate_of(number: int) -> admin.Fate:
    """What became of a blob, by its number. Raises `UsageError` for one that this release does not know."""
    return _member(admin.Fate, pb.Fate, number, "fate of a blob")


def finding_kind_of(number: int) -> admin.FindingKind:
    """What a check found, by its number. Raises `UsageError` for a kind that this release does not know."""
    return _member(admin.FindingKind, pb.FindingKind, number, "kind of finding")


def policy_of(number: int) -> tasks.Policy:
    """The policy of that number. Raises `UsageError` for one that this release does not know."""
    return _member(tasks.Policy, pb.Policy, number, "policy")


def host_kind_of(number: int) -> tasks.HostKind:
    """The kind of host of that number. Raises `UsageError` for one that this release does not know."""
    return _member(tasks.HostKind, pb.HostKind, number, "kind of host")


def _member(kind: type[_Enum], wire: Any, number: int, what: str) -> _Enum:
    if number not in wire.values():
        known = ", ".join(f"{value} ({name.lower()})" for name, value in wire.items())
        raise UsageError(f"not a {what} that this release knows", expected=known, got=number)
    return kind[wire.Name(number)]


def reason_of(text: str) -> tasks.Reason:
    """Why a snapshot was taken. Raises `UsageError` for a reason that this release does not know."""
    try:
        return tasks.Reason(text)
    except ValueError:
        known = ", ".join(reason.value for reason in tasks.Reason)
        raise UsageError("not a reason for a snapshot", expected=known, got=repr(text[:80])) from None


def ms_of(name: str, seconds: float) -> int:
    """Seconds as the wire's milliseconds. Raises `UsageError` for what is no span of time."""
    if not 0 <= seconds * 1000 <= MOST:
        raise UsageError(f"{name} is a number of seconds from 0", got=seconds)
    return round(seconds * 1000)


def seconds_of(name: str, ms: int) -> float:
    """The wire's milliseconds as seconds. Raises `UsageError` for one of 64 bits."""
    return check_number(name, ms) / 1000


def cut(text: str) -> str:
    """A text that a small frame can hold: not too long, and UTF-8 even where it names a file that is not."""
    short = text if len(text) <= TEXT else text[: TEXT - 1] + "…"
    return short.encode(errors="replace").decode()


def raw_of(id: BlobId | None) -> bytes:
    """32 bytes, or none for no ID."""
    return b"" if id is None else id.raw


def maybe_id(raw: bytes) -> BlobId | None:
    """The ID of 32 bytes, None for no bytes."""
    return BlobId(raw) if raw else None


def ids_of(raws: Sequence[bytes]) -> tuple[BlobId, ...]:
    """The IDs of 32 bytes each."""
    return tuple(map(BlobId, raws))


def maybe_number(message: Any, name: str) -> int | None:
    """An optional field, None where it was left out."""
    return check_number(name, getattr(message, name)) if message.HasField(name) else None


def check_number(name: str, value: int) -> int:
    """A number that the store can keep. Raises `UsageError` for one of 64 bits."""
    if value > MOST:
        raise UsageError(f"{name} is out of range", expected=f"at most {MOST}", got=value)
    return value


def put_number(message: Any, name: str, value: int | None) -> None:
    """Set an optional field, or leave it out for None."""
    if value is not None:
        if value < 0:
            raise UsageError(f"{name} is a number from 0", got=value)
        setattr(message, name, value)


def maybe_labels(message: Any) -> Mapping[str, str] | None:
    """The field `labels`, checked; None where it was left out."""
    return check_labels(dict(message.labels.map)) if message.HasField("labels") else None


def put_labels(message: Any, labels: Mapping[str, str] | None) -> None:
    """Set the field `labels`, or leave it out for None."""
    if labels is not None:
        message.labels.SetInParent()
        message.labels.map.update(labels)
