"""What one client had acknowledged, tag by tag, and that a store still has it."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import udfstore
from tests.faults.ledger import Ledger
from udfstore.digest import BlobId
from udfstore.model import Entry

VERSIONS = 200
"""Of one tag, before the next is begun: what is checked after every restart stays little."""

KEPT = 3
"""Versions of a large tag whose content stays."""

RULE = f"large/** keep {KEPT}"
SIZES = (20, 100, 500, 4_000, 4_000, 20_000, 100_000)
"""Of content that stays, through the journal and past it: a gigabyte in an hour. No two are the same."""

LARGE_BYTES = 1_500_000
"""Several chunks, or a file that is handed over."""


@dataclass(slots=True)
class Page:
    """A tag that one client alone moves."""

    tag: str
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def version(self) -> int:
        """The newest that was acknowledged; whoever moves the tag next expects it, so nothing happens twice."""
        return len(self.ledger.moved)

    def check(self, root: Path, store: udfstore.Store) -> None:
        """All of it is there, and no version more."""
        history = list(store.history(self.tag)) if self.version else []
        assert len(history) == self.version, f"{self.tag} has {len(history)} versions, not {self.version}"
        self.ledger.check(root, store.verify, history)


class Book:
    """The acknowledgements to one client. It is at work while it holds `lock`; who reads the book takes that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.chance = random.Random(name)
        self.pages = [Page(f"kept/{name}/0")]
        self.large: dict[int, BlobId] = {}
        self.collecting = False
        """Whether content that nothing names may go at present: then no save of it is a promise."""

    @property
    def page(self) -> Page:
        """The present one."""
        return self.pages[-1]

    @property
    def large_tag(self) -> str:
        """A tag of which only the newest versions keep their content."""
        return f"large/{self.name}"

    def turn(self) -> bool:
        """Begin the next page once this one is full."""
        full = self.page.version >= VERSIONS
        if full:
            self.pages.append(Page(f"kept/{self.name}/{len(self.pages)}"))
        return full

    def content(self, size: int | None = None) -> bytes:
        """Content that nobody saved before, of that size or one by chance."""
        return self.chance.randbytes(self.chance.choice(SIZES) if size is None else size)

    def saved(self, id: BlobId) -> None:
        """Content was acknowledged, and no tag names it."""
        self.page.ledger.save(id)
        if self.collecting:
            self.page.ledger.remove(id)

    def moved(self, entry: Entry | None) -> None:
        """A version of the present page was acknowledged."""
        assert entry is not None
        assert entry.id is not None
        self.note(entry.version, entry.id)

    def note(self, version: int, id: BlobId) -> None:
        """As `moved`."""
        assert version == self.page.version + 1, "a change happened twice"
        self.page.ledger.move(version, id)

    def collect(self, collecting: bool) -> None:
        """From here on content without a name may go, or no more may. Its owner is not at work."""
        self.collecting = collecting
        for page in self.pages if collecting else ():
            for id in page.ledger.saved:
                page.ledger.leaving.add(id)
            page.ledger.saved.clear()

    def check(self, root: Path, store: udfstore.Store, pages: int) -> None:
        """The newest pages are there, and what the rule keeps of the large tag."""
        for page in self.pages[-pages:]:
            page.check(root, store)
        history = list(store.history(self.large_tag)) if self.large else []
        assert {entry.version: entry.id for entry in history} == self.large
        for version in sorted(self.large)[-KEPT:]:
            store.verify(self.large[version])
