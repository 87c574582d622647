"""`udfstore check`: what people and programs are told of damage, and what is mended."""

from __future__ import annotations

import os
import shlex
import sqlite3
from pathlib import Path

import pytest
from cli_kit import Run
from kit import ServerProcess

import udfstore as api
from udfstore.cli import check
from udfstore.digest import BlobId

MODEL = b"a model of the pump"
ID = BlobId.of(MODEL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a model under two versions, and some other content."""
    root = tmp_path / "root"
    with api.open_store(root) as store:
        store.save(b"older", tag="models/pump")
        store.save(MODEL, tag="models/pump")
        store.save(os.urandom(100_000), tag="models/fan")
    return root


def spoil(root: Path, id: BlobId = ID) -> None:
    path = root / "blobs" / id.hex[:2] / id.hex
    path.chmod(0o600)
    path.write_bytes(MODEL[:-1] + b"?")
    path.chmod(0o444)


def quarantined(root: Path) -> list[str]:
    return [path.name.partition(".")[0] for path in (root / "quarantine").iterdir()]


def test_a_sound_store(udfstore: Run, root: Path) -> None:
    done = udfstore("check", "--root", root)
    assert (done.status, done.err) == (0, "")
    assert done.text == "revision 4, 3 blobs, 97.7 KiB: nothing is wrong\n"
    told = udfstore("check", "--json", "--root", root).json
    assert told.pop("began") is not None
    assert told == {"revision": 4, "blobs": 3, "bytes": 100_024, "whole": True, "findings": []}


def test_damage_is_told_with_what_it_hits_and_what_to_do(udfstore: Run, root: Path) -> None:
    spoil(root)
    done = udfstore("check", "--root", root)
    assert (done.status, done.err) == (6, "udfstore: not mended: 1 finding\n")
    what, hits, cure, last = done.text.splitlines()
    assert what.startswith(f"damaged  {ID.short}  blobs/{ID.hex[:2]}/{ID.hex}: its bytes are those of sha256:")
    assert hits == "  hits models/pump@2"
    assert "--from" in cure
    assert last == "revision 4, 3 blobs, 97.7 KiB: 1 finding"
    assert quarantined(root) == []


def test_damage_as_json(udfstore: Run, root: Path) -> None:
    (root / "blobs" / ID.hex[:2] / ID.hex).unlink()
    done = udfstore("check", "--json", "--root", root)
    assert done.status == 6
    assert done.json["findings"] == [
        {
            "kind": "missing",
            "text": "it has no file",
            "id": str(ID),
            "place": f"blobs/{ID.hex[:2]}/{ID.hex}",
            "refs": ["models/pump@2"],
            "more": 0,
            "mended": False,
        }
    ]


def test_what_is_damaged_is_healed_from_a_backup(udfstore: Run, root: Path, tmp_path: Path) -> None:
    assert udfstore("backup", tmp_path / "backup", "--root", root).status == 0
    spoil(root)
    done = udfstore("check", "--repair", "--root", root)
    assert done.status == 6
    assert quarantined(root) == [ID.hex]
    done = udfstore("check", "--repair", "--from", tmp_path / "backup", "--root", root)
    assert done.status == 0
    assert "(mended)" in done.text
    assert udfstore("get", "models/pump", "-o", tmp_path / "x", "--root", root).status == 0
    assert (tmp_path / "x").read_bytes() == MODEL
    assert udfstore("check", "--root", root).status == 0


def test_nothing_false_comes_from_a_damaged_backup(udfstore: Run, root: Path, tmp_path: Path) -> None:
    assert udfstore("backup", tmp_path / "backup", "--root", root).status == 0
    spoil(root)
    spoil(tmp_path / "backup")
    done = udfstore("check", "--repair", "--from", tmp_path / "backup", "--root", root)
    assert done.status == 6
    assert f"{ID.short} is not healed: " in done.err
    (tmp_path / "backup" / "blobs" / ID.hex[:2] / ID.hex).unlink()
    done = udfstore("check", "--repair", "--from", tmp_path / "backup", "--root", root)
    assert (done.status, "does not have it" in done.err) == (6, True)


@pytest.mark.parametrize("by", ["socket", "root"])
def test_a_server_is_checked_and_healed_from_another_store(udfstore: Run, root: Path, tmp_path: Path, by: str) -> None:
    with api.open_store(tmp_path / "other") as other:
        other.save(MODEL, tag="anything")
    with ServerProcess(root, tmp_path / "s") as server, ServerProcess(tmp_path / "served", tmp_path / "t") as second:
        with api.connect(second.socket) as store:
            store.save(MODEL, tag="anything")
        spoil(root)
        place = second.socket if by == "socket" else tmp_path / "other"
        done = udfstore("check", "--socket", server.socket)
        assert (done.status, "hits models/pump@2" in done.text) == (6, True)
        done = udfstore("check", "--repair", "--from", place, "--socket", server.socket, "--rate", "1GiB")
        assert (done.status, done.err) == (0, "")
        assert udfstore("check", "--socket", server.socket, "--json").json["findings"] == []
        assert (server.stop(), second.stop()) == (0, 0)
    assert quarantined(root) == [ID.hex]


def test_a_wrong_catalog_is_made_anew_where_no_server_runs(udfstore: Run, root: Path, tmp_path: Path) -> None:
    spoil(root)
    db = sqlite3.connect(root / "catalog.db", isolation_level=None)
    db.execute("UPDATE entries SET source = 'forged'")
    db.close()
    with ServerProcess(root, tmp_path / "s") as server:
        done = udfstore("check", "--repair", "--socket", server.socket)
        assert (done.status, done.text.startswith("catalog  catalog.db: 3 rows of its table entries")) == (6, True)
        assert "stop the server" in done.text
        assert server.stop() == 0
    done = udfstore("check", "--repair", "--root", root)
    assert done.status == 6
    assert "entries are not what the log says (mended)" in done.text
    assert f"damaged  {ID.short}" in done.text
    assert "the catalog is made anew; the old one is" in done.err
    assert sorted(quarantined(root)) == sorted(["catalog", ID.hex])


def test_a_damaged_log_is_left_alone(udfstore: Run, root: Path) -> None:
    path = root / "log" / "00000001"
    data = bytearray(path.read_bytes())
    data[data.index(b'"tag":"models/pump","version":2') + 8] ^= 1
    path.write_bytes(data)
    done = udfstore("check", "--repair", "--root", root)
    assert done.status == 6
    assert done.text.startswith("log  log/00000001, offset ")
    assert "hits models/pump@2" in done.text
    assert path.read_bytes() == data


def test_a_torn_end_is_cut_by_the_start_and_told(udfstore: Run, root: Path) -> None:
    path = root / "log" / "00000001"
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    path.write_bytes(data[: end + 8] + b"torn" + data[end + 12 :])
    done = udfstore("check", "--root", root)
    assert (done.status, "never acknowledged" in done.err) == (0, True)
    assert any(path.name.startswith("cut-") for path in (root / "log").iterdir())


def test_what_was_verified_since_is_left_out(udfstore: Run, root: Path) -> None:
    began = udfstore("check", "--json", "--root", root).json["began"]
    assert udfstore("check", "--since", began, "--json", "--root", root).json["blobs"] == 0
    assert udfstore("check", "--since", "2100-01-01", "--json", "--root", root).json["blobs"] == 3


def test_one_that_is_broken_off_says_how_to_go_on(udfstore: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(check.time, "sleep", interrupt)
        done = udfstore("check", "--rate", "1MiB", "--root", root)
    assert (done.status, done.text) == (130, "revision 0, 0 blobs, 0 B: nothing is wrong so far\n")
    words = shlex.split(done.err.partition("to go on: udfstore ")[2])
    assert words[:2] == ["check", "--since"]
    assert udfstore(*words).status == 0


@pytest.mark.parametrize("kind", ["missing", "file", "folder"])
def test_what_heals_nothing_is_told_before_anything_is_checked(
    udfstore: Run, root: Path, tmp_path: Path, kind: str
) -> None:
    place = tmp_path / kind
    if kind == "file":
        place.write_bytes(MODEL)
    elif kind == "folder":
        (place / "inner").mkdir(parents=True)
    done = udfstore("check", "--repair", "--from", place, "--root", root)
    assert (done.status, done.text) == (2, "")
    assert str(place) in done.err
    assert kind == "folder" or "a socket, the root of a store, or the folder of a backup" in done.err
    assert kind != "folder" or [path.name for path in place.iterdir()] == ["inner"], "it is left as it was"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from", "x"], "give both"),
        (["--since", "soon"], "not a time"),
        (["--rate", "fast"], "not a number of bytes"),
        (["--rate", "0"], "not a number of bytes"),
    ],
)
def test_what_makes_no_sense(udfstore: Run, root: Path, words: list[str], says: str) -> None:
    done = udfstore("check", *words, "--root", root)
    assert (done.status, done.text) == (2, "")
    assert says in done.err
