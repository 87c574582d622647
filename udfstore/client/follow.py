"""Followers: a value made from a tag's newest blob, kept up to date by a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from udfstore.digest import BlobId
from udfstore.errors import NotFound, UdfstoreError
from udfstore.model import Entry
from udfstore.refs import Tag

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore
    from udfstore.client.files import OpenBlob

Model = TypeVar("Model")
Loader = Callable[["OpenBlob"], Model]
Swap = Literal["beside", "replace"]

_log = logging.getLogger("udfstore")


class Follower(Generic[Model]):
    """A value that follows a tag. Read `value` when it is needed and keep it for one unit of work: it is replaced
    whole, between two reads, never changed. A context manager that stops following."""

    def __init__(
        self, store: BaseStore, tag: Tag, loader: Loader[Model], fallback: Model | None = None, swap: Swap = "beside"
    ) -> None:
        self.tag = tag.name
        self.error: Exception | None = None
        """Why the newest version could not be loaded; None while it is in use."""
        self._store = store
        self._loader = loader
        self._fallback = fallback
        self._swap = swap
        self._current: tuple[Model | None, Entry | None] = (fallback, None)
        self._stopped = False
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"udfstore follow {tag}", daemon=True)
        self._thread.start()
        self._first.wait()
        failure: Exception | None = self.error
        if failure is not None and fallback is None:
            self.close()
            raise failure

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

    def close(self) -> None:
        """Stop following; the value stays."""
        self._stopped = True
        self._store._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Follower[Model]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self) -> None:
        from udfstore.calls import Watch
        from udfstore.refs import Prefix

        try:
            for event in self._store._watch(Watch(Prefix(self.tag)), lambda: self._stopped):
                for entry in event.entries:
                    self._take(entry)
                if event.present and not event.entries and not self._first.is_set():
                    self.error = self.error or NotFound(f"no tag {self.tag} to follow yet")
                    self._first.set()
        except UdfstoreError as error:
            self.error = error
            _log.warning("following %s ended: %s", self.tag, error)
        finally:
            self._first.set()

    def _take(self, entry: Entry) -> None:
        """Bring a new entry into use, or keep what is there and say why."""
        if entry.id is None:
            return  # a deleted tag takes no model away
        value, used = self._current
        if used is not None and used.id == entry.id:
            self._current = (value, entry)
        else:
            if self._swap == "replace":
                self._current = (self._fallback, used)
                value = None
            try:
                with self._store.open(entry.ref) as blob:
                    self._current = (self._loader(blob), entry)
            except Exception as error:  # noqa: BLE001 - a loader is the user's code and may raise anything
                self._failed(entry, error)
                return
        self.error = None
        self._first.set()
        self._report(entry, "")

    def _failed(self, entry: Entry, error: Exception) -> None:
        self.error = error
        self._first.set()
        _log.warning("%s could not be loaded, the version before stays in use: %r", entry.ref, error)
        self._report(entry, f"{type(error).__name__}: {error}"[:1000])

    def _report(self, entry: Entry, error: str) -> None:
        assert entry.id is not None
        try:
            self._store.used(entry.tag, entry.version, entry.id, error=error)
        except UdfstoreError as failure:
            _log.warning("the use of %s could not be recorded: %s", entry.ref, failure)
