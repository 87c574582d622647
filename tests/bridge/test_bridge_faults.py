"""UDFs that misbehave behind a bridge: Kapacitor lives on, and is told what it has to know."""

from __future__ import annotations

import fcntl
import math
import os
from pathlib import Path

import pytest
from bridge_kit import FIELD, Bridge, Listening, child_of, fields, point, script, udf
from kit import SECONDS, ServerProcess, eventually, in_thread
from stand_in import Kapacitor, request

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.reference import maybe_decode

ECHO = """
from by_hand import POINT, Udf
class Echo(Udf):
    def point(self, point):
        self.say(POINT, point)
"""


def logged(kapacitor: Kapacitor) -> str:
    """All that the bridge logged so far."""
    return "\n".join(str(line) for line in kapacitor.log)


def test_nothing_of_it_harms_kapacitor(bridge: Bridge, task: str, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        ECHO
        + """
from by_hand import BEGIN, END, INFO, INIT, SNAPSHOT, RESTORE
class Wild(Echo):
    def init(self, request):
        self.say(INIT, {1: [1]})                # answered twice
        return True, ""
    def point(self, point):
        self.say(END, {})                       # an end without a begin
        self.say(BEGIN, {4: [-1]})              # sizes that cannot be
        self.say(END, {})
        self.say(BEGIN, {4: [1 << 62]})
        super().point(point)
        self.say(END, {})
        for kind in (INFO, SNAPSHOT, RESTORE):  # answers that nobody asked for
            self.say(kind, {1: [0]})
        for kind in (7, 15, 19, 38, 45, 300):   # nobody's messages
            self.say(kind, {})
        self.write(b"\\x05\\x8a\\x01\\x00\\x92\\x01")    # two messages in one envelope, the second cut
        super().point(point)
Wild().serve()
""",
    )
    with bridge.start(command) as kapacitor:
        kapacitor.start(task)
        for value in (1.0, 2.0, 3.0):
            kapacitor.send(point(value))
        assert fields(kapacitor.points(3), "value") == [1.0, 2.0, 3.0]
        kapacitor.keepalive(5)
        kapacitor.wait(lambda side: 5 in side.keepalives)
        assert kapacitor.close() == 0
        assert len(kapacitor.side.data) == 3


def test_points_pass_as_they_are(bridge: Bridge, task: str, tmp_path: Path) -> None:
    odd = {"nan": math.nan, "inf": -math.inf, "tiny": 5e-324, "zero": -0.0}
    points = [
        request(point=pb.Point()),
        request(point=pb.Point(time=-(2**63), name="größe", fieldsInt={"": -(2**63), "x": 2**63 - 1})),
        request(point=pb.Point(fieldsDouble=odd, fieldsBool={"b": False}, byName=True, dimensions=["a", ""])),
        request(point=pb.Point(fieldsString={"s": "x" * 1_000_000, "t": "\0\N{SNOWMAN}"})),
    ]
    raw = script(
        tmp_path,
        "from by_hand import INFO, INIT, POINT, SNAPSHOT, KEEPALIVE, parse, take_varint\n"
        "def read(size):\n    return sys.stdin.buffer.read(size)\n"
        "while byte := read(1):\n"
        "    while byte[-1] >= 0x80:\n        byte += read(1)\n"
        "    body = read(take_varint(byte, 0)[0])\n"
        "    kind = take_varint(body, 0)[0] >> 3\n"
        "    out = {INFO: b'\\x02\\x0a\\x00', INIT: b'\\x04\\x12\\x02\\x08\\x01', SNAPSHOT: b'\\x02\\x22\\x00'}\n"
        "    sys.stdout.buffer.write(out.get(kind, byte + body))\n    sys.stdout.buffer.flush()\n",
    )
    with bridge.start(raw) as kapacitor:
        kapacitor.start(task)
        kapacitor.send(*points)
        assert kapacitor.points(4) == points
        assert kapacitor.close() == 0


def test_a_child_that_exits_at_once(bridge: Bridge, task: str, tmp_path: Path) -> None:
    with bridge.start(script(tmp_path, "sys.exit('no model here')")) as kapacitor:
        answer = kapacitor.init(task)
        assert not answer.success
        assert "exit status 1" in answer.error
        assert "no model here" in answer.error
        assert kapacitor.close() in (0, 1)


