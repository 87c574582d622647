"""The manifest of a task snapshot: a JSON blob that names the state of each node. Pure.

    {"format": 1, "task": "…", "fingerprint": "…", "time": "2026-11-22T14:54:00.123456789Z", "reason": "interval",
     "nodes": [{"id": "…", "name": "…", "blob": "sha256:…", "size": 4096, …}, …]}

One manifest has one text: `decode` takes what `encode` makes and nothing else, so that a field added later is a new
format and no release overlooks what it does not know. Fields that say nothing (no key, not carried) are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from udfstore.digest import BlobId
from udfstore.errors import TooLarge, Unsupported, UsageError
from udfstore.model import datetime_of
from udfstore.refs import Tag
from udfstore.snapshots.dag import NO_DAG, Fingerprint, NodeId
from udfstore.snapshots.fields import Fields, parse_json
from udfstore.snapshots.names import check_name
from udfstore.tasks import Model, Reason

FORMAT = 1

STATES = 512
"""Most states in one manifest: the links of its entry, 67 bytes each, fit one record of the log (48 KiB)."""

MODELS = 1024
"""Most models that one node has in use: one for each of a thousand groups."""

MANIFEST_BYTES = 16 << 20
"""Largest manifest: 512 nodes with 80 models each, all names of full length."""

_YEAR_10000_NS = 253_402_300_800 * 1_000_000_000
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", re.ASCII)
_FIELDS = frozenset({"format", "task", "fingerprint", "time", "reason", "nodes"})
_NODE_FIELDS = frozenset(
    {"id", "name", "key", "options", "siblings", "blob", "size", "restored", "carried", "models"},
)
_MODEL_FIELDS = frozenset({"tag", "version", "blob"})


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """The state of one node: a blob of `size` bytes, and who the node was.

    `siblings` is how many other nodes of its kind had the same parents. `restored` is the manifest from which the node
    was restored before it made this state; None: it had started fresh. `carried`: the node was not connected in that
    round, its state is that of the manifest before.
    """

    id: NodeId
    name: str
    blob: BlobId
    size: int
    key: str = ""
    options: str = ""
    siblings: int = 0
    restored: BlobId | None = None
    carried: bool = False
    models: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """One snapshot of one task. `time_ns` is when its round ended. Nodes stand in the order of their names and IDs."""

    task: str
    fingerprint: Fingerprint
    time_ns: int
    reason: Reason
    nodes: tuple[NodeSnapshot, ...]

    @property
    def links(self) -> tuple[BlobId, ...]:
        """The blobs that this manifest needs, each once: the links of its entry."""
        return tuple(dict.fromkeys(node.blob for node in self.nodes))

    @property
    def time(self) -> datetime:
        """When its round ended, by the server's clock."""
        return datetime_of(self.time_ns)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A manifest that is kept, and how people name it: its `number` (0: it has none any more) and its `names`."""

    id: BlobId
    manifest: Manifest
    number: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"snapshot {self.number or next(iter(self.names), self.id.short)}"


def in_order(nodes: Iterable[NodeSnapshot]) -> tuple[NodeSnapshot, ...]:
    """Nodes as a manifest lists them."""
    return tuple(sorted(nodes, key=_place))


def encode(manifest: Manifest) -> bytes:
    """The bytes of a manifest. Raises `UsageError` or `TooLarge` for one that `decode` would refuse."""
    _check(manifest)
    data = json.dumps(_plain(manifest), ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MANIFEST_BYTES:
        raise TooLarge(f"a manifest has at most {MANIFEST_BYTES} bytes", got=len(data))
    return data


def decode(data: bytes) -> Manifest:
    """Read a manifest.

    Raises `UsageError` for bytes that are none, `Unsupported` for a format of a later release, `TooLarge`.
    """
    value = parse_json(data, "a manifest", MANIFEST_BYTES)
    if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > FORMAT:
        raise Unsupported("this manifest needs a newer udfstore", expected=f"format {FORMAT}", got=value["format"])
    fields = Fields(value, "a manifest", _FIELDS)
    manifest = Manifest(
        task=fields.text("task"),
        fingerprint=Fingerprint(fields.text("fingerprint")),
        time_ns=_time_ns(fields.text("time")),
        reason=_reason(fields.text("reason")),
        nodes=tuple(_node(node, f"node {place}") for place, node in enumerate(fields.items("nodes"), 1)),
    )
    if fields.number("format") != FORMAT or encode(manifest) != data:
        raise UsageError("a manifest, but not written as udfstore writes it")
    return manifest


def _check(manifest: Manifest) -> None:
    check_name(manifest.task, "a task name")
    if manifest.fingerprint != NO_DAG:
        _check_hash(manifest.fingerprint, "a fingerprint")
    if not 0 <= manifest.time_ns < _YEAR_10000_NS:
        raise UsageError("a manifest has a time from 1970 on", got=manifest.time_ns)
    if len(manifest.nodes) > STATES:
        raise TooLarge(f"a manifest names at most {STATES} states", got=len(manifest.nodes))
    places = [_place(node) for node in manifest.nodes]
    if places != sorted(set(places)):
        got = ", ".join(node.name for node in manifest.nodes[:20])
        raise UsageError("the nodes of a manifest stand in order, each once", got=got)
    for node in manifest.nodes:
        check_name(node.name, "a node's name")
        _check_hash(node.id, f"the ID of the node {node.name!r}")
        for text in filter(None, (node.key, node.options)):
            check_name(text, f"key or options of the node {node.name!r}")
        if node.size < 1 or node.siblings < 0:
            raise UsageError(f"the node {node.name!r} has a size above 0", got=f"{node.size}, {node.siblings} siblings")
        if len(node.models) > MODELS:
            raise TooLarge(f"the node {node.name!r} has more than {MODELS} models in use", got=len(node.models))
        for model in node.models:
            Tag.parse(model.tag)


def _check_hash(text: str, what: str) -> None:
    if _HASH.fullmatch(text) is None:
        raise UsageError(f"{what} is 64 lower-case hex digits", got=repr(text[:80]))


def _place(node: NodeSnapshot) -> tuple[str, str, str]:
    return node.name, node.id, node.key


def _plain(manifest: Manifest) -> dict[str, object]:
    seconds, ns = divmod(manifest.time_ns, 1_000_000_000)
    return {
        "format": FORMAT,
        "task": manifest.task,
        "fingerprint": manifest.fingerprint,
        "time": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z",
        "reason": manifest.reason.value,
        "nodes": [_plain_node(node) for node in manifest.nodes],
    }


def _plain_node(node: NodeSnapshot) -> Mapping[str, object]:
    said: dict[str, object] = {
        "key": node.key,
        "options": node.options,
        "siblings": node.siblings,
        "restored": node.restored and str(node.restored),
        "carried": node.carried,
        "models": [{"tag": m.tag, "version": m.version, "blob": str(m.blob)} for m in node.models],
    }
    plain: dict[str, object] = {"id": node.id, "name": node.name, "blob": str(node.blob), "size": node.size}
    return plain | {name: value for name, value in said.items() if value}


def _node(value: object, where: str) -> NodeSnapshot:
    fields = Fields(value, where, _NODE_FIELDS)
    restored = fields.text("restored", "")
    return NodeSnapshot(
        id=NodeId(fields.text("id")),
        name=fields.text("name"),
        blob=BlobId.parse(fields.text("blob")),
        size=fields.number("size"),
        key=fields.text("key", ""),
        options=fields.text("options", ""),
        siblings=fields.number("siblings", 0),
        restored=BlobId.parse(restored) if restored else None,
        carried=fields.flag("carried", False),
        models=tuple(_model(model, f"{where}: a model") for model in fields.items("models", [])),
    )


def _model(value: object, where: str) -> Model:
    fields = Fields(value, where, _MODEL_FIELDS)
    return Model(fields.text("tag"), fields.number("version"), BlobId.parse(fields.text("blob")))


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        known = ", ".join(reason.value for reason in Reason)
        raise UsageError("not the reason of a snapshot", expected=known, got=repr(text[:80])) from None


def _time_ns(text: str) -> int:
    match = _TIME.fullmatch(text)
    try:
        seconds = datetime.fromisoformat(f"{match[1]}+00:00") if match else None
    except ValueError:
        seconds = None
    if match is None or seconds is None:
        raise UsageError("not the time of a manifest", expected="2026-11-22T14:54:00.123456789Z", got=repr(text[:80]))
    return int(seconds.timestamp()) * 1_000_000_000 + int(match[2])
