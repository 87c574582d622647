"""Signed tags as people use them: a server with keys, `udfstore sign` and openssl, and what is refused."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_kit import Run, configured

TAG = "models/prod/pump"


def openssl(*words: object) -> bytes:
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ada's keys, and a configuration that names the public one."""
    folder = tmp_path_factory.mktemp("signed")
    openssl("genpkey", "-algorithm", "ed25519", "-out", folder / "ada.pem")
    openssl("pkey", "-in", folder / "ada.pem", "-pubout", "-out", folder / "ada.pub")
    table = f'[[signed]]\ntags = "models/prod/*"\nkeys = ["{folder / "ada.pub"}"]\n'
    (folder / "config.toml").write_text(f'root = "{folder / "root"}"\n{table}')
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    with configured(folder, environment) as socket:
        yield socket


def test_only_what_is_signed_gets_into_production(udfstore: Run, server: Path, folder: Path, tmp_path: Path) -> None:
    store = ["--socket", server]
    ids = []
    for number in (1, 2):
        (tmp_path / "model").write_text(f"model {number}")
        ids.append(udfstore("put", tmp_path / "model", "--tag", "models/pump", *store).text.strip())
    for change in (["tag", TAG, "models/pump"], ["put", tmp_path / "model", "--tag", TAG]):
        refused = udfstore(*change, *store)
        assert refused.status == 7
        assert f"udfstore sign {ids[1]} {TAG} --key PRIVATE.pem" in refused.err
    for version in (1, 2):
        signed = udfstore("sign", f"models/pump@{version}", TAG, "--key", folder / "ada.pem", *store)
        assert (signed.status, signed.err) == (0, "")
        label = f"signature={signed.text.strip()}"
        assert udfstore("tag", TAG, f"models/pump@{version}", "--label", label, *store).status == 0
        assert udfstore("tag", TAG, f"models/pump@{3 - version}", "--label", label, *store).status == 7
    assert udfstore("rollback", TAG, *store).status == 0
    assert udfstore("stat", TAG, "--json", *store).json["id"] == ids[0]


def test_a_whole_id_is_signed_without_a_store_as_openssl_does(udfstore: Run, folder: Path, tmp_path: Path) -> None:
    id = f"sha256:{'ab' * 32}"
    (tmp_path / "said").write_text(f"udfstore-tag/1\n{TAG}\n{id}\n")
    raw = openssl("pkeyutl", "-sign", "-rawin", "-inkey", folder / "ada.pem", "-in", tmp_path / "said")
    nowhere = ["--socket", tmp_path / "nothing"]
    assert (
        udfstore("sign", id, TAG, "--key", folder / "ada.pem", *nowhere).text == base64.b64encode(raw).decode() + "\n"
    )
    told = udfstore("sign", id, TAG, "--key", folder / "ada.pem", "--json", *nowhere).json
    assert told == {"tag": TAG, "id": id, "signature": base64.b64encode(raw).decode()}
    assert udfstore("sign", "models/pump", TAG, "--key", folder / "ada.pem", *nowhere).status == 5
    wrong = udfstore("sign", id, TAG, "--key", folder / "ada.pub", *nowhere)
    assert (wrong.status, wrong.err) == (
        2,
        f"udfstore: {folder / 'ada.pub'} is not a private key in PEM that can be read without a password\n",
    )
    assert udfstore("sign", id, TAG, "--key", folder / "nobody.pem", *nowhere).status == 2


def test_over_http_it_is_the_same(udfstore: Run, server: Path, folder: Path, tmp_path: Path) -> None:
    token = (folder / "root" / "http-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(folder / "http")), base_url="http://localhost", headers=headers
    ) as api:
        id = api.post("/v1/blobs", content=b"over http").json()["id"]
        body = {"ref": id, "labels": {}}
        refused = api.put(f"/v1/tags/{TAG}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "denied")
        body["labels"] = {"signature": udfstore("sign", id, TAG, "--key", folder / "ada.pem").text.strip()}
        assert api.put(f"/v1/tags/{TAG}", json=body).is_success


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('tags = "models/*"', r"config.toml: signed 1 keys: is missing$"),
        ('tags = "models/*"\nkeys = []', r"signed 1 keys: .*at least 1"),
        ('tags = "models/*"\nkeys = ["/nothing.pub"]', "the key /nothing.pub cannot be read: No such file"),
        ('tags = "models/*"\nkeys = ["{private}"]', "ada.pem is not a public key"),
        ('tags = "mod els"\nkeys = ["{public}"]', r"config.toml: signed 1 tags: not a pattern of tags"),
        (
            'tags = "models/*"\nkeys = ["{public}"]\nwho = "ada"',
            r"signed 1 who: there is no such key \(expected tags or keys\)",
        ),
    ],
)
def test_a_table_that_is_wrong_keeps_the_server_from_starting(
    udfstore: Run, folder: Path, tmp_path: Path, table: str, told: str
) -> None:
    config = tmp_path / "config.toml"
    filled = table.replace("{private}", str(folder / "ada.pem")).replace("{public}", str(folder / "ada.pub"))
    config.write_text(f'root = "{tmp_path / "root"}"\n[[signed]]\n{filled}\n')
    refused = udfstore("serve", "--config", config)
    assert refused.status == 2
    assert re.search(told, refused.err), refused.err
    assert not (tmp_path / "root").exists()
