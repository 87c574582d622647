"""What must not end a server: a log without a reader."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from kit import SECONDS

import udfstore


def test_a_log_that_nobody_reads_any_more(folder: Path) -> None:
    command = [sys.executable, "-m", "udfstore", "serve", "--root", folder / "root", "--socket", folder / "s"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if b"ready" in line:
                break
        server.stderr.close()
        server.stderr = None
        with socket.socket(socket.AF_UNIX) as broken:
            broken.connect(os.fspath(folder / "s"))
            broken.sendall(b"\xff" * 6)  # no varint: the server logs why it hangs up
            while broken.recv(4096):
                pass
        with udfstore.connect(folder / "s") as store:
            assert store.status().problem == ""
        server.terminate()
        assert server.wait(SECONDS) == 0
