"""The server makes room by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import ServerProcess, eventually

import udfstore
from udfstore import aio
from udfstore.errors import Gone


def test_a_server_takes_what_nothing_keeps_with_nobody_asking(tmp_path: Path) -> None:
    with udfstore.open_store(tmp_path / "root") as store:
        loose = store.save(b"nobody names it").id
        for content in (b"one", b"two"):
            store.save(content, tag="m/x")
    with (
        ServerProcess(tmp_path / "root", tmp_path / "s", gc_grace_s=0, retention="m/* keep 1") as server,
        udfstore.connect(server.socket) as store,
    ):
        eventually(lambda: len(list(store.blobs())) == 1)
        for ref in (loose, "m/x@1"):
            with pytest.raises(Gone):
                store.load(ref)
            assert store.undelete(ref).size
        assert [store.load(ref) for ref in (loose, "m/x@1", "m/x")] == [b"nobody names it", b"one", b"two"]


async def test_the_same_names_await(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "root", tmp_path / "s") as server:
        async with aio.connect(server.socket) as store:
            loose = await store.save(b"nobody names it")
            assert [one.id async for one in store.collect(grace=0)] == [loose.id]
            assert (await store.undelete(loose.id)).id == loose.id
            assert await store.load(loose.id) == b"nobody names it"
