"""The Python API: the same names for a server (`udfstore.connect`) and for none (`udfstore.open_store`)."""

from __future__ import annotations

import io
import weakref
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from udfstore import calls
from udfstore.client import arguments
from udfstore.client.admin import AdminCalls
from udfstore.client.files import OpenBlob
from udfstore.client.follow import Follower, Loader, Swap
from udfstore.client.member import GiveState, Member, TakeState
from udfstore.client.operations import Take
from udfstore.client.retry import never, nothing, usual
from udfstore.client.sources import Content, Source
from udfstore.client.tasks import TaskCalls
from udfstore.digest import BlobId
from udfstore.errors import Gone, Mismatch, Unsupported
from udfstore.model import BlobInfo, Entry, Event
from udfstore.refs import Prefix, Ref, Tag
from udfstore.tasks import Node

Model = TypeVar("Model")


NEEDS_SERVER = "nodes and followers are known to a server alone: start one with `udfstore serve`, and connect to it"


class BaseStore(TaskCalls, AdminCalls):
    """A store. Usable from several threads; a context manager that closes it.

    Refs are texts (`models/x`, `models/x@3`, `models/x@-1`, an ID or eight or more of its digits) or values of
    `udfstore.refs`. Every method raises the errors of `udfstore.errors`.
    """

    def __init__(self) -> None:
        self._followers: weakref.WeakSet[Follower[Any]] = weakref.WeakSet()

    # --- what a kind of store supplies ---

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. Followers of this store stop. May be called twice."""

    @abstractmethod
    def _ask(self, call: calls.PlainCall, called_off: Callable[[], bool] = never) -> calls.Result:
        """Ask, and wait for the answer: until it is `called_off()` (`Cancelled`), as all that takes one."""

    @abstractmethod
    def _save(self, source: Source, call: calls.Save, commit: calls.Commit) -> calls.Saved: ...

    @abstractmethod
    def _load(self, call: calls.Load, begin: Callable[[calls.Loading], Take]) -> calls.Loading: ...

    @abstractmethod
    def _open(self, ref: Ref | BlobId | Tag | str, called_off: Callable[[], bool] = never) -> OpenBlob: ...

    @abstractmethod
    def _items(self, call: calls.StreamCall) -> Generator[calls.Item]: ...

    @abstractmethod
    def _watch(
        self,
        call: calls.Watch,
        called_off: Callable[[], bool] = never,
        patience: Callable[[], float] = usual,
        anew: Callable[[], object] = nothing,
    ) -> Iterator[Event]:
        """Events until `called_off()`. Each time the server is away it is waited for `patience()` seconds.

        `anew` is called when the watch goes on over another connection.
        """

    @abstractmethod
    def _wake(self) -> None:
        """Have whoever waits look again whether it was called off."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- content ---

    def save(
        self,
        content: Content,
        *,
        tag: Tag | str | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
        id: BlobId | str | None = None,
        links: Iterable[BlobId | str] = (),
    ) -> calls.Saved:
        """Store content: bytes, a path, or a file open in mode 'rb' (read from where it stands).

        With `tag` the tag is moved to it in the same step. `id` announces what the content should be: it is checked,
        and content that the store has is not sent at all. Returns `.id`, `.size`, `.existed` and `.entry` (of the tag).
        """
        source = Source.of(content)
        try:
            call, commit = arguments.save(source.size, tag, note, labels, expected_version, id, links)
            return self._save(source, call, commit)
        finally:
            source.close()

    def load(self, ref: Ref | BlobId | Tag | str) -> bytes:
        """The content of a blob, checked against its ID."""
        content = io.BytesIO()

        def begin(head: calls.Loading) -> Take:
            content.seek(0)
            content.truncate()
            return content.write

        self.load_into(ref, begin)
        return content.getvalue()  # the buffer itself, not a copy of it

    def load_into(self, ref: Ref | BlobId | Tag | str, begin: Callable[[calls.Loading], Take]) -> calls.Loading:
        """Load a blob piece by piece: `begin` is told what was found and returns what takes the pieces.

        After a lost connection `begin` is called again and everything comes again. The content is checked: `Mismatch`
        at the end when it was not what it should be, or `Corrupt` when that is the store's fault.
        """
        try:
            return self._load(calls.Load(Ref.of(ref)), begin)
        except Mismatch as error:
            found = self.stat(ref)
            self.verify(found.id)
            raise error

    def open(self, ref: Ref | BlobId | Tag | str) -> OpenBlob:
        """Open a blob for reading: a seekable binary file with `id`, `size`, `tag`, `version`, `entry` and `path`."""
        return self._open(ref)

    def stat(self, ref: Ref | BlobId | Tag | str) -> BlobInfo:
        """What the store knows of a blob."""
        return arguments.answer(self._ask(calls.Stat(Ref.of(ref))), BlobInfo)

    def verify(self, ref: Ref | BlobId | Tag | str) -> BlobInfo:
        """Have the stored file hashed again. Raises `Corrupt` when it is not what its name says."""
        return arguments.answer(self._ask(calls.Verify(Ref.of(ref))), BlobInfo)

    def why(self, ref: Ref | BlobId | Tag | str) -> calls.Kept:
        """What keeps a blob."""
        return arguments.answer(self._ask(calls.Why(Ref.of(ref))), calls.Kept)

    def delete(self, ref: Ref | BlobId | Tag | str, *, force: bool = False, now: bool = False) -> calls.Deleted:
        """Remove a blob's content; refused with `Conflict` while a tag names it now, unless `force`.

        History stays: the versions in `.versions` answer `Gone` from here on. `now`: free the space at once.
        """
        call = calls.Delete(Ref.of(ref), force, now, arguments.request())
        return arguments.answer(self._ask(call), calls.Deleted)

    def undelete(self, ref: Ref | BlobId | Tag | str) -> calls.Undeleted:
        """Bring removed content back, and what it links, while its file is in the trash: `Gone` when it is unlinked."""
        return arguments.answer(self._ask(calls.Undelete(Ref.of(ref))), calls.Undeleted)

    def missing(self, ids: Iterable[BlobId | str]) -> list[BlobId]:
        """Which of these blobs the store does not have, in the order asked."""
        absent: list[BlobId] = []
        for call in arguments.missing(ids):
            absent += arguments.answer(self._ask(call), calls.MissingIds).ids
        return absent

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs, oldest first."""
        return arguments.only(self._items(calls.ListBlobs()), BlobInfo)

    # --- tags ---

    def tag(
        self,
        name: Tag | str,
        ref: Ref | BlobId | Tag | str,
        *,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> Entry:
        """Move a tag. `expected_version`: what it must be now (0: it must name nothing), else `Conflict`.

        Labels are copied from the entry that `ref` names, unless given.
        """
        step = calls.Step(arguments.tag(name), Ref.of(ref), expected_version, labels)
        return self._move((step,), note).entries[0]

    def move(
        self,
        steps: Mapping[str, Ref | BlobId | Tag | str],
        *,
        expected: Mapping[str, int] | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Entry, ...]:
        """Move several tags in one step: all of them or none."""
        return self._move(arguments.steps(steps, expected or {}, labels), note).entries

    def _move(self, steps: tuple[calls.Step, ...], note: str) -> calls.Moved:
        return arguments.answer(self._ask(calls.Move(steps, note, arguments.request())), calls.Moved)

    def get_tag(self, ref: Ref | Tag | str) -> Entry:
        """The newest entry of a tag, or that of `tag@version`."""
        return arguments.answer(self._ask(calls.GetTag(Ref.of(ref))), Entry)

    def tags(self, prefix: str = "") -> Iterator[Entry]:
        """The newest entry of each tag below a prefix (ends in `/` or is empty) or of one tag, by name."""
        return arguments.only(self._items(calls.ListTags(Prefix.parse(prefix))), Entry)

    def history(self, name: Tag | str) -> Iterator[Entry]:
        """All entries of a tag, newest first."""
        return arguments.only(self._items(calls.History(arguments.tag(name))), Entry)

    def rollback(
        self,
        name: Tag | str,
        *,
        to: int | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> Entry:
        """Move a tag back: to version `to`, or to the one before the version whose content it has now.

        The tag is looked at first and must not move meanwhile (`Conflict`), so two people who roll back at once take
        one step, not two.
        """
        return self.rolled_back(name, to=to, note=note, labels=labels, expected_version=expected_version).entries[0]

    def rolled_back(
        self,
        name: Tag | str,
        *,
        to: int | None = None,
        note: str = "",
        labels: Mapping[str, str] | None = None,
        expected_version: int | None = None,
    ) -> calls.Moved:
        """As `rollback`, with what was before and the versions that were passed over."""
        if expected_version is None:
            try:
                expected_version = self.get_tag(arguments.tag(name)).version
            except Gone:
                expected_version = 0
        call = calls.Rollback(arguments.tag(name), to, expected_version, note, labels, arguments.request())
        return arguments.answer(self._ask(call), calls.Moved)

    def untag(self, name: Tag | str, *, note: str = "", expected_version: int | None = None) -> Entry:
        """Delete a tag. Its history stays, and `rollback` brings it back."""
        call = calls.Untag((arguments.tag(name),), (expected_version,), note, arguments.request())
        return arguments.answer(self._ask(call), calls.Moved).entries[0]

    def hold(self, name: Tag | str, note: str) -> Entry:
        """Keep a tag where it is: until `release`, every move, rollback and deletion is a `Conflict` that says `note`.

        That is a version of its own, which names the same blob.
        """
        call = calls.Hold(arguments.tag(name), note, arguments.request())
        return arguments.answer(self._ask(call), calls.Moved).entries[0]

    def release(self, name: Tag | str, *, note: str = "") -> Entry:
        """Let a held tag move again. `Conflict` where it is not held."""
        call = calls.Release(arguments.tag(name), note, arguments.request())
        return arguments.answer(self._ask(call), calls.Moved).entries[0]

    def watch(self, prefix: str = "", *, since: int | None = None, epoch: int = 0) -> Iterator[Event]:
        """Events of all tags below a prefix, or of one tag, for ever; with no gap and no repeat over reconnects.

        Without `since` the present entries come first. Calls may be made inside the loop.
        """
        return self._watch(calls.Watch(Prefix.parse(prefix), since, epoch))

    def follow(
        self,
        name: Tag | str,
        loader: Loader[Model],
        *,
        fallback: Model | None = None,
        swap: Swap = "beside",
    ) -> Follower[Model]:
        """Keep `loader(open_blob)` of a tag's newest blob at hand: `.value`, reloaded when the tag moves.

        Returns when the first value is there; without the tag, or while it cannot be loaded, `fallback` is used if it
        is not None, else the error is raised. A later load that fails leaves the old value at work and is reported.
        `swap="replace"` lets go of the old value before the new one is loaded.
        """
        follower = Follower(self, arguments.tag(name), loader, fallback, swap)
        self._followers.add(follower)
        return follower

    def join(self, node: Node, *, snapshot: TakeState, restore: GiveState) -> Member:
        """Be a node of a task: be given its state, asked for it every minute, and once more at the end.

            model = Model()
            node = udfstore.Node("cpu-alert", "anomaly2")
            with udfstore.connect() as store, store.join(node, snapshot=model.dumps, restore=model.loads):
                for point in points:
                    model.update(point)

        `snapshot()` gives the state as bytes (none: there is no state yet), `restore(state)` takes it back; what raises
        in them is told to the server. They run on a thread of their own: a lock keeps them from the rest. Returns when
        the node is in place: after its restore if there was something to restore. A state that could not be restored
        is set aside, and the one before is tried, until `restore(b"")` asks to begin with none.

        While the server is away the node goes on with the state that it has. When somebody chooses another
        one (`udfstore snapshot use --now`), `restore` is called with that, `b""` for none. Each snapshot says
        which models the followers of this store have in use, and what they take into use is recorded for this node.
        Closing it leaves, after a last snapshot.

        Raises `Conflict` where the task belongs to another kind of host, and `NoServer`.
        """
        return self._join(node, snapshot, restore)

    def _join(self, node: Node, snapshot: TakeState, restore: GiveState) -> Member:
        raise Unsupported(NEEDS_SERVER)

    # --- the server ---

    def status(self) -> calls.Health:
        """How the store and its server are."""
        return arguments.answer(self._ask(calls.Status()), calls.Health)
