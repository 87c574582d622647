from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from client_kit import Awaited
from kit import ServerProcess

import udfstore
from udfstore.aio import connect

KINDS = ("socket", "chunks", "local", "trio", "asyncio")
"""`socket` and the loops pass descriptors; `chunks` is a socket that passes none."""
Connect = Callable[[Path], Any]


@pytest.fixture(scope="session")
def portals() -> Iterator[Callable[[str], BlockingPortal]]:
    """Event loops on threads of their own, one of each backend, made when first asked for."""
    running: dict[str, BlockingPortal] = {}
    with ExitStack() as stack:

        def portal(backend: str) -> BlockingPortal:
            if backend not in running:
                running[backend] = stack.enter_context(start_blocking_portal(backend))
            return running[backend]

        yield portal


@pytest.fixture
def open_as(portals: Callable[[str], BlockingPortal]) -> Iterator[Callable[[str, Path], Any]]:
    """A store of some kind at a socket, closed at the end."""
    with ExitStack() as stack:

        def open_one(kind: str, socket: Path) -> Any:
            if kind in ("socket", "chunks"):
                return stack.enter_context(udfstore.connect(socket, descriptors=kind == "socket"))
            portal = portals(kind)

            async def connected() -> Any:
                return await connect(socket)

            store = Awaited(portal, portal.call(connected))
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, folder: Path, open_as: Callable[[str, Path], Any]) -> Iterator[Any]:
    """A store of every kind."""
    if request.param == "local":
        with udfstore.open_store(folder / "root") as local:
            yield local
        return
    server: ServerProcess = request.getfixturevalue("server")
    yield open_as(request.param, server.socket)


@pytest.fixture(params=[kind for kind in KINDS if kind != "local"])
def connected(request: pytest.FixtureRequest, own_server: ServerProcess, open_as: Callable[[str, Path], Any]) -> Any:
    """A store of every kind that has a server, connected to one of this test's own."""
    return open_as(request.param, own_server.socket)


@pytest.fixture(params=[kind for kind in KINDS if kind != "local"])
def connect_to(request: pytest.FixtureRequest, open_as: Callable[[str, Path], Any]) -> Connect:
    """How to connect with every kind of client."""
    return lambda socket: open_as(request.param, socket)
