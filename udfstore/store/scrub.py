"""Content against names and index: every file below `blobs/` is hashed again, a step at a time.

Any thread may take a step. Between two of them nothing is held but one descriptor, so whoever takes them sets the pace.
When a file was found right is noted in the catalog; that note is all that is needed to go on later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Generator, Iterator

from udfstore.admin import Finding, FindingKind
from udfstore.digest import BlobId
from udfstore.errors import Closing, Corrupt, Denied, InternalError, ReadOnly
from udfstore.store import osfs, upkeep
from udfstore.store.blobs import HASH_BUFFER, BlobFile, hash_file
from udfstore.store.layout import FAN, blob_of
from udfstore.store.parts import Parts
from udfstore.store.view import BlobRow, View

STEP_BYTES = 4 << 20
"""Content in one step: some ten milliseconds of a thread."""

LOOK_BYTES = 16 << 10
"""To open and note a file takes about as long as to hash so much of it."""

SHOWN = 50
"""Versions that a finding names at most; at 800 bytes each they fit a page of the wire."""

SPOILED = (FindingKind.DAMAGED, FindingKind.UNREADABLE, FindingKind.MISSING)
"""Findings that mean that content cannot be had."""


def hit(view: View, id: BlobId) -> tuple[tuple[str, ...], int]:
    """The versions that what is wrong with a blob hits, and how many more there are."""
    entries = [*view.naming(id, SHOWN), *view.linking(id, SHOWN)][:SHOWN]
    return tuple(entry.ref for entry in entries), view.naming_count(id) + view.linking_count(id) - len(entries)


class Scrub:
    """One look at all content but what was verified since `since_ns`. `repair` takes damaged files out of use."""

    def __init__(self, parts: Parts, since_ns: int | None, repair: bool) -> None:
        self.blobs = self.bytes = 0
        """Hashed so far."""
        self._parts, self._files, self._repair = parts, parts.files, repair
        self._recent = (since_ns, parts.clock()) if since_ns is not None else (1, 0)
        self._right: list[BlobId] = []
        self._findings: list[Finding] = []

    @property
    def work(self) -> int:
        """What was done so far, in bytes hashed, to open and note each file among it."""
        return self.bytes + self.blobs * LOOK_BYTES

    def due_bytes(self) -> int:
        """How much there is to hash."""
        with self._parts.catalog.reading() as view:
            return view.bytes_verified_outside(*self._recent)

    def steps(self) -> Generator[list[Finding]]:
        """Go through it; each step gives what it found. Raises `Corrupt` for a catalog that cannot be read."""
        done = 0
        with self._parts.catalog.reading() as view:
            linked = view.links_not_indexed()
        for name in FAN:
            for id, row in self._due(name, linked):
                done += LOOK_BYTES
                for count in self._look(id, row):
                    done, self.bytes = done + count, self.bytes + count
                    if done >= STEP_BYTES:
                        yield self._told()
                        done = 0
        yield self._told()

    def _due(self, name: str, linked: list[BlobId]) -> Iterator[tuple[BlobId, BlobRow | None]]:
        with osfs.telling("listing blobs"):
            named = (blob_of(path.name) for path in (self._parts.layout.blobs / name).iterdir())
            there = {id for id in named if id is not None}
        with self._parts.catalog.reading() as view:
            rows = {row.id: row for row in view.beginning_with(name, -1)}
        first, last = self._recent
        for id in sorted({*there, *rows, *(id for id in linked if id.hex.startswith(name))}, key=lambda id: id.raw):
            row = rows.get(id)
            if row is None or (row.state.here and not (id in there and first <= row.verified_ns <= last)):
                yield id, row

    def _look(self, id: BlobId, row: BlobRow | None) -> Iterator[int]:
        """Judge one blob, telling by and by how many bytes were hashed."""
        try:
            file = self._opened(id)
            if file is None:
                self._missing(id)
                return
            with file:
                found = yield from _hashed(file)
                self.blobs += 1
                if found != id:
                    self._damaged(id, found, file.size, row)
                    return
                self._right.append(id)
                if row is None:
                    self._unlisted(id, file)
                elif row.size != file.size:
                    self._tell(FindingKind.CATALOG, id, f"the catalog gives it {row.size} bytes, it has {file.size}")
        except (InternalError, Denied) as error:
            self._tell(FindingKind.UNREADABLE, id, str(error))

    def _opened(self, id: BlobId) -> BlobFile | None:
        with osfs.telling(f"opening blob {id.short}"):
            try:
                return self._files.open(id)
            except FileNotFoundError:
                return None

    def _missing(self, id: BlobId) -> None:
        with self._files.lock(id):
            if self._files.size(id) is not None:
                return  # it was saved meanwhile
        aside = any(self._parts.layout.quarantine.glob(f"{id.hex}.*"))
        self._tell(FindingKind.MISSING, id, "it has no file" + (", but damaged ones in quarantine/" if aside else ""))

    def _damaged(self, id: BlobId, found: BlobId | None, size: int, row: BlobRow | None) -> None:
        """Hash it once more, now that nobody can replace it; `repair` puts it away."""
        with osfs.telling(f"looking at blob {id.short}"), self._files.lock(id):
            now = self._files.size(id)
            if now is None or (self._files.untouched(id, now, None) if self._repair else self._is_right(id)):
                return  # it was removed or healed meanwhile
        text = f"its bytes are those of {found}" if found is not None else "its file is cut off"
        if row is not None and row.size != size:
            text = f"its file has {size} bytes instead of {row.size}"
        self._tell(FindingKind.DAMAGED, id, text + ("; the file lies in quarantine/ now" if self._repair else ""))

    def _is_right(self, id: BlobId) -> bool:
        with self._files.open(id) as file:
            try:
                return hash_file(file) == id
            except Corrupt:
                return False

    def _unlisted(self, id: BlobId, file: BlobFile) -> None:
        """Content is in the index as soon as whoever saves it lets go of the lock, or the committer comes by."""
        saved_ns = os.fstat(file.fileno()).st_mtime_ns
        with self._files.lock(id):
            mend = self._repair and not self._parts.committer.problem
            with contextlib.suppress(ReadOnly, Closing):
                self._parts.committer.call(lambda _: upkeep.nothing)
            with self._parts.catalog.reading() as view:
                known = view.blob(id) is not None
            if known:
                return
            if mend:
                self._parts.committer.call(upkeep.index(id, file.size, saved_ns))
        self._tell(FindingKind.UNLISTED, id, "the catalog does not know it", mended=mend)

    def _tell(self, kind: FindingKind, id: BlobId, text: str, mended: bool = False) -> None:
        with self._parts.catalog.reading() as view:
            row = view.blob(id)
            if row is not None and not row.state.here:
                return  # it was removed meanwhile
            refs, more = hit(view, id)
        place = str(self._parts.layout.blob(id).relative_to(self._parts.layout.root))
        self._findings.append(Finding(kind, text, id, place, refs, more, mended))

    def _told(self) -> list[Finding]:
        """What was found since the last step; what was found right is noted."""
        if self._right and not self._parts.committer.problem:
            with contextlib.suppress(ReadOnly):
                self._parts.committer.call(upkeep.verified(self._right))
        damaged = sum(finding.kind in SPOILED for finding in self._findings)
        self._parts.meters.scrubbed(right=len(self._right), damaged=damaged)
        findings, self._findings, self._right = self._findings, [], []
        return findings


def _hashed(file: BlobFile) -> Generator[int, None, BlobId | None]:
    """The ID of what the disk has now, which may be other than what the kernel has at hand; None: it became shorter."""
    digest = hashlib.sha256()
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for offset in range(0, file.size, HASH_BUFFER):
        try:
            data = file.pread(offset, HASH_BUFFER)
        except Corrupt:
            return None
        digest.update(data)
        os.posix_fadvise(file.fileno(), offset, len(data), os.POSIX_FADV_DONTNEED)
        yield len(data)
    return BlobId(digest.digest())
