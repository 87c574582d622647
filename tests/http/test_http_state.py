"""Whether the server is well, and what it tells of itself to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from http_kit import HttpServer
from kit import eventually
from test_http_blobs import problem, save

import udfstore
from udfstore.errors import Unsupported


@pytest.fixture
def stranger(live: HttpServer) -> Iterator[httpx.Client]:
    """Somebody without a token."""
    with live.client(None) as client:
        yield client


def test_how_the_store_is(live: HttpServer, api: httpx.Client) -> None:
    told = api.get("/v1/status").raise_for_status().json()
    assert (told["pid"], told["root"], told["problem"]) == (live.pid, str(live.root), "")
    with live.store() as store:
        assert told["version"] == store.status().version


def test_it_lives_and_is_ready(stranger: httpx.Client) -> None:
    assert stranger.get("/healthz").json() == {"status": "alive"}
    ready = stranger.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "problems": []})
    for path in ("/healthz", "/readyz"):
        asked = stranger.head(path)
        assert (asked.status_code, asked.content) == (stranger.get(path).status_code, b"")
        assert stranger.post(path).status_code == 405


def test_it_is_not_ready_near_the_floor_of_its_disk(tmp_path: Path) -> None:
    with HttpServer(tmp_path, floor_bytes=1 << 62) as server, server.client() as api:
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert "floor" in answer.json()["problems"][0]
        assert api.get("/healthz").status_code == 200
        problem(api.post("/v1/blobs", content=b"x"), 507, "no-space")


def test_it_is_not_ready_while_it_takes_no_writes(tmp_path: Path) -> None:
    with HttpServer(tmp_path) as server:
        with server.client() as api:
            id = save(api, b"kept")
            api.put("/v1/tags/some/secret", json={"ref": id}).raise_for_status()
            api.delete("/v1/tags/some/secret").raise_for_status()
        server.stop()
        for view in server.root.glob("catalog*"):  # so that it is made anew, from the whole log
            view.unlink()
        (segment,) = (server.root / "log").iterdir()
        data = bytearray(segment.read_bytes())
        data[data.index(b"some/secret")] ^= 1
        segment.chmod(0o600)
        segment.write_bytes(data)
        server.start()
        with server.client() as api, server.client(None) as stranger:
            ready = api.get("/readyz")
            assert ready.status_code == 503
            (told,) = ready.json()["problems"]
            assert "takes no writes: " in told
            assert stranger.get("/readyz").json()["problems"] == ["the store takes no writes"]
            refused = api.post("/v1/blobs", content=b"new")
            problem(refused, 503, "read-only")
            assert "Retry-After" not in refused.headers, "that does not pass by itself"


def test_metrics_tell_names_to_who_may_see_them(live: HttpServer, api: httpx.Client, stranger: httpx.Client) -> None:
    api.put("/v1/tags/some/secret", json={"ref": save(api, b"x")}).raise_for_status()
    with live.store() as store:
        secret = store.add_token("prometheus", "metrics").secret
    with live.client(secret) as prometheus:
        told = prometheus.get("/metrics")
        assert told.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'udfstore_tag_version{tag="some/secret"} 1.0' in told.text
        problem(prometheus.get("/v1/tags"), 403, "denied")
    open_to_all = stranger.get("/metrics").text
    assert "udfstore_tags " in open_to_all
    assert "secret" not in open_to_all
    assert udfstore.__version__ not in open_to_all
    problem(stranger.get("/metrics", headers={"Authorization": "Bearer x"}), 401, "denied")


def test_calls_over_http_are_counted(live: HttpServer, api: httpx.Client) -> None:
    def count(kind: str, code: str) -> float:
        return live.metric("udfstore_calls_total", front="http", kind=kind, code=code)

    before = count("get-tags", "ok"), count("get-tags", "not-found")
    api.get("/v1/tags").raise_for_status()
    api.get("/v1/tags/no/such")
    after = before[0] + 1, before[1] + 1
    assert eventually(lambda: (count("get-tags", "ok"), count("get-tags", "not-found")) == after)
    for path in ("x" * 50, "y" * 50):
        api.request("BREW", f"/v1/{path}")
    text = httpx.get(f"{live.url}/metrics").text
    assert "xxxx" not in text, "strangers make no series"
    assert "BREW" not in text


def test_the_description_is_for_those_who_may_read(api: httpx.Client, stranger: httpx.Client) -> None:
    problem(stranger.get("/openapi.json"), 401, "denied")
    told = api.get("/openapi.json").json()
    assert told["openapi"].startswith("3.")
    ids = [operation["operationId"] for methods in told["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    for path in ("/docs", "/redoc"):
        assert api.get(path).status_code == 404, "nothing of somebody else's site is loaded here"


def test_a_method_that_is_not_for_an_address_is_told_which_are(api: httpx.Client) -> None:
    for path, methods in (
        ("/v1/tags", "GET, HEAD"),
        ("/v1/tags/x", "DELETE, GET, HEAD, PUT"),
        ("/healthz", "GET, HEAD"),
    ):
        answer = api.post(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


def test_the_metrics_listener_says_what_it_serves(tmp_path: Path) -> None:
    with HttpServer(tmp_path, metrics="127.0.0.1:0") as server:
        url = server.places["metrics"].removesuffix("/metrics")
        answer = httpx.get(f"{url}/v1/tags", verify=False)
    assert answer.status_code == 404
    assert "/metrics" in answer.json()["detail"]


def test_json_without_its_type_is_told_so(api: httpx.Client) -> None:
    answer = api.put("/v1/tags/x", content=b'{"ref": "d1503d2c"}')
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_no_link_leads_to_a_socket_in_the_file_system(tmp_path: Path) -> None:
    for url, link in ((None, ""), ("https://box.lan", "https://box.lan/login?code=")):
        with HttpServer(tmp_path, http=f"unix:{tmp_path}/h", http_url=url) as server, server.store() as store:
            if link:
                assert store.web_link().url.startswith(link)
            else:
                with pytest.raises(Unsupported, match="--http-url"):
                    store.web_link()
