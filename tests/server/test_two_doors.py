"""A server with two sockets: one for people, one to be mounted where UDFs run, whoever's uid they have."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import SECONDS, eventually
from live_server import LiveServer
from raw_client import RawClient
from raw_node import RawNode, ask, taken

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Denied, NotFound

ALLOW = '["read:models/**", "snapshot:pump", "write:models/staging/*"]'
DAG = b'{"nodes": [{"name": "a", "kind": "udf"}]}'


class TwoDoors(LiveServer):
    """A server whose configuration has two listeners, and rules."""

    def __init__(self, folder: Path, rules: str = "", allow: str = ALLOW) -> None:
        super().__init__(folder)
        self.socket, self.udfs = folder / "people.sock", folder / "udfs" / "udfs.sock"
        self._config = folder / "config.toml"
        self._config.write_text(
            f'[[listen]]\npath = "{self.socket}"\n\n[[listen]]\npath = "{self.udfs}"\nmode = "0666"\n'
            f"allow = {allow}\n\n{rules}"
        )

    def _place(self) -> list[str]:
        return ["--config", str(self._config)]

    @property
    def refusals(self) -> list[dict[str, object]]:
        """Those in its log."""
        lines = [json.loads(text) for text in self.said if text.startswith("{")]
        return [line for line in lines if line["event"] == "refused"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoDoors]:
    with TwoDoors(tmp_path_factory.mktemp("doors")) as server:
        yield server


def test_each_socket_has_its_own_permissions(server: TwoDoors) -> None:
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (server.socket, server.udfs)]
    assert modes == [0o600, 0o666]


@pytest.mark.parametrize("descriptors", [True, False])
@pytest.mark.parametrize("size", [1000, 200_000])
def test_udfs_read_models_and_write_below_staging_alone(server: TwoDoors, descriptors: bool, size: int) -> None:
    content = os.urandom(size)
    with (
        udfstore.connect(server.socket, descriptors=descriptors) as person,
        udfstore.connect(server.udfs, descriptors=descriptors) as udf,
    ):
        person.save(content, tag="models/a")
        secret = person.save(content + b"secret", tag="private/x").id
        assert udf.load("models/a") == content
        with udf.open("models/a") as file:
            assert file.read() == content
        with pytest.raises(NotFound):
            udf.load(secret)
        with pytest.raises(NotFound), udf.open(secret):
            pass
        with pytest.raises(Denied, match="read private/x"):
            udf.load("private/x")
        with pytest.raises(Denied, match="write models/a"):
            udf.save(content, tag="models/a")
        assert udf.save(b"mine", tag="models/staging/a").entry is not None
        assert udf.missing([secret]) == [secret]
        assert not udf.save(content + b"secret").existed  # it was sent, though the store had it
        assert udf.missing([secret]) == []  # this connection brought it
        with pytest.raises(Denied, match="write private/y"):
            udf.tag("private/y", "models/a")
        assert {entry.tag for entry in udf.tags()} <= {"models/a", "models/staging/a"}
        assert "private/x" in {entry.tag for entry in person.tags()}


def test_what_is_refused_stands_in_the_log_and_is_counted(server: TwoDoors) -> None:
    with udfstore.connect(server.udfs) as udf, pytest.raises(Denied):
        udf.untag("models/nothing")
    line = eventually(lambda: next((line for line in server.refusals if line["what"] == "models/nothing"), None))
    assert (line["right"], line["by"], line["listener"]) == ("delete", "the listener udfs", "udfs")
    assert (line["uid"], line["pid"]) == (os.getuid(), os.getpid())
    with udfstore.connect(server.socket) as person:
        assert 'udfstore_refusals_total{by="the listener udfs",front="socket",right="delete"}' in person.metrics()


def test_watches_of_the_same_prefix_are_told_what_each_may_see(server: TwoDoors) -> None:
    with udfstore.connect(server.socket) as person, udfstore.connect(server.udfs) as udf:
        since = person.revision
        person.save(b"1", tag="private/w")
        person.save(b"2", tag="models/w")
        for store, first in ((person, "private/w"), (udf, "models/w")):
            event = next(iter(store.watch("", since=since)))
            assert event.entries[0].tag == first


def test_a_node_joins_the_task_that_it_may_and_gets_its_state_back(server: TwoDoors) -> None:
    with RawNode(server.udfs, task="fan", name="a", dag=DAG) as stranger:
        fault = stranger.fault()
        assert fault.code == "denied"
        assert "may not take part in the task 'fan'" in fault.message
    with RawNode(server.udfs, task="pump", name="a", dag=DAG) as node:
        assert node.arrive().owner
        node.leave(b"what it learned")
    with RawNode(server.udfs, task="pump", name="a", dag=DAG) as again:
        assert again.arrive().owner
        assert again.given == b"what it learned"


def test_content_that_a_node_may_not_read_is_no_state_of_its_own(server: TwoDoors) -> None:
    """Else its task's next snapshot would link it, and let it be read."""
    with udfstore.connect(server.socket) as person:
        secret = person.save(b"somebody's", tag="private/s")
    with RawNode(server.udfs, task="pump", name="a", dag=DAG) as node, RawClient(server.socket) as asker:
        node.arrive()
        ask(asker, 1, "pump")
        answer = pb.SnapshotResponse(round=node.question(), blob=secret.id.raw, size=secret.size)
        node.send(pb.Response(snapshot=answer))
        told = taken(asker)
        assert not told.good
        assert "the blob of its state is not in the store" in told.why
    with udfstore.connect(server.udfs) as udf, pytest.raises(NotFound):
        udf.load(secret.id)


