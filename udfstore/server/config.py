"""The settings of a server: flags, environment and a TOML file, under the same names.

`connections` is the flag `--connections`, the variable `$UDFSTORE_CONNECTIONS` and the key `connections`. A flag beats
the environment, which beats the file. docs/configuration.md lists all.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from annotated_types import Ge, Gt
from pydantic import BeforeValidator, ByteSize, Field, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from udfstore.errors import UsageError
from udfstore.quota import Quotas
from udfstore.server import access
from udfstore.server.access import Alloweds, AnyPath, Listens, Mode, QuotaTables, Signeds
from udfstore.server.limits import ServerLimits
from udfstore.signing import Signers
from udfstore.store import Rule, StoreLimits

ENVIRONMENT = "UDFSTORE_"
"""What the variable of each setting begins with."""

_Limits = TypeVar("_Limits", ServerLimits, StoreLimits)

_MAY_BE_ZERO = {
    "floor_bytes",
    "gc_grace_s",
    "preallocate_from",
    "reserve_bytes",
    "scrub_days",
    "small_bytes",
    "trash_grace_s",
}


def _rules(value: object) -> object:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return value
    try:
        return tuple(Rule.parse(text) for text in texts)
    except UsageError as error:
        raise ValueError(str(error)) from error


Rules = Annotated[tuple[Rule, ...], NoDecode, BeforeValidator(_rules)]


class Settings(BaseSettings):
    """What can be set, without the limits: those are added from their own classes, with the same names."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT, env_ignore_empty=True, extra="forbid")

    root: AnyPath | None = Field(None, description="Folder of the store; made if it is missing.")
    socket: AnyPath | None = Field(None, description="Path of the socket.")
    socket_mode: Mode | None = Field(
        None, description="Permissions of the socket, octal; 0600, or 0660 with socket_group."
    )
    socket_group: str | None = Field(
        None, description="Group that may connect; the socket's folder must let it in.", min_length=1
    )
    listen: Listens = Field((), description="Several sockets instead of one, each with what it allows: a table each.")
    rule: Alloweds = Field((), description="Who may do what, beside what the listeners allow: a table each.")
    signed: Signeds = Field((), description="Tags that move only with a signature: a table for each pattern.")
    quota: QuotaTables = Field((), description="How much content users and tokens may have: a table for each.")
    http: str | None = Field(
        None, description="Serve HTTP too, at HOST:PORT or unix:PATH; without it there is none.", min_length=1
    )
    http_hosts: str = Field(
        "", description="Names by which HTTP may be asked beside its own address, joined by commas: box:8080,box.lan."
    )
    http_url: str = Field(
        "",
        description="Where browsers find HTTP behind a proxy, for the links of `udfstore web`: https://box.lan.",
        pattern=r"^(https?://[^/\s]+)?$",
    )
    metrics: str | None = Field(
        None, description="Serve health and metrics alone at HOST:PORT, to anybody who may connect.", min_length=1
    )
    retention: Rules = Field(
        (),
        description="Which versions keep their content: a list, or joined by commas, of rules such as"
        " `models/** keep 20`, `keep 90d` or `keep all`.",
    )
    log_format: Literal["auto", "human", "json"] = Field(
        "auto", description="Form of the log on stderr: human, json, or auto (human on a terminal)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")

    @property
    def mode(self) -> int:
        """Permissions of the socket."""
        if self.socket_mode is not None:
            return self.socket_mode
        return 0o600 if self.socket_group is None else 0o660

    @property
    def signers(self) -> Signers:
        """Who may move which tags. Raises `UsageError` for patterns and keys that are none, and `Unsupported`."""
        return access.signers(self.signed)

    @property
    def quotas(self) -> Quotas:
        """How much content whom may have. Raises `UsageError` for tables that contradict each other."""
        return access.quotas(self.quota)

    @property
    def server_limits(self) -> ServerLimits:
        """The limits of the server."""
        return _limits(self, ServerLimits)

    @property
    def store_limits(self) -> StoreLimits:
        """The limits of the store. Raises `UsageError` where they contradict each other."""
        return _limits(self, StoreLimits)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file."""
        flags, file = (InitSettingsSource(settings_cls, given) for given in init_settings().values())
        return flags, EnvSettingsSource(settings_cls), file


def _limits(settings: Settings, kind: type[_Limits]) -> _Limits:
    given = {field.name: getattr(settings, field.name) for field in fields(kind)}
    plain: dict[str, Any] = {
        name: int(value) if isinstance(value, ByteSize) else value for name, value in given.items()
    }
    return kind(**plain)


def _limit_fields(kind: type) -> Iterator[tuple[str, tuple[Any, Any]]]:
    hints, told = get_type_hints(kind), _told(kind)
    for field in fields(kind):
        if field.name in Settings.model_fields:
            continue
        assert field.default is not MISSING, "every limit has a default"
        hint = hints[field.name]
        if field.name.endswith("_bytes") or field.name == "preallocate_from":
            hint = ByteSize | None if type(None) in get_args(hint) else ByteSize
        bound = Ge(0) if field.name in _MAY_BE_ZERO else Gt(0)
        yield field.name, (Annotated[hint, bound], Field(field.default, description=told.get(field.name, "")))


def _told(kind: type) -> dict[str, str]:
    """What the lines below the fields of a class say of each: its first sentence."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    told = {}
    for field, below in pairwise(body.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                told[name] = " ".join(text.split()).partition(". ")[0].rstrip(".") + "."
    return told


_limits_of_all: dict[str, Any] = dict([*_limit_fields(ServerLimits), *_limit_fields(StoreLimits)])
Everything: type[Settings] = create_model("Everything", __base__=Settings, **_limits_of_all)
"""All settings."""


def read(flags: Mapping[str, str], file: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """All settings, from flags (as text, by name), the environment and the configuration file (see `find`).

    Raises `UsageError` that names the flag, the variable, or the file and key that is wrong.
    """
    keys = {} if file is None else _keys(file)
    try:
        given: dict[str, Any] = {"flags": flags, "file": keys}
        return Everything(**given)
    except ValidationError as error:
        wrong = [_wrong(found["loc"], found, flags, file, keys, environ) for found in error.errors()]
        raise UsageError("; ".join(wrong)) from error


def find(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file, if there is one. One that was named must be there (`UsageError`)."""
    variable = environ.get(f"{ENVIRONMENT}CONFIG")
    if config is None and not variable:
        return next((place for place in places(environ) if place.is_file()), None)
    named, by = (config, "--config") if config is not None else (Path(variable or ""), f"${ENVIRONMENT}CONFIG")
    if not named.is_file():
        raise UsageError(f"{by}: there is no configuration file {named}")
    return named


def places(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where a configuration file is looked for that nobody named."""
    home, own = environ.get("HOME"), environ.get("XDG_CONFIG_HOME")
    folder = Path(own) if own else Path(home) / ".config" if home else None
    mine = [folder / "udfstore" / "config.toml"] if folder else []
    return [*mine, Path("/etc/udfstore/config.toml")]


def _keys(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}") from error


def _wrong(
    loc: tuple[int | str, ...],
    found: Any,
    flags: Mapping[str, str],
    file: Path | None,
    keys: Mapping[str, Any],
    environ: Mapping[str, str],
) -> str:
    """One wrong setting, with the place where it was made."""
    name = str(loc[0])
    if name not in Everything.model_fields:
        near = difflib.get_close_matches(name, Everything.model_fields, 1)
        return f"{file}: there is no setting {name}" + (f"; {near[0]}?" if near else "")
    variable = f"{ENVIRONMENT}{name.upper()}"
    if name in flags:
        place, value = f"--{name.replace('_', '-')}", flags[name]
    elif environ.get(variable):
        place, value = f"${variable}", environ[variable]
    else:
        place, value = f"{file}: {name}", str(keys.get(name))
    if len(loc) > 1:  # inside a table, and perhaps a list in it
        place = " ".join([place, *(str(part + 1) if isinstance(part, int) else part for part in loc[1:])])
        value = found["input"]
    match found["type"]:
        case "missing":
            return f"{place}: is missing"
        case "extra_forbidden":
            return f"{place}: there is no such key (expected {_keys_of(name)})"
        case "tuple_type" if len(loc) == 1 and _has_tables(name):
            return f"{place}: a list of tables: each begins with [[{name}]]"
        case "tuple_type":
            return f"{place}: not a list, got {value!r}"
        case "byte_size" | "byte_size_unit":
            return f'{place}: not a size (expected 500, "64 KiB", "20 GiB"), got {value!r}'
    told = found["msg"].removeprefix("Value error, ")
    return f"{place}: {told}" if isinstance(value, Mapping) else f"{place}: {told}, got {value!r}"


def _has_tables(name: str) -> bool:
    """Whether the setting is a list of tables, and not of texts."""
    return hasattr(get_args(Everything.model_fields[name].annotation)[0], "model_fields")


def _keys_of(name: str) -> str:
    """The keys that a table of that name may have."""
    *keys, last = get_args(Everything.model_fields[name].annotation)[0].model_fields
    return f"{', '.join(keys)} or {last}"
