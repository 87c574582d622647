"""Blobs over HTTP: content in and out, whole and in part, and what is told of it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import httpx
import pytest
from http_kit import HttpServer

Content = Callable[..., bytes]


def id_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def save(api: httpx.Client, content: bytes) -> str:
    """Save content; its ID."""
    answer = api.post("/v1/blobs", content=content)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    """The problem that an answer tells."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text[
        :500
    ]
    told: dict[str, str] = answer.json()
    assert (told["code"], told["status"], told["type"]) == (code, status, f"urn:udfstore:error:{code}")
    return told


def test_content_is_saved_once_and_told_by_its_id(api: httpx.Client, content: Content) -> None:
    data, id = content(), id_of(content())
    for status, existed in ((201, False), (200, True)):
        answer = api.post("/v1/blobs", content=data)
        assert answer.status_code == status
        assert answer.json() == {"id": id, "size": len(data), "existed": existed, "entry": None}
        assert answer.headers["Location"] == f"/v1/blobs/{id}"
        assert answer.headers["ETag"] == f'"{id}"'
    assert api.get(answer.headers["Location"]).content == data


def test_content_without_a_length_is_saved_too(api: httpx.Client, content: Content) -> None:
    answer = api.post("/v1/blobs", content=iter([content(), b"", b" and more"]))
    assert answer.json()["id"] == id_of(content() + b" and more")


def test_no_content_is_content(api: httpx.Client) -> None:
    id = save(api, b"")
    answer = api.get(f"/v1/blobs/{id}")
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


def test_content_under_its_id(api: httpx.Client, content: Content) -> None:
    id = id_of(content())
    for name, status in ((id, 201), (id.removeprefix("sha256:"), 200)):
        answer = api.put(f"/v1/blobs/{name}", content=content())
        assert (answer.status_code, answer.json()["id"]) == (status, id)


def test_content_under_another_id_is_refused_and_not_kept(
    live: HttpServer, api: httpx.Client, content: Content
) -> None:
    other = id_of(content("other"))
    told = problem(api.put(f"/v1/blobs/{other}", content=content()), 422, "mismatch")
    assert (told["expected"], told["got"]) == (other, id_of(content()))
    for id in (other, id_of(content())):
        problem(api.get(f"/v1/blobs/{id}"), 404, "not-found")
    assert live.staged == []


def test_content_that_is_packed_is_refused(api: httpx.Client, content: Content) -> None:
    answer = api.post("/v1/blobs", content=content(), headers={"Content-Encoding": "gzip"})
    assert "Content-Encoding" in problem(answer, 400, "usage")["detail"]


def test_what_is_told_of_content(api: httpx.Client, content: Content, unique: str) -> None:
    id = save(api, content())
    whole = api.get(f"/v1/blobs/{id}")
    digest = base64.b64encode(hashlib.sha256(content()).digest()).decode()
    assert {name: whole.headers[name] for name in ("ETag", "Repr-Digest", "Cache-Control", "Accept-Ranges")} == {
        "ETag": f'"{id}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Accept-Ranges": "bytes",
    }
    assert whole.headers["Content-Disposition"] == f'attachment; filename="{id.removeprefix("sha256:")}"'
    head = api.head(f"/v1/blobs/{id}")
    assert head.content == b""
    changing = {"date", "x-request-id"}
    assert [h for h in head.headers.items() if h[0] not in changing] == [
        h for h in whole.headers.items() if h[0] not in changing
    ]


