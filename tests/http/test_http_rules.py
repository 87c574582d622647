"""Rules over HTTP: by token, beside what a token can; the page is for who may read everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from http_kit import HttpServer

RULES = """
[[listen]]
path = "{people}"

[[listen]]
path = "{udfs}"
allow = ["read:models/**"]

[[rule]]
listener = "people"
allow = ["read", "snapshot", "write", "delete", "admin"]

[[rule]]
listener = "http"
token = "ci"
allow = ["read:models/**", "write:models/staging/*"]

[[rule]]
token = "http-token"
allow = ["read"]

[[rule]]
listener = "udfs"
allow = ["read"]
"""


class Ruled(HttpServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket, self.udfs = folder / "people.sock", folder / "udfs.sock"
        self._config = folder / "config.toml"
        self._config.write_text(RULES.format(people=self.socket, udfs=self.udfs))

    def _place(self) -> list[str]:
        return ["--config", str(self._config)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    with Ruled(tmp_path_factory.mktemp("ruled")) as server:
        with server.store() as store:
            store.save(b"model", tag="models/a")
            store.save(b"secret", tag="private/x")
        yield server


@pytest.fixture(scope="module")
def ci(server: Ruled) -> Iterator[httpx.Client]:
    with server.store() as store:
        secret = store.add_token("ci", "write").secret
    with server.client(secret) as client:
        yield client


def secret_id(server: Ruled) -> str:
    with server.store() as store:
        return str(store.stat("private/x").id)


def test_a_token_may_what_its_rules_say(server: Ruled, ci: httpx.Client) -> None:
    assert ci.get("/v1/content/models/a").content == b"model"
    refused = ci.get("/v1/content/private/x")
    assert (refused.status_code, refused.json()["code"]) == (403, "denied")
    assert refused.json()["detail"].startswith("the token ci may not read private/x: the rules do not allow it")
    assert [entry["tag"] for entry in ci.get("/v1/tags").json()] == ["models/a"]
    assert len(ci.get("/v1/blobs").json()) == 1
    assert ci.get("/v1/history/private/x").status_code == 403
    assert ci.put("/v1/tags/models/a", json={"ref": "models/a"}).status_code == 403
    assert ci.delete("/v1/tags/models/a").status_code == 403


def test_knowing_an_id_is_no_right_over_http(server: Ruled, ci: httpx.Client) -> None:
    id = secret_id(server)
    for path in (f"/v1/blobs/{id}", f"/v1/content/{id}", f"/v1/info/{id}", f"/v1/why/{id}"):
        assert ci.get(path).status_code == 404
    assert ci.head(f"/v1/blobs/{id}").status_code == 404
    assert ci.get(f"/v1/blobs/{id}", headers={"Range": "bytes=0-1"}).status_code == 404
    assert ci.get(f"/v1/blobs/{id}", headers={"If-None-Match": f'"{id}"'}).status_code == 404
    assert ci.post("/v1/blobs:missing", json={"ids": [id]}).json() == {"ids": [id]}
    assert ci.put("/v1/tags/models/staging/q", json={"ref": id}).status_code == 404


def test_a_token_may_name_what_it_brought(server: Ruled, ci: httpx.Client) -> None:
    content = os.urandom(20)
    saved = ci.post("/v1/blobs", content=content)
    assert saved.status_code == 201
    moved = ci.put("/v1/tags/models/staging/new", json={"ref": saved.json()["id"]})
    assert moved.status_code == 201
    begun = ci.post("/v1/uploads", content=content + b"!", headers={"Upload-Complete": "?1"})
    assert ci.get(begun.headers["Location"]).content == content + b"!"


def test_the_page_and_names_in_metrics_are_for_who_may_read_everything(server: Ruled, ci: httpx.Client) -> None:
    with server.client() as reader:
        assert "private/x" in reader.get("/tag/private/x").text
        assert 'tag="private/x"' in reader.get("/metrics").text
        assert reader.post("/v1/blobs", content=b"x").status_code == 403
    for path in ("/", "/tag/models/a", f"/blob/{secret_id(server)}"):
        refused = ci.get(path, headers={"Accept": "text/html"})
        assert refused.status_code == 403
        assert "private/x" not in refused.text
    assert 'tag="private/x"' not in ci.get("/metrics").text
    assert ci.get("/openapi.json").status_code == 200


def test_events_tell_what_may_be_read(server: Ruled, ci: httpx.Client) -> None:
    with ci.stream("GET", "/v1/events") as stream:
        told = ""
        for line in stream.iter_lines():
            told += line
            if '"entries": []' in line:  # the end of what stands at present
                break
    assert "models/a" in told
    assert "private/x" not in told
    assert ci.get("/v1/events", params={"prefix": "private/x"}).status_code == 403
