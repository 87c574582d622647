"""Small content on its way: many blobs become durable with one sync of the journal, then get their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from udfstore.digest import BlobId
from udfstore.errors import UdfstoreError
from udfstore.store import osfs
from udfstore.store.blobs import Files
from udfstore.store.journal import Journal
from udfstore.store.journaled import HEAD_BYTES
from udfstore.store.layout import Layout
from udfstore.store.limits import JOURNAL_SEGMENTS, MIB, StoreLimits
from udfstore.store.view import View


class Elsewhere(Exception):
    """This content has to be saved as large content is: it may be there already, or the journal has no room."""


@dataclass(eq=False, slots=True)
class Small:
    """Content that is to become durable through the journal, and what became of it."""

    id: BlobId
    content: bytes
    saved_ns: int = 0
    """When it was saved; 0: it was not yet."""
    refusal: UdfstoreError | Elsewhere | None = None

    @property
    def waits(self) -> bool:
        """Whether nothing became of it yet."""
        return not self.saved_ns and self.refusal is None


class Lander:
    """Gives small content its files. For the committer's thread."""

    def __init__(self, layout: Layout, files: Files, journal: Journal, limits: StoreLimits) -> None:
        self._root, self._files, self._journal = layout.root, files, journal
        self._floor = limits.floor_bytes
        self.most = min(MIB, limits.journal_bytes // JOURNAL_SEGMENTS)
        """Bytes of the journal that one sync makes durable at most."""

    def size(self, small: Small) -> int:
        """Bytes that it takes in the journal."""
        return HEAD_BYTES + len(small.content)

    def land(self, smalls: Sequence[Small], view: View, now_ns: int) -> None:
        """Make content durable and give it its name, or say at each why not.

        Raises `OSError` when writing the journal failed: nothing may be written any more.
        """
        fresh: dict[BlobId, Small] = {}
        for small in smalls:
            if small.id in fresh or view.blob(small.id) is not None:
                small.refusal = Elsewhere()
            else:
                fresh[small.id] = small
        if not fresh:
            return
        refusal = self._refusal(sum(len(small.content) for small in fresh.values()))
        with self._journal.writing():
            if refusal is None and not self._journal.append([(id, small.content) for id, small in fresh.items()]):
                refusal = Elsewhere()
            for small in fresh.values():
                small.refusal = refusal
                if refusal is None:
                    self._name(small, now_ns)

    def prepare(self) -> None:
        """Make room for what comes next."""
        self._journal.prepare()

    def _name(self, small: Small, now_ns: int) -> None:
        try:
            with osfs.telling("saving the blob"):
                if self._files.land(small.id, small.content, now_ns):
                    small.saved_ns = now_ns
                else:
                    small.refusal = Elsewhere()
        except UdfstoreError as error:
            small.refusal = error

    def _refusal(self, coming: int) -> UdfstoreError | Elsewhere | None:
        try:
            osfs.check_floor(self._root, coming, self._floor)
        except UdfstoreError as error:
            return error
        return None
