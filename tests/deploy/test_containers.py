"""The example of two sockets: what the server takes, and what the containers find."""

from __future__ import annotations

from pathlib import Path

import yaml
from test_units import settings

from udfstore.client import where
from udfstore.model import Author
from udfstore.server import activation
from udfstore.server.access import rules
from udfstore.server.config import read
from udfstore.service.rules import Right

CONTAINERS = Path(__file__).parents[2] / "deploy" / "containers"


def test_the_example_says_who_may_what() -> None:
    said = read({}, CONTAINERS / "config.toml", {})
    people, udfs = said.listen
    assert (people.path, people.permissions) == (where.SERVICE_SOCKET, 0o660)
    assert udfs.permissions == 0o666
    found = rules(said.listen, said.rule, "here")
    root = Author("socket", 0, (0,))
    assert found.of(people.known, root) is None
    rights = found.of(udfs.known, root)
    assert rights is not None
    assert rights.may(Right.READ, "models/pump")
    assert rights.may(Right.SNAPSHOT, "snapshots/pump/auto")
    assert not rights.may(Right.WRITE, "models/pump")


def test_the_socket_unit_opens_what_the_settings_name() -> None:
    people, udfs = read({}, CONTAINERS / "config.toml", {}).listen
    unit = settings(CONTAINERS / "udfstore-udfs.socket")
    assert (unit["ListenStream"], unit["FileDescriptorName"]) == (str(udfs.path), udfs.known)
    assert int(unit["SocketMode"], 8) == udfs.permissions
    assert people.known == activation.UNIX


def test_containers_find_the_socket_that_is_mounted() -> None:
    udfs = read({}, CONTAINERS / "config.toml", {}).listen[1]
    (udf,) = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())["services"].values()
    (volume,) = udf["volumes"]
    there, here, how = volume.split(":")
    assert (Path(there), how) == (udfs.path.parent, "ro")
    assert udf["environment"]["UDFSTORE_SOCKET"] == f"{here}/{udfs.path.name}"
