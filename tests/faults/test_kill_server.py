"""kill -9 of a server under mixed load, again and again: its clients go on, and nothing acknowledged is ever missing.

Acknowledgements are kept here, outside the server. Clients repeat what was cut off by themselves, so a change that
happened twice would show as a version too many.
"""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kit import SECONDS, ServerProcess

import udfstore
from udfstore.digest import BlobId

KILLS = 50 if os.environ.get("UDFSTORE_CRASH") else 8
CLIENTS = 4


class Load:
    """Clients that save, move and roll back until told to stop, and what the server acknowledged to them."""

    def __init__(self, socket: Path) -> None:
        self.blobs: dict[BlobId, int] = {}
        self.heads: dict[str, list[tuple[int, BlobId]]] = {f"load/{number}": [] for number in range(CLIENTS)}
        self._socket = socket
        self._changed = threading.Condition()
        self._acknowledged = 0
        self._stop = False

    def client(self, number: int) -> None:
        choose = random.Random(number)
        tag = f"load/{number}"
        with udfstore.connect(self._socket) as store:
            while not self._stop:
                content = choose.randbytes(choose.choice((0, 100, 5_000, 300_000, 2_500_000)))
                match choose.randrange(4):
                    case 0:
                        self._saved(store.save(content).id, len(content))
                    case 1 | 2:
                        entry = store.save(content, tag=tag, expected_version=len(self.heads[tag])).entry
                        assert entry is not None
                        self._saved(BlobId.of(content), len(content))
                        self._moved(entry)
                    case 3 if len({id for _, id in self.heads[tag]}) > 1:
                        target = choose.randint(1, len(self.heads[tag]))
                        self._moved(store.tag(tag, f"{tag}@{target}", expected_version=len(self.heads[tag])))

    def wait_for(self, more: int) -> None:
        """Return after so many more acknowledgements."""
        with self._changed:
            goal = self._acknowledged + more
            assert self._changed.wait_for(lambda: self._acknowledged >= goal or self._stop, SECONDS)

    def stop(self) -> None:
        self._stop = True
        with self._changed:
            self._changed.notify_all()

    def check(self, *, whole: bool = False) -> None:
        """What was acknowledged before this began is there; `whole`: and nothing else, and every byte is right."""
        blobs = dict(self.blobs)
        heads = {tag: list(versions) for tag, versions in self.heads.items()}
        with udfstore.connect(self._socket) as store:
            assert store.missing(blobs) == []
            for tag, acknowledged in heads.items():
                history = {entry.version: entry.id for entry in store.history(tag)} if acknowledged else {}
                assert [(version, history.get(version)) for version, _ in acknowledged] == acknowledged
                assert not whole or len(history) == len(acknowledged)
            for id in blobs if whole else ():
                store.verify(id)

    def _saved(self, id: BlobId, size: int) -> None:
        self.blobs[id] = size
        self._acknowledge()

    def _moved(self, entry: udfstore.Entry) -> None:
        assert entry.id is not None
        assert entry.version == len(self.heads[entry.tag]) + 1, "a change happened twice"
        self.heads[entry.tag].append((entry.version, entry.id))
        self._acknowledge()

    def _acknowledge(self) -> None:
        with self._changed:
            self._acknowledged += 1
            self._changed.notify_all()


def test_acknowledged_changes_outlive_kills_under_load(own_server: ServerProcess) -> None:
    choose = random.Random(0)
    load = Load(own_server.socket)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.client, number) for number in range(CLIENTS)]
        for client in clients:
            client.add_done_callback(lambda _: load.stop())
        try:
            for _ in range(KILLS):
                load.wait_for(choose.randint(1, 40))
                own_server.restart()
                load.check()
        finally:
            load.stop()
            for client in clients:
                client.result(SECONDS)
    load.check(whole=True)
    assert not list((own_server.root / "staging").iterdir())
