"""Rounds under any order of events: no state is dropped, every manifest is whole, whoever asks is answered once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from snapshot_kit import blob

from udfstore.digest import BlobId
from udfstore.snapshots import (
    Answer,
    Ask,
    Commit,
    Dag,
    End,
    Ended,
    Manifest,
    Member,
    Node,
    NodeSnapshot,
    Policy,
    Reason,
    Rounds,
    Snapshot,
    State,
    carried,
    decode,
    encode,
    plan,
)
from udfstore.snapshots.rounds import DEADLINE_S, Command

NAMES = [f"n{number}" for number in range(10)]
DAG = Dag(tuple(Node(name, f"udf{place % 4}") for place, name in enumerate(NAMES)))
IDS = set(DAG.ids.values())


class World:
    """The nodes, the store and the asks around one task, and what a user may expect of them.

    A node's state is a number that only grows; a node is restored as a plan says when it connects.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.stored: list[Manifest] = []
        self.commit: Commit | None = None
        self.owed: dict[tuple[str, int], int] = {}
        self.state: dict[str, int] = {}
        self.acknowledged: dict[str, set[BlobId]] = {name: set() for name in NAMES}
        self.safe: dict[str, int] = {}
        """The least that each node must find after whatever happens: what a committed manifest held of it."""
        self.asked: set[int] = set()
        self.answered: list[int] = []
        self.tickets = itertools.count()
        self.ends: list[Ended] = []
        self.start()

    def start(self) -> None:
        """The server starts, perhaps again: all it knows is what is stored."""
        newest = self.newest()
        kept = carried(IDS, DAG.fingerprint, self.stored[-1] if self.stored else None, Policy.STRICT)
        self.rounds = Rounds("task", DAG.fingerprint, newest=newest, kept=kept)
        self.commit, self.owed, self.state = None, {}, {}
        self.asked -= self.asked - set(self.answered)

    def newest(self) -> Snapshot | None:
        if not self.stored:
            return None
        return Snapshot(BlobId.of(encode(self.stored[-1])), self.stored[-1], len(self.stored))

    def join(self, name: str) -> None:
        newest = self.newest()
        (given,) = plan([DAG.identity(name)], DAG.fingerprint, [newest] if newest else []).nodes
        found = int(given.state.blob.hex[:8], 16) if given.state else 0
        assert found >= self.safe.get(name, 0)
        assert given.state is None or given.state.blob in self.acknowledged[name]
        self.state[name] = found
        self.obey(self.rounds.join(self.now, Member(DAG.identity(name))))

    def leave(self, name: str) -> None:
        del self.state[name]
        self.owed = {key: value for key, value in self.owed.items() if key[0] != name}
        self.obey(self.rounds.leave(self.now, name))

    def reply(self, name: str, number: int) -> None:
        content = self.owed.pop((name, number))
        state = content_of(name, content) if content else None
        if state is not None:
            self.acknowledged[name].add(state.blob)
        self.obey(self.rounds.answer(self.now, name, number, state))

    def store(self) -> None:
        commit, self.commit = self.commit, None
        assert commit is not None
        manifest = decode(encode(commit.manifest(len(self.stored))))
        self.check_whole(manifest.nodes)
        self.stored.append(manifest)
        for node in manifest.nodes:
            self.safe[node.name] = max(self.safe.get(node.name, 0), int(node.blob.hex[:8], 16))
        self.obey(self.rounds.committed(self.now, commit.round, BlobId.of(encode(manifest))))

    def check_whole(self, nodes: Sequence[NodeSnapshot]) -> None:
        before = {node.name: node for node in self.stored[-1].nodes} if self.stored else {}
        after = {node.name: node for node in nodes}
        assert before.keys() <= after.keys()
        for name, node in after.items():
            assert node.id == DAG.ids[name]
            assert node.blob in self.acknowledged[name]
            if node.carried:
                assert node.blob == before[name].blob

    def ask(self, reason: Reason, node: str = "") -> None:
        ticket = next(self.tickets)
        self.asked.add(ticket)
        self.obey(self.rounds.ask(self.now, reason, ticket, node))

    def obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Ask(number, name):
                    self.owed[name, number] = self.state[name]
                case Commit():
                    assert self.commit is None
                    self.commit = command
                case Answer(ticket, found, good, why):
                    assert isinstance(ticket, int)
                    self.answered.append(ticket)
                    assert good is not bool(why)
                    assert found == (BlobId.of(encode(self.stored[-1])) if self.stored else None)
                case Ended():
                    self.ends.append(command)

    def check(self) -> None:
        assert len(self.answered) == len(set(self.answered))
        assert set(self.answered) <= self.asked
        assert self.rounds.members.keys() == self.state.keys()
        due = self.rounds.deadline
        assert (due is None) is (self.commit is not None or not self.state)
        if self.rounds.running and due is not None:
            assert due <= self.now + DEADLINE_S


