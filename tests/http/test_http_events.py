"""The stream of what happens to tags: begun, gone on with, quiet, ended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import trio
from http_kit import HttpServer
from kit import SECONDS, eventually, in_thread
from test_http_blobs import problem, save
from test_http_tags import put

from udfstore.http import events
from udfstore.http.events import HEARTBEAT_SECONDS

Content = Callable[..., bytes]


class Events:
    """A stream, event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-store"
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The ID and data of the next event; comments are passed over."""
        id, data = "", ""
        for line in self._lines:
            if not line and data:
                return id, json.loads(data)
            name, _, value = line.partition(": ")
            id, data = (value if name == "id" else id), (value if name == "data" else data)
        raise EOFError

    def present(self) -> tuple[str, list[tuple[str, int]]]:
        """Up to the end of what there is: the ID to go on from, and the entries by tag and version."""
        entries: list[tuple[str, int]] = []
        while True:
            id, event = self.next()
            assert event["present"]
            if not event["entries"]:
                return id, entries
            assert not id, "going on from here would leave out the rest"
            entries += [(entry["tag"], entry["version"]) for entry in event["entries"]]


@contextmanager
def watching(api: httpx.Client, prefix: str, *, last: str = "", **query: object) -> Iterator[Events]:
    headers = {"Last-Event-ID": last} if last else {}
    with api.stream("GET", "/v1/events", params={"prefix": prefix, **query}, headers=headers) as answer:
        yield Events(answer)


def test_first_what_there_is_then_every_change(api: httpx.Client, unique: str, content: Content) -> None:
    a, b = save(api, content("a")), save(api, content("b"))
    put(api, f"{unique}/x", a)
    put(api, f"{unique}/x", b)
    put(api, f"{unique}/y", a)
    with watching(api, f"{unique}/") as stream:
        start, entries = stream.present()
        assert entries == [(f"{unique}/x", 2), (f"{unique}/y", 1)]
        put(api, f"{unique}/x", a)
        put(api, f"{unique}-elsewhere", a)
        api.delete(f"/v1/tags/{unique}/y")
        ids = []
        for tag, version, id in ((f"{unique}/x", 3, a), (f"{unique}/y", 2, None)):
            last, event = stream.next()
            (entry,) = event["entries"]
            assert (entry["tag"], entry["version"], entry["id"], event["present"]) == (tag, version, id, False)
            assert last.endswith(f"-{event['revision']}")
            ids.append(last)
    for last, versions in ((start, [3, 2]), (ids[0], [2])):
        with watching(api, f"{unique}/", last=last) as stream:
            assert [stream.next()[1]["entries"][0]["version"] for _ in versions] == versions
    since = int(start.partition("-")[2])
    with watching(api, f"{unique}/", since=since) as stream:
        assert stream.next()[0] == ids[0]


def test_a_place_that_is_not_in_this_store(api: httpx.Client) -> None:
    revision = api.get("/v1/status").json()["revision"]
    for last in ("9-0", f"9-{revision}", f"1-{revision + 1000}", f"1-{10**17}"):
        problem(api.get("/v1/events", headers={"Last-Event-ID": last}), 409, "conflict")
    problem(api.get("/v1/events", params={"since": revision + 1000}), 409, "conflict")
    for last in ("x", "1", "1-", "-1", "01-1", "1-1-1", "1-" + "9" * 30):
        problem(api.get("/v1/events", headers={"Last-Event-ID": last}), 400, "usage")
    for query in ({"since": "-1"}, {"since": "x"}, {"prefix": "../x"}):
        problem(api.get("/v1/events", params=query), 400, "usage")


def test_the_stream_ends_when_the_server_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    with HttpServer(tmp_path_factory.mktemp("stopping")) as server, server.client() as api:
        with watching(api, "") as stream:
            stream.present()
            stopped = in_thread(server.stop)
            with pytest.raises(EOFError):
                stream.next()
        assert stopped.result(SECONDS) == 0


def test_those_who_left_are_forgotten(live: HttpServer, api: httpx.Client) -> None:
    before = live.metric("udfstore_calls_open", kind="events")
    for _ in range(5):
        with live.client() as other, watching(other, "") as stream:
            stream.present()
    assert eventually(lambda: live.metric("udfstore_calls_open", kind="events") == before)


def test_who_may_not_read_any_more_is_told_nothing_more(live: HttpServer, api: httpx.Client, unique: str) -> None:
    def revoke(client: httpx.Client) -> None:
        store.remove_token("passing")

    def log_out(client: httpx.Client) -> None:
        found = re.search(r'name="csrf"[^>]* value="([^"]+)"', client.get("/").text)
        assert found
        assert client.post("/logout", data={"csrf": found[1]}, headers={"Origin": live.url}).is_success

    id = save(api, unique.encode())
    with live.store() as store, live.client(None) as web:
        assert web.get(store.web_link().url, follow_redirects=True).is_success
        with live.client(store.add_token("passing", "read").secret) as token:
            for client, end in ((token, revoke), (web, log_out)):
                with watching(client, f"{unique}/") as stream:
                    stream.present()
                    put(api, f"{unique}/seen", id)
                    stream.next()
                    end(client)
                    put(api, f"{unique}/hidden", id)
                    with pytest.raises(EOFError):
                        stream.next()


async def test_a_quiet_stream_shows_that_it_lives(autojump_clock: trio.testing.MockClock) -> None:
    class Service:
        class store:
            revision, epoch = 7, 1

        def go_on_watching(self, caller: object, call: object, cursor: int) -> tuple[list[object], int]:
            return [], 7

    class House:
        service, stopping = Service(), False

        async def reading(self, do: Callable[..., Any], *args: object) -> Any:
            return do(*args)

        async def committed(self, after: int) -> None:
            await trio.sleep_forever()

    sent: list[tuple[float, bytes]] = []
    began = trio.current_time()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            sent.append((trio.current_time() - began, message["body"]))
            if len(sent) == 4:
                house.stopping = True

    house: Any = House()
    stream = events._Stream(house, None, None, 7, iter(()), lambda: True)  # type: ignore[arg-type]

    async def receive() -> dict[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    await stream({"type": "http"}, receive, send)  # type: ignore[arg-type]
    beats = [(time, text) for time, text in sent if text.startswith(b":")]
    assert beats == [(HEARTBEAT_SECONDS * n, b": still here\n\n") for n in (1, 2, 3)]
    assert HEARTBEAT_SECONDS < 60, "proxies give up a connection that is quiet for a minute"
