"""Tags over HTTP: moved on condition, looked up at a time, listed page by page."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from test_http_blobs import problem, save

from udfstore.http.asking import cursor_to
from udfstore.plain import time_of

Content = Callable[..., bytes]


def put(api: httpx.Client, name: str, ref: str, **headers: str) -> httpx.Response:
    names = {"match": "If-Match", "none_match": "If-None-Match", "key": "Idempotency-Key"}
    return api.put(f"/v1/tags/{name}", json={"ref": ref}, headers={names[k]: v for k, v in headers.items()})


@pytest.fixture
def ids(api: httpx.Client, content: Content) -> list[str]:
    """Three blobs."""
    return [save(api, content(n)) for n in range(3)]


def test_a_tag_is_made_moved_and_told(api: httpx.Client, unique: str, ids: list[str]) -> None:
    body = {"ref": ids[0], "note": "first", "labels": {"auc": "0.9"}}
    made = api.put(f"/v1/tags/{unique}", json=body)
    assert made.status_code == 201
    assert made.headers["Location"] == f"/v1/tags/{unique}"
    entry = made.json()
    assert (entry["tag"], entry["version"], entry["id"], entry["note"], entry["labels"]) == (
        unique, 1, ids[0], "first", {"auc": "0.9"},
    )  # fmt: skip
    moved = put(api, unique, ids[1])
    assert (moved.status_code, moved.json()["version"], moved.headers["ETag"]) == (200, 2, '"2"')
    now = api.get(f"/v1/tags/{unique}")
    assert (now.json(), now.headers["ETag"], now.headers["Cache-Control"]) == (moved.json(), '"2"', "private, no-cache")
    assert api.get(f"/v1/tags/{unique}@1").json() == entry
    assert api.get(f"/v1/tags/{unique}", headers={"If-None-Match": '"2"'}).status_code == 304
    problem(api.get(f"/v1/tags/{unique}@3"), 404, "not-found")


def test_a_tag_moves_from_the_expected_version_only(api: httpx.Client, unique: str, ids: list[str]) -> None:
    assert put(api, unique, ids[0], none_match="*").status_code == 201
    for condition in ({"none_match": "*"}, {"match": '"7"'}):
        refused = put(api, unique, ids[1], **condition)
        told = problem(refused, 412, "conflict")
        assert refused.json()["entry"] == api.get(f"/v1/tags/{unique}").json()
        assert refused.headers["ETag"] == '"1"'
        assert told["got"] == "version 1"
    assert put(api, unique, ids[1], match='"1"').json()["version"] == 2
    refused = put(api, f"{unique}/new", ids[0], match='"1"')
    problem(refused, 412, "conflict")
    assert refused.json()["entry"] is None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("If-Match", "*"),
        ("If-Match", '"1", "2"'),
        ("If-Match", '"x"'),
        ("If-Match", 'W/"1"'),
        ("If-None-Match", '"1"'),
    ],
)
def test_conditions_that_make_no_sense_for_a_change(
    api: httpx.Client, unique: str, ids: list[str], header: str, value: str
) -> None:
    answer = api.put(f"/v1/tags/{unique}", json={"ref": ids[0]}, headers={header: value})
    problem(answer, 400, "usage")


def test_an_untagged_name_keeps_its_history(api: httpx.Client, unique: str, ids: list[str]) -> None:
    put(api, unique, ids[0])
    problem(api.delete(f"/v1/tags/{unique}", headers={"If-Match": '"2"'}), 412, "conflict")
    deleted = api.delete(f"/v1/tags/{unique}", params={"note": "no more"}, headers={"If-Match": '"1"'})
    assert (deleted.status_code, deleted.json()["id"], deleted.json()["note"]) == (200, None, "no more")
    assert deleted.headers["ETag"] == '"2"'
    problem(api.get(f"/v1/tags/{unique}"), 410, "gone")
    problem(api.get(f"/v1/content/{unique}"), 410, "gone")
    problem(api.delete(f"/v1/tags/{unique}"), 410, "gone")
    assert [entry["version"] for entry in api.get(f"/v1/history/{unique}").json()] == [2, 1]
    assert put(api, unique, ids[1], none_match="*").status_code == 201


def test_what_a_tag_named_at_a_time(api: httpx.Client, unique: str, ids: list[str]) -> None:
    moments = [datetime.now(UTC)]
    for id in ids[:2]:
        put(api, unique, id)
        moments.append(datetime.now(UTC))
    api.delete(f"/v1/tags/{unique}")
    moments.append(datetime.now(UTC))

    def at(moment: str) -> httpx.Response:
        return api.get(f"/v1/tags/{unique}", params={"at": moment})

    texts = [moment.isoformat() for moment in moments]
    assert [at(text).json()["id"] for text in texts[1:3]] == ids[:2]
    assert at(texts[1].replace("+00:00", "Z")).json()["id"] == ids[0]
    problem(at(texts[0]), 404, "not-found")
    problem(at(texts[3]), 410, "gone")
    problem(at("0001-01-01T00:00:00Z"), 404, "not-found")
    problem(at("9999-12-31T23:59:59Z"), 410, "gone")
    for wrong in ("yesterday", "2026-11-20", "2026-11-20T08:00:00", "0", "1e300", "2026-13-01T00:00:00Z"):
        problem(at(wrong), 400, "usage")
    problem(api.get(f"/v1/tags/{unique}@1", params={"at": texts[1]}), 400, "usage")


def test_several_tags_move_in_one_step_or_none_does(api: httpx.Client, unique: str, ids: list[str]) -> None:
    def step(name: str, id: str, **more: object) -> dict[str, object]:
        return {"tag": f"{unique}/{name}", "ref": id, **more}

    moved = api.post("/v1/tags:move", json={"steps": [step("a", ids[0]), step("b", ids[1])], "note": "both"})
    assert moved.status_code == 200
    assert [(entry["version"], entry["note"]) for entry in moved.json()["entries"]] == [(1, "both")] * 2
    assert moved.json()["before"] == [None, None]
    refused = api.post("/v1/tags:move", json={"steps": [step("a", ids[2]), step("b", ids[2], expected=0)]})
    problem(refused, 409, "conflict")
    assert api.get(f"/v1/tags/{unique}/a").json()["id"] == ids[0]


def test_a_tag_is_rolled_back(api: httpx.Client, unique: str, ids: list[str]) -> None:
    for id in ids:
        put(api, unique, id)
    back = api.post("/v1/tags:rollback", json={"tag": unique, "note": "it was bad", "expected": 3})
    assert (back.json()["entries"][0]["id"], back.json()["entries"][0]["version"]) == (ids[1], 4)
    assert api.post("/v1/tags:rollback", json={"tag": unique}).json()["entries"][0]["id"] == ids[0]
    to = api.post("/v1/tags:rollback", json={"tag": unique, "to": 3})
    assert to.json()["entries"][0]["id"] == ids[2]
    problem(api.post("/v1/tags:rollback", json={"tag": unique, "expected": 3}), 409, "conflict")
    problem(api.post("/v1/tags:rollback", json={"tag": f"{unique}/nothing"}), 404, "not-found")


def test_tags_of_snapshots_are_not_moved_by_hand(api: httpx.Client, ids: list[str]) -> None:
    answers = [
        put(api, "snapshots/pump/auto", ids[0]),
        api.delete("/v1/tags/snapshots/pump/auto"),
        api.post("/v1/tags:move", json={"steps": [{"tag": "snapshots/pump/auto", "ref": ids[0]}]}),
        api.post("/v1/tags:rollback", json={"tag": "snapshots/pump/auto"}),
    ]
    assert {answer.json()["code"] for answer in answers} == {"usage"}


def test_a_change_repeated_with_its_key_happens_once(api: httpx.Client, unique: str, ids: list[str]) -> None:
    first = put(api, unique, ids[0], key="deploy 17")
    again = put(api, unique, ids[0], key="deploy 17")
    assert first.json() == again.json()
    assert len(api.get(f"/v1/history/{unique}").json()) == 1
    problem(put(api, unique, ids[1], key="deploy 17"), 409, "conflict")
    assert put(api, f"{unique}/other", ids[1], key="deploy 17").status_code == 201  # a key is for one address
    assert put(api, unique, ids[1], key="deploy 18").json()["version"] == 2
    problem(put(api, unique, ids[1], key="k" * 256), 400, "usage")


def followed(api: httpx.Client, path: str) -> list[list[object]]:
    """All pages of a list, by their links."""
    pages = []
    while path:
        answer = api.get(path).raise_for_status()
        pages.append(answer.json())
        path = answer.links.get("next", {}).get("url", "")
    return pages


def test_lists_are_read_page_by_page(api: httpx.Client, unique: str, content: Content) -> None:
    names = [f"{unique}/{n}" for n in "abcde"]
    saved = [save(api, content(name)) for name in names]
    for name, id in zip(names, saved, strict=True):
        put(api, name, id)
    for _ in range(4):
        put(api, names[0], saved[0])
    pages = followed(api, f"/v1/tags?prefix={unique}/&limit=2")
    assert [[entry["tag"] for entry in page] for page in pages] == [names[:2], names[2:4], names[4:]]
    pages = followed(api, f"/v1/history/{names[0]}?limit=2")
    assert [[entry["version"] for entry in page] for page in pages] == [[5, 4], [3, 2], [1]]
    pages = followed(api, "/v1/blobs?limit=2")
    assert max(map(len, pages)) == 2
    told = [blob["id"] for page in pages for blob in page]
    assert len(told) == len(set(told))
    assert [id for id in told if id in saved] == saved, "oldest first"
    assert [entry["tag"] for entry in api.get("/v1/tags", params={"prefix": names[1]}).json()] == [names[1]]


@pytest.mark.parametrize("place", ["x", "\u00b2 " + "0" * 64, "9" * 30 + " " + "0" * 64, "\u00b2", "9" * 30, "-1"])
def test_a_cursor_of_ones_own_making(api: httpx.Client, place: str, ids: list[str]) -> None:
    put(api, "x", ids[0])
    for path in ("/v1/blobs", "/v1/history/x"):
        problem(api.get(path, params={"cursor": cursor_to(place)}), 400, "usage")
    for path in ("/v1/tags", "/v1/tasks"):
        assert api.get(path, params={"cursor": cursor_to(place)}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/blobs", "/v1/tags", "/v1/tasks", "/v1/history/x"])
@pytest.mark.parametrize("wrong", ["cursor=%C3%A4", "cursor=_w", "cursor=A", "limit=0", "limit=1001", "limit=x"])
def test_a_page_that_cannot_be(api: httpx.Client, path: str, wrong: str, ids: list[str]) -> None:
    put(api, "x", ids[0])
    problem(api.get(f"{path}?{wrong}"), 400, "usage")


def test_times_are_told_as_rfc_3339_has_them(api: httpx.Client, unique: str, ids: list[str]) -> None:
    before = time_of(time.time_ns())
    told = put(api, unique, ids[0]).json()["time"]
    assert before is not None
    assert before <= told
    assert datetime.fromisoformat(told).tzinfo is UTC


def test_a_held_tag_answers_409_until_its_release(api: httpx.Client, unique: str, ids: list[str]) -> None:
    put(api, unique, ids[0])
    held = api.post("/v1/tags:hold", json={"tag": unique, "note": "audit"})
    assert (held.status_code, held.json()["entries"][0]["held"]) == (200, True)
    assert api.get(f"/v1/tags/{unique}").json() == held.json()["entries"][0]
    for refused in (
        put(api, unique, ids[1]),
        put(api, unique, ids[1], match='"2"'),
        api.delete(f"/v1/tags/{unique}"),
        api.post("/v1/tags:rollback", json={"tag": unique}),
        api.post("/v1/tags:hold", json={"tag": unique, "note": "me too"}),
    ):
        assert "'audit'" in problem(refused, 409, "conflict")["detail"]
    for condition in ({"match": '"1"'}, {"none_match": "*"}):
        problem(put(api, unique, ids[1], **condition), 412, "conflict")
    assert api.post("/v1/tags:hold", json={"tag": unique}).status_code == 422
    released = api.post("/v1/tags:release", json={"tag": unique}).json()["entries"][0]
    assert (released["version"], released["held"], released["id"]) == (3, False, ids[0])
    assert put(api, unique, ids[1]).json()["version"] == 4
    problem(api.post("/v1/tags:release", json={"tag": unique}), 409, "conflict")
