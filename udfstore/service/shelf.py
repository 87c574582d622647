"""What the store has of a task, read from its files: snapshots with their manifests, and the task's record."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from udfstore.calls import Move, Step
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Gone, NotFound, UdfstoreError, UsageError
from udfstore.model import Author, Entry
from udfstore.refs import SNAPSHOTS, Prefix, Ref, Tag
from udfstore.snapshots import Manifest, Snapshot, SnapshotRef, SnapshotTag, auto_tag, named_tag, record_tag
from udfstore.snapshots import manifest as manifests
from udfstore.snapshots import record as records
from udfstore.snapshots.names import task_prefix
from udfstore.snapshots.record import TaskRecord
from udfstore.store import Store

HOUSE = Author(front="server")
"""Author of what happens without anybody's asking."""

CACHED_BYTES = 16 << 20
"""Text of the manifests that are kept decoded: those of a thousand tasks with ten nodes each; one of any size fits."""

_PAGE = 100


class Shelf:
    """Reads and writes the blobs and tags of tasks. For any thread; blocks on the disk.

    `say` gets a line for people about whatever cannot be read: it is then left out, and does not hide the rest.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.say: Callable[[str], None] = lambda _: None
        self._records = threading.RLock()
        self._lock = threading.Lock()
        self._manifests: OrderedDict[BlobId, tuple[Manifest, int]] = OrderedDict()
        self._cached = 0

    # --- snapshots ---

    def snapshots(self, task: str) -> list[Snapshot]:
        """The snapshots of a task that are kept and can be read, newest first; the chosen one is among them."""
        numbers: dict[BlobId, int] = {}
        places: dict[BlobId, int] = {}
        for entry in self.store.kept(auto_tag(task)):
            assert entry.id is not None
            numbers.setdefault(entry.id, entry.version)
            places.setdefault(entry.id, entry.revision)
        names: dict[BlobId, list[str]] = {}
        for entry in self.named(task):
            assert entry.id is not None
            names.setdefault(entry.id, []).append(SnapshotTag.parse(entry.tag).name or "")
        record = self.record(task)
        for id in (*names, *(record.links if record else ())):
            if id not in places:
                places[id] = self._place(task, id)
        found = []
        for id in sorted(places, key=places.__getitem__, reverse=True):
            manifest = self.manifest(id)
            if manifest is not None:
                found.append(Snapshot(id, manifest, numbers.get(id, 0), tuple(names.get(id, ()))))
        return found

    def find(self, task: str, text: str) -> Snapshot:
        """The snapshot that a person means; empty: the newest.

        Raises `UsageError` for text that names none, `NotFound`, `Gone` for one that is not kept any more.
        """
        snapshots = self.snapshots(task)
        if not text:
            if not snapshots:
                raise NotFound(f"the task {task!r} has no snapshot")
            return snapshots[0]
        ref = SnapshotRef.parse(text)
        plain = next((s for s in snapshots if ref.name in s.names or (ref.number and s.number == ref.number)), None)
        if plain is not None:
            return plain
        fitting = [s for s in snapshots if s.id == ref.id or (ref.short and s.id.hex.startswith(ref.short))]
        if len(fitting) > 1:
            raise UsageError(f"several snapshots of {task!r} begin with {ref.short}; give more digits")
        if fitting:
            return fitting[0]
        raise self._absent(task, ref)

    def manifest(self, id: BlobId) -> Manifest | None:
        """A manifest; None: it is gone or damaged."""
        with self._lock:
            if id in self._manifests:
                self._manifests.move_to_end(id)
                return self._manifests[id][0]
        try:
            data = self.content(id)
            manifest = manifests.decode(data)
        except Gone:
            return None
        except UdfstoreError as error:
            self.say(f"the manifest {id.short} is left out: {error}")
            return None
        self.remember(id, manifest, len(data))
        return manifest

    def remember(self, id: BlobId, manifest: Manifest, size: int) -> None:
        """Keep a manifest of `size` bytes decoded for a while."""
        with self._lock:
            if id not in self._manifests:
                self._manifests[id] = manifest, size
                self._cached += size
            while self._cached > CACHED_BYTES and len(self._manifests) > 1:
                _, (_, oldest) = self._manifests.popitem(last=False)
                self._cached -= oldest

    def named(self, task: str) -> Iterator[Entry]:
        """The entries of a task's named snapshots."""
        return self._entries(Prefix(f"{task_prefix(task)}named/"))

    def knows(self, task: str) -> bool:
        """Whether there is anything of a task."""
        return next(self._entries(task_prefix(task)), None) is not None

    def task_names(self) -> list[str]:
        """All tasks that the store knows, by name."""
        found = set()
        for entry in self._entries(Prefix(SNAPSHOTS)):
            try:
                found.add(SnapshotTag.parse(entry.tag).task)
            except UsageError as error:
                self.say(f"the tag {entry.tag} is left out: {error}")
        return sorted(found)

    def newest_ns(self) -> dict[str, int]:
        """All tasks that the store knows, and when each had its newest automatic snapshot (0: it has none)."""
        found: dict[str, int] = {}
        for entry in self._entries(Prefix(SNAPSHOTS)):
            try:
                tag = SnapshotTag.parse(entry.tag)
            except UsageError:
                continue
            found.setdefault(tag.task, 0)
            if entry.tag == auto_tag(tag.task).name:
                found[tag.task] = entry.time_ns
        return found

    # --- records ---

    def record(self, task: str) -> TaskRecord | None:
        """What is known of a task; None: nothing, or nothing that can be read."""
        with self._records:
            try:
                id = self.store.entry(Ref.of(record_tag(task))).id
                return records.decode(self.content(id)) if id is not None else None
            except (NotFound, Gone):
                return None
            except UdfstoreError as error:
                self.say(f"what is known of the task {task!r} is left out: {error}")
                return None

    def amend(
        self,
        task: str,
        change: Callable[[TaskRecord], TaskRecord],
        *,
        beside: Sequence[Step] = (),
        author: Author = HOUSE,
        request: bytes = b"",
    ) -> TaskRecord:
        """Change what is known of a task, in one record with the steps `beside`; writes nothing where nothing changes.

        Raises what the store raises.
        """
        with self._records:
            known = self.record(task)
            record = change(known or TaskRecord(task))
            steps = list(beside)
            if record != known and (known is not None or record != TaskRecord(task)):
                steps.append(self.step(record_tag(task), records.encode(record), record.links))
            if steps:
                self.move(steps, author=author, request=request)
                self.store.let_go([step.tag for step in steps])
            return record

    # --- blobs and tags ---

    def content(self, id: BlobId) -> bytes:
        """The checked content of a small blob. Raises `NotFound`, `Gone`, `Corrupt`."""
        with self.store.open(id) as file:
            data = file.pread(0, file.size)
        if BlobId.of(data) != id:
            self.store.verify(id)
            raise Corrupt(f"the stored bytes of blob {id} are damaged")
        return data

    def step(self, tag: Tag, data: bytes, links: tuple[BlobId, ...]) -> Step:
        """Save content; the step that moves a tag to it."""
        upload = self.store.upload(None, len(data))
        try:
            upload.write(data)
            id, _ = upload.commit()
        finally:
            upload.abort()
        return Step(tag, Ref.of(id), None, {}, links)

    def move(self, steps: Sequence[Step], *, note: str = "", author: Author = HOUSE, request: bytes = b"") -> None:
        """Move tags below `snapshots/`, all of them or none."""
        move = Move(tuple(steps), note, request or os.urandom(16))
        self.store.submit(move, author, reserved=True).result()

    def _entries(self, prefix: Prefix) -> Iterator[Entry]:
        after = ""
        while batch := self.store.tags(prefix, after, _PAGE):
            yield from batch
            after = batch[-1].tag

    def _place(self, task: str, id: BlobId) -> int:
        """The revision at which a manifest became the newest snapshot."""
        entries = self.store.naming(id)
        ours = [entry.revision for entry in entries if entry.tag == auto_tag(task).name]
        return min(ours or [entry.revision for entry in entries], default=0)

    def _absent(self, task: str, ref: SnapshotRef) -> UdfstoreError:
        tag = auto_tag(task) if ref.number else named_tag(task, ref.name) if ref.name else None
        if tag is not None:
            how = "is not kept any more"
            with contextlib.suppress(NotFound):
                try:
                    self.store.entry(Ref(f"{tag}", tag=tag, version=ref.number or None))
                except Gone:  # of a number: the log has shed it
                    how = how if ref.number else "was deleted"
                return Gone(f"the snapshot {ref} of the task {task!r} {how}")
        known = [str(s.number or next(iter(s.names), s.id.short)) for s in self.snapshots(task)[:10]]
        return NotFound(f"the task {task!r} has no snapshot {ref}", expected=", ".join(known) or "none is kept")
