"""Tasks to test with: a store, its tasks, and rounds that are committed as a host would."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from udfstore import tasks
from udfstore.digest import BlobId
from udfstore.model import Author, Caller, Place
from udfstore.service import Register, Service
from udfstore.snapshots import Choice, Commit, NodeSnapshot, Reason
from udfstore.snapshots.manifest import in_order
from udfstore.store import Store, StoreLimits

LIMITS = StoreLimits(floor_bytes=0, reserve_bytes=4096)
CALLER = Caller(Author("local", 1000, (1000,), 7, "pytest"), 1, Place("pump", "anomaly"))
DAG = b'{"nodes": [{"name": "a", "kind": "udf"}, {"name": "b", "kind": "udf", "parents": ["a"]}]}'
OTHER_DAG = b'{"nodes": [{"name": "a", "kind": "udf"}, {"name": "c", "kind": "other", "parents": ["a"]}]}'

_rounds = itertools.count(1)


class Clock:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        self.ns += 10**9
        return self.ns


class Box:
    """A service on a store, with a host's short forms."""

    def __init__(self, root: Path, **limits: Any) -> None:
        self.clock = Clock()
        self.store = Store(root, limits=LIMITS, clock=self.clock, **limits)
        self.service = Service(self.store, Register())
        self.service.tasks._clock = self.clock
        self.tasks = self.service.tasks

    def save(self, content: bytes) -> BlobId:
        upload = self.store.upload()
        upload.write(content)
        return upload.commit()[0]

    def ask(self, call: Any) -> Any:
        """The answer to a call, as a front would give it."""
        kind, service = type(call), self.service
        if kind in service.slow_stream:
            return [item for batch in service.slow_stream[kind](CALLER, call) for item in batch]
        if kind in service.change:
            return service.change[kind](CALLER, call).result()
        return service.slow[kind](CALLER, call)

    def commit(
        self,
        states: Mapping[str, bytes],
        task: str = "pump",
        dag: bytes = b"",
        models: tuple[tasks.Model, ...] = (),
        choice: Choice | None = None,
    ) -> BlobId:
        """A round in which each node saved its state."""
        nodes = []
        for name, content in states.items():
            who, fingerprint, _ = self.tasks.identify(tasks.Node(task, name, dag))
            blob = self.save(content)
            nodes.append(NodeSnapshot(who.id, name, blob, len(content), models=models))
        return self.tasks.commit(Commit(next(_rounds), task, fingerprint, Reason.INTERVAL, in_order(nodes)), choice)

    def here(self, content: bytes) -> bool:
        """Whether a blob file is there."""
        digits = BlobId.of(content).hex
        return (self.store.root / "blobs" / digits[:2] / digits).exists()

    def files(self) -> int:
        """How many blob files there are, once what is being removed is gone."""
        self.settle()
        return sum(1 for _ in (self.store.root / "blobs").glob("*/*"))

    def settle(self) -> None:
        """Wait until the remover has nothing left to do."""
        self.store.let_go(()).result()
        self.store._parts.remover._pool.submit(int).result()

    def given(self, name: str = "a", task: str = "pump", **said: Any) -> tuple[bytes | None, str]:
        """The state that a node is given, and why."""
        start = self.tasks.given(tasks.Node(task, name, **said))
        return start.state and self.tasks.shelf.content(start.state.blob), start.why.name


def request() -> bytes:
    return os.urandom(16)
