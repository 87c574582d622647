"""Rounds of ten nodes while nodes and server are killed: every snapshot is whole, and no round drops state.

A node counts how often it gave its state, and its state says how far it has come. It is killed at its own random
moments: some of them forget all and come back fresh, some only lose their connection and resume. The server is killed
in the middle of rounds. What was acknowledged is kept here, outside of all that die.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

from kit import SECONDS, ServerProcess
from raw_client import RawClient
from raw_node import RawNode, ask, taken

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.snapshots import Manifest, decode

TASK = "ten nodes"
NODES = tuple(f"node {number}" for number in range(10))
ROUNDS = 1000 if os.environ.get("UDFSTORE_CRASH") else 60
ROUNDS_PER_KILL = 20
"""Of the server."""
DEATHS = 0.01
"""Of a node, at each of three moments in a round: every fourth round loses one of its ten nodes."""


class Killed(Exception):
    """The node's process is gone, and all that it knew."""


class Board:
    """What the nodes and the test tell each other."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.stopping = False
        self.newest = 0
        """The number of the newest snapshot that the server acknowledged."""
        self.given: list[tuple[int, str, bytes, int]] = []
        """Each restore: snapshot, node, state, and the newest snapshot acknowledged before the node connected."""
        self.steps = 0
        """Of all nodes together: each arrival, and each part of an answer."""
        self._stirred = threading.Condition()

    def step(self) -> None:
        """A node got one step further."""
        with self._stirred:
            self.steps += 1
            self._stirred.notify_all()

    def wait_until(self, come: Callable[[], bool]) -> None:
        """Return when it has come so far; it is looked at after each step."""
        with self._stirred:
            assert self._stirred.wait_for(come, SECONDS)

    def wake(self) -> None:
        """Something else has come."""
        with self._stirred:
            self._stirred.notify_all()


class Node:
    """A node that lives, dies and comes back until it is told to stop."""

    def __init__(self, name: str, server: ServerProcess, board: Board) -> None:
        self._name = name
        self._server = server
        self._board = board
        self._chance = random.Random(name)
        self._count: int | None = None
        """How far it has come; None: it has just begun."""
        self._session = 0
        self._restored = b""

    def live(self) -> None:
        while not self._board.stopping:
            assert self._board.up.wait(SECONDS)
            before = self._board.newest
            resumed = {} if self._count is None else {"resumed": self._session, "restored": self._restored}
            try:
                with RawNode(self._server.socket, TASK, self._name, interval_ms=1_000_000, **resumed) as link:
                    self._arrive(link, before)
                    while True:
                        self._answer(link)
            except Killed:
                self._count = None
            except (EOFError, ConnectionError, FileNotFoundError):
                continue  # the server is gone, or the connection: it goes on with the state it has

    def _arrive(self, link: RawNode, before: int) -> None:
        joined = link.arrive()
        assert joined.owner, f"{self._name} found its own place taken"
        self._board.step()
        self._session = link.welcome.session
        if self._count is not None:
            assert link.given is None, "a node that resumed was restored"
            return
        self._restored = joined.manifest
        self._count = 0
        if link.given is not None:
            self._board.given.append((joined.number, self._name, link.given, before))
            self._count = count_of(link.given, self._name)

    def _answer(self, link: RawNode) -> None:
        round = link.question()
        self._board.step()
        self._maybe_die(link)
        assert self._count is not None
        self._count += 1
        state = f"{self._name} has come to {self._count}".encode()
        saved = link.save(link.number(), state)
        self._board.step()
        self._maybe_die(link)
        link.send(pb.Response(snapshot=pb.SnapshotResponse(round=round, blob=saved.id, size=len(state))))
        self._board.step()
        self._maybe_die(link)

    def _maybe_die(self, link: RawNode) -> None:
        if self._chance.random() < DEATHS:
            link.socket.shutdown(socket.SHUT_RDWR)
            raise self._chance.choice((Killed, ConnectionError))


def count_of(state: bytes, name: str) -> int:
    """How far the node had come whose state this is."""
    told, _, count = state.decode().rpartition(" has come to ")
    assert told == name, "a node was given the state of another one"
    return int(count)


class Driver:
    """Asks for rounds, kills the server, and judges what it finds."""

    def __init__(self, server: ServerProcess, board: Board) -> None:
        self._server = server
        self._board = board
        self._chance = random.Random(0)
        self.good = 0
        self.manifests: dict[int, Manifest] = {}

    def round(self, *, kill: bool) -> None:
        """Have a round taken; `kill` the server in the middle of it."""
        ended = threading.Event()

        def wait_for_it() -> pb.Taken | None:
            try:
                with RawClient(self._server.socket) as client:
                    ask(client, 1, TASK)
                    return taken(client)
            except (EOFError, ConnectionError):
                return None
            finally:
                ended.set()
                self._board.wake()

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(wait_for_it)
            if kill:
                goal = self._board.steps + self._chance.randint(0, 3 * len(NODES))
                self._board.wait_until(lambda: self._board.steps >= goal or ended.is_set())
                self._board.up.clear()
                self._server.restart()
                self._board.up.set()
            told = answer.result(SECONDS)
        if told is not None and told.good:
            assert told.snapshot.number >= self._board.newest, "an acknowledged snapshot is gone"
            self._board.newest = told.snapshot.number
            self.good += 1

    def judge(self) -> None:
        """Read the snapshots that are new since the last time, and hold each against the one before."""
        if not self._board.newest:
            return
        with udfstore.connect(self._server.socket) as store:
            history = store.history("snapshots/ten~20nodes/auto")
            for entry in reversed(list(takewhile(lambda entry: entry.version not in self.manifests, history))):
                assert entry.id is not None
                self.manifests[entry.version] = decode(store.load(entry.id))
                self._judge_one(store, entry)
            assert len(self.manifests) >= self._board.newest

    def _judge_one(self, store: udfstore.Store, entry: udfstore.Entry) -> None:
        now, before = self.manifests[entry.version], self.manifests.get(entry.version - 1)
        assert set(entry.links) == {node.blob for node in now.nodes}
        assert entry.version == 1 or before is not None, "judged too late"
        come = {node.name: count_of(store.load(node.blob), node.name) for node in now.nodes}
        was = {node.name: node for node in before.nodes} if before else {}
        assert was.keys() <= come.keys(), "a round dropped a state"
        for node in now.nodes:
            if node.carried:
                assert node.blob == was[node.name].blob
            elif node.name in was:
                assert come[node.name] >= count_of(store.load(was[node.name].blob), node.name), "a state from before"


def test_no_kill_loses_state(own_server: ServerProcess) -> None:
    board = Board()
    driver = Driver(own_server, board)
    board.up.set()
    with ThreadPoolExecutor(len(NODES)) as pool:
        nodes = [pool.submit(Node(name, own_server, board).live) for name in NODES]
        try:
            board.wait_until(lambda: board.steps >= len(NODES))
            for number in range(1, ROUNDS + 1):
                driver.round(kill=number % ROUNDS_PER_KILL == 0)
                driver.judge()
                assert not any(node.done() for node in nodes)
        finally:
            board.stopping = True
            own_server.kill()
            board.up.set()
            for node in nodes:
                node.result(SECONDS)
    own_server.start()
    driver.judge()
    assert driver.good > ROUNDS / 2
    restored_rightly(driver, board)


def restored_rightly(driver: Driver, board: Board) -> None:
    """Every state that was given is what its snapshot names, and no older one than was acknowledged by then."""
    assert board.given
    for number, name, state, newest_before in board.given:
        (node,) = [node for node in driver.manifests[number].nodes if node.name == name]
        assert node.blob == BlobId.of(state)
        assert number >= newest_before
