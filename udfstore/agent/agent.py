"""The agent: between a host that speaks Kapacitor's UDF protocol and a handler.

Theory of operation. The reader takes frames off the wire for as long as there are any: it answers keepalives itself,
hands udfstore's own frames to the store's link, and puts all else in line for the handler, which works through the line
in a thread of its own. A host that is udfstore keeps its data within a window, so the reader always gets to what lies
behind it; with any other the line has a bound, and there are no calls whose answers could lie behind it.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message

from udfstore._pb import udfstore_pb2 as pb
from udfstore.agent import streams
from udfstore.agent.following import Between, BetweenFollower, in_process
from udfstore.agent.handler import Handler, Response, envelope
from udfstore.agent.inbox import Inbox, Request
from udfstore.agent.line import Line, LineStore
from udfstore.client import arguments, where
from udfstore.client.follow import Follower, Loader, Swap
from udfstore.client.remote import Store, connect
from udfstore.digest import BlobId
from udfstore.errors import Closing, NoServer, UdfstoreError, UsageError
from udfstore.refs import Tag
from udfstore.session.values import model_to_pb
from udfstore.wire import codec, limits, varint
from udfstore.wire.framing import Frame, FrameReader, frame

Model = TypeVar("Model")

_READ_BYTES = 64 * 1024

SLACK_BYTES = 1024 * 1024
"""Data on its way while the handler works: 5,000 points of 200 bytes."""

WINDOW_BYTES = limits.DATA_BYTES + varint.LENGTH_BYTES + SLACK_BYTES
"""Granted to a host that is udfstore. It is granted anew by the half of the slack, so the largest frame always fits."""

PLAIN_BYTES = limits.PLAIN_BYTES - limits.SMALL_BYTES
"""Of a state inside its message, to a host that is udfstore: it ends a UDF that sends a longer one."""

ERROR_CHARACTERS = 4000
"""Of the text in an error response; the log has all of it."""

_KEEPALIVE = 3
_METHODS = {16: "begin_batch", 17: "point", 18: "end_batch"}


class Agent:
    """Speaks with the host on `_in` and `out` (standard input and output), and calls the handler.

    With standard input and output the wire is moved to descriptors of its own, at once: what is printed goes to
    standard error. Keepalives are answered from now on, also while the handler is being made.
    """

    def __init__(self, _in: Any = None, out: Any = None, handler: Handler | None = None) -> None:
        self.handler = handler
        self._given = (sys.stdin if _in is None else _in, sys.stdout if out is None else out)
        self._standard = streams.is_standard(self._given[0])
        self._in, raw_out = (streams.private(stream) for stream in self._given)
        self._output = streams.Output(raw_out)
        self._inbox = Inbox()
        self._frames = FrameReader(limits.of_kapacitor())
        self._line = Line(partial(self._output.put_now, wait=True))
        self._met = threading.Event()
        """Set when it is known whether the host is udfstore."""
        self._host_known = False
        self._taken = 0
        """Bytes of data that the handler took and that were not granted anew."""
        self._between = Between()
        self._store: Store | None = None
        self._store_lock = threading.Lock()
        self._failed = False
        self._thread: threading.Thread | None = None
        self._reader = threading.Thread(target=self._read, name="udfstore agent reader", daemon=True)
        if self._standard and os.environ.get("UDFSTORE_HOST"):
            self._meet()
            self._met.set()
        self._reader.start()

    # --- what a UDF calls ---

    def start(self) -> None:
        """Begin to call the handler; returns at once."""
        if self.handler is None:
            raise UsageError("an agent needs a handler before it is started: agent.handler = ...")
        self._thread = threading.Thread(target=self._work, name="udfstore agent handler")
        self._thread.start()

    def wait(self) -> None:
        """Return when the host has closed its side and all that it sent was handled.

        After an error on standard input and output: `SystemExit` with status 1.
        """
        if self._thread is None:
            raise UsageError("wait() before start()")
        self._thread.join()
        self._close()
        if self._failed and self._standard:
            raise SystemExit(1)

    def write_response(self, response: Response, flush: bool = False) -> None:
        """Send a response, points for instance. For any thread.

        What a handler sends goes out by itself: when enough has gathered, after a moment, and before the handler waits.
        """
        self._output.put(frame(envelope(response)))
        if flush or threading.current_thread() is not self._thread:
            self._output.flush()

    @property
    def store(self) -> Store:
        """The store: on this connection, if its host is udfstore, else at $UDFSTORE_SOCKET or in the usual places.

        May wait for the host's first request. Raises `NoServer` where there is none. It is closed with the agent.
        """
        self._met.wait()
        with self._store_lock:
            if self._store is None:
                if self._host_known:
                    self._store = LineStore(self._line, where.claim())
                else:
                    self._store = _elsewhere()
            return self._store

    def follow(
        self,
        tag: Tag | str,
        loader: Loader[Model],
        fallback: Model | None = None,
        swap: Swap = "beside",
        process: bool = False,
    ) -> Follower[Model]:
        """As `store.follow`, but `.value` changes only between two calls of the handler.

        With `process` the loader runs in a process of its own, so that one which holds the interpreter for long stops
        nothing here: loader and value have to be picklable, and the UDF's main module safe to import.
        """
        load = in_process(loader) if process else loader
        store = self.store
        follower = BetweenFollower(self._between, store, arguments.tag(tag), load, fallback, swap)
        store._followers.add(follower)
        return follower

    # --- the reader ---

    def _read(self) -> None:
        buffer = memoryview(bytearray(_READ_BYTES))
        broken: Exception | None = None
        try:
            while size := self._in.readinto(buffer):
                for one in self._frames.receive(buffer[:size]):
                    if not self._receive(one):
                        return
            self._frames.end()
        except UdfstoreError as error:
            broken = error
        except (OSError, ValueError) as error:  # the connection broke, or was closed here
            print(f"the connection to the host broke: {error}", file=sys.stderr)
        finally:
            self._met.set()
            self._inbox.end(broken)
            self._line.end()

    def _receive(self, one: Frame) -> bool:
        """Take a frame. False when the handler has ended."""
        if one.kind in _METHODS:
            return self._inbox.put(one)
        if one.kind > max(_METHODS):
            self._line.receive(one)
            return True
        message = codec.decode(pb.Request, one)
        if isinstance(message, pb.KeepaliveRequest):
            answer = pb.Response(keepalive=pb.KeepaliveResponse(time=message.time))
            self._output.put_now(codec.encode(answer), wait=False)
            return True
        if isinstance(message, pb.InfoRequest) and message.host:
            self._meet()
        self._met.set()
        return self._inbox.put(Request(pb.Request.DESCRIPTOR.fields_by_number[one.kind].name, message))

    def _meet(self) -> None:
        """The host has shown that it is udfstore."""
        if not self._host_known:
            self._host_known = True
            self._inbox.bounded = False
            self._frames.limits = {**limits.of_kapacitor(), **limits.of_hosts()}
            self._grant(WINDOW_BYTES)

    def _grant(self, amount: int) -> None:
        self._output.put_now(codec.encode(pb.Response(credit=pb.Credit(amount=amount))), wait=False)

    # --- the handler's thread ---

    def _work(self) -> None:
        what = ""
        try:
            while not self._output.gone:
                what = "the conversation with the host"
                if self._inbox.empty:
                    self._output.flush()
                item = self._inbox.take()
                if item is None:
                    break
                if isinstance(item, Frame):
                    what = _METHODS[item.kind]
                    self._data(item)
                else:
                    what = item.name
                    self._output.put(frame(self._answer(item.message)))
                    self._output.flush()
                self._output.flush_late()
        except Exception as error:  # noqa: BLE001 - whatever it is, the host is told
            traceback.print_exc()
            self._output.put(frame(self._error(self._failure(what, error))))
        finally:
            self._inbox.close()
            self._output.flush()

    def _data(self, item: Frame) -> None:
        if self._host_known:
            self._taken += len(varint.encode(len(item.envelope))) + len(item.envelope)
            if self._taken >= SLACK_BYTES // 2:
                self._grant(self._taken)
                self._taken = 0
        message = codec.decode(pb.Request, item)
        with self._between.held():
            getattr(self.handler, _METHODS[item.kind])(message)

    def _answer(self, request: Message) -> bytes:
        """The envelope of the answer to a request. Raises what the handler raises, except in `snapshot`."""
        match request:
            case pb.SnapshotRequest():
                return self._snapshot(request.round)
            case pb.RestoreRequest():
                return self._restore(request)
            case pb.InitRequest():
                return self._init(request)
            case _:
                answer, why = self._asked("info")
                return answer or self._error(why)

    def _asked(self, method: str, *given: Message) -> tuple[bytes, str]:
        """The envelope that the handler answers with; or none, and what is wrong with it."""
        with self._between.held():
            response = getattr(self.handler, method)(*given)
        try:
            return envelope(response, method), ""
        except UsageError as error:
            text = self._failure(method, error)
            print(text, file=sys.stderr)
            return b"", text

    def _init(self, request: pb.InitRequest) -> bytes:
        if self._host_known:
            self._greet()
        answer, why = self._asked("init", request)
        return answer or _bytes(pb.Response(init=pb.InitResponse(error=why)))

    def _greet(self) -> None:
        """Say hello before the first state: then it may be of any size."""
        store = self.store
        assert isinstance(store, LineStore)
        try:
            store.greet()
        except UdfstoreError as error:
            print(f"the store is away, states travel inside their messages: {error}", file=sys.stderr)

    def _restore(self, request: pb.RestoreRequest) -> bytes:
        if request.blob:
            try:
                request.snapshot = self.store.load(BlobId(request.blob))
            except UdfstoreError as error:
                return _bytes(pb.Response(restore=pb.RestoreResponse(error=f"the state cannot be loaded: {error}")))
        answer, why = self._asked("restore", request)
        return answer or _bytes(pb.Response(restore=pb.RestoreResponse(error=why)))

    def _snapshot(self, round: int) -> bytes:
        """The handler's state. Without one there is an error for this request alone: the UDF can go on."""
        models = self._models()
        try:
            answer, why = self._asked("snapshot")
        except Exception as error:  # noqa: BLE001 - whatever it is, the host is told
            traceback.print_exc()
            answer, why = b"", self._failure("snapshot", error)
        if round == 0:
            if self._host_known and len(answer) > PLAIN_BYTES:
                why = f"a state of {len(answer)} bytes is too large to be kept while the store is away"
                return _bytes(pb.Response(snapshot=pb.SnapshotResponse(error=why)))
            return answer or self._error(why)
        response = pb.Response.FromString(answer)
        taken = pb.SnapshotResponse(round=round, error=why or response.error.error, models=models)
        if response.snapshot.snapshot:
            self._save(taken, response.snapshot.snapshot)
        return _bytes(pb.Response(snapshot=taken))

    def _save(self, taken: pb.SnapshotResponse, state: bytes) -> None:
        """Save the state as a blob; while the store is away the host gets it whole, if it is small enough for that."""
        store = self.store
        assert isinstance(store, LineStore)
        try:
            saved = store.save_now(state)
        except UdfstoreError as error:
            if isinstance(error, NoServer | Closing) and len(state) <= PLAIN_BYTES:
                taken.snapshot = state
            else:
                taken.error = f"the state cannot be saved: {error}"
        else:
            taken.blob, taken.size = saved.id.raw, saved.size

    def _models(self) -> list[pb.Model]:
        """What is in use, by tag."""
        if self._store is None:
            return []
        used = (follower.model for follower in list(self._store._followers))
        return sorted((model_to_pb(model) for model in used if model), key=lambda model: model.tag)

    def _error(self, text: str) -> bytes:
        """The envelope of an error, after which most hosts end the UDF."""
        self._failed = True
        return _bytes(pb.Response(error=pb.ErrorResponse(error=text)))

    def _failure(self, what: str, error: Exception) -> str:
        return f"{type(self.handler).__name__}, {what}: {type(error).__name__}: {error}"[:ERROR_CHARACTERS]

    # --- the end ---

    def _close(self) -> None:
        with self._store_lock:
            if self._store is not None:
                self._store.close()
        self._line.close()
        self._output.close()
        if not self._standard:
            for stream in self._given:
                streams.hang_up(stream)
        elif not self._reader.is_alive():  # else the process ends while it waits for more
            self._in.close()


def _bytes(response: pb.Response) -> bytes:
    data: bytes = response.SerializeToString()
    return data


def _elsewhere() -> Store:
    try:
        return connect()
    except NoServer as error:
        raise NoServer(f"no udfstore on this connection, its host does not know of it; and {error}") from error
