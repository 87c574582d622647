"""What is asked of Kapacitor's HTTP API, what is made of its answers, and what is remembered of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge import options
from udfstore.bridge.dots import Api, Telling, Told, parse_task, parse_time
from udfstore.bridge.known import Known, folder
from udfstore.errors import NoServer, NotFound, UsageError

DOT = "digraph cpu-alert {\nstream0 -> from1;\nfrom1 -> moving_avg2;\n}"
TASK = {"id": "cpu-alert", "script": "stream", "created": "2026-05-01T10:20:30.5+02:00", "dot": DOT}
CREATED = 1_777_623_630_500_000_000


class Served:
    """Answers by path, and what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str]] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.asked.append((self.path, self.headers.get("Authorization", "")))
                status, body = served.answers.get(self.path, (404, b'{"error": "no task exists"}'))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def task(self, path: str, **changed: object) -> None:
        self.answers[path] = (200, json.dumps(TASK | changed).encode())


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.server.shutdown()
    served.server.server_close()


def test_a_task_is_its_dag_and_when_it_was_made(served: Served) -> None:
    served.task("/kapacitor/v1/tasks/cpu-alert")
    told = Api(served.url).fetch("cpu-alert")
    assert told.created_ns == CREATED
    assert told.dag is not None
    assert [node.name for node in told.dag.nodes] == ["stream0", "from1", "moving_avg2"]
    assert [node.kind for node in told.dag.nodes] == ["stream", "from", "moving_avg"]


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("a b/c", "a%20b%2Fc"),
        ("..", ".."),
        ("a?b#c", "a%3Fb%23c"),
        ("a\r\nb", "a%0D%0Ab"),
    ],
)
def test_a_tasks_name_stays_one_segment(served: Served, task: str, path: str) -> None:
    served.task(f"/kapacitor/v1/tasks/{path}")
    assert Api(served.url).fetch(task).dag is not None


def test_name_password_and_folder_of_the_url_are_used(served: Served) -> None:
    served.task("/behind/kapacitor/v1/tasks/t")
    Api(f"http://me:s%40y@{served.address}/behind/").fetch("t")
    assert served.asked == [("/behind/kapacitor/v1/tasks/t", "Basic bWU6c0B5")]


def test_what_is_no_answer_is_told_apart(served: Served) -> None:
    api = Api(served.url)
    with pytest.raises(NotFound, match="no task"):
        api.fetch("nobody")
    served.answers["/kapacitor/v1/tasks/t"] = (503, b"")
    with pytest.raises(NoServer, match="503"):
        api.fetch("t")
    with pytest.raises(NoServer, match="does not answer"):
        Api("http://127.0.0.1:1").fetch("t")
    for body in (b"", b"<html>", b"[]", b'{"dot": null}', b"[" * 100_000, b"\xff"):
        served.answers["/kapacitor/v1/tasks/t"] = (200, body)
        with pytest.raises(UsageError, match="what Kapacitor tells"):
            api.fetch("t")


@pytest.mark.parametrize("dot", ["", "digraph x {", "graph x {\na -- b;\n}", "digraph x {\na0 -> ;\n}"])
def test_a_dot_that_cannot_be_read_is_no_dag(dot: str) -> None:
    assert parse_task(json.dumps(TASK | {"dot": dot}).encode()) == Told(None, CREATED)


@pytest.mark.parametrize("url", ["localhost:9092", "ftp://x", "http://", "http://x:port", "http://x?y=1", "http://[x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="URL"):
        Api(url)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("2026-05-01T10:20:30.5+02:00", CREATED),
        ("0001-01-01T00:00:00Z", 0),
        ("yesterday", 0),
        ("2026-13-01T00:00:00Z", 0),
    ],
)
def test_times_are_read_as_go_writes_them(text: str, ns: int) -> None:
    assert parse_time(text) == ns


class Slow:
    """Answers what it is told to, one after the other."""

    def __init__(self, *answers: Told | Exception) -> None:
        self.answers = list(answers)

    async def ask(self, task: str) -> Told:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


TOLD = parse_task(json.dumps(TASK).encode())


async def test_it_is_asked_until_it_answers(autojump_clock: MockClock, tmp_path: Path) -> None:
    away = NoServer("not yet")
    telling = Telling(Slow(away, away, away, TOLD), "url", Known(tmp_path))
    assert await telling.of("t", 60) == TOLD


async def test_without_an_answer_the_last_one_holds_over_restarts(autojump_clock: MockClock, tmp_path: Path) -> None:
    never = Slow(NoServer("not yet"))
    assert await Telling(never, "url", Known(tmp_path)).of("t", 60) == Told()
    began = trio.current_time()
    await Telling(Slow(TOLD), "url", Known(tmp_path)).of("t", 60)
    assert trio.current_time() == began
    assert await Telling(never, "url", Known(tmp_path)).of("t", 60) == TOLD
    assert 59 < trio.current_time() - began <= 60
    assert await Telling(never, "url", Known(tmp_path)).of("other", 60) == Told()
    assert await Telling(never, "another url", Known(tmp_path)).of("t", 60) == Told()
    unreadable = Slow(Told(None, 7))
    assert await Telling(unreadable, "url", Known(tmp_path)).of("t", 60) == Told(TOLD.dag, 7)


async def test_a_task_that_is_not_there_is_not_waited_for(autojump_clock: MockClock, tmp_path: Path) -> None:
    assert await Telling(Slow(NotFound("no task")), "url", Known(tmp_path)).of("t", 60) == Told()
    assert trio.current_time() < 1


async def test_nobody_is_asked_without_a_url(tmp_path: Path) -> None:
    assert await Telling(None, "", Known(tmp_path)).of("t", 60) == Told()


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"dag": 1, "created": 0}', b'{"dag": "x", "created": 0}', b"\xff", b"[]"]
)
def test_what_was_remembered_may_be_spoiled(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(UsageError):
        Told.from_json(text)


def test_what_cannot_be_remembered_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for nowhere in (None, tmp_path / "file"):
        known = Known(nowhere)
        known.keep("info", "command", b"x")
        assert known.get("info", "command") is None
    known = Known(tmp_path / "made" / "by" / "itself")
    known.keep("info", "command", b"one")
    known.keep("info", "command", b"two")
    assert known.get("info", "command") == b"two"
    assert known.get("info", "other command") is None
    assert len(list((tmp_path / "made" / "by" / "itself").iterdir())) == 1


def test_where_it_is_remembered() -> None:
    assert folder({"UDFSTORE_STATE": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert folder({"XDG_STATE_HOME": "/b", "HOME": "/c"}) == Path("/b/udfstore")
    assert folder({"HOME": "/c"}) == Path("/c/.local/state/udfstore")
    assert folder({}) is None


def test_options_mean_the_same_in_any_order() -> None:
    size = pb.Option(name="size", values=[pb.OptionValue(type=pb.INT, intValue=3)])
    other = pb.Option(name="size", values=[pb.OptionValue(type=pb.INT, intValue=4)])
    field = pb.Option(name="field", values=[pb.OptionValue(type=pb.STRING, stringValue="v")])
    digest = options.digest(pb.InitRequest(options=[size, field], taskID="t", nodeID="n"))
    assert digest == options.digest(pb.InitRequest(options=[field, size]))
    assert digest != options.digest(pb.InitRequest(options=[field, other]))
    assert options.digest(pb.InitRequest(taskID="t")) == ""
