"""A server that speaks HTTP, and clients for it: one that behaves, and one that sends whatever a test wants."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from kit import SECONDS, ServerProcess

import udfstore

Reply = http.client.HTTPResponse


class HttpServer(ServerProcess):
    """A server on a root and socket in a folder, with HTTP; `options` are those of the command."""

    def __init__(self, folder: Path, **options: object) -> None:
        given: dict[str, Any] = {"http": "127.0.0.1:0"} | options
        given = {name: value for name, value in given.items() if value is not None}
        super().__init__(folder / "root", folder / "s", **given)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        print(*self.said[-50:], sep="\n")  # pytest shows it where a test fails

    @property
    def places(self) -> dict[str, Any]:
        """What it said when it was ready."""
        return next(found for line in reversed(self.said) if (found := json.loads(line))["event"] == "ready")

    @property
    def url(self) -> str:
        """Where HTTP is."""
        return str(self.places["http"])

    @property
    def address(self) -> tuple[str, int]:
        """Where HTTP is, for a socket."""
        url = httpx.URL(self.url)
        assert url.port
        return url.host, url.port

    @property
    def token(self) -> str:
        """The first token."""
        return (self.root / "http-token").read_text().strip()

    def client(self, token: str | None = "", **options: Any) -> httpx.Client:
        """A client with that token: the first one if none is given, None for none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
        # Without `verify`, no certificates are read for each.
        return httpx.Client(base_url=self.url, headers=headers, timeout=SECONDS, verify=False, **options)

    def raw(self) -> Raw:
        """A connection of one's own."""
        return Raw(self)

    def store(self) -> udfstore.Store:
        """A client over the socket."""
        return udfstore.connect(self.socket)

    def metric(self, name: str, **labels: str) -> float:
        """A figure of its metrics; 0 where it is not told."""
        text = httpx.get(f"{self.url}/metrics", timeout=SECONDS, verify=False).text
        found = [
            float(value)
            for told, value in re.findall(rf"^{name}(?:\{{(.*?)\}})? (\S+)$", text, re.MULTILINE)
            if all(f'{label}="{wanted}"' in told for label, wanted in labels.items())
        ]
        return sum(found)

    @property
    def staged(self) -> list[str]:
        """Names of the files that saves in flight have written so far."""
        return [path.name for path in (self.root / "staging").iterdir()]

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def memory(self, which: str = "VmHWM") -> int:
        """Of its process, in bytes: the most so far, or `VmRSS`, that of now."""
        found = re.search(rf"^{which}:\s*(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) * 1024


class Raw:
    """A connection on which one may say anything."""

    def __init__(self, server: HttpServer, receive_bytes: int = 0) -> None:
        """`receive_bytes`: how much the system takes for who does not read; 0: as usual."""
        self.socket = socket.socket()
        self.socket.settimeout(SECONDS)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(server.address)
        self._head = f"Host: {server.url.removeprefix('http://')}\r\nAuthorization: Bearer {server.token}\r\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def head(self, method: str, target: str, headers: Mapping[str, object] | str = "", *, end: str = "\r\n") -> None:
        """Send the head of a request that is let in, with those headers besides."""
        if not isinstance(headers, str):
            headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.send(f"{method} {target} HTTP/1.1\r\n{self._head}{headers}{end}".encode("latin-1"))

    def answer(self, method: str = "GET") -> tuple[int, bytes, Reply]:
        """The status and body of the next answer, and the answer."""
        reply = http.client.HTTPResponse(self.socket, method=method)
        reply.begin()
        return reply.status, reply.read(), reply

    def ended(self) -> bytes:
        """As `rest`, where nothing more is sent from here either."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.rest()

    def rest(self) -> bytes:
        """All that still comes, until the server closes; b"" also where it resets the connection."""
        found = b""
        try:
            while data := self.socket.recv(1 << 16):
                found += data
        except ConnectionResetError:
            return found
        return found
