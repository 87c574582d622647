"""A node of a task, lived by a thread; `membership` has the bare conversation for event loops."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, Self

from udfstore.calls import Noted, PlainCall, Result, Saved, Used
from udfstore.client import arguments, operations
from udfstore.client.blocking import BlockingLink
from udfstore.client.follow import Follower
from udfstore.client.retry import Retry, usual
from udfstore.digest import BlobId
from udfstore.errors import CODES, Code, NoServer, UdfstoreError, UsageError
from udfstore.model import REQUEST_BYTES
from udfstore.session.events import NodeWord
from udfstore.tasks import Answer, Asked, Joined, Model, Node, Reason, Restart, Restore, Restored, SaveSnapshot, Taken

TakeState = Callable[[], bytes | None]
GiveState = Callable[[bytes], object]

LEAVE_SECONDS = 60.0
"""A last snapshot takes its round's deadline (30 s) at the most, and what is then still saved a moment more."""

_log = logging.getLogger("udfstore")


class Home(Protocol):
    """What a member needs of its store."""

    _followers: weakref.WeakSet[Follower[Any]]

    def _connect(self, node: Node, /) -> BlockingLink: ...
    def save(self, content: bytes, /) -> Saved: ...
    def load(self, ref: BlobId, /) -> bytes: ...