def content_of(name: str, number: int) -> State:
    """A state whose blob can be read back: its number, then something of the node's."""
    return State(BlobId(number.to_bytes(4, "big") + blob(name).raw[4:]), 9)


class RoundsModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.world = World()

    @rule(name=st.sampled_from(NAMES))
    def connect_or_die(self, name: str) -> None:
        (self.world.leave if name in self.world.state else self.world.join)(name)

    @rule(data=st.data(), work=st.integers(0, 3))
    @precondition(lambda self: self.world.state)
    def work(self, data: st.DataObject, work: int) -> None:
        self.world.state[data.draw(st.sampled_from(sorted(self.world.state)))] += work

    @rule(data=st.data())
    @precondition(lambda self: self.world.owed)
    def reply(self, data: st.DataObject) -> None:
        self.world.reply(*data.draw(st.sampled_from(sorted(self.world.owed))))

    @rule()
    @precondition(lambda self: self.world.owed)
    def all_reply(self) -> None:
        for name, number in sorted(self.world.owed):
            if (name, number) in self.world.owed:
                self.world.reply(name, number)

    @rule(reason=st.sampled_from([Reason.MANUAL, Reason.KAPACITOR]))
    def ask(self, reason: Reason) -> None:
        self.world.ask(reason)

    @rule(data=st.data())
    @precondition(lambda self: self.world.state)
    def stop(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.state)))
        self.world.ask(Reason.STOP, name)

    @rule(seconds=st.sampled_from([0.5, 6.0, 31.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.obey(self.world.rounds.tick(self.world.now))

    @rule()
    @precondition(lambda self: self.world.commit)
    def store(self) -> None:
        self.world.store()

    @rule()
    @precondition(lambda self: self.world.commit)
    def store_fails(self) -> None:
        commit, self.world.commit = self.world.commit, None
        assert commit is not None
        self.world.obey(self.world.rounds.not_committed(self.world.now, commit.round, "disk full"))

    @rule()
    def server_restarts(self) -> None:
        self.world.start()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


RoundsModel.TestCase.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=60, stateful_step_count=60
)
TestRoundsModel = RoundsModel.TestCase


def test_a_thousand_rounds_of_ten_nodes_with_random_kills() -> None:
    dice, world = random.Random(7), World()
    while len(world.ends) < 1000:
        for name in NAMES:
            if name not in world.state:
                world.join(name)
            world.state[name] += dice.randrange(3)
        world.ask(dice.choice([Reason.MANUAL, Reason.KAPACITOR]))
        for name, number in sorted(world.owed, key=lambda _: dice.random()):
            if dice.random() < 0.03:
                world.leave(dice.choice(sorted(world.state)))
            if (name, number) in world.owed:
                world.reply(name, number)
            world.check()
        if world.commit is not None and dice.random() < 0.9:
            world.store()
        elif dice.random() < 0.1:
            world.start()
        world.now += dice.choice([0.1, 6.0, 31.0])
        world.obey(world.rounds.tick(world.now))
    ended = {end: sum(e.end is end for e in world.ends) for end in End}
    assert ended[End.COMMITTED] > 300
    assert ended[End.VOID] > 100
