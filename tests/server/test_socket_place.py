"""What may lie where the socket shall be; see tests/cli/test_serve.py for sockets, dead and living."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from kit import SECONDS

from udfstore.errors import UsageError
from udfstore.server.listener import Listener


@pytest.mark.parametrize("target", ["file", "folder", "socket", "nothing"])
def test_what_lies_at_the_place_of_the_socket_is_left_alone(folder: Path, target: str) -> None:
    """A link too, wherever it leads: what it names may be somebody else's."""
    (folder / "file").write_text("kept")
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "socket"))
    link = folder / "s"
    link.symlink_to(folder / target)
    with pytest.raises(UsageError, match="is not a socket"):
        Listener(link)
    assert link.readlink() == folder / target
    assert (folder / "file").read_text() == "kept"
    assert (folder / "socket").is_socket()


_STRANGER = """
import os, sys
from pathlib import Path
from udfstore.errors import UdfstoreError
from udfstore.server.listener import Listener
os.setgroups([]); os.setgid(12345); os.setuid(12345)
try:
    Listener(Path(sys.argv[1]))
except UdfstoreError as error:
    print(error.code.value, error.message)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("mode", "living", "told"),
    [
        (0o600, True, "denied cannot tell whether {} is in use: Permission denied"),
        (0o666, True, "conflict a server answers at {} already; see: udfstore status --socket {}"),
        (0o666, False, "denied nobody answers at {}, and it cannot be removed: Operation not permitted"),
    ],
)
def test_a_socket_of_another_user_is_left_alone(folder: Path, mode: int, living: bool, told: str) -> None:
    """In a folder where everybody may make files, like /tmp."""
    folder.chmod(0o1777)
    place = folder / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        place.chmod(mode)
        if living:
            other.listen()
        command = [sys.executable, "-c", _STRANGER, str(place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert (done.stdout, done.stderr) == (told.format(place, place) + "\n", "")
        assert place.is_socket()
