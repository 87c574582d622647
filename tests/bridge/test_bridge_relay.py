"""The relay between Kapacitor and a host: what passes, in which order, and who keeps whose clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from relay_kit import INFO, STORE, ScriptedHost, staged
from stand_in import request, response
from trio.testing import MockClock, wait_all_tasks_blocked

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.dots import Told
from udfstore.bridge.host import Snapped
from udfstore.bridge.reference import Reference, maybe_decode
from udfstore.digest import BlobId
from udfstore.errors import NoServer, UdfstoreError
from udfstore.snapshots import Dag, Node
from udfstore.tasks import HostKind, Joined
from udfstore.wire.framing import Frame

MANIFEST = BlobId.of(b"manifest")
REFERENCE = Reference(STORE, MANIFEST, "task", "node1")
DAG = Dag((Node("stream0", "stream"), Node("node1", "node", ("stream0",))))


def point(number: int) -> Frame:
    return request(point=pb.Point(time=number))


def asking_for_life(time: int) -> Frame:
    return request(keepalive=pb.KeepaliveRequest(time=time))


async def test_a_conversation_passes_as_it_is(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert (await stage.ask(info={})).wants == pb.STREAM
        assert (await stage.init()).success
        assert (await stage.ask(restore=pb.RestoreRequest(snapshot=b"\x80state"))).success
        sent = [request(begin=pb.BeginBatch(size=2)), point(1), point(2), request(end=pb.EndBatch())]
        await stage.say(*sent, asking_for_life(7), point(3))
        back = [response(point=pb.Point(time=number)) for number in range(3)]
        await stage.until(lambda: len(stage.host.frames) == 6)
        await stage.relay.data(back)
        await stage.until(lambda: len(stage.side.data) == 3)
        assert stage.side.data == back
        assert stage.side.keepalives == [7]
        assert stage.host.frames == [request(restore=pb.RestoreRequest(snapshot=b"\x80state")), *sent, point(3)]
        await stage.end()
        assert stage.host.events == ["info", "init", "restore", "keepalive", "stop", "closed"]
        assert stage.relay.failure == ""


async def test_who_the_node_is(tmp_path: Path) -> None:
    async with staged(tmp_path, prefix="line1/", policy="key", no_save=True) as stage:
        await stage.init("größe \N{SNOWMAN}/x", "avg 2")
        node = stage.host.node
        assert node is not None
        assert (node.task, node.name, node.host) == ("line1/größe \N{SNOWMAN}/x", "avg 2", HostKind.KAPACITOR)
        assert (node.policy.value, node.no_save, node.take_over) == ("key", True, False)


@pytest.mark.parametrize(("task", "node"), [("a\nb", "n"), ("", "n"), ("x" * 129, "n"), ("t", "\x7f"), ("t", "")])
async def test_a_name_that_cannot_be_kept_fails_the_task_and_says_so(tmp_path: Path, task: str, node: str) -> None:
    async with staged(tmp_path) as stage:
        answer = await stage.init(task, node)
        assert not answer.success
        assert "name of the" in answer.error


# --- keepalives ---


async def test_a_udf_that_starts_is_kept_alive(autojump_clock: MockClock, tmp_path: Path) -> None:
    host = ScriptedHost()
    host.answers |= {"init": trio.Event(), "init then": response(init=pb.InitResponse(success=True))}
    async with staged(tmp_path, host=host) as stage:
        await stage.say(request(init=pb.InitRequest(taskID="t", nodeID="n")), asking_for_life(5), point(1))
        await trio.sleep(20.5)
        assert 5 in stage.side.keepalives
        assert len(stage.keepalives()) == 1 + 19
        assert host.frames == []
        host.answers["init"].set()
        await stage.until(lambda: bool(host.frames))
        await stage.say(asking_for_life(6))
        await stage.until(lambda: 6 in stage.side.keepalives)
        assert "keepalive" in host.events


async def test_a_udf_that_loads_is_kept_alive_even_if_nothing_is_read(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.busy = True
        stage.host.room = trio.Event()
        await stage.say(*[point(number) for number in range(50_000)], asking_for_life(5))
        for _ in range(60):
            await trio.sleep(1)
            assert not stage.side.aborts
        assert len(stage.keepalives()) >= 58
        assert 5 not in stage.side.keepalives


async def test_patience_ends(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with staged(tmp_path, keepalive_seconds=30) as stage:
        await stage.init()
        stage.host.busy = True
        began = trio.current_time()
        await trio.sleep(100)
        await stage.say(asking_for_life(5))
        await trio.sleep(100)
        assert 29 <= stage.keepalives()[-1] - began <= 31
        stage.host.busy = False
        await trio.sleep(5)
        stage.host.busy = True
        began = trio.current_time()
        await trio.sleep(5)
        assert stage.keepalives()[-1] > began


async def test_a_hung_udf_is_not_kept_alive(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.answers_keepalives = False
        await trio.sleep(1.5)
        before = len(stage.came)
        await stage.say(asking_for_life(5))
        await trio.sleep(60)
        assert len(stage.came) == before
        assert "keepalive" in stage.host.events
        assert stage.side.aborts


# --- snapshots ---


@pytest.mark.parametrize(
    ("snapped", "kept"),
    [
        (Snapped("line1/task", "node1", MANIFEST, STORE), Reference(STORE, MANIFEST, "line1/task", "node1").encode()),
        (Snapped(whole=b"\x80state"), b"\x80state"),
        (Snapped(), b""),
    ],
)
async def test_what_kapacitor_keeps(tmp_path: Path, snapped: Snapped, kept: bytes) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.answers["snapshot"] = snapped
        assert (await stage.ask(snapshot={})).snapshot == kept


async def test_handing_back_asks_for_whole_states(tmp_path: Path) -> None:
    async with staged(tmp_path, hand_back=True) as stage:
        await stage.init()
        stage.host.answers["snapshot"] = Snapped(whole=b"state")
        assert (await stage.ask(snapshot={})).snapshot == b"state"
        assert "whole=True" in stage.host.events


async def test_a_snapshot_that_fails_leaves_what_was_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.answers["snapshot"] = UdfstoreError("no answer")
        assert (await stage.ask(snapshot={})).snapshot == b""
        assert (await stage.ask(restore=pb.RestoreRequest(snapshot=b"from before"))).success
        assert (await stage.ask(snapshot={})).snapshot == b"from before"


async def test_data_does_not_wait_for_a_snapshot(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.answers |= {"snapshot": trio.Event(), "snapshot then": Snapped(whole=b"x")}
        await stage.say(request(snapshot={}), request(snapshot={}), point(1))
        await stage.until(lambda: True)
        await wait_all_tasks_blocked()
        assert stage.host.frames == [point(1)]
        stage.host.answers["snapshot"].set()
        await stage.until(lambda: len(stage.side.answers[4]) == 2)


# --- restore ---


async def test_behind_a_reference_stands_what_udfstore_restored(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.joined = Joined(owner=True, manifest=MANIFEST, number=3)
        assert (await stage.ask(restore=pb.RestoreRequest(snapshot=REFERENCE.encode()))).success
        assert stage.host.events[-1] == "recall"
        assert stage.host.frames == []


async def test_a_snapshot_that_is_gone_is_the_stores_decision(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.joined = Joined(owner=True, why="it was deleted")
        assert (await stage.ask(restore=pb.RestoreRequest(snapshot=REFERENCE.encode()))).success


ELSEWHERE = Reference(bytes(16), MANIFEST, "task", "node1").encode()


@pytest.mark.parametrize(
    ("content", "given", "settings", "told"),
    [
        (REFERENCE.encode()[:-1], None, {}, "cut off or altered"),
        (ELSEWHERE, None, {}, "kept in another store"),
        (ELSEWHERE, None, {"without_store": "fresh"}, ""),
        (ELSEWHERE, MANIFEST, {}, ""),
    ],
    ids=["altered", "elsewhere", "elsewhere, fresh", "elsewhere, but restored"],
)
async def test_a_reference_that_leads_nowhere(
    tmp_path: Path, content: bytes, given: BlobId | None, settings: dict[str, Any], told: str
) -> None:
    async with staged(tmp_path, **settings) as stage:
        await stage.init()
        stage.host.joined = Joined(owner=True, manifest=given)
        answer = await stage.ask(restore=pb.RestoreRequest(snapshot=content))
        assert answer.success is not bool(told)
        assert told in answer.error


@pytest.mark.parametrize(("without", "succeeds"), [("wait=60", False), ("fail", False), ("fresh", True)])
async def test_a_state_that_cannot_be_reached(tmp_path: Path, without: str, succeeds: bool) -> None:
    async with staged(tmp_path, without_store=without) as stage:
        await stage.init()
        stage.host.joined = None
        stage.host.answers["recall"] = NoServer("no server answers")
        answer = await stage.ask(restore=pb.RestoreRequest(snapshot=REFERENCE.encode()))
        assert answer.success is succeeds
        assert succeeds or "no server answers" in answer.error


# --- Info ---


async def test_the_last_info_stands_in_for_a_udf_that_is_broken(autojump_clock: MockClock, tmp_path: Path) -> None:
    broken = ScriptedHost()
    broken.answers["info"] = UdfstoreError("exit status 1")
    async with staged(tmp_path, host=broken) as stage:
        await stage.say(request(info={}))
        await stage.until(lambda: bool(stage.error))
        assert "exit status 1" in stage.error
    async with staged(tmp_path) as stage:
        await stage.ask(info={})
    slow = ScriptedHost()
    slow.answers["info"] = trio.Event()
    for host in (broken, slow):
        host.answers["init"] = UdfstoreError("it does not start")
        async with staged(tmp_path, host=host) as stage:
            began = trio.current_time()
            assert (await stage.ask(info={})).SerializeToString() == pb.InfoResponse().SerializeToString()
            assert stage.came[-1][1] == INFO
            assert trio.current_time() - began <= 10
            answer = await stage.init()
            assert (answer.success, answer.error) == (False, "it does not start")
    async with staged(tmp_path, host=broken, command=("another",)) as stage:
        await stage.say(request(info={}))
        await stage.until(lambda: bool(stage.error))


# --- the DAG ---


class Api:
    def __init__(self, *answers: Told | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def ask(self, task: str) -> Told:
        self.asked.append(task)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_init_waits_for_the_dag_and_is_kept_alive(autojump_clock: MockClock, tmp_path: Path) -> None:
    api = Api(*[NoServer("not yet")] * 40, Told(DAG, 123))
    async with staged(tmp_path, tasks=api, prefix="p/") as stage:
        assert (await stage.init()).success
        node = stage.host.node
        assert node is not None
        assert Dag.from_json(node.dag) == DAG
        assert node.not_before_ns == 123
        assert api.asked[0] == "task"
        assert len(stage.keepalives()) >= 17


async def test_a_dag_without_this_node_is_not_used(tmp_path: Path) -> None:
    async with staged(tmp_path, tasks=Api(Told(DAG, 123))) as stage:
        assert (await stage.init(node="other9")).success
        node = stage.host.node
        assert node is not None
        assert (node.dag, node.not_before_ns) == (b"", 123)


# --- what goes wrong ---


async def test_what_kapacitor_says_in_a_tongue_of_later_is_passed_over(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        await stage.say(Frame(7, b"\x3a\x00"), Frame(4000, b"\x82\xfa\x01\x00"), point(1))
        await stage.until(lambda: bool(stage.host.frames))
        assert stage.host.frames == [point(1)]


@pytest.mark.parametrize("garbage", [b"\xff" * 20, b"\x00", b"HTTP/1.1 400 Bad Request\r\n"])
async def test_what_is_no_kapacitor_ends_the_udf_well(tmp_path: Path, garbage: bytes) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        await stage.write(garbage)
        await stage.ended.wait()
        assert stage.host.events[-2:] == ["stop", "closed"]
        assert "not Kapacitor's protocol" in stage.error


async def test_kapacitor_gone_in_mid_batch_ends_the_udf_well(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        begin = request(begin=pb.BeginBatch(size=2))
        await stage.say(begin, point(1))
        await stage.write(b"\x20\x8a\x01")
        await stage.until(lambda: True)
        await wait_all_tasks_blocked()
        await stage.leave()
        await stage.ended.wait()
        await wait_all_tasks_blocked()
        assert stage.host.frames == [begin, point(1)]
        assert stage.host.events[-2:] == ["stop", "closed"]


async def test_what_the_udf_says_at_its_end_arrives(tmp_path: Path) -> None:
    class Talkative(ScriptedHost):
        async def stop(self) -> None:
            await self.front.data([response(point=pb.Point(time=9))])
            await super().stop()

    async with staged(tmp_path, host=Talkative()) as stage:
        await stage.init()
        await stage.end()
        assert stage.side.data == [response(point=pb.Point(time=9))]


async def test_a_udf_that_failed_is_reported_and_nothing_follows(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.relay.failed("it crashed three times")
        await stage.relay.data([response(point=pb.Point(time=1))])
        await stage.say(point(1), asking_for_life(1), request(snapshot={}))
        await stage.end()
        assert "three times" in stage.error
        assert stage.kinds() == [2, 6]
        assert stage.host.frames == []
        assert stage.relay.failure == "it crashed three times"


async def test_a_udf_that_fails_while_it_starts_fails_init(tmp_path: Path) -> None:
    class Dying(ScriptedHost):
        async def init(self, request: Frame, node: Any) -> Frame:
            self.front.failed("exit status 1")
            raise UdfstoreError("the UDF ended: exit status 1")

    async with staged(tmp_path, host=Dying()) as stage:
        answer = await stage.init()
        assert not answer.success
        assert "exit status 1" in answer.error
        await stage.until(lambda: bool(stage.error))


async def test_a_kapacitor_that_does_not_read_holds_the_udf_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        big = [response(point=pb.Point(name="x" * 100_000))] * 4
        with trio.move_on_after(0) as scope:
            scope.cancel()
            await stage.relay.data(big)  # nothing was written: the writer had no turn
        assert scope.cancelled_caught


async def test_a_reference_of_ours_is_what_kapacitor_gives_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.init()
        stage.host.answers["snapshot"] = Snapped("task", "node1", MANIFEST, STORE)
        kept = (await stage.ask(snapshot={})).snapshot
        assert maybe_decode(kept) == REFERENCE
        assert (await stage.ask(restore=pb.RestoreRequest(snapshot=kept))).success
