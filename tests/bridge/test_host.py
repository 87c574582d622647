"""UDFs that know nothing of udfstore, under care and without a server."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import trio
from host_kit import (
    MOVING_AVERAGE,
    NODE,
    batch,
    hosted,
    init,
    keepalive,
    kill,
    means,
    old_udf,
    pid_of,
    point,
    points,
    restore,
    succeeded,
    until,
)

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge import life
from udfstore.bridge.host import HostSettings
from udfstore.bridge.udf import BEGIN, END
from udfstore.errors import NotFound, UdfstoreError


def program(code: str) -> HostSettings:
    """A UDF of a few lines; `Udf` is the old UDF's helper."""
    path = str(Path(__file__).parent / "old_udfs")
    head = f"import os, sys, time; sys.path.insert(0, {path!r}); from by_hand import *\n"
    return HostSettings((sys.executable, "-c", head + code))


async def test_points_go_through_a_udf_that_knows_nothing_of_us() -> None:
    async with hosted() as (host, front):
        info = pb.Response.FromString(bytes((await host.info()).envelope)).info
        assert sorted(info.options) == ["field", "size"]
        assert succeeded(await host.init(init(), NODE))
        await host.data(points(0, 100))
        await host.stop()
    assert front.values == means(100)


async def test_batches_keep_their_ends() -> None:
    async with hosted(HostSettings(old_udf("batch_sum"))) as (host, front):
        await host.init(init(), NODE)
        await host.data(batch(1, 2) + batch(3))
        await host.stop()
    assert front.values == [1, 3, 6]
    assert [kind for kind in front.kinds if kind in (BEGIN, END)] == [BEGIN, END, BEGIN, END]


async def test_a_udf_that_refuses_its_options_says_so_itself() -> None:
    async with hosted() as (host, _):
        answer = await host.init(init(field=""), NODE)
    assert pb.Response.FromString(bytes(answer.envelope)).init.error == "must supply a field name"


async def test_without_a_server_the_state_itself_is_the_snapshot() -> None:
    async with hosted() as (host, _):
        await host.init(init(), NODE)
        await host.data(points(0, 5))
        assert (await host.snapshot()).whole == b'{"g": [2.0, 3.0, 4.0]}'


async def test_a_udf_without_a_state_has_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "factor").write_text("2")
    async with hosted(HostSettings(old_udf("factor_of_file", str(tmp_path / "factor")))) as (host, front):
        await host.init(init(), NODE)
        await host.data(points(1, 3))
        assert (await host.snapshot()).whole == b""
        kill(host)
        await host.data(points(3, 5))
        await host.stop()
    assert front.values == [2, 4, 6, 8]


async def test_foreign_bytes_reach_the_udf() -> None:
    async with hosted() as (host, front):
        await host.init(init(), NODE)
        assert succeeded(await host.restore(restore(b'{"g": [0.0, 1.0]}')))
        await host.data(points(2, 5))
        kill(host)
        await host.data(points(5, 9))
        await host.stop()
    assert front.values == means(9, 2)


async def test_a_restore_that_fails_is_the_udfs_own_answer(tmp_path: Path) -> None:
    (tmp_path / "factor").write_text("2")
    async with hosted(HostSettings(old_udf("factor_of_file", str(tmp_path / "factor")))) as (host, _):
        await host.init(init(), NODE)
        answer = await host.restore(restore(b"what is this"))
    assert pb.Response.FromString(bytes(answer.envelope)).restore.error == "this UDF does not restore"


@pytest.mark.parametrize("snapshot_at", [None, 10, 29])
@pytest.mark.parametrize("kills", [(1,), (15,), (10, 11, 25)])
async def test_kill_9_cannot_be_seen_in_what_comes_out(snapshot_at: int | None, kills: tuple[int, ...]) -> None:
    async with hosted() as (host, front):
        await host.init(init(), NODE)
        for number in range(30):
            if number == snapshot_at:
                await host.snapshot()
            if number in kills:
                await until(lambda: host._care._ready)
                kill(host)
            await host.data([point(float(number))])
        await host.stop()
    assert front.values == means(30)


async def test_kill_9_in_the_middle_of_a_batch() -> None:
    async with hosted(HostSettings(old_udf("batch_sum"))) as (host, front):
        await host.init(init(), NODE)
        frames = batch(1, 2, 3) + batch(4, 5)
        await host.data(frames[:3])
        kill(host)
        await host.data(frames[3:])
        await host.stop()
    assert front.values == [1, 3, 6, 10, 15]
    assert [kind for kind in front.kinds if kind in (BEGIN, END)] == [BEGIN, END, BEGIN, END]


