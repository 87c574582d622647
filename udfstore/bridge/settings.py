"""What a host is told before it begins: which UDF, which models, how patient to be."""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from udfstore.errors import UsageError
from udfstore.refs import Ref, Tag
from udfstore.wire import limits

_MODES = ("fresh", "fail", "wait")

WAIT_SECONDS = 60.0
"""A server that is restarted or upgraded is back well before, and Kapacitor is fed keepalives meanwhile."""


class OnMove(enum.Enum):
    """What a model's tag that moves means to the UDF that reads its file."""

    RESTART = "restart"
    """Snapshot, a new child on the new file, restore, and on with the next point."""
    WRITE = "write"
    """The file is replaced; the UDF looks after it itself."""
    IGNORE = "ignore"
    """Nothing until the next start."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that lies in a file while the UDF runs. `version`: that one of the tag and no other; None: the newest."""

    tag: Tag
    path: Path
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> ModelFile:
        """Read `TAG=PATH` or `TAG@VERSION=PATH`. Raises `UsageError`."""
        name, equals, path = text.partition("=")
        ref = Ref.parse(name)
        if not equals or not path or ref.tag is None:
            raise UsageError("not a model", expected="TAG=PATH", got=repr(text[:80]))
        return cls(ref.tag, Path(path), ref.version)

    @property
    def ref(self) -> Ref:
        """What names its blob."""
        return Ref.parse(self.tag.name if self.version is None else f"{self.tag.name}@{self.version}")


@dataclass(frozen=True, slots=True)
class WithoutStore:
    """What a start that needs a state does while the server is away: begin `fresh`, `fail`, or `wait` and then fail."""

    mode: str = "wait"
    seconds: float = WAIT_SECONDS

    @classmethod
    def parse(cls, text: str) -> WithoutStore:
        """Read `fresh`, `fail`, `wait` or `wait=SECONDS`. Raises `UsageError`."""
        mode, equals, number = text.partition("=")
        try:
            seconds = float(number) if equals else cls().seconds
        except ValueError:
            seconds = -1.0
        if mode not in _MODES or (equals and mode != "wait") or not 0 <= seconds < float("inf"):
            raise UsageError(
                "not a way to start without a store", expected="fresh, fail or wait=SECONDS", got=text[:80]
            )
        return cls(mode, seconds)

    @property
    def patience(self) -> float:
        """How long a start that needs a state waits for the server."""
        return self.seconds if self.mode == "wait" else 0.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    """One UDF under our care: a `command`, or the `socket` where it listens. Times are seconds.

    `environment` is the child's, whole; None: this process's own.
    """

    command: tuple[str, ...] = ()
    socket: Path | None = None
    environment: Mapping[str, str] | None = None
    models: tuple[ModelFile, ...] = ()
    on_move: OnMove = OnMove.RESTART
    without_store: WithoutStore = WithoutStore()
    plain_bytes: int = limits.PLAIN_BYTES
    """The largest snapshot or restore with its content inside."""
    replay_bytes: int = 64 * 1024 * 1024
    """Of data kept for a child that crashes."""
    load_seconds: float = 600.0
    """A child may take so long for an answer to info, init or restore, and for a load."""
    ask_seconds: float = 30.0
    """A child may take so long for a snapshot: the deadline of a round."""
    stop_seconds: float = 5.0
    """For a last snapshot, and then for a child that was told to end."""
    trial_seconds: float = WAIT_SECONDS
    """A child that dies on a new model so soon gets the old one back."""

    def __post_init__(self) -> None:
        if bool(self.command) is (self.socket is not None):
            raise UsageError("a UDF is a command, or a socket where it listens", got="both" if self.command else "none")

    @property
    def name(self) -> str:
        """The UDF, for people."""
        return textwrap.shorten(" ".join(self.command), 100) if self.command else str(self.socket)
