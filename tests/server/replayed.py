"""A server that is played from a transcript, for a client under test."""

from __future__ import annotations

import threading
from pathlib import Path

from udfstore.cli.replay import replay_server
from udfstore.errors import UdfstoreError


class Replayed:
    """A transcript whose server's side is played in another thread, as long as the `with` block lasts."""

    def __init__(self, path: Path, listen: Path) -> None:
        self.outcome: list[object] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(path, listen))

    def _play(self, path: Path, listen: Path) -> None:
        try:
            self.outcome.append(replay_server(path, listen, self._ready.set))
        except UdfstoreError as error:
            self.outcome.append(error)

    def __enter__(self) -> list[object]:
        self._thread.start()
        assert self._ready.wait(10)
        return self.outcome

    def __exit__(self, *_: object) -> None:
        self._thread.join()
