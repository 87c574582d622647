"""What may lie where the socket shall be; see tests/cli/test_serve.py for sockets, dead and living."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

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
