"""Quotas as people use them: tables in the configuration, refusals over socket and HTTP, and what `status` tells."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_kit import Done, Run, configured

ME = f"uid {os.getuid()}"
QUOTAS = f"""
[[quota]]
user = {os.getuid()}
bytes = "300 kB"

[[quota]]
bytes = 1000
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quotas")
    (folder / "config.toml").write_text(f'root = "{folder / "root"}"\n{QUOTAS}')
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    with configured(folder, environment) as socket:
        yield socket


def put(udfstore: Run, server: Path, tmp_path: Path, size: int, *words: str) -> Done:
    (tmp_path / "file").write_bytes(os.urandom(size))
    return udfstore("put", tmp_path / "file", *words, "--socket", server)


def test_saves_stop_at_the_quota_and_go_on_when_there_is_room(udfstore: Run, server: Path, tmp_path: Path) -> None:
    store = ["--socket", server]
    first = put(udfstore, server, tmp_path, 200_000, "--tag", "models/a")
    assert first.status == 0
    for size in (100_001, 200_000):
        refused = put(udfstore, server, tmp_path, size, "--tag", "models/b")
        assert refused.status == 8
        assert f"{size} bytes more would pass the quota of {ME}, who uses 200000" in refused.err
    assert put(udfstore, server, tmp_path, 60_000, "--tag", "models/b").status == 0
    (tmp_path / "again").write_bytes(udfstore("get", "models/a", *store).out)
    assert udfstore("put", tmp_path / "again", "--tag", "models/c", *store).status == 0
    told = udfstore("status", "--json", *store).json["usage"]
    assert told == [{"owner": ME, "blobs": 2, "bytes": 260_000, "unnamed": 0, "quota": 300_000}]
    assert re.search(rf"use +{ME}: 253.9 KiB of 293.0 KiB\n", udfstore("status", *store).text)
    metrics = udfstore("metrics", *store).text.splitlines()
    assert f'udfstore_owner_bytes{{owner="{ME}"}} 260000.0' in metrics
    assert f'udfstore_quota_bytes{{owner="{ME}"}} 300000.0' in metrics
    for tag in ("models/a", "models/c"):
        assert udfstore("untag", tag, *store).status == 0
    assert udfstore("rm", first.text.strip(), "--now", *store).status == 0
    assert put(udfstore, server, tmp_path, 200_000, "--tag", "models/a").status == 0


def test_what_has_no_tag_counts_until_its_connection_ends(udfstore: Run, server: Path, tmp_path: Path) -> None:
    for _ in range(3):
        assert put(udfstore, server, tmp_path, 20_000).status == 0


def test_over_http_it_is_the_token(folder: Path, server: Path) -> None:
    token = (folder / "root" / "http-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.HTTPTransport(uds=str(folder / "http"))
    with httpx.Client(transport=transport, base_url="http://localhost", headers=headers) as api:
        id = api.post("/v1/blobs", content=os.urandom(900)).json()["id"]
        refused = api.post("/v1/blobs", content=os.urandom(900))
        assert (refused.status_code, refused.json()["code"]) == (507, "no-space")
        assert "quota of token http-token, who uses 900" in refused.json()["detail"]
        assert api.put("/v1/tags/over/http", json={"ref": id}).is_success
        (mine,) = [use for use in api.get("/v1/status").json()["usage"] if use["owner"] == "token http-token"]
        assert mine == {"owner": "token http-token", "blobs": 1, "bytes": 900, "unnamed": 0, "quota": 1000}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ("[[quota]]\nuser = 1000", r"config.toml: quota 1 bytes: is missing$"),
        (
            '[[quota]]\nbytes = "many"',
            r"quota 1 bytes: not a size \(expected 500, \"64 KiB\", \"20 GiB\"\), got 'many'",
        ),
        ("[[quota]]\nbytes = -1", r"quota 1 bytes: not a size"),
        ('[[quota]]\nbytes = 1\nuser = "nobody-of-that-name"', r"quota 1 user: there is no user of that name"),
        ("[[quota]]\nbytes = 1\nuser = 65534", r"quota 1 user: 65534 stands for every user that has no number here"),
        ("[[quota]]\nbytes = 1\ngroup = 5", r"quota 1 group: there is no such key \(expected bytes, user or token\)"),
        (
            '[[quota]]\nbytes = 1\nuser = 5\ntoken = "ci"',
            r"config.toml: quota 1: about the user 5 or the token ci: make a table for each",
        ),
        ("[[quota]]\nbytes = 1\nuser = 5\n[[quota]]\nbytes = 2\nuser = 5", r"two quotas are about uid 5"),
        ("[[quota]]\nbytes = 1\n[[quota]]\nbytes = 2", r"two quotas are about all others"),
    ],
)
def test_a_table_that_is_wrong_keeps_the_server_from_starting(
    udfstore: Run, tmp_path: Path, tables: str, told: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'root = "{tmp_path / "root"}"\n{tables}\n')
    refused = udfstore("serve", "--config", config)
    assert refused.status == 2
    assert re.search(told, refused.err), refused.err
    assert not (tmp_path / "root").exists()