async def test_a_point_that_no_child_survives_ends_it_with_clear_words() -> None:
    async with hosted() as (host, front):
        await host.init(init(), NODE)
        await host.data([*points(0, 3), point(-666.0), *points(3, 6)])
        await front.until(lambda: front.failure)
        assert "exit status 3, its last words: cannot go on" in front.failure
        await host.data(points(6, 9))
        assert not host.busy
    assert front.values == means(3)


async def test_an_error_response_ends_it_with_its_own_words() -> None:
    udf = program("""
class Choosy(Udf):
    def init(self, request): return True, ""
    def point(self, point): self.say(ERROR, {1: [b"no such field"]})
Choosy().serve()
""")
    async with hosted(udf) as (host, front):
        await host.init(init(), NODE)
        await host.data(points(0, 1))
        await front.until(lambda: front.failure)
        assert front.failure == "no such field"


async def test_an_error_where_a_snapshot_belongs_costs_only_the_snapshot() -> None:
    udf = program("""
class Mirror(Udf):
    def snapshot(self): self.say(ERROR, {1: [b"text where bytes belong"]}); os._exit(1)
    def point(self, point): self.say(POINT, point)
Mirror().serve()
""")
    async with hosted(udf) as (host, front):
        await host.init(init(), NODE)
        await host.data(points(0, 3))
        with pytest.raises(UdfstoreError, match="text where bytes belong"):
            await host.snapshot()
        await host.data(points(3, 5))
        await host.stop()
    assert front.values == [0, 1, 2, 3, 4]
    assert not front.failure


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sys.exit(7)", "exit status 7"),
        ("sys.stderr.write('no model here\\n'); sys.exit(1)", "no model here"),
        ("print('Hello, world!' * 20); sys.stdout.flush(); time.sleep(60)", "it must not"),
        ("os.close(1); time.sleep(60)", "killed by SIG"),
    ],
)
async def test_a_udf_that_cannot_start_says_why(code: str, words: str) -> None:
    async with hosted(program(code)) as (host, _):
        with pytest.raises(UdfstoreError, match=words):
            await host.info()


async def test_a_command_that_does_not_exist() -> None:
    async with hosted(HostSettings(("/nonexistent/udf",))) as (host, _):
        with pytest.raises(NotFound, match="cannot be started: /nonexistent/udf"):
            await host.info()


async def test_a_udf_that_never_answers_is_given_up_in_time() -> None:
    async with hosted(replace(program("time.sleep(60)"), load_seconds=0.05)) as (host, _):
        with pytest.raises(UdfstoreError, match="no answer within"):
            await host.info()


async def test_answers_that_come_twice_late_or_unasked_harm_nobody() -> None:
    udf = program("""
class Loud(Udf):
    def init(self, request): self.say(SNAPSHOT, {1: [b"unasked"]}); return True, ""
    def snapshot(self): self.say(SNAPSHOT, {1: [b"first"]}); return b"second"
    def point(self, point): self.say(POINT, point); self.say(33, {}); self.say(9, {1: [b"what"]})
Loud().serve()
""")
    async with hosted(udf) as (host, front):
        await host.init(init(), NODE)
        assert (await host.snapshot()).whole == b"first"
        await host.data(points(0, 2))
        await front.until(lambda: len(front.frames) == 2)
        assert (await host.snapshot()).whole == b"first"


async def test_keepalives_are_the_udfs_own_to_answer_once_it_works() -> None:
    async with hosted() as (host, front):
        assert not host.keepalive(keepalive())
        await host.init(init(), NODE)
        assert host.keepalive(keepalive())
        await front.until(lambda: front.alives == 1)


async def test_a_udf_that_starts_is_excused() -> None:
    async with hosted(program("time.sleep(60)")) as (host, _), trio.open_nursery() as nursery:
        nursery.start_soon(host.info)
        while not host.busy:
            await trio.lowlevel.checkpoint()
        assert not host.keepalive(keepalive())
        nursery.cancel_scope.cancel()


async def test_a_udf_that_is_slow_holds_its_feeder_back() -> None:
    async with hosted(program("Udf().serve()")) as (host, _):
        await host.init(init(), NODE)
        os.kill(pid_of(host), signal.SIGSTOP)
        fed = 0
        with trio.move_on_after(0.2):
            while True:
                await host.data(points(0, 1000))
                fed += 1000
        assert 0 < fed < 100_000
        os.kill(pid_of(host), signal.SIGCONT)
        await host.data(points(0, 1000))


