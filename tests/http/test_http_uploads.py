"""Uploads that are gone on with: over broken connections, a killed server, and against each other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_kit import HttpServer
from kit import eventually
from test_http_blobs import id_of, problem

Content = Callable[..., bytes]

PART = "application/partial-upload"
PROBLEMS = "https://iana.org/assignments/http-problem-types#"


def begin(api: httpx.Client, part: bytes = b"", *, length: int | None = None, complete: bool = False) -> httpx.Response:
    headers = {"Upload-Complete": f"?{complete:d}"} | ({} if length is None else {"Upload-Length": str(length)})
    return api.post("/v1/uploads", content=part, headers=headers)


def append(
    api: httpx.Client, place: str, offset: int, part: bytes, *, complete: bool = False, **headers: str
) -> httpx.Response:
    said = {"Upload-Offset": str(offset), "Upload-Complete": f"?{complete:d}", "Content-Type": PART}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    return api.patch(place, content=part, headers=said)


def offset(api: httpx.Client, place: str) -> int:
    answer = api.head(place)
    assert answer.status_code == 204
    return int(answer.headers["Upload-Offset"])


def test_content_comes_in_parts(live: HttpServer, api: httpx.Client, content: Content) -> None:
    data = content() * 100
    begun = begin(api, length=len(data))
    place = begun.headers["Location"]
    assert begun.status_code == 201
    assert (begun.json()["offset"], begun.json()["size"]) == (0, len(data))
    assert begun.headers["Upload-Complete"] == "?0"
    assert int(begun.headers["Upload-Limit"].removeprefix("max-age=")) > 3600
    for start in (0, 1000):
        answer = append(api, place, start, data[start : start + 1000])
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(start + 1000))
    head = api.head(place)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("2000", str(len(data)))
    assert head.headers["Cache-Control"] == "no-store"
    done = append(api, place, 2000, data[2000:], complete=True)
    assert (done.status_code, done.headers["Upload-Complete"]) == (201, "?1")
    assert done.json() == {"id": id_of(data), "size": len(data), "existed": False, "entry": None}
    assert done.headers["Location"] == f"/v1/blobs/{id_of(data)}"
    assert api.get(done.headers["Location"]).content == data


def test_content_at_once(api: httpx.Client, content: Content) -> None:
    for status in (201, 200):
        answer = begin(api, content(), complete=True)
        assert (answer.status_code, answer.json()["id"]) == (status, id_of(content()))
        assert answer.headers["Upload-Complete"] == "?1"


def test_finishing_twice_gives_the_same_answer(api: httpx.Client, content: Content) -> None:
    place = begin(api, content()).headers["Location"]
    size = len(content())
    first = append(api, place, size, b"", complete=True)
    again = append(api, place, size, b"", complete=True)
    assert first.json() == again.json()
    head = api.head(place)
    assert (head.headers["Upload-Complete"], head.headers["Location"]) == ("?1", f"/v1/blobs/{id_of(content())}")
    told = problem(append(api, place, size, b"more"), 422, "mismatch")
    assert told
    refused = append(api, place, 1, b"more").json()
    assert (refused["status"], refused["type"]) == (409, f"{PROBLEMS}completed-upload")


def test_a_part_has_to_begin_where_the_upload_is(api: httpx.Client, content: Content) -> None:
    place = begin(api, content()).headers["Location"]
    for wrong in (0, len(content()) + 1, 2**62):
        answer = append(api, place, wrong, b"x")
        assert answer.status_code == 409
        told = answer.json()
        assert told["type"] == f"{PROBLEMS}mismatching-upload-offset"
        assert (told["expected-offset"], told["provided-offset"]) == (len(content()), wrong)
        assert answer.headers["Upload-Offset"] == str(len(content()))
    assert append(api, place, len(content()), b"x").is_success


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Offset": ""}, 400),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "9" * 30}, 400),
        ({"Upload-Complete": "1"}, 400),
        ({"Upload-Complete": "?2"}, 400),
        ({"Upload-Length": "x"}, 400),
        ({"Content-Type": "application/octet-stream"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Encoding": "gzip"}, 400),
        ({"Upload-Complete": "?1", "Upload-Length": "3"}, 400),
    ],
)
def test_a_part_that_makes_no_sense(api: httpx.Client, content: Content, headers: dict[str, str], status: int) -> None:
    place = begin(api, content()).headers["Location"]
    said = {"Upload-Offset": str(len(content())), "Upload-Complete": "?0", "Content-Type": PART} | headers
    answer = api.patch(place, content=b"more", headers=said)
    problem(answer, status, "usage")
    assert offset(api, place) == len(content())


def test_a_part_needs_its_headers(api: httpx.Client) -> None:
    place = begin(api).headers["Location"]
    problem(api.patch(place, content=b"x", headers={"Content-Type": PART}), 400, "usage")
    problem(api.post("/v1/uploads", content=b"x"), 400, "usage")


def test_more_or_less_than_was_announced(api: httpx.Client, content: Content) -> None:
    problem(begin(api, b"12345", length=4), 422, "mismatch")
    place = begin(api, length=4).headers["Location"]
    problem(append(api, place, 0, b"12345"), 422, "mismatch")
    answer = append(api, place, offset(api, place), b"", complete=True)
    assert answer.status_code in (400, 422)
    place = begin(api, length=4).headers["Location"]
    problem(append(api, place, 0, b"12", Upload_Length="5"), 422, "mismatch")
    assert append(api, place, 0, b"1234", complete=True).is_success
    problem(begin(api, length=2**62), 507, "no-space")


def test_an_upload_is_dropped(api: httpx.Client, live: HttpServer, content: Content) -> None:
    place = begin(api, content()).headers["Location"]
    assert api.delete(place).status_code == 204
    for answer in (api.delete(place), append(api, place, len(content()), b"x")):
        assert answer.status_code in (404, 410)
    assert api.head(place).status_code in (404, 410)
    assert not (live.root / "uploads" / place.rpartition("/")[2]).exists()


@pytest.mark.parametrize("name", ["0" * 32, "x" * 32, "0" * 31, "..%2F..%2Fetc", "%00" * 32, "A" * 32])
def test_an_upload_that_nobody_began(api: httpx.Client, name: str) -> None:
    for answer in (api.delete(f"/v1/uploads/{name}"), append(api, f"/v1/uploads/{name}", 0, b"x")):
        assert answer.status_code in (400, 404)
    assert api.head(f"/v1/uploads/{name}").status_code in (400, 404)


def test_two_who_bring_parts_of_one_upload(live: HttpServer, api: httpx.Client, content: Content) -> None:
    data = content() * 10
    place = begin(api).headers["Location"]
    with live.raw() as first:
        first.head("PATCH", place, {"Upload-Offset": 0, "Upload-Complete": "?0", "Content-Type": PART,
                                    "Content-Length": len(data)})  # fmt: skip
        first.send(data[:100])
        eventually(lambda: live.metric("udfstore_calls_open", kind="patch-uploads"))

        def refused() -> httpx.Response | None:
            answer = append(api, place, 0, b"")
            return answer if answer.status_code == 409 else None

        assert eventually(refused).json()["code"] == "conflict"
        first.send(data[100:])
        assert first.answer()[0] == 204
    assert append(api, place, len(data), b"", complete=True).json()["id"] == id_of(data)


def test_a_broken_connection_leaves_what_came(live: HttpServer, api: httpx.Client, content: Content) -> None:
    data = os.urandom(3 << 20)
    place = begin(api).headers["Location"]
    with live.raw() as raw:
        raw.head("PATCH", place, {"Upload-Offset": 0, "Upload-Complete": "?1", "Content-Type": PART,
                                  "Content-Length": len(data)})  # fmt: skip
        raw.send(data[: 2 << 20])
    came = eventually(lambda: live.metric("udfstore_calls_open", kind="patch-uploads") == 0 and offset(api, place))
    assert 0 < came <= 2 << 20
    done = append(api, place, int(came), data[int(came) :], complete=True)
    assert done.json()["id"] == id_of(data)


def test_a_killed_server_goes_on_with_what_it_had(tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    with HttpServer(tmp_path) as server:
        with server.client() as api:
            place = begin(api, data[: 1 << 20], length=len(data)).headers["Location"]
            with server.raw() as raw:
                raw.head("PATCH", place, {"Upload-Offset": 1 << 20, "Upload-Complete": "?1", "Content-Type": PART,
                                          "Content-Length": len(data) - (1 << 20)})  # fmt: skip
                raw.send(data[1 << 20 : 4 << 20])
                eventually(lambda: offset(api, place) > 1 << 20)
                server.kill()
        server.start()
        with server.client() as api:
            came = offset(api, place)
            assert 1 << 20 <= came <= 4 << 20
            done = append(api, place, came, data[came:], complete=True)
            assert done.json()["id"] == id_of(data)
            assert api.get(done.headers["Location"]).content == data


def test_too_many_uploads_at_once(tmp_path: Path, content: Content) -> None:
    with HttpServer(tmp_path, uploads=1) as server, server.client() as api:
        place = begin(api).headers["Location"]
        refused = begin(api)
        problem(refused, 429, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        append(api, place, 0, content(), complete=True).raise_for_status()
        assert begin(api).status_code == 201


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[HttpServer]:
    """A server that forgets uploads after a second."""
    with HttpServer(tmp_path, upload_expiry_s=1) as server:
        yield server


def test_an_upload_that_nobody_goes_on_with_expires(hasty: HttpServer, content: Content) -> None:
    with hasty.client() as api:
        begun = begin(api, content())
        assert begun.headers["Upload-Limit"] in ("max-age=0", "max-age=1")
        place, until = begun.headers["Location"], time.time()
        status = eventually(lambda: (s := api.head(place).status_code) != 204 and s)
        assert status in (404, 410)
        assert time.time() >= until
        answer: Any = append(api, place, len(content()), b"x")
        assert answer.status_code in (404, 410)
