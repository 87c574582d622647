"""The payload of a log record: compact JSON, written and read here and nowhere else. Pure; see FORMAT.md.

A payload holds neither its kind (the record's head in the group does) nor its revision (its place in the log is).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.model import Author, Claim, Entry, Kind

Json = dict[str, Any]


class RecordError(ValueError):
    """A payload is not what this release writes."""


class State(enum.IntEnum):
    """Where a blob is between here and gone."""

    KEPT = 0
    MARKED = 1
    CONDEMNED = 2
    ERASED = 3

    @property
    def here(self) -> bool:
        """Whether its content can be had."""
        return self <= State.MARKED


@dataclass(frozen=True, slots=True)
class Part:
    """One tag's part of a `move` record: an `Entry` without what it shares with the others."""

    tag: str
    version: int
    id: BlobId | None
    size: int = 0
    origin: int = 0
    source: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    links: tuple[BlobId, ...] = ()
    held: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """What a `used` record tells: a follower took a version into use, or why it could not; and where it works."""

    tag: str
    version: int
    id: BlobId
    error: str = ""
    task: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One atomic change. `entries` belong to `move`; `blobs` (ID, size) to `mark`, `rescue`, `condemn`, `erased`;
    `source` (the ref as given) to a `condemn` that was asked for; `use` to `used`."""

    kind: Kind
    time_ns: int
    author: Author
    note: str = ""
    request: bytes = b""
    entries: tuple[Part, ...] = ()
    skipped: tuple[str, ...] = ()
    blobs: tuple[tuple[BlobId, int], ...] = ()
    source: str = ""
    use: Use | None = None


def entry_of(record: Record, revision: int, part: Part) -> Entry:
    """The entry that a part of a record at a revision is."""
    return Entry(
        tag=part.tag,
        version=part.version,
        id=part.id,
        size=part.size,
        revision=revision,
        time_ns=record.time_ns,
        author=record.author,
        note=record.note,
        labels=part.labels,
        origin=part.origin,
        source=part.source,
        links=part.links,
        held=part.held,
    )


def encode(record: Record) -> bytes:
    """The payload of a record. Fields that are empty are left out."""
    shared = {
        "author": _author_json(record.author),
        "entries": [_part_json(part) for part in record.entries],
        "note": record.note,
        "request": record.request.hex(),
        "time": record.time_ns,
    }
    return _dump(_filled(shared | _rest_json(record))).encode()


def decode(kind: Kind, payload: bytes) -> Record:
    """Read a payload. Anything that `encode` does not write is a `RecordError`."""
    try:
        data = json.loads(payload)
        _only(data, "author", "entries", "note", "request", "time", "skipped", "blobs", "source", "use")
        return Record(
            kind=kind,
            time_ns=_typed(data["time"], int),
            author=_author_of(_typed(data["author"], dict)),
            note=_typed(data.get("note", ""), str),
            request=bytes.fromhex(data.get("request", "")),
            entries=tuple(_part_of(part) for part in data.get("entries", [])),
            **_rest_of(data),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise RecordError(f"not the payload of a {kind.value} record: {error!r}") from error


def encode_rest(record: Record) -> str:
    """What neither entries nor the common fields say, as JSON text for the catalog; empty for nothing."""
    rest = _filled(_rest_json(record))
    return _dump(rest) if rest else ""


def decode_rest(text: str) -> dict[str, Any]:
    """The fields of `Record` that `encode_rest` wrote."""
    return _rest_of(json.loads(text) if text else {})


@lru_cache(maxsize=256)
def encode_author(author: Author) -> str:
    """An author as JSON text. Few authors make most records, hence the cache."""
    return _dump(_author_json(author))


@lru_cache(maxsize=256)
def decode_author(text: str) -> Author:
    """Read what `encode_author` wrote."""
    return _author_of(json.loads(text))


def encode_labels(labels: Mapping[str, str]) -> str:
    """Labels as JSON text; empty for none."""
    return _dump(dict(labels)) if labels else ""


def decode_labels(text: str) -> dict[str, str]:
    """Read what `encode_labels` wrote."""
    return _labels_of(json.loads(text)) if text else {}


_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def _filled(data: Json) -> Json:
    return {key: value for key, value in data.items() if value not in ("", [], {}, None)}


@lru_cache(maxsize=256)
def _author_json(author: Author) -> Json:
    claim = author.claim
    said = {"person": claim.person, "host": claim.host, "job": claim.job, "commit": claim.commit}
    data = {
        "front": author.front,
        "uid": author.uid if author.uid >= 0 else None,
        "gids": list(author.gids),
        "pid": author.pid if author.pid >= 0 else None,
        "program": author.program,
        "token": author.token,
        "claim": _filled(said),
    }
    return _filled(data)


def _author_of(data: Json) -> Author:
    _only(data, "front", "uid", "gids", "pid", "program", "token", "claim")
    claim = _typed(data.get("claim", {}), dict)
    _only(claim, "person", "host", "job", "commit")
    return Author(
        front=_typed(data["front"], str),
        uid=_typed(data.get("uid", -1), int),
        gids=tuple(_typed(gid, int) for gid in data.get("gids", [])),
        pid=_typed(data.get("pid", -1), int),
        program=_typed(data.get("program", ""), str),
        token=_typed(data.get("token", ""), str),
        claim=Claim(**_labels_of(claim)),
    )


def _part_json(part: Part) -> Json:
    data = {
        "tag": part.tag,
        "version": part.version,
        "id": part.id.hex if part.id else None,
        "size": part.size if part.id else None,
        "origin": part.origin or None,
        "source": part.source,
        "labels": dict(part.labels),
        "links": [link.hex for link in part.links],
        "held": part.held or None,
    }
    return _filled(data)


def _part_of(data: Json) -> Part:
    _only(data, "tag", "version", "id", "size", "origin", "source", "labels", "links", "held")
    return Part(
        tag=_typed(data["tag"], str),
        version=_typed(data["version"], int),
        id=BlobId.parse(data["id"]) if "id" in data else None,
        size=_typed(data["size"], int) if "id" in data else 0,
        origin=_typed(data.get("origin", 0), int),
        source=_typed(data.get("source", ""), str),
        labels=_labels_of(data.get("labels", {})),
        links=tuple(BlobId.parse(link) for link in data.get("links", [])),
        held=_typed(data.get("held", False), bool),
    )


def _rest_json(record: Record) -> Json:
    return {
        "skipped": list(record.skipped),
        "blobs": [[id.hex, size] for id, size in record.blobs],
        "source": record.source,
        "use": record.use and _use_json(record.use),
    }


def _rest_of(data: Json) -> dict[str, Any]:
    return {
        "skipped": tuple(_typed(ref, str) for ref in data.get("skipped", [])),
        "blobs": tuple((BlobId.parse(id), _typed(size, int)) for id, size in data.get("blobs", [])),
        "source": _typed(data.get("source", ""), str),
        "use": _use_of(data["use"]) if "use" in data else None,
    }


def _use_json(use: Use) -> Json:
    place = _filled({"task": use.task, "node": use.node})
    return {"tag": use.tag, "version": use.version, "id": use.id.hex, "error": use.error, **place}


def _use_of(data: Json) -> Use:
    _only(data, "tag", "version", "id", "error", "task", "node")
    return Use(
        tag=_typed(data["tag"], str),
        version=_typed(data["version"], int),
        id=BlobId.parse(data["id"]),
        error=_typed(data["error"], str),
        task=_typed(data.get("task", ""), str),
        node=_typed(data.get("node", ""), str),
    )


def _labels_of(data: Any) -> dict[str, str]:
    return {_typed(key, str): _typed(value, str) for key, value in _typed(data, dict).items()}


def _only(data: Any, *known: str) -> None:
    unknown = set(_typed(data, dict)) - set(known)
    if unknown:
        raise RecordError(f"unknown field {sorted(unknown)}")


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:  # bool passes for int otherwise
        raise RecordError(f"expected {kind.__name__}, got {value!r:.60}")
    return value