async def test_whoever_takes_slowly_holds_the_udf_back() -> None:
    async with hosted() as (host, front):
        await host.init(init(), NODE)
        front.held = trio.Event()
        with trio.move_on_after(0.2):
            while True:
                await host.data(points(0, 1000))
        front.held.set()
        assert host.keepalive(keepalive())
        await front.until(lambda: front.alives == 1)


async def test_a_udf_that_ignores_the_end_of_its_input_is_ended() -> None:
    udf = program("""
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
Udf().serve()
time.sleep(60)
""")
    async with hosted(replace(udf, stop_seconds=0.1)) as (host, _):
        await host.init(init(), NODE)
        pid = pid_of(host)
        await host.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_udf_that_was_told_to_end_may_take_its_time_after_its_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large libraries are slow to leave: that is no crash, and no reason to begin the UDF once more."""
    monkeypatch.setattr(life, "WORDS_SECONDS", 0.01)
    with structlog.testing.capture_logs() as logged:
        async with hosted(program("Udf().serve(); os.close(1); time.sleep(0.3)")) as (host, front):
            await host.init(init(), NODE)
            pid = pid_of(host)
            await host.stop()
            assert pid_of(host) == pid
    assert (front.failure, [entry for entry in logged if entry["log_level"] == "error"]) == ("", [])


async def test_nothing_is_left_of_a_host_that_is_cancelled() -> None:
    async with hosted(MOVING_AVERAGE) as (host, _):
        await host.init(init(), NODE)
        pid = pid_of(host)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_much_data_without_a_snapshot_asks_for_one() -> None:
    async with hosted(replace(MOVING_AVERAGE, replay_bytes=100_000)) as (host, front):
        await host.init(init(), NODE)
        for start in range(0, 5000, 100):
            await host.data(points(start, start + 100))
            await front.until(lambda start=start: len(front.frames) == start + 100)  # type: ignore[misc]
        kill(host)
        await host.data(points(5000, 5001))
        await host.stop()
    assert front.values == means(5001)


async def test_a_snapshot_over_the_limit_costs_only_the_snapshots() -> None:
    udf = program("""
class Large(Udf):
    def snapshot(self): return bytes(2000)
    def point(self, point): self.say(POINT, point)
Large().serve()
""")
    async with hosted(replace(udf, plain_bytes=1000)) as (host, front):
        await host.init(init(), NODE)
        await host.data(points(0, 3))
        with pytest.raises(UdfstoreError, match="over its limit"):
            await host.snapshot()
        await until(lambda: host._care._ready)
        before = pid_of(host)
        with pytest.raises(UdfstoreError, match="not asked for its state"):
            await host.snapshot()
        assert pid_of(host) == before
        await host.data(points(3, 5))
        await host.stop()
    assert front.values == [0, 1, 2, 3, 4]


async def test_a_udf_behind_a_socket_is_connected_to_anew(folder: Path) -> None:
    udf = program("""
import socket
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
class Average(Udf):
    def init(self, request): return True, ""
    def snapshot(self): return repr(self.sum).encode()
    def restore(self, state): self.sum = float(state); return True, ""
    sum = 0.0
    def point(self, point):
        value = entries(point[8])["value"]
        if value == 13 and not tripped: tripped.append(1); self.peer.shutdown(2); return
        self.sum += value; self.say(POINT, {**point, 8: [entry("sum", self.sum)]})
tripped = []
while True:
    peer, _ = listener.accept()
    average = Average(peer.makefile("rb").read, peer.sendall)
    average.peer = peer
    try: average.serve()
    except OSError: pass
""")
    path = folder / "udf"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.run_process, [*udf.command, str(path)])
        async with hosted(HostSettings(socket=path)) as (host, front):
            assert succeeded(await host.init(init(), NODE))
            await host.data(points(10, 13))
            assert (await host.snapshot()).whole == b"33.0"
            await host.data(points(13, 16))
            await front.until(lambda: len(front.frames) == 6)
        nursery.cancel_scope.cancel()
    assert front.values == [10, 21, 33, 46, 60, 75]


async def test_a_helper_that_outlives_its_udf_hides_no_crash() -> None:
    """It holds the same pipes."""
    helped = program("""
import subprocess
subprocess.Popen(["sleep", "1000"])
from moving_average import MovingAverage
MovingAverage().serve()
""")
    async with hosted(helped) as (host, front):
        assert succeeded(await host.init(init(), NODE))
        await host.data(points(0, 5))
        await front.until(lambda: len(front.frames) == 5)
        kill(host)
        await host.data(points(5, 8))
        await front.until(lambda: len(front.frames) == 8)
    assert front.values == means(8)
