"""`udfstore bridge` as a process, the UDFs it is given, and where it keeps what it remembers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from kit import SECONDS, eventually
from stand_in import Kapacitor, Side, request, response

from udfstore._pb import udfstore_pb2 as pb
from udfstore.wire.framing import Frame

UDFS = Path(__file__).parent / "old_udfs"
FIELD = pb.Option(name="field", values=[pb.OptionValue(type=pb.STRING, stringValue="value")])


def udf(name: str, *words: object) -> list[str]:
    """The command of one of the old UDFs, or of any script."""
    path = UDFS / f"{name}.py" if "/" not in name else Path(name)
    return [sys.executable, str(path), *map(str, words)]


def script(folder: Path, text: str, name: str = "udf") -> list[str]:
    """The command of a UDF of a test's own; it may import `by_hand`."""
    path = folder / f"{name}.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(UDFS)!r})\n{text}")
    return udf(str(path))


class Bridge:
    """How a bridge is started: with which server, and where it remembers."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
        self.environment = kept | {
            "HOME": str(folder),
            "UDFSTORE_SOCKET": str(server),
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTHONWARNINGS": "error",
        }

    def command(self, command: Sequence[str], *words: object) -> list[str]:
        """Of a bridge in front of a UDF's command (may be empty)."""
        behind = ["--", *command] if command else []
        return [sys.executable, "-m", "udfstore", "bridge", "--log-format", "json", *map(str, words), *behind]

    def start(self, command: Sequence[str], *words: object, side: Side | None = None) -> Kapacitor:
        """Kapacitor with the bridge as its process UDF."""
        return Kapacitor.with_process(self.command(command, *words), self.environment, side)


class Listening:
    """A bridge with `--listen` or `--config` as a process; what it logs."""

    def __init__(self, bridge: Bridge, command: Sequence[str], *words: object, sockets: Sequence[Path]) -> None:
        self.log: list[str] = []
        self.process = subprocess.Popen(
            bridge.command(command, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=bridge.environment,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        eventually(lambda: all(path.exists() for path in sockets) or self.process.poll() is not None)
        eventually(lambda: any('"ready"' in line for line in self.log) or self.process.poll() is not None)

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.ended()

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        status = self.process.wait(SECONDS)
        self._thread.join(SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)


def child_of(bridge: int) -> int:
    """The process of the UDF behind a bridge. The kernel lists children by the thread that made them."""
    threads = Path(f"/proc/{bridge}/task")
    found = eventually(lambda: [child for one in threads.glob("*/children") for child in one.read_text().split()])
    return int(found[-1])


def point(value: float, time: int = 0, group: str = "", **tags: str) -> Frame:
    """A point of a stream."""
    return request(point=pb.Point(time=time, name="m", group=group, tags=tags, fieldsDouble={"value": value}))


def means(values: Sequence[float], size: int = 3) -> list[float]:
    """What the moving average says of these values of one group."""
    return [
        sum(values[max(0, end - size) : end]) / len(values[max(0, end - size) : end])
        for end in range(1, len(values) + 1)
    ]


def fields(frames: Sequence[Frame], name: str) -> list[float]:
    """One field of each point."""
    points = [pb.Response.FromString(bytes(one.envelope)).point for one in frames if one.kind == 17]
    return [one.fieldsDouble[name] for one in points]


__all__ = [
    "FIELD",
    "Bridge",
    "Kapacitor",
    "Listening",
    "child_of",
    "fields",
    "means",
    "point",
    "request",
    "response",
    "script",
    "udf",
]
