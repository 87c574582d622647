"""The nouns of the wire: plain values on one side, protobuf on the other, and the optional parts of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.model import NOBODY, Author, BlobInfo, Claim, Entry, check_labels

MOST = 2**63 - 1
"""The largest number that the catalog holds (SQLite, INTEGER)."""


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