def test_content_by_whatever_names_it(api: httpx.Client, content: Content, unique: str) -> None:
    id, tag = save(api, content()), f"{unique}/model.bin"
    api.put(f"/v1/tags/{tag}", json={"ref": id}).raise_for_status()
    api.put(f"/v1/tags/{tag}", json={"ref": save(api, content("newer"))}).raise_for_status()
    for ref, data in (
        (tag, content("newer")),
        (f"{tag}@1", content()),
        (f"{tag}@-1", content()),
        (id, content()),
        (id[7:23], content()),
    ):
        answer = api.get(f"/v1/content/{ref}")
        assert answer.content == data
        by_name = ref.startswith(tag)
        forever = "private, max-age=31536000, immutable"
        assert answer.headers["Cache-Control"] == ("private, no-cache" if ref != id else forever)
        assert answer.headers.get("Content-Location") == (f"/v1/blobs/{id_of(data)}" if by_name else None)
        assert api.head(f"/v1/content/{ref}").headers["Content-Length"] == str(len(data))
    answer = api.get(f"/v1/content/{tag}")
    assert answer.headers["Udfstore-Entry"] == f"{tag}@2"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="model.bin"'
    problem(api.get(f"/v1/content/{unique}/nothing"), 404, "not-found")


def test_a_cached_copy_is_not_sent_again(api: httpx.Client, content: Content) -> None:
    id = save(api, content())
    for known in (f'"{id}"', f'W/"{id}"', f'"other", "{id}"', "*"):
        answer = api.get(f"/v1/blobs/{id}", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", f'"{id}"')
        assert "Content-Length" not in answer.headers
    assert api.get(f"/v1/blobs/{id}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_only_the_content_that_is_expected(api: httpx.Client, content: Content, unique: str) -> None:
    id = save(api, content())
    api.put(f"/v1/tags/{unique}", json={"ref": id}).raise_for_status()
    assert api.get(f"/v1/content/{unique}", headers={"If-Match": f'"{id}"'}).content == content()
    assert api.get(f"/v1/content/{unique}", headers={"If-Match": "*"}).content == content()
    told = problem(api.get(f"/v1/content/{unique}", headers={"If-Match": '"other"'}), 412, "usage")
    assert told["got"] == id


def test_info_tells_what_keeps_a_blob(api: httpx.Client, content: Content, unique: str) -> None:
    id = save(api, content())
    api.put(f"/v1/tags/{unique}", json={"ref": id}).raise_for_status()
    told = api.get(f"/v1/info/{unique}").raise_for_status().json()
    assert told["info"]["id"] == id
    assert unique in str(told)
    problem(api.get(f"/v1/info/{unique}/nothing"), 404, "not-found")


def test_missing_names_those_that_are_not_there(api: httpx.Client, content: Content) -> None:
    here, not_here = save(api, content()), id_of(content("not saved"))
    answer = api.post("/v1/blobs:missing", json={"ids": [here, not_here, not_here.removeprefix("sha256:")]})
    assert answer.json() == {"ids": [not_here, not_here]}
    many = api.post("/v1/blobs:missing", json={"ids": [not_here] * 2000})
    assert many.status_code == 422


def test_removal(api: httpx.Client, content: Content, unique: str) -> None:
    id = save(api, content())
    api.put(f"/v1/tags/{unique}", json={"ref": id}).raise_for_status()
    assert unique in str(problem(api.delete(f"/v1/blobs/{id}"), 409, "conflict"))
    removed = api.delete(f"/v1/blobs/{id}", params={"force": True})
    assert (removed.status_code, removed.content) == (204, b"")
    for path in (f"/v1/blobs/{id}", f"/v1/content/{unique}", f"/v1/content/{unique}@1"):
        problem(api.get(path), 410, "gone")
    problem(api.delete(f"/v1/blobs/{id}"), 410, "gone")
    assert api.post("/v1/blobs", content=content()).status_code == 201  # it comes back
    assert api.get(f"/v1/content/{unique}").content == content()


def test_a_repeated_removal_is_known_by_its_key(api: httpx.Client, content: Content) -> None:
    id, headers = save(api, content()), {"Idempotency-Key": "once"}
    assert [api.delete(f"/v1/blobs/{id}", headers=headers).status_code for _ in range(2)] == [204, 204]
    problem(api.delete(f"/v1/blobs/{id}", headers={"Idempotency-Key": "again"}), 410, "gone")


# --- ranges -------------------------------------------------------------------------------------------------------


DATA = bytes(range(33, 127)) * 100
LAST = len(DATA) - 1


@pytest.fixture(scope="module")
def blob(api: httpx.Client) -> str:
    """The address of `DATA`."""
    return f"/v1/blobs/{save(api, DATA)}"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("10-19", 10, 20),
        ("9000-", 9000, len(DATA)),
        ("-5", len(DATA) - 5, len(DATA)),
        (f"-{10**9}", 0, len(DATA)),
        (f"0-{LAST}", 0, len(DATA)),
        (f"{LAST}-{10**9}", LAST, len(DATA)),
        (f"{LAST}-{10**30}", LAST, len(DATA)),
        (f"5-5, {10**6}-", 5, 6),
    ],
)
def test_a_range(api: httpx.Client, blob: str, asked: str, start: int, stop: int) -> None:
    answer = api.get(blob, headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["ETag"] == f'"{blob.removeprefix("/v1/blobs/")}"'


@pytest.mark.parametrize("asked", [f"{len(DATA)}-", f"{10**30}-", "20000-20009, 30000-"])
def test_a_range_that_is_not_there(api: httpx.Client, blob: str, asked: str) -> None:
    answer = api.get(blob, headers={"Range": f"bytes={asked}"})
    problem(answer, 416, "usage")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=9-5",
        "bytes=",
        "bytes=x-y",
        "bytes=-",
        "bytes=-0",
        "lines=1-2",
        "bytes 1-2",
        "bytes=1-2,",
        "bytes=--5",
        "bytes=0x1-2",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 800, 2)),
        f"bytes=0-{LAST}, 0-{LAST}",
    ],
)
def test_ranges_that_make_no_sense_are_passed_over(api: httpx.Client, blob: str, asked: str) -> None:
    answer = api.get(blob, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_several_ranges(api: httpx.Client, blob: str) -> None:
    answer = api.get(blob, headers={"Range": "bytes=0-4, 100-, -3"})
    assert answer.status_code == 200, "they overlap: together more than the blob"
    answer = api.get(blob, headers={"Range": "bytes=0-4, 100-109, -3"})
    assert answer.status_code == 206
    boundary = answer.headers["Content-Type"].removeprefix("multipart/byteranges; boundary=")
    first, *parts, last = answer.content.split(f"--{boundary}".encode())
    assert (first, last) == (b"", b"--\r\n")
    found = [part.removeprefix(b"\r\n").partition(b"\r\n\r\n") for part in parts]
    assert [body[:-2] for _, _, body in found] == [DATA[:5], DATA[100:110], DATA[-3:]]
    assert [re.findall(rb"Content-Range: (.*)", head) for head, _, _ in found] == [
        [f"bytes {start}-{stop}/{len(DATA)}".encode()] for start, stop in ((0, 4), (100, 109), (LAST - 2, LAST))
    ]


def test_a_range_of_the_very_content_that_one_has(api: httpx.Client, blob: str) -> None:
    tag = f'"{blob.removeprefix("/v1/blobs/")}"'
    for bound, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), ("Sun, 22 Nov 2026 00:00:00 GMT", 200)):
        answer = api.get(blob, headers={"Range": "bytes=0-4", "If-Range": bound})
        assert (answer.status_code, answer.content) == (status, DATA[:5] if status == 206 else DATA), bound


def test_no_range_of_what_is_empty_or_only_looked_at(api: httpx.Client, blob: str) -> None:
    assert api.head(blob, headers={"Range": "bytes=0-4"}).headers["Content-Length"] == str(len(DATA))
    problem(api.get(f"/v1/blobs/{save(api, b'')}", headers={"Range": "bytes=0-4"}), 416, "usage")


def test_a_connection_ends_after_content_where_it_was_to(live: HttpServer, blob: str) -> None:
    with live.raw() as raw:
        raw.head("GET", blob, {"Connection": "close"})
        assert raw.answer()[1] == DATA
        assert raw.rest() == b""
