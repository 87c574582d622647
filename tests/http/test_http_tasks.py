"""Tasks and their snapshots over HTTP, with nodes that are connected over the socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future

import httpx
import pytest
from http_kit import HttpServer
from kit import SECONDS, eventually, in_thread
from raw_node import RawNode
from test_http_blobs import problem
from test_http_tags import followed

from udfstore._pb import udfstore_pb2 as pb


@pytest.fixture
def task(request: pytest.FixtureRequest) -> str:
    """A task that no other test uses, with a name that has to be escaped in a path."""
    return f"pump/{request.node.name[5:50]}"


@pytest.fixture
def path(task: str) -> str:
    return f"/v1/tasks/{task.replace('/', '~2f')}"


@pytest.fixture
def node(live: HttpServer, task: str) -> Iterator[RawNode]:
    with RawNode(live.socket, task) as node:
        node.arrive()
        yield node


def asked(api: httpx.Client, path: str, **body: object) -> Future[httpx.Response]:
    """Ask for a snapshot, which takes until the nodes have answered."""
    return in_thread(lambda: httpx.post(f"{api.base_url}{path}/snapshots", json=body, headers=api.headers))


def take(api: httpx.Client, path: str, node: RawNode, state: bytes, **body: object) -> int:
    """Take a snapshot with that state; its number."""
    answer = asked(api, path, **body)
    node.answer(state)
    told = answer.result(SECONDS).raise_for_status().json()
    assert told["good"], told
    return int(told["snapshot"]["number"])


def test_a_snapshot_is_taken_and_its_states_are_blobs(api: httpx.Client, task: str, path: str, node: RawNode) -> None:
    number = take(api, path, node, b"some state", name="before the upgrade")
    (told,) = api.get(f"{path}/snapshots").json()
    assert (told["number"], told["names"], told["task"]) == (number, ["before the upgrade"], task)
    (state,) = api.get(f"{path}/snapshots/{number}").json()
    assert state["name"] == "node"
    assert api.get(f"/v1/blobs/{state['blob']}").content == b"some state"
    assert api.get(f"{path}/snapshots/before~20the~20upgrade").json() == [state]
    assert api.get(f"{path}/snapshots/{told['id']}").json() == [state]
    assert api.get(f"/v1/content/snapshots/{path.rpartition('/')[2]}/auto").status_code == 200
    problem(api.get(f"{path}/snapshots/99"), 404, "not-found")
    problem(api.get(f"{path}/snapshots/no-such"), 404, "not-found")


def test_a_round_that_comes_to_nothing_says_why(api: httpx.Client, task: str, path: str, node: RawNode) -> None:
    answer = asked(api, path)
    node.send(pb.Response(snapshot=pb.SnapshotResponse(round=node.question(), error="out of memory")))
    told = answer.result(SECONDS)
    assert told.status_code == 200
    assert not told.json()["good"]
    assert "out of memory" in told.json()["why"]
    told = api.post("/v1/tasks/nobody/snapshots").json()
    assert (told["good"], told["why"]) == (False, "no node of the task is connected")


def test_tasks_are_listed_page_by_page(live: HttpServer, api: httpx.Client, task: str) -> None:
    names = [f"{task} {n}" for n in range(3)]
    nodes = [RawNode(live.socket, name) for name in names]
    for node in nodes:
        node.arrive()
    pages = followed(api, "/v1/tasks?limit=2")
    assert max(map(len, pages)) == 2
    assert [found["name"] for page in pages for found in page if found["name"] in names] == names  # type: ignore[index]
    for node in nodes:
        node.socket.close()


def test_a_snapshot_is_named_and_the_name_is_kept(api: httpx.Client, path: str, node: RawNode) -> None:
    first, second = (take(api, path, node, state) for state in (b"1", b"2"))
    named = api.put(f"{path}/named/good", json={"snapshot": str(first), "note": "before the storm"})
    assert (named.status_code, named.json()["names"]) == (200, ["good"])
    assert api.put(f"{path}/named/good", json={"snapshot": str(first)}).status_code == 200
    problem(api.put(f"{path}/named/good", json={"snapshot": str(second)}), 409, "conflict")
    problem(api.put(f"{path}/named/good", json={"snapshot": "99"}), 404, "not-found")
    problem(api.put(f"{path}/named/7", json={}), 422, "usage")
    assert api.put(f"{path}/named/newest", json={}).json()["number"] == second
    gone = api.delete(f"{path}/snapshots/good")
    assert gone.status_code == 200
    assert [s["names"] for s in api.get(f"{path}/snapshots").json() if s["number"] == first] == [[]]


def test_the_next_start_is_chosen_and_planned(
    live: HttpServer, api: httpx.Client, task: str, path: str, node: RawNode
) -> None:
    for state in (b"first", b"second"):
        take(api, path, node, state)
    first = api.get(f"{path}/snapshots").json()[-1]["number"]

    def planned() -> list[object]:
        answer = api.post(f"{path}:plan", json={})
        assert answer.status_code == 200, answer.text
        return [given["snapshot"]["number"] if given["snapshot"] else None for given in answer.json()]

    assert planned() == [first + 1]
    chosen = api.put(f"{path}/use", json={"snapshot": str(first)})
    assert (chosen.status_code, chosen.json()["number"]) == (200, first)
    assert planned() == [first]
    assert api.put(f"{path}/use", json={"snapshot": "fresh"}).json() is None
    problem(api.put(f"{path}/use", json={"snapshot": "1", "before": "models/x"}), 422, "usage")
    problem(api.put(f"{path}/use", json={"snapshot": "99"}), 404, "not-found")
    problem(api.post(f"{path}:plan", json={"dag": {"nodes": "x"}}), 422, "usage")
    problem(api.post(f"{path}:plan", json={"policy": "lenient"}), 422, "usage")
    api.put(f"{path}/use", json={"snapshot": str(first), "now": True}).raise_for_status()
    node.until("restart")
    node.socket.close()
    with RawNode(live.socket, task) as again:
        again.arrive()
        assert again.given == b"first"


def test_a_task_is_deleted_when_no_node_is_connected(api: httpx.Client, path: str, node: RawNode) -> None:
    number = take(api, path, node, b"state", name="kept")
    problem(api.delete(path), 409, "conflict")
    node.leave(b"last")
    dropped = api.delete(path).raise_for_status().json()
    assert number not in [s["number"] for s in api.get(f"{path}/snapshots").json() if not s["names"]]
    assert dropped
    assert api.delete(path, params={"everything": True}).is_success
    problem(api.get(f"{path}/snapshots"), 404, "not-found")


@pytest.mark.parametrize("name", ["~", "~2", "~41", "~ff", "-x", "%C3%A4", "a b", "~00", "x" * 129])
def test_a_name_that_no_task_has(api: httpx.Client, name: str) -> None:
    for method, path in (("GET", "snapshots"), ("GET", "snapshots/1"), ("POST", "snapshots"), ("DELETE", "")):
        answer = api.request(method, f"/v1/tasks/{name}/{path}".rstrip("/"))
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["code"] == "usage"


def test_who_is_connected_and_what_is_in_use(
    live: HttpServer, api: httpx.Client, node: RawNode, task: str, content: Callable[..., bytes], unique: str
) -> None:
    with live.store() as store:
        store.save(content(), tag=unique)
        with store.follow(unique, lambda file: file.read()):
            eventually(lambda: unique in api.get("/v1/sessions").text)
            assert task in api.get("/v1/sessions").text
            (use,) = eventually(lambda: api.get("/v1/used", params={"tag": unique}).json())
            assert (use["tag"], use["version"]) == (unique, 1)
            assert api.get("/v1/used").json()[0] == use
            assert api.get("/v1/used", params={"tag": unique, "at": "2020-01-01T00:00:00Z"}).json() == []
            assert api.get("/v1/used", params={"task": task}).json() == []
