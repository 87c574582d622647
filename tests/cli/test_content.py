"""What people do with content, over the socket and without a server."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import pytest
from cli_kit import Run

CONTENT = bytes(range(256)) * 5000  # more than one chunk, and no text


@pytest.fixture(params=["socket", "root"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The flags of a store."""
    if request.param == "socket":
        return ["--socket", str(request.getfixturevalue("server"))]
    return ["--root", str(tmp_path / "root")]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT + str(tmp_path).encode())
    return path


def test_put_prints_the_digest_and_get_gives_the_bytes_back(
    udfstore: Run, store: list[str], model: Path, tmp_path: Path
) -> None:
    tag = f"content/{tmp_path.name}"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    saved = udfstore("put", model, "--tag", tag, "--note", "first", *store)
    assert (saved.status, saved.text) == (0, f"sha256:{digest}\n")
    assert saved.err.startswith(f"{tag}: new -> 1 ({digest[:8]})  undo: udfstore untag {tag} {store[0]}")
    for ref in (tag, f"{tag}@1", f"sha256:{digest}", digest, digest[:12]):
        assert udfstore("get", ref, *store).out == model.read_bytes()


def test_put_reads_stdin(udfstore: Run, store: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "piped"
    path.write_bytes(b"piped")
    with path.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert udfstore("put", "-", *store).text == f"sha256:{hashlib.sha256(b'piped').hexdigest()}\n"


def test_get_writes_a_file_whole_or_not_at_all(udfstore: Run, store: list[str], model: Path, tmp_path: Path) -> None:
    id = udfstore("put", model, *store).text.strip()
    folder = tmp_path / "out"
    folder.mkdir()
    target, link = folder / "model", folder / "link"
    target.write_bytes(b"what was there before")
    link.symlink_to(target)
    assert udfstore("get", "content/none", "-o", target, *store).status == 3
    assert target.read_bytes() == b"what was there before"
    told = udfstore("get", id, "-o", link, "--json", *store)
    assert (told.status, told.json["id"]) == (0, id)
    assert target.read_bytes() == model.read_bytes()
    assert link.is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == ["link", "model"]


def test_get_names_the_file_it_could_not_write(udfstore: Run, store: list[str], model: Path, tmp_path: Path) -> None:
    id = udfstore("put", model, *store).text.strip()
    missing = udfstore("get", id, "-o", tmp_path / "none" / "file", *store)
    assert (missing.status, missing.err) == (2, f"udfstore: {tmp_path}/none/file: No such file or directory\n")
    folder = udfstore("get", id, "-o", tmp_path, *store)
    assert (folder.status, folder.err) == (2, f"udfstore: {tmp_path}: Is a directory\n")


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("content", [b"\0\1\2", b"\x1b[2J cleared", b"caf\xe9 au lait"])
def test_get_writes_no_binary_to_a_terminal(
    udfstore: Run, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = tmp_path / "content"
    path.write_bytes(content)
    id = udfstore("put", path, "--socket", server).text.strip()
    screen = Terminal(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", screen)
    refused = udfstore("get", id, "--socket", server)
    assert refused.status == 2
    assert "is binary, and stdout is a terminal; use -o FILE" in refused.err
    assert screen.buffer.getvalue() == b""  # type: ignore[attr-defined]


def test_get_writes_text_to_a_terminal(
    udfstore: Run, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text"
    path.write_text("rows: 7\n\tcafé ✓\n")
    id = udfstore("put", path, "--socket", server).text.strip()
    screen = Terminal(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", screen)
    assert udfstore("get", id, "--socket", server).status == 0
    assert screen.buffer.getvalue() == path.read_bytes()  # type: ignore[attr-defined]


def test_stat_tells_from_a_version_to_who_made_it_and_why(
    udfstore: Run, store: list[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDFSTORE_AUTHOR", "person=Ada,commit=4fe2a1")
    tag = f"stat/{tmp_path.name}"
    udfstore("put", model, "--tag", tag, "--note", "trained\non May", "--label", "f1=0.93", "--label", "rows=7", *store)
    shown = udfstore("stat", f"{tag}@1", *store).text
    for fact in ("author    Ada (claimed), commit 4fe2a1", "note      trained on May", "labels    f1=0.93  rows=7"):
        assert fact in shown
    told = udfstore("stat", tag, "--json", *store).json
    assert told["tags"] == [f"{tag}@1"]
    assert told["entry"]["labels"] == {"f1": "0.93", "rows": "7"}  # type: ignore[index]
    assert told["entry"]["note"] == "trained\non May"  # type: ignore[index]


def test_blobs_are_one_json_array(udfstore: Run, store: list[str], model: Path) -> None:
    ids = {udfstore("put", path, *store).text.strip() for path in (model, Path(__file__))}
    listed = json.loads(udfstore("blobs", "--json", *store).out)
    assert ids <= {blob["id"] for blob in listed}
    assert all(id in udfstore("blobs", *store).text for id in ids)


def test_an_empty_list_is_an_empty_array(udfstore: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    udfstore("put", __file__, "--root", root)
    assert udfstore("ls", "--json", "--root", root).text == "[]\n"
    assert udfstore("ls", "--root", root).text == ""


def test_rm_refuses_what_is_named_and_says_what_is_gone(
    udfstore: Run, store: list[str], model: Path, tmp_path: Path
) -> None:
    tag = f"rm/{tmp_path.name}"
    id = udfstore("put", model, "--tag", tag, *store).text.strip()
    of_tag = udfstore("rm", tag, *store)
    assert of_tag.status == 2
    assert f"`udfstore untag {tag}` deletes the tag" in of_tag.err
    named = udfstore("rm", id, *store)
    assert named.status == 4
    assert tag in named.err
    udfstore("put", __file__, "--tag", tag, *store)
    removed = udfstore("rm", f"{tag}@1", "--now", *store)
    assert (removed.status, removed.text) == (0, f"{id}\n")
    assert f"gone from now on: {tag}@1" in removed.err
    assert udfstore("get", f"{tag}@1", *store).status == 3


def test_why_names_what_keeps_a_blob(udfstore: Run, store: list[str], model: Path, tmp_path: Path) -> None:
    tag = f"why/{tmp_path.name}"
    id = udfstore("put", model, *store).text.strip()
    assert "nothing keeps it: it may be removed from" in udfstore("why", id, *store).text
    udfstore("tag", tag, id, *store)
    udfstore("untag", tag, *store)
    assert f"named by  {tag}@1" in udfstore("why", id, *store).text
    told = udfstore("why", id, "--json", *store).json
    assert [entry["tag"] for entry in told["named"]] == [tag]  # type: ignore[attr-defined]
