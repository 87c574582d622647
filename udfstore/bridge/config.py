"""What a bridge is told: on the command line, or many of them in a TOML file. docs/kapacitor.md lists all.

kapacitor_url = "http://localhost:9092"      # up here: for all bridges of the file
prefix = "line1/"

[bridge.pump]
listen = "/run/udfstore/pump.sock"
command = ["python3", "pump_udf.py"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, ValidationError, model_validator
from pydantic.types import ByteSize

from udfstore.bridge.dots import Api
from udfstore.bridge.settings import HostSettings, ModelFile, OnMove, WithoutStore
from udfstore.client.link import check_path
from udfstore.errors import UdfstoreError, UsageError
from udfstore.tasks import Policy
from udfstore.wire import limits


def _read(parse: Any) -> BeforeValidator:
    """A value that is written as text."""

    def read(value: object) -> object:
        try:
            return parse(value) if isinstance(value, str) else value
        except UdfstoreError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


def _socket(text: str) -> Path:
    if not text:
        raise UsageError("an empty path")
    check_path(Path(text))
    return Path(text)


def _url(text: str) -> str:
    if text:
        Api(text)
    return text


SocketPath = Annotated[Path, _read(_socket)]


class Bridge(BaseModel):
    """One UDF behind a bridge: a command, or a socket where it listens. Times are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    command: tuple[str, ...] = Field((), description="The UDF, with its arguments.")
    connect: SocketPath | None = Field(None, description="The socket where the UDF listens, in place of a command.")
    listen: SocketPath | None = Field(None, description="The socket for Kapacitor; without it, stdin and stdout.")
    prefix: str = Field("", description="Stands before the names of tasks: keeps several Kapacitors apart.")
    kapacitor_url: Annotated[str, _read(_url)] = Field("", description="Where Kapacitor tells of its tasks.")
    policy: Policy = Field(Policy.STRICT, description="What a change of the task leaves of its state.")
    without_store: Annotated[WithoutStore, _read(WithoutStore.parse)] = Field(
        WithoutStore(), description="A start that needs a state while the server is away: fresh, fail or wait=SECONDS."
    )
    models: tuple[Annotated[ModelFile, _read(ModelFile.parse)], ...] = Field(
        (), description="TAG=PATH: the model lies in that file before the UDF starts."
    )
    on_move: OnMove = Field(OnMove.RESTART, description="When a tag moves: restart, write or ignore.")
    hand_back: bool = Field(False, description="Kapacitor gets whole states again.")
    no_save: bool = Field(False, description="Be given a state, but store none.")
    take_over: bool = Field(False, description="Take the task over from another kind of host.")
    keepalive_seconds: PositiveFloat = Field(600.0, description="Keepalives are answered for a busy UDF for so long.")
    ask_seconds: PositiveFloat = Field(30.0, description="A UDF may take so long for a snapshot.")
    stop_seconds: PositiveFloat = Field(5.0, description="A UDF may take so long for a last snapshot, then to end.")
    dag_seconds: PositiveFloat = Field(60.0, description="Kapacitor may take so long to tell of a task.")
    plain_bytes: ByteSize = Field(
        ByteSize(limits.PLAIN_BYTES), gt=0, description="The largest state with its content inside a message."
    )
    replay_bytes: ByteSize = Field(ByteSize(64 * 1024 * 1024), gt=0, description="Of data kept for a UDF that crashes.")

    @model_validator(mode="after")
    def _one_udf(self) -> Self:
        if bool(self.command) is (self.connect is not None):
            raise ValueError("a UDF is a command or a socket to connect to: name one of them")
        return self

    @property
    def name(self) -> str:
        """The UDF, as what is remembered of it is filed under."""
        return "\0".join(self.command) if self.command else f"\0{self.connect}"

    def host_settings(self) -> HostSettings:
        """What the host is told."""
        return HostSettings(
            command=self.command,
            socket=self.connect,
            models=self.models,
            on_move=self.on_move,
            without_store=self.without_store,
            plain_bytes=self.plain_bytes,
            replay_bytes=self.replay_bytes,
            load_seconds=self.keepalive_seconds,
            ask_seconds=self.ask_seconds,
            stop_seconds=self.stop_seconds,
        )


def bridge(given: Mapping[str, Any], where: str) -> Bridge:
    """Settings by name, as text or as TOML has them. Raises `UsageError` that names `where` and the setting."""
    try:
        return Bridge(**given)
    except ValidationError as error:
        wrong = []
        for found in error.errors():
            name = ".".join(map(str, found["loc"]))
            got = "" if isinstance(found["input"], Mapping) else f", got {found['input']!r}"
            wrong.append(f"{where}{name and f': {name}'}: {found['msg'].removeprefix('Value error, ')}{got}")
        raise UsageError("; ".join(wrong)) from error


def read(file: Path, defaults: Mapping[str, Any] | None = None) -> dict[str, Bridge]:
    """All bridges of a file, by name; `defaults` holds where the file says nothing.

    Raises `UsageError` that names the file and the key that is wrong.
    """
    try:
        keys = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    tables = keys.pop("bridge", None)
    if not isinstance(tables, dict) or not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageError(f"{file} has no bridge", expected="a table [bridge.NAME] for each")
    own = sorted({"listen", "connect", "command"} & keys.keys())
    if own:
        raise UsageError(f"{file}: {own[0]} belongs to one bridge, below its [bridge.NAME]")
    bridges = {
        name: bridge({**(defaults or {}), **keys, **table}, f"{file}: bridge.{name}") for name, table in tables.items()
    }
    seen: dict[Path, str] = {}
    for name, one in bridges.items():
        if one.listen is None:
            raise UsageError(f"{file}: bridge.{name}: it listens nowhere", expected="listen = PATH")
        other = seen.setdefault(one.listen, name)
        if other != name:
            raise UsageError(f"{file}: bridge.{other} and bridge.{name} listen at one socket", got=one.listen)
    return bridges
