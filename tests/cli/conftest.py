from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Done, Process, Run, clean_environment
from kit import ServerProcess

from udfstore.cli import main


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return clean_environment(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server of this module's own."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder / "root", folder / "s") as serving:
        yield serving.socket
        assert serving.stop() == 0


@pytest.fixture
def udfstore(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """Run a command in this process."""
    for name in set(os.environ) - set(environment):
        if name.startswith(("UDFSTORE_", "XDG_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "TZ", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> Done:
        capfdbinary.readouterr()
        status = main([str(word) for word in words])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Done(status, out, err.decode())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def process(environment: dict[str, str]) -> Process:
    """Run a command as a process of its own."""

    def run(*words: object, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "udfstore", *map(str, words)]
        return subprocess.run(command, input=stdin, capture_output=True, env=environment | more, timeout=60)

    return run
