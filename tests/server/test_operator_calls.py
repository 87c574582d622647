"""What operators ask, message by message: what depends on HTTP is told once a server has it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from inside import LIMITS, Inside, Peer
from live_server import LiveServer
from trio.testing import MockClock

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.admin import PART_BYTES, Can
from udfstore.digest import BlobId
from udfstore.store import Store, StoreLimits

HELLO = pb.Hello(protocol=1, claim=pb.Claim(person="Ada"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "root", limits=StoreLimits(floor_bytes=0, reserve_bytes=4096))
    yield store
    store.close()


async def ended(peer: Peer) -> pb.Request:
    while (message := await peer.next()).WhichOneof("message") not in ("result", "fault"):
        pass
    return message


async def test_a_link_logs_in_as_who_asked_over_the_socket(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        inside = Inside(store, nursery)
        async with inside.connected(HELLO) as peer:
            await peer.call(1, make_link=pb.MakeLink())
            assert (await ended(peer)).fault.code == "unsupported"
            inside.service.doors.url = "http://127.0.0.1:1"
            await peer.call(2, make_link=pb.MakeLink())
            link = (await ended(peer)).result.link
            assert link.seconds == 300
            session = inside.service.doors.open(link.url.removeprefix("http://127.0.0.1:1/login?code="))
            assert session is not None
            assert (session.caller.author.front, session.caller.author.claim.person) == ("http", "Ada")
        nursery.cancel_scope.cancel()


async def test_metrics_come_whole_in_parts_that_end_with_a_line(store: Store) -> None:
    text = "".join(f'tags{{name="{"ä" * (number % 90)}"}} {number}\n' for number in range(5000)) + "é" * PART_BYTES
    async with trio.open_nursery() as nursery:
        inside = Inside(store, nursery)
        inside.service.exposition = lambda names, process: text if names else "few\n"
        async with inside.connected(HELLO) as peer:
            await peer.call(1, read_metrics=pb.ReadMetrics(names=True))
            parts: list[str] = []
            while (message := await peer.next()).WhichOneof("message") == "page":
                parts += message.page.texts
            assert message.result.WhichOneof("result") == "ok"
            assert "".join(parts) == text
            assert all(len(part.encode()) <= PART_BYTES for part in parts)
            assert all(part.endswith("\n") for part in parts if "tags" in part)
            await peer.call(2, read_metrics=pb.ReadMetrics())
            assert list((await peer.until("page")).page.texts) == ["few\n"]
            await ended(peer)
        nursery.cancel_scope.cancel()


async def test_without_the_extra_metrics_are_unsupported(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        async with Inside(store, nursery).connected(HELLO) as peer:
            await peer.call(1, read_metrics=pb.ReadMetrics())
            fault = (await ended(peer)).fault
            assert fault.code == "unsupported"
            assert "udfstore[server]" in fault.message
        nursery.cancel_scope.cancel()


async def test_a_backup_stays_open_until_it_is_taken_back(store: Store) -> None:
    content = os.urandom(100)
    async with trio.open_nursery() as nursery:
        inside = Inside(store, nursery)
        async with inside.connected(HELLO) as peer:
            upload = store.upload()
            upload.write(content)
            upload.commit()
            id = BlobId.of(content)
            await peer.call(1, backup=pb.Backup())
            told: list[str] = []
            while "backup_ends" not in told:
                page = (await peer.next()).page
                told += [field.name for field, _ in page.ListFields() if field.name != "call"]
            assert told[:2] == ["backup_heads", "backup_blobs"]
            await peer.call(2, request=bytes(16), delete=pb.Delete(ref=id.hex, now=True))
            assert (await ended(peer)).result.deleted.id == id.raw
            await peer.call(3, load=pb.Load(ref=id.hex))
            assert (await peer.until("chunk")).chunk.data == content
            await ended(peer)
            await peer.send(pb.Response(cancel=pb.Cancel(call=1)))
            assert (await ended(peer)).fault.code == "cancelled"
            await peer.call(4, load=pb.Load(ref=id.hex))
            assert (await ended(peer)).fault.code == "gone"
        nursery.cancel_scope.cancel()


async def test_a_backup_whose_client_stands_still_does_not_hold_the_catalog(
    store: Store, mock_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        inside = Inside(store, nursery)
        async with inside.connected(pb.Hello(protocol=1, credit=True)) as peer:
            await peer.call(1, backup=pb.Backup())
            mock_clock.autojump_threshold = 0.05  # the first page is read in a thread
            fault = (await ended(peer)).fault
            assert (fault.code, fault.expected) == ("timeout", f"within {LIMITS.progress_seconds:g} s")
            assert inside.service.backups._sessions == []
        nursery.cancel_scope.cancel()


async def test_a_backup_ends_with_its_connection(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        inside = Inside(store, nursery)
        async with inside.connected(HELLO) as peer:
            await peer.call(1, backup=pb.Backup())
            await peer.until("page")
            assert inside.service.backups._sessions == [1]
        assert inside.service.backups._sessions == []
        nursery.cancel_scope.cancel()


def test_tokens_outlive_a_crash_and_are_logged_without_their_secret(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as live:
        with udfstore.connect(live.socket) as store:
            made = store.add_token("ci", "write")
        live.restart()
        with udfstore.connect(live.socket) as store:
            assert list(store.tokens()) == [made.token]
            assert store.remove_token("ci").can is Can.WRITE
        live.stop()
        log = [json.loads(line) for line in live.said]
        assert [(line["event"], line["name"]) for line in log if "token" in line["event"]] == [
            ("token made", "ci"),
            ("token revoked", "ci"),
        ]
        assert made.secret not in "".join(live.said)


def test_a_server_with_http_gives_links_metrics_and_the_first_token(tmp_path: Path) -> None:
    with (
        LiveServer(tmp_path, http="127.0.0.1:0") as live,  # type: ignore[arg-type]
        udfstore.connect(live.socket) as store,
    ):
        ready = json.loads(next(line for line in live.said if '"ready"' in line))
        link = store.web_link()
        assert link.url.startswith(f"{ready['http']}/login?code=")
        assert store.web_link() != link
        assert [token.name for token in store.tokens()] == ["http-token"]
        assert (live.root / "http-token").read_text().startswith("udfs_")
        assert "# TYPE udfstore_" in store.metrics()
        assert "# TYPE udfstore_" in store.metrics(names=False)
