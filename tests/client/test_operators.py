"""What operators ask, of every kind of store: tokens, links, metrics, backups."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kit import ServerProcess, eventually

import udfstore
from udfstore.admin import BackupBlob, BackupEnd, BackupHead, Can, Checked, LogPart, Token
from udfstore.errors import Conflict, Gone, NotFound, Unsupported, UsageError


def unique(what: str) -> str:
    return f"{what}-{os.urandom(4).hex()}"


def test_tokens_are_made_listed_and_revoked(store: Any) -> None:
    name = unique("ci")
    made = store.add_token(name, "write")
    assert made.secret.startswith("udfs_")
    assert (made.token.name, made.token.can) == (name, Can.WRITE)
    assert made.token in list(store.tokens())
    with pytest.raises(Conflict, match=name):
        store.add_token(name)
    assert store.remove_token(name) == made.token
    assert made.token not in list(store.tokens())
    with pytest.raises(NotFound, match=name):
        store.remove_token(name)


def test_a_token_can_read_unless_more_is_said(store: Any) -> None:
    name = unique("reader")
    assert store.add_token(name).token.can is Can.READ
    assert [token for token in store.tokens() if token.name == name] == [
        Token(name, Can.READ, store.remove_token(name).added_ns)
    ]


def test_what_makes_no_token_is_told(store: Any) -> None:
    with pytest.raises(UsageError, match="not a name for a token"):
        store.add_token("../x")
    with pytest.raises(UsageError, match="metrics, read, write"):
        store.add_token(unique("x"), "everything")


def test_without_http_there_is_no_link(store: Any) -> None:
    with pytest.raises(Unsupported, match="--http"):
        store.web_link()


def test_a_backup_tells_all_and_holds_what_is_deleted_meanwhile(store: Any) -> None:
    contents = [os.urandom(100), os.urandom(200_000), b""]
    ids = [store.save(content, tag=unique("backup/x")).id for content in contents]
    with store.backup() as items:
        told = list(items)
        head = told[0]
        assert isinstance(head, BackupHead)
        assert isinstance(told[-1], BackupEnd)
        blobs = {item.id: item.size for item in told if isinstance(item, BackupBlob)}
        assert {id: blobs[id] for id in ids} == dict(zip(ids, map(len, contents), strict=True))
        assert (len(blobs), sum(blobs.values())) == (head.blobs, head.bytes)
        assert sum(len(item.data) for item in told if isinstance(item, LogPart)) == head.log_bytes
        assert head.format.startswith("udfstore store\n")
        for id in ids:
            store.delete(id, force=True, now=True)
        assert [store.load(id) for id in ids] == contents
    for id in ids:
        with pytest.raises((Gone, NotFound)):
            eventually(lambda id=id: not store.load(id))


def test_a_backup_may_be_left_in_the_middle(store: Any) -> None:
    store.save(os.urandom(10), tag=unique("backup/x"))
    for _ in range(70):  # more than a connection may have open at once
        with store.backup() as items:
            assert isinstance(next(items), BackupHead)
    with store.backup():
        pass
    assert store.status().problem == ""


def test_a_check_tells_how_far_it_is_and_finds_nothing(store: Any) -> None:
    began = datetime.now(UTC)
    id = store.save(os.urandom(5 << 20), tag=unique("check/x")).id
    told = list(store.check())
    assert {type(item) for item in told} == {Checked}
    assert (told[0].bytes, told[-1].bytes >= 5 << 20, len(told) >= 3) == (0, True, True)
    assert store.stat(id).verified_ns >= told[0].began_ns
    again = list(store.check(since=told[0].began_ns, repair=True))
    assert again[-1].blobs == 0
    assert list(store.check(since=began))[-1].blobs == 0


def test_a_check_may_be_left_in_the_middle(store: Any) -> None:
    store.save(os.urandom(10 << 20))
    for _ in range(3):
        items = store.check()
        assert isinstance(next(items), Checked)
        items.close()
    assert store.stat(store.save(b"y").id).size == 1


def test_an_open_backup_keeps_no_server_from_stopping(folder: Path) -> None:
    with (
        ServerProcess(folder / "root", folder / "s", grace_seconds=600) as server,
        udfstore.connect(server.socket) as store,
        store.backup() as items,
    ):
        assert isinstance(list(items)[-1], BackupEnd)
        assert server.stop() == 0
