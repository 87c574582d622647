"""Models that change between two calls of the handler, never inside one; loaded here or in a process beside."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from udfstore.client.files import OpenBlob, Spool, SpooledBlob
from udfstore.client.follow import Followed, Follower, Loader, Model, Swap
from udfstore.errors import InternalError
from udfstore.model import BlobInfo, Entry
from udfstore.refs import Tag

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class Between:
    """Tells the moments between two calls of the handler from those inside one."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = False
        self.followers: list[BetweenFollower[Any]] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """No model changes inside of this."""
        with self.changed:
            self.inside = True
        try:
            yield
        finally:
            with self.changed:
                self.inside = False
                for follower in self.followers:
                    follower.settle()
                self.changed.notify_all()


class BetweenFollower(Follower[Model]):
    """A follower whose value changes only between two calls of the handler."""

    def __init__(
        self, between: Between, store: Followed, tag: Tag, loader: Loader[Model], fallback: Model | None, swap: Swap
    ) -> None:
        self._between = between
        self._next: tuple[Model | None, Entry | None] | None = None
        """What takes the place of `_current` when the handler's call has ended."""
        with between.changed:
            between.followers.append(self)
        super().__init__(store, tag, loader, fallback, swap)

    def close(self) -> None:
        self._stopped = True
        with self._between.changed:
            if self in self._between.followers:
                self._between.followers.remove(self)
            self._between.changed.notify_all()
        super().close()

    def settle(self) -> None:
        """The handler's call has ended."""
        if self._next is not None:
            self._current, self._next = self._next, None

    def has(self, entry: Entry) -> bool:
        with self._between.changed:
            value, used = self._next or self._current
            if used is not None and used.id == entry.id:
                self.put(value, entry)
                return True
            if self._swap == "replace":
                self._change((self._fallback, None))
                self._between.changed.wait_for(lambda: self._next is None or self._stopped)
            return False

    def put(self, value: Model | None, entry: Entry) -> None:
        with self._between.changed:
            self._change((value, entry))
            self.error = None

    def _change(self, current: tuple[Model | None, Entry | None]) -> None:
        if self._between.inside and self._begun:  # the first one is waited for, by the handler itself
            self._next = current
        else:
            self._current = current


def in_process(loader: Loader[Model]) -> Loader[Model]:
    """A loader that runs `loader` in a process of its own, for one that would hold the interpreter.

    Loader and value are pickled; the value's large buffers (those of NumPy arrays: protocol 5) are passed beside.
    """

    def load(blob: OpenBlob) -> Model:
        import multiprocessing  # only here: few loaders need it, and it takes as long to import as all else

        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_load, args=(theirs, loader, blob.path, blob.raw.info), daemon=True)
        process.start()
        theirs.close()
        try:
            with ours:
                failure, value = _receive(ours)
        except EOFError:
            process.join()
            raise InternalError(f"the process that loads {blob.tag} ended with status {process.exitcode}") from None
        process.join()
        if failure is not None:
            raise failure
        loaded: Model = value
        return loaded

    return load


def _load(answer: Connection, loader: Callable[[OpenBlob], Any], path: Path, info: BlobInfo) -> None:
    """The process beside: load, and send back what came of it."""
    result: tuple[Exception | None, Any]
    with open(path, "rb") as content, OpenBlob(SpooledBlob(info, cast(Spool, content))) as blob:
        try:
            result = None, loader(blob)
            _send(answer, result)
        except Exception as error:  # noqa: BLE001 - raised again where the value is waited for
            try:
                _send(answer, (error, None))
            except Exception:  # noqa: BLE001 - an exception that cannot be pickled
                _send(answer, (RuntimeError(f"{type(error).__name__}: {error}"), None))


def _send(answer: Connection, result: tuple[Exception | None, Any]) -> None:
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(result, 5, buffer_callback=buffers.append)
    raws = [buffer.raw() for buffer in buffers]
    answer.send([raw.nbytes for raw in raws])
    answer.send_bytes(pickled)
    for raw in raws:
        answer.send_bytes(raw)


def _receive(answer: Connection) -> Any:
    sizes = answer.recv()
    pickled = answer.recv_bytes()
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        answer.recv_bytes_into(buffer)
    return pickle.loads(pickled, buffers=buffers)
