"""Content that does harm to whoever loads it: here it is bytes, and nobody loads it."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path

import httpx
from http_kit import HttpServer

import udfstore


class Bomb:
    """Unpickled it makes a file."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._trace,)


def test_a_pickle_that_does_harm_does_none_here(live: HttpServer, api: httpx.Client, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps(Bomb(trace))
    assert any(opcode.name == "REDUCE" for opcode, _, _ in pickletools.genops(content))
    with udfstore.connect(live.socket) as store:
        id = store.save(content, tag="models/bomb", labels={"format": "pickle"}).id
        assert store.load("models/bomb") == content
        store.verify(id)
        login = store.web_link().url
    answer = api.get(f"/v1/blobs/{id}")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    with live.client(None, follow_redirects=True) as browser:
        assert browser.get(login).status_code == 200
        for page in (f"/blobs/{id}", "/tags/models/bomb"):
            assert browser.get(page).status_code == 200
    assert not trace.exists()
