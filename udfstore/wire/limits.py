"""How long a frame of each kind may be on each link: one number a kind, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping

from udfstore._pb import udfstore_pb2 as pb

SMALL_BYTES = 64 * 1024
"""Calls, answers and pages: two full notes with labels and names fit ten times over, and a thousand connections that
each send one cost no more than 64 MiB."""

ANSWER_BYTES = 512 * 1024
"""A result or a page, as a client takes it. Pages are cut at 60 KiB; a longer one holds one record of many entries with
all their labels and links, which the store bounds at 256 KiB, and in a result what the entries took the place of."""

CHUNK_BYTES = 1024 * 1024
"""Content of one chunk: large enough that a call to a thread and a frame's head vanish beside hashing and writing it,
small enough that keepalives slip in between."""

CHUNK_HEAD_BYTES = 64
"""Room for keys, lengths and call number around a chunk's content (at most 24 bytes today)."""

DAG_BYTES = 48 * 1024
"""A DAG in a hello or a plan: with everything else that they say, and their key, it stays a small frame."""

DATA_BYTES = 4 * 1024 * 1024
"""A point or the ends of a batch: string fields of a megabyte happen, more has never been seen."""

PLAIN_BYTES = 64 * 1024 * 1024
"""A snapshot or restore with its content inside, as agents without udfstore send them."""

_KAPACITOR = {1: SMALL_BYTES, 2: SMALL_BYTES, 3: SMALL_BYTES, 4: PLAIN_BYTES, 5: PLAIN_BYTES, 6: SMALL_BYTES}
_DATA = {16: DATA_BYTES, 17: DATA_BYTES, 18: DATA_BYTES}


def _own(envelope: type[pb.Request] | type[pb.Response], **larger: int) -> Mapping[int, int]:
    fields = [field for field in envelope.DESCRIPTOR.fields if field.number >= 32]
    return {field.number: larger.get(field.name, SMALL_BYTES) for field in fields}


def of_strangers() -> Mapping[int, int]:
    """What a host takes from a client on its own socket before the hello: nothing that costs memory."""
    return _own(pb.Response)


def of_clients(chunk_bytes: int = CHUNK_BYTES) -> Mapping[int, int]:
    """What a host takes from a client on its own socket."""
    return _own(pb.Response, chunk=chunk_bytes + CHUNK_HEAD_BYTES)


def of_nodes(chunk_bytes: int = CHUNK_BYTES, plain_bytes: int = 0) -> Mapping[int, int]:
    """What a host takes from a client that is a node; `plain_bytes`: most of a state inside its answer."""
    return {**of_clients(chunk_bytes), 3: SMALL_BYTES, 4: SMALL_BYTES + plain_bytes, 5: SMALL_BYTES}


def of_hosts(chunk_bytes: int = CHUNK_BYTES) -> Mapping[int, int]:
    """What a client takes from a host on the host's own socket."""
    return _own(pb.Request, chunk=chunk_bytes + CHUNK_HEAD_BYTES, result=ANSWER_BYTES, page=ANSWER_BYTES)


def of_hosts_of_nodes(chunk_bytes: int = CHUNK_BYTES, plain_bytes: int = 0) -> Mapping[int, int]:
    """What a client that is a node takes from its host; `plain_bytes`: most of a state inside a restore."""
    return {**of_hosts(chunk_bytes), 3: SMALL_BYTES, 4: SMALL_BYTES, 5: SMALL_BYTES + plain_bytes}


def of_kapacitor_udfs(plain_bytes: int = PLAIN_BYTES) -> Mapping[int, int]:
    """What Kapacitor, or a relay in its place, takes from a UDF that knows only Kapacitor's messages."""
    return {**_KAPACITOR, 4: plain_bytes, **_DATA}


def of_kapacitor(plain_bytes: int = PLAIN_BYTES) -> Mapping[int, int]:
    """What such a UDF takes from Kapacitor. There is no request 6."""
    return {kind: most for kind, most in {**_KAPACITOR, 5: plain_bytes, **_DATA}.items() if kind != 6}
