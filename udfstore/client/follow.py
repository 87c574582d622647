"""Followers: a value made from a tag's newest blob, kept up to date by a thread."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from typing import Generic, Literal, Protocol, TypeVar

from udfstore.calls import GetTag, Result, Used, Watch
from udfstore.client import arguments, where
from udfstore.client.files import OpenBlob
from udfstore.digest import BlobId
from udfstore.errors import Closing, NoServer, NotFound, UdfstoreError
from udfstore.model import Entry, Event
from udfstore.refs import Prefix, Ref, Tag
from udfstore.tasks import Model as InUse

Model = TypeVar("Model")
Loader = Callable[[OpenBlob], Model]
Swap = Literal["beside", "replace"]


class Followed(Protocol):
    """What a follower needs of its store."""

    def _ask(self, call: Used | GetTag, called_off: Callable[[], bool], /) -> Result: ...
    def _open(self, ref: str, called_off: Callable[[], bool], /) -> OpenBlob: ...
    def _watch(
        self, call: Watch, called_off: Callable[[], bool], patience: Callable[[], float], anew: Callable[[], object], /
    ) -> Iterator[Event]: ...
    def _wake(self) -> None: ...


_log = logging.getLogger("udfstore")

FIRST_SECONDS = 60.0
"""A start waits so long for a server that is away, as it would for a model that takes its time."""


class Following(Generic[Model]):
    """What every follower is: a value, and the entry it was made from.

    Read `value` when it is needed and keep it for one unit of work: it is replaced whole, between two reads, never
    changed.
    """

    def __init__(self, tag: Tag, fallback: Model | None, swap: Swap) -> None:
        self.tag = tag.name
        self.error: Exception | None = None
        """Why the newest version could not be loaded; None while it is in use."""
        self._fallback = fallback
        self._swap = swap
        self.reported: Used | None = None
        """The last record of this; said again on every new connection, whose server shows who follows what."""
        self.pinned = where.pins().get(tag.name)
        """The version that $UDFSTORE_PINS holds it at: then it follows nothing, and its use is not recorded."""
        self._begun = False
        self._current: tuple[Model | None, Entry | None] = (fallback, None)

    @property
    def value(self) -> Model:
        """What the loader made of the version in use."""
        return self.current[0]

    @property
    def current(self) -> tuple[Model, Entry | None]:
        """Value and entry of one and the same version, for marking results with what made them."""
        return self._current  # type: ignore[return-value]

    @property
    def entry(self) -> Entry | None:
        """The entry in use; None for a fallback."""
        return self._current[1]

    @property
    def version(self) -> int | None:
        """The version in use; None for a fallback."""
        return None if self.entry is None else self.entry.version

    @property
    def id(self) -> BlobId | None:
        """The blob in use; None for a fallback."""
        return None if self.entry is None else self.entry.id

    @property
    def model(self) -> InUse | None:
        """What is in use, as snapshots name it; None for a fallback."""
        entry = self.entry
        return None if entry is None or entry.id is None else InUse(entry.tag, entry.version, entry.id)

    # --- for the shells ---

    def begins(self, entry: Entry) -> bool:
        """A new entry was told. False if it takes nothing into use: a deleted tag takes no model away."""
        return entry.id is not None

    def has(self, entry: Entry) -> bool:
        """Whether the value was made from that very blob; then only the entry is new. Else makes room for another."""
        value, used = self._current
        if used is not None and used.id == entry.id:
            self.put(value, entry)
            return True
        if self._swap == "replace":
            self._current = (self._fallback, None)
        return False

    def put(self, value: Model | None, entry: Entry) -> None:
        """Take a value into use."""
        self._current = (value, entry)
        self.error = None

    def failed(self, entry: Entry, error: Exception) -> None:
        """A version could not be loaded: the one before stays in use, or the fallback."""
        self.error = error
        kept = "and nothing is in use" if self._fallback is None else "the fallback is in use"
        if (used := self._current[1]) is not None:
            kept = f"{used.ref} stays in use"
        _log.warning("%s could not be loaded, %s: %r", entry.ref, kept, error)

    def report(self, entry: Entry) -> Used:
        """The record of what became of an entry."""
        assert entry.id is not None
        failure = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"[:1000]
        self.reported = Used(Tag(entry.tag), entry.version, entry.id, failure, arguments.request())
        return self.reported

    def patience(self) -> float:
        """Seconds to wait for a server that is away: a start has a fallback or an end, afterwards there is a model."""
        if self._begun:
            return math.inf
        return FIRST_SECONDS if self._fallback is None else 0.0

    def lost(self, error: Exception) -> bool:
        """Whether a load failed because the server was away, and not for good: the watch then begins anew."""
        return self._begun and isinstance(error, NoServer | Closing)

    def goes_on(self, error: Exception) -> bool:
        """The watch ended: whether to begin another, because there is a value to go on with."""
        again = self.lost(error) or (isinstance(error, NoServer) and self._fallback is not None)
        self.error = error
        if not again:
            _log.warning("following %s ended: %r", self.tag, error)
        return again

    def unreported(self, used: Used, error: UdfstoreError) -> None:
        """The record of its use could not be made. One for want of a server is made when it is back."""
        if isinstance(error, NoServer | Closing):
            return
        _log.warning("the use of %s@%d could not be recorded: %s", used.tag, used.version, error)


class Follower(Following[Model]):
    """A value that follows a tag, kept up to date by a thread. A context manager that stops following."""

    def __init__(
        self, store: Followed, tag: Tag, loader: Loader[Model], fallback: Model | None = None, swap: Swap = "beside"
    ) -> None:
        super().__init__(tag, fallback, swap)
        self._store = store
        self._loader = loader
        self._stopped = False
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"udfstore follow {tag}", daemon=True)
        self._thread.start()
        self._first.wait()
        failure: Exception | None = self.error
        if failure is not None and (fallback is None or self.pinned is not None):
            self.close()
            raise failure

    def close(self) -> None:
        """Stop following; the value stays."""
        self._stopped = True
        self.reported = None
        self._store._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self) -> None:
        """Return when following has ended: by `close`, or because it cannot go on (`error`)."""
        self._thread.join()

    def __enter__(self) -> Follower[Model]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self) -> None:
        watch = Watch(Prefix(self.tag))
        while True:
            try:
                if self.pinned is not None:
                    self._take(self._pin(self.pinned))
                    return
                for event in self._store._watch(watch, self._called_off, self.patience, self._say_again):
                    for entry in event.entries:
                        self._take(entry)
                    if event.present and not event.entries and not self._begun:
                        self.error = self.error or NotFound(f"no tag {self.tag} to follow yet")
                        self._begin()
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever reads `error` is told
                if not self.goes_on(error):
                    return
            finally:
                self._begin()

    def _pin(self, version: int) -> Entry:
        call = GetTag(Ref.parse(f"{self.tag}@{version}"))
        return arguments.answer(self._store._ask(call, self._called_off), Entry)

    def _begin(self) -> None:
        self._begun = True
        self._first.set()

    def _called_off(self) -> bool:
        return self._stopped

    def _take(self, entry: Entry) -> None:
        if not self.begins(entry):
            return
        if not self.has(entry):
            try:
                with self._store._open(entry.ref, self._called_off) as blob:
                    value = self._loader(blob)
                if self._stopped:
                    return
                self.put(value, entry)
            except Exception as error:
                if self._stopped:
                    return
                if self.lost(error):
                    raise
                self.failed(entry, error)
        self._begin()
        if self.pinned is None:
            self._say(self.report(entry))

    def _say_again(self) -> None:
        if self.reported is not None:
            self._say(self.reported)

    def _say(self, used: Used) -> None:
        try:
            self._store._ask(used, self._called_off)
        except UdfstoreError as error:
            if not self._stopped:
                self.unreported(used, error)
