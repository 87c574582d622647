"""A server and a proxy in front of it, with the configuration that is given as an example."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from kit import SECONDS, eventually
from manager import Manager, listening

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "store.example.com"
HTTP_SOCKET = "unix:/run/udfstore-http/http.sock"

NGINX = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/passed;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/udfstore.conf;
}}
"""


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with each first part, which it has to contain, replaced by the second."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, address: str) -> list[str]:
    """The command of an nginx that listens at FOLDER/proxy, for a server at `address`."""
    example = (DEPLOY / "nginx/udfstore.conf").read_text()
    told = replaced(
        example,
        (HTTP_SOCKET, address),
        ("listen 127.0.0.1:8443;", f"listen unix:{folder}/proxy;"),
        ("/var/log/nginx/udfstore.log", f"{folder}/access.log"),
    )
    (folder / "udfstore.conf").write_text(told)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user))
    return ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def caddy(folder: Path, address: str) -> list[str]:
    """The same of a Caddy."""
    example = (DEPLOY / "caddy/Caddyfile").read_text()
    told = replaced(
        example,
        (HTTP_SOCKET.replace(":", "/"), address.replace(":", "/")),
        (f"\n{NAME} {{\n", f"\nhttp://{NAME} {{\n\tbind unix/{folder}/proxy\n"),
        ("\n{\n", "\n{\n\tadmin off\n"),
        ("\tlog\n", f"\tlog {{\n\t\toutput file {folder}/access.log\n\t}}\n"),
    )
    (folder / "Caddyfile").write_text(told)
    return ["caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


class Proxied:
    """`udfstore serve`, and a proxy at `path`, which clients use."""

    def __init__(self, folder: Path, kind: str, manager: Manager) -> None:
        self.folder = folder
        self.kind = kind
        self.path = folder / "proxy"
        self.root = folder / "root"
        self.manager = manager
        command = {"nginx": nginx, "caddy": caddy}[kind](folder, f"unix:{folder}/http")
        (folder / "home").mkdir()
        environment = os.environ | {"HOME": f"{folder}/home"}
        with (folder / "proxy.err").open("wb") as told:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=told
            )
        try:
            eventually(self._answers)
        except AssertionError:
            self.stop()
            raise AssertionError((folder / "proxy.err").read_text()) from None

    def serve(self) -> None:
        """Start the server."""
        self.manager.start("--root", str(self.root), "--http-hosts", NAME, "--log-level", "debug")

    @property
    def token(self) -> str:
        return (self.root / "http-token").read_text().strip()

    def stop(self) -> None:
        """End the proxy, when it has answered what is open."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGQUIT if self.kind == "nginx" else signal.SIGTERM)
        self._process.wait(SECONDS)

    @contextmanager
    def asked(self, method: str, path: str, body: object = None, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """A request with the token, and its answer while it comes. Names of headers have _ for -; `body`: JSON else."""
        told = {"Authorization": f"Bearer {self.token}"}
        told |= {name.replace("_", "-"): text for name, text in headers.items()}
        if body is not None and not isinstance(body, bytes | Iterator):
            body, told = json.dumps(body), told | {"Content-Type": "application/json"}
        with contextlib.closing(_OverUnixSocket(self.path)) as connection:
            connection.request(method, path, body, told)  # type: ignore[arg-type]
            with connection.getresponse() as answer:
                yield answer

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Message, bytes]:
        """Status, headers and body of the answer to a request."""
        with self.asked(method, path, body, **headers) as answer:
            return answer.status, answer.headers, answer.read()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        try:
            connection.connect(os.fspath(self.path))
        except OSError:
            connection.close()
            raise
        return connection

    def say(self, request: bytes) -> bytes:
        """All that comes back for some bytes; the connection is closed once the first of it is there."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            assert select.select([connection], [], [], SECONDS)[0], "no answer at all"
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(1 << 16):
                    answer += data
        return answer

    def forwarded(self) -> Counter[str]:
        """`METHOD PATH` of the requests that the proxy saw, by its own log."""
        found: Counter[str] = Counter()
        for line in (self.folder / "access.log").read_text().splitlines():
            if self.kind == "nginx":
                request = line.split('"')[1]
                found[re.sub(r"\\x(..)", lambda code: chr(int(code[1], 16)), request)] += 1
            else:
                told = json.loads(line)["request"]
                found[f"{told['method']} {unquote(urlsplit(told['uri']).path)}"] += 1
        return found

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError
        with contextlib.suppress(OSError):
            self.connect().close()
            return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _OverUnixSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__(NAME)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(os.fspath(self._path))


@contextmanager
def proxied(folder: Path, kind: str) -> Iterator[Proxied]:
    """Both, running."""
    sockets = [listening(folder / "s"), listening(folder / "http")]
    with contextlib.ExitStack() as undo:
        for one in sockets:
            undo.enter_context(one)
        manager = undo.enter_context(Manager(folder, sockets, "udfstore:http"))
        running = undo.enter_context(Proxied(folder, kind, manager))
        running.serve()
        yield running