@pytest.mark.parametrize("command", [["/none/there"], ["/etc/passwd"]])
def test_a_command_that_cannot_be_run(bridge: Bridge, task: str, command: list[str]) -> None:
    with bridge.start(command) as kapacitor:
        answer = kapacitor.init(task)
        assert not answer.success
        assert command[0] in answer.error
        kapacitor.close()


def test_a_broken_udf_does_not_keep_kapacitord_from_starting(bridge: Bridge, task: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("2.0")
    command = udf("factor_of_file", model)
    with bridge.start(command) as kapacitor:
        info = kapacitor.info()
        kapacitor.close()
    model.unlink()
    with bridge.start(command) as kapacitor:
        assert kapacitor.info() == info
        answer = kapacitor.init(task)
        assert not answer.success
        assert "FileNotFoundError" in answer.error
        kapacitor.close()


def test_a_point_that_no_child_survives_ends_the_udf_and_says_why(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.start(task, "avg2", [FIELD])
        kapacitor.send(point(1.0), point(-666.0), point(2.0))
        kapacitor.wait(lambda side: bool(side.error))
        assert "cannot go on" in kapacitor.side.error
        assert fields(kapacitor.side.data, "mean") == [1.0]
        assert kapacitor.close() == 1


def test_an_error_response_ends_the_udf_as_without_a_bridge(bridge: Bridge, task: str, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "from by_hand import ERROR, Udf\n"
        "class Failing(Udf):\n    def point(self, point):\n        self.say(ERROR, {1: [b'out of range']})\n"
        "Failing().serve()\n",
    )
    with bridge.start(command) as kapacitor:
        kapacitor.start(task)
        kapacitor.send(point(1.0))
        kapacitor.wait(lambda side: bool(side.error))
        assert "out of range" in kapacitor.side.error
        assert kapacitor.close() == 1


@pytest.mark.parametrize(
    "says", [b"Traceback (most recent call last):\n", b"\xff\xff\xff\xff\xff\xff", b"\x00", b"\xfa\x01\x8a\x01"]
)
def test_garbage_on_stdout_is_a_crash(bridge: Bridge, task: str, tmp_path: Path, says: bytes) -> None:
    spoilt = tmp_path / "spoilt"
    command = script(
        tmp_path,
        ECHO
        + f"""
import os
class Babbling(Echo):
    def point(self, point):
        super().point(point)
        if not os.path.exists({str(spoilt)!r}):
            open({str(spoilt)!r}, "w").close()
            self.write({says!r})
            sys.exit()
Babbling().serve()
""",
    )
    with bridge.start(command) as kapacitor:
        kapacitor.start(task)
        kapacitor.send(point(1.0))
        kapacitor.points(1)
        eventually(spoilt.exists)
        kapacitor.send(point(2.0))
        assert fields(kapacitor.points(2), "value") == [1.0, 2.0]
        assert kapacitor.close() == 0


@pytest.mark.parametrize(
    ("answer", "kept"),
    [("return 'text'.encode()", None), ("return b''", b""), ("sys.exit(7)", b""), ("self.say(ERROR, {})", b"")],
    ids=["bytes", "empty", "dies over it", "error"],
)
def test_whatever_becomes_of_a_snapshot_kapacitor_gets_one_answer(
    bridge: Bridge, task: str, tmp_path: Path, answer: str, kept: bytes | None
) -> None:
    command = script(
        tmp_path,
        ECHO
        + "from by_hand import ERROR\n"
        + f"class Odd(Echo):\n    def snapshot(self):\n        {answer}\n        return b''\n"
        "Odd().serve()\n",
    )
    with bridge.start(command) as kapacitor:
        kapacitor.start(task)
        kapacitor.ask(snapshot={})
        kapacitor.wait(lambda side: bool(side.answers[4] or side.error))
        if kept is None:
            assert maybe_decode(kapacitor.side.snapshot) is not None
        else:
            assert kapacitor.side.snapshot == kept
        kapacitor.close()


def test_a_restore_that_is_refused_is_the_udfs_own_answer(bridge: Bridge, task: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("2.0")
    with bridge.start(udf("factor_of_file", model)) as kapacitor:
        kapacitor.start(task)
        answer = kapacitor.restore(b"from before")
        assert (answer.success, answer.error) == (False, "this UDF does not restore")
        kapacitor.close()


def test_a_constructor_that_takes_its_time_is_no_missed_keepalive(bridge: Bridge, task: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with bridge.start(script(tmp_path, f"open({str(gate)!r}).read()\n{ECHO}\nEcho().serve()\n")) as kapacitor:
        kapacitor.ask(init=pb.InitRequest(taskID=task, nodeID="n"))
        for time in (5, 6, 7):
            kapacitor.keepalive(time)
            kapacitor.wait(lambda side, time=time: time in side.keepalives)  # type: ignore[misc]
        before = len(kapacitor.side.keepalives)
        kapacitor.wait(lambda side: len(side.keepalives) > before)  # unasked
        gate.open("w").close()
        assert kapacitor.answer(2).success
        kapacitor.send(point(1.0))
        kapacitor.points(1)
        kapacitor.close()


def hasty(bridge: Bridge, command: list[str]) -> tuple[Path, Path]:
    """A file with one bridge that gives its UDF 0.2 s to end, and the bridge's socket."""
    file, path = bridge.folder / "one.toml", bridge.folder / "k"
    file.write_text(f"stop_seconds = 0.2\n[bridge.a]\nlisten = {str(path)!r}\ncommand = {command!r}\n")
    return file, path


def test_a_child_that_ignores_the_end_of_its_input_is_ended(bridge: Bridge, task: str, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"{ECHO}\nEcho().serve()\nwhile True:\n    time.sleep(60)\n",
    )
    file, path = hasty(bridge, command)
    with Listening(bridge, [], "--config", file, sockets=[path]) as process, Kapacitor.with_socket(path) as kapacitor:
        kapacitor.start(task)
        child = child_of(process.process.pid)
        kapacitor.close()
        eventually(lambda: not Path(f"/proc/{child}").exists())


def test_a_child_that_hangs_at_its_start_is_ended_when_kapacitor_gives_up(
    bridge: Bridge, task: str, tmp_path: Path
) -> None:
    file, path = hasty(bridge, script(tmp_path, "import time\nwhile True:\n    time.sleep(60)\n"))
    with Listening(bridge, [], "--config", file, sockets=[path]) as process, Kapacitor.with_socket(path) as kapacitor:
        kapacitor.ask(init=pb.InitRequest(taskID=task, nodeID="n"))
        kapacitor.keepalive(5)
        kapacitor.wait(lambda side: 5 in side.keepalives)
        child = child_of(process.process.pid)
        kapacitor.close()
        eventually(lambda: not Path(f"/proc/{child}").exists())


@pytest.mark.parametrize("gone", [False, True], ids=["stopped", "gone"])
def test_a_child_that_hangs_and_is_given_up_is_ended(bridge: Bridge, task: str, tmp_path: Path, gone: bool) -> None:
    hangs = "import time\nclass Hangs(Echo):\n    def point(self, point):\n        time.sleep(1000)\nHangs().serve()\n"
    file, path = hasty(bridge, script(tmp_path, ECHO + hangs))
    with Listening(bridge, [], "--config", file, sockets=[path]) as process, Kapacitor.with_socket(path) as kapacitor:
        kapacitor.start(task)
        child = child_of(process.process.pid)
        sending = in_thread(lambda: kapacitor.send(*[point(float(number)) for number in range(8000)]))
        sending.result(SECONDS)  # more than the bridge takes while the child takes nothing
        if gone:
            kapacitor.kill()
        else:
            kapacitor.close()
        eventually(lambda: not Path(f"/proc/{child}").exists())


def test_a_child_that_floods_its_stderr_holds_nothing_up(bridge: Bridge, task: str, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        f"{ECHO}\nclass Loud(Echo):\n    def point(self, point):\n        sys.stderr.write('x' * 99 + '\\n' * 10000)\n"
        "        super().point(point)\nLoud().serve()\n",
    )
    with bridge.start(command) as kapacitor:
        kapacitor.start(task)
        kapacitor.send(*[point(float(number)) for number in range(20)])
        kapacitor.points(20)
        assert kapacitor.close() == 0
        assert len(kapacitor.log) < 10_000
        assert "floods" in logged(kapacitor)


def test_kapacitor_gone_in_mid_batch_takes_the_child_along(bridge: Bridge, task: str) -> None:
    file, path = hasty(bridge, udf("batch_sum"))
    with Listening(bridge, [], "--config", file, sockets=[path]) as process, Kapacitor.with_socket(path) as kapacitor:
        kapacitor.start(task)
        kapacitor.send(request(begin=pb.BeginBatch(size=2)), point(1.0))
        child = child_of(process.process.pid)
        kapacitor.kill()
        eventually(lambda: not Path(f"/proc/{child}").exists())


def test_a_bridge_that_is_killed_takes_the_child_along(bridge: Bridge, task: str) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.start(task, "avg2", [FIELD])
        child = child_of(kapacitor.pid)
        kapacitor.kill()
    eventually(lambda: not Path(f"/proc/{child}").exists())


def narrow(kapacitor: Kapacitor) -> None:
    """Kapacitor's two pipes hold 4 KiB each."""
    assert kapacitor.process is not None
    for pipe in (kapacitor.process.stdin, kapacitor.process.stdout):
        assert pipe is not None
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)


def test_a_flood_through_small_pipes(bridge: Bridge, task: str, tmp_path: Path) -> None:
    with bridge.start(script(tmp_path, f"{ECHO}\nEcho().serve()\n")) as kapacitor:
        narrow(kapacitor)
        kapacitor.start(task)
        values = [float(number) for number in range(5000)]
        kapacitor.send(*map(point, values))
        assert fields(kapacitor.points(len(values)), "value") == values
        kapacitor.keepalive(5)
        kapacitor.wait(lambda side: 5 in side.keepalives)
        assert kapacitor.close() == 0


LOADS = """
import hashlib
from udfstore.agent import Agent, Handler, udf_pb2

class Loads(Handler):
    def __init__(self, agent):
        self.agent = agent
    def info(self):
        return udf_pb2.Response(info=udf_pb2.InfoResponse())
    def init(self, request):
        return udf_pb2.Response(init=udf_pb2.InitResponse(success=True))
    def snapshot(self):
        return udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse())
    def restore(self, request):
        return udf_pb2.Response(restore=udf_pb2.RestoreResponse(success=False))
    def point(self, point):
        if point.fieldsDouble["value"] == 0.0:
            content = self.agent.store.load(sys.argv[1])
            point.fieldsString["sha256"] = hashlib.sha256(content).hexdigest()
        self.agent.write_response(udf_pb2.Response(point=point))

agent = Agent()
agent.handler = Loads(agent)
agent.start()
agent.wait()
"""


def test_a_handler_that_loads_much_while_points_pour_in(
    bridge: Bridge, server: ServerProcess, task: str, tmp_path: Path
) -> None:
    content = os.urandom(100 << 20)
    with udfstore.connect(server.socket) as store:
        saved = store.save(content)
    try:
        with bridge.start([*script(tmp_path, LOADS), str(saved.id)]) as kapacitor:
            narrow(kapacitor)
            kapacitor.start(task)
            values = [float(number) for number in range(20_000)]
            sending = in_thread(lambda: kapacitor.send(*map(point, values), point(0.0)))
            came = kapacitor.points(len(values) + 1)
            sending.result(SECONDS)
            assert fields(came, "value") == [*values, 0.0]
            first = pb.Response.FromString(bytes(came[0].envelope)).point
            assert first.fieldsString["sha256"] == saved.id.hex
            kapacitor.keepalive(5)
            kapacitor.wait(lambda side: 5 in side.keepalives)
            assert kapacitor.close() == 0
    finally:
        with udfstore.connect(server.socket) as store:
            store.delete(saved.id, now=True)


def test_what_comes_from_no_kapacitor_ends_it_with_a_word(bridge: Bridge) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.info()
        kapacitor.write(b"\xff" * 20)
        assert kapacitor.ended() == 1
        assert "not Kapacitor's protocol" in logged(kapacitor)


def test_a_print_in_a_library_of_ours_would_go_to_stderr(bridge: Bridge) -> None:
    with bridge.start(udf("moving_average")) as kapacitor:
        kapacitor.info()
        assert kapacitor.process is not None
        descriptors = Path(f"/proc/{kapacitor.process.pid}/fd")
        assert (descriptors / "1").readlink() == (descriptors / "2").readlink()
        assert (descriptors / "0").readlink() == Path(os.devnull)
        kapacitor.close()