class Member:
    """A node of a task, for as long as this is open; made by `Store.join`.

    It goes on by itself when the server was away: it still has its state then, and is not given an older one.
    """

    def __init__(self, store: Home, node: Node, snapshot: TakeState, restore: GiveState) -> None:
        self.node = node
        self.error: Exception | None = None
        """Why this is no node any more; None while it is, and when it was closed."""
        self._store = store
        self._snapshot = snapshot
        self._restore = restore
        self._joined: Joined | None = None
        self._hello = replace(node, plain=False)
        """What the next connection says to be."""
        self._stale = False
        """Whether there is a state that must not stay: a restore failed half-way, or another one was chosen."""
        self._link: BlockingLink | None = None
        self._in_place = False
        """Whether the server said so on the present connection."""
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._over = threading.Event()
        """Set when it shall make no further connection."""
        self._thread = threading.Thread(target=self._live, name=f"udfstore node {node.name}", daemon=True)
        self._thread.start()
        try:
            self._first.wait()
        except BaseException:
            self.abandon()
            raise
        if self.error is not None:
            raise self.error

    @property
    def joined(self) -> Joined:
        """How the node came into place: `.owner`, and from which snapshot (`.manifest`, `.number`) its state is."""
        assert self._joined is not None, "a member that never joined was never made"
        return self._joined

    @property
    def lives(self) -> bool:
        """Whether it is a node, or will be again when the server is back."""
        return not self._over.is_set() and self.error is None

    def take(self, reason: Reason = Reason.MANUAL) -> Taken:
        """Have a snapshot of the whole task taken now. Raises `NoServer` while the server is away."""
        return arguments.answer(self._ask(SaveSnapshot(self.node.task, reason)), Taken)

    def used(self, used: Used) -> Noted:
        """Record on this node's connection what was taken into use; told again on each new one.

        A record is made once for each of several nodes: its request number is this node's own.
        """
        own = hashlib.sha256(f"{self.node.task}\0{self.node.name}\0".encode() + used.request).digest()
        return arguments.answer(self._ask(replace(used, request=own[:REQUEST_BYTES])), Noted)

    def _ask(self, call: PlainCall) -> Result:
        link = self._link
        if link is None or link.lost or not self._in_place:
            raise NoServer(f"the node {self.node.name} is not in place now: the server is away, or just back")
        result: Result = link.run(lambda: operations.ask(link.talk, call))
        return result

    def close(self) -> None:
        """Leave, with a last snapshot if the server is there. May be called twice."""
        with self._lock:
            first = not self._over.is_set()
            self._over.set()
        if first and self._link is not None and self._joined is not None:
            self._link.put(self._link.talk.goodbye)
        if threading.current_thread() is self._thread:
            return
        self._thread.join(LEAVE_SECONDS)
        if self._thread.is_alive():
            self.abandon()
            self._thread.join()
        if first and self._link is not None and not self._link.talk.left:
            _log.warning("%s of %s left without a last snapshot", self.node.name, self.node.task)

    def abandon(self) -> None:
        """Leave at once, without a last snapshot."""
        with self._lock:
            self._over.set()
        if self._link is not None:
            self._link.close()

    def _forked(self) -> None:
        """In the child of a fork: the node is the parent's."""
        self._over.set()
        self.error = UsageError("a node that was joined before a fork belongs to the parent; join again")
        if self._link is not None:
            self._link.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- its thread ---

    def _live(self) -> None:
        retry = Retry(time.monotonic, self._patience)
        try:
            while not self._over.is_set():
                try:
                    if not self._begin(self._store._connect(self._hello)):
                        return
                    retry.linked()
                    self._converse()
                except UdfstoreError as error:
                    if not self._comes_back(error):
                        raise
                    self._over.wait(retry.delay(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever reads `error` is told
            if not self._over.is_set() or not self._first.is_set():
                self.error = error
                _log.warning("%s is no node of %s any more: %r", self.node.name, self.node.task, error)
        finally:
            if self._link is not None:
                self._link.close()
            self._first.set()

    def _begin(self, link: BlockingLink) -> bool:
        """Take a new connection into use, unless it is over meanwhile."""
        with self._lock:
            before, self._link, self._in_place = self._link, link, False
            over = self._over.is_set()
        if before is not None:
            before.close()
        return not over

    def _patience(self) -> float:
        return usual() if self._joined is None else math.inf

    def _comes_back(self, error: UdfstoreError) -> bool:
        """Whether another connection is worth it: the server was away, or has set aside a state that failed."""
        refused = error.code is Code.CONFLICT and self._stale
        return refused or CODES[error.code].repeat

    def _converse(self) -> None:
        """One connection, from hello to its end. Another thread listens meanwhile, so that keepalives are answered."""
        link = self._link
        assert link is not None
        words: SimpleQueue[NodeWord | UdfstoreError | None] = SimpleQueue()
        listener = threading.Thread(target=_listen, args=(link, words), name="udfstore node listens", daemon=True)
        listener.start()
        try:
            while (word := words.get()) is not None:
                if isinstance(word, UdfstoreError):
                    raise word
                if not self._heard(link, word):
                    return
        finally:
            link.close()
            listener.join()

    def _heard(self, link: BlockingLink, word: NodeWord) -> bool:
        """Act on what the server said; False: this conversation is over."""
        match word:
            case Restore():
                self._stale = True
                error = self._take_over(word)
                self._stale = bool(error)
                link.put(partial(link.talk.session.restored, Restored(error)))
            case Joined():
                if self._stale:
                    self._restore(b"")
                    self._stale = False
                self._joined, self._in_place = word, True
                self._resume(link)
                self._say_what_is_used()
                self._first.set()
            case Asked():
                self._answer(link, word.round)
            case Restart():
                _log.info("%s of %s begins anew: %s", self.node.name, self.node.task, word.why)
                self._hello, self._stale = replace(self.node, plain=False), True
                return False
        return True

    def _resume(self, link: BlockingLink) -> None:
        """From here on a new connection goes on with the state that there is."""
        assert link.talk.welcome is not None
        assert self._joined is not None
        session, manifest = link.talk.welcome.session, self._joined.manifest
        # A copy that comes back before its node would otherwise take the node's place with what it made of the state.
        no_save = self.node.no_save or not self._joined.owner
        self._hello = replace(self.node, plain=False, resumed=session, restored=manifest, no_save=no_save)

    def _say_what_is_used(self) -> None:
        reports = [follower.reported for follower in list(self._store._followers)]
        try:
            for used in reports:
                if used is not None:
                    self.used(used)
        except UdfstoreError as error:
            _log.warning("what %s has in use could not be recorded: %s", self.node.name, error)

    def _models(self) -> tuple[Model, ...]:
        """What the followers of the store have in use."""
        models = (follower.model for follower in list(self._store._followers))
        return tuple(sorted((model for model in models if model is not None), key=lambda model: model.tag))

    def _take_over(self, restore: Restore) -> str:
        """Give a state to the node; why not, if it could not."""
        try:
            assert restore.blob is not None, "states travel as blobs"
            self._restore(self._store.load(restore.blob))
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is told
            _log.warning("%s could not restore snapshot %s: %r", self.node.name, restore.number, error)
            return _text(error)
        return ""

    def _answer(self, link: BlockingLink, round: int) -> None:
        try:
            state = self._snapshot()
            answer = Answer(round, models=self._models())
            saved = self._store.save(state) if state else None
            if saved is not None:
                answer = replace(answer, blob=saved.id, size=saved.size)
            link.put(partial(link.talk.session.answer, answer))
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is told
            _log.warning("%s has no state to give: %r", self.node.name, error)
            link.put(partial(link.talk.session.answer, Answer(round, error=_text(error))))


def _listen(link: BlockingLink, words: SimpleQueue[NodeWord | UdfstoreError | None]) -> None:
    try:
        while (word := link.run(partial(operations.told, link.talk))) is not None:
            words.put(word)
        words.put(None)
    except UdfstoreError as error:
        words.put(link.talk.said or error)


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, UdfstoreError) else f"{type(error).__name__}: {error}"