def test_rules_by_user_hold_beside_the_listeners(tmp_path: Path) -> None:
    me = f'[[rule]]\nuser = {os.getuid()}\nlistener = "people"\nallow = ["read"]\n'
    with TwoDoors(tmp_path, me) as server:
        with udfstore.connect(server.socket) as person:
            assert list(person.tags()) == []
            with pytest.raises(Denied, match=r"the rules do not allow it; that is set in .*/config.toml"):
                person.save(b"x", tag="models/a")
        with udfstore.connect(server.udfs) as udf, pytest.raises(Denied, match="the rules"):
            udf.load("models/a")


_STRANGER = """
import os, sys
from udfstore import Denied, connect
socket, uid, gid, other = sys.argv[1], *map(int, sys.argv[2:])
os.setgroups([other]); os.setgid(gid); os.setuid(uid)
try:
    with connect(socket) as store:
        author = store.save(b"x", tag="models/x").entry.author
        print([author.uid, *author.gids])
except Denied as error:
    print(error.message)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_whom_the_kernel_names(folder: Path) -> None:
    """Whatever it claims: its uid and its groups decide what it may, and stand beside what it did."""

    def stranger(place: Path, *numbers: int) -> str:
        command = [sys.executable, "-c", _STRANGER, str(place), *map(str, numbers)]
        claims = {**os.environ, "UDFSTORE_AUTHOR": "person=root"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=claims)
        assert done.stderr == ""
        return done.stdout.strip()

    rules = '[[rule]]\nuser = 12345\nallow = ["write"]\n\n[[rule]]\ngroup = 12347\nallow = ["write"]\n'
    folder.chmod(0o755)
    with TwoDoors(folder, rules, allow='["write"]') as server:
        server.udfs.parent.chmod(0o755)
        assert stranger(server.udfs, 12345, 12346, 12349) == "[12345, 12346, 12349]"
        assert stranger(server.udfs, 12348, 12346, 12347) == "[12348, 12346, 12347]"
        assert stranger(server.udfs, 12348, 12346, 12349).startswith("uid 12348 (python")
        assert "no permission to open the socket" in stranger(server.socket, 12345, 12346, 12347)
