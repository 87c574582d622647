"""The record of a task: what outlives the server and is in no snapshot. A JSON blob under `snapshots/TASK/task`. Pure.

    {"format": 1, "task": "…", "host": "direct" or null, "dag": [{"name": "…", "kind": "…", "parents": […]}, …] or null,
     "fingerprint": "…", "use": null or {"fresh": true} or {"snapshot": "sha256:…"},
     "aside": [{"node": "…", "blob": "sha256:…"}, …]}

One record has one text, as a manifest has: `decode` takes what `encode` makes and nothing else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from udfstore.digest import BlobId
from udfstore.errors import Unsupported, UsageError
from udfstore.snapshots.dag import NO_DAG, Dag, Fingerprint, NodeId
from udfstore.snapshots.fields import Fields, parse_json
from udfstore.snapshots.names import check_name
from udfstore.snapshots.restore import Aside, Choice
from udfstore.tasks import HostKind

FORMAT = 1

ASIDES = 1024
"""States set aside that are remembered, the newest ones: as many as a DAG has nodes."""

RECORD_BYTES = 2 << 20
"""Largest record: a DAG of full size, and all asides."""

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIELDS = frozenset({"format", "task", "host", "dag", "fingerprint", "use", "aside"})


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is known of a task: who drove it last (None: nobody yet), its DAG (None: it has none), what was chosen for
    its next start, and the states that nodes could not be restored from, oldest first."""

    task: str
    host: HostKind | None = None
    dag: Dag | None = None
    use: Choice | None = None
    aside: tuple[Aside, ...] = ()

    @property
    def fingerprint(self) -> Fingerprint:
        """Of its DAG."""
        return self.dag.fingerprint if self.dag else NO_DAG

    @property
    def links(self) -> tuple[BlobId, ...]:
        """The manifest that it needs: the link of its entry."""
        return (self.use.snapshot,) if self.use and self.use.snapshot else ()

    def with_aside(self, aside: Aside) -> TaskRecord:
        """The same with one more state set aside."""
        others = tuple(other for other in self.aside if other != aside)
        return replace(self, aside=(*others, aside)[-ASIDES:])


def encode(record: TaskRecord) -> bytes:
    """The bytes of a record. Raises `UsageError` for one that `decode` would refuse."""
    check_name(record.task, "a task name")
    if len(record.aside) > ASIDES or len(set(record.aside)) < len(record.aside):
        raise UsageError(f"a task's record has at most {ASIDES} states set aside, each once", got=len(record.aside))
    for aside in record.aside:
        if _HASH.fullmatch(aside.node) is None:
            raise UsageError("a node ID is 64 lower-case hex digits", got=repr(aside.node[:80]))
    use: object = None
    if record.use is not None:
        use = {"snapshot": str(record.use.snapshot)} if record.use.snapshot else {"fresh": True}
    plain = {
        "format": FORMAT,
        "task": record.task,
        "host": record.host.value if record.host else None,
        "dag": json.loads(record.dag.to_json())["nodes"] if record.dag else None,
        "fingerprint": record.fingerprint,
        "use": use,
        "aside": [{"node": aside.node, "blob": str(aside.blob)} for aside in record.aside],
    }
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def decode(data: bytes) -> TaskRecord:
    """Read a record.

    Raises `UsageError` for bytes that are none, `Unsupported` for a format of a later release, `TooLarge`.
    """
    value = parse_json(data, "a task's record", RECORD_BYTES)
    if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > FORMAT:
        raise Unsupported("this task's record needs a newer udfstore", expected=f"format {FORMAT}", got=value["format"])
    fields = Fields(value, "a task's record", _FIELDS)
    assert isinstance(value, dict)
    nodes = value.get("dag")
    record = TaskRecord(
        task=fields.text("task"),
        host=None if value.get("host") is None else _host(fields.text("host")),
        dag=None if nodes is None else Dag.from_json(json.dumps({"nodes": nodes})),
        use=_choice(value.get("use")),
        aside=tuple(_aside(item) for item in fields.items("aside")),
    )
    if encode(record) != data:
        raise UsageError("a task's record, but not written as udfstore writes it")
    return record


def _choice(value: object) -> Choice | None:
    if value is None:
        return None
    fields = Fields(value, "the choice of a task", frozenset({"fresh", "snapshot"}))
    text = fields.text("snapshot", "")
    return Choice(BlobId.parse(text) if text else None)


def _aside(value: object) -> Aside:
    fields = Fields(value, "a state set aside", frozenset({"node", "blob"}))
    return Aside(NodeId(fields.text("node")), BlobId.parse(fields.text("blob")))


def _host(text: str) -> HostKind:
    try:
        return HostKind(text)
    except ValueError:
        known = ", ".join(kind.value for kind in HostKind)
        raise UsageError("not a kind of host", expected=known, got=repr(text[:80])) from None
