"""The whole log against its chain: what is damaged, and what can be read in spite of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from udfstore.store.backup import Load
from udfstore.store.groups import SEGMENT_HEAD_BYTES, Damaged, Group, decode_group, find_group
from udfstore.store.log import Head, read_groups


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain is broken: the revisions that are lost there (none where `last` < `first`), and why."""

    place: str
    why: str
    first: int
    last: int


class Chain:
    """Follows a log from its beginning; behind damage it goes on with the next whole group."""

    def __init__(self, load: Load, until: Head, last: int | None = None) -> None:
        """The log ends at `until`, which was committed; or, with `last`, wherever it does in segments up to that."""
        self.head = Head()
        self.breaks: list[Break] = []
        self.shed: list[tuple[int, int]] = []
        """First and last of each run of revisions whose records were shed."""
        self._load, self._until, self._last = load, until, last

    def groups(self) -> Iterator[tuple[Group, Head]]:
        """All groups that are whole, each with the head that it makes."""
        while not self._ended():
            for group, head in read_groups(self._load, self.head):
                self.head = head
                self.shed += group.shed()
                yield group, head
                if self._ended():
                    return
            if not self._skip():
                return

    def _ended(self) -> bool:
        return self._last is None and self.head.revision >= self._until.revision

    def _skip(self) -> bool:
        """Note what is broken behind the head; whether there is a whole group behind it to go on with."""
        later = self._later()
        known = (later or self._until).revision
        if later is None and self.head.revision >= known:
            return False  # nothing is missing: that was the end
        self.breaks.append(Break(*self._why(), self.head.revision + 1, known))
        if later is not None:
            self.head = later
        return later is not None

    def _later(self) -> Head | None:
        """What the next whole group follows."""
        for number in range(self.head.segment, max(self._until.segment, self._last or 0) + 1):
            try:
                data = self._load(number)
            except (Damaged, FileNotFoundError):
                continue
            begin = self.head.end if number == self.head.segment else SEGMENT_HEAD_BYTES
            found = find_group(data, begin, self.head.revision)
            if found is not None:
                offset, group = found
                return Head(group.revision - 1, group.previous, number, offset, offset)
        return None

    def _why(self) -> tuple[str, str]:
        """Where it is broken, and what is there instead of a group."""
        number, offset = self.head.segment, self.head.end
        try:
            if not self._load(number)[offset:].strip(b"\0") and number < max(self._until.segment, self._last or 0):
                number, offset = number + 1, SEGMENT_HEAD_BYTES
            decode_group(self._load(number), offset)
        except Damaged as damage:
            why = str(damage)
        except FileNotFoundError:
            why = "the segment is missing"
        else:
            why = "the group here does not follow the one before"
        return f"log/{number:08d}, offset {offset}", why
