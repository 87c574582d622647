"""Who may connect where, and do what, as the settings have it: the tables `[[listen]]`, `[[rule]]`, `[[signed]]` and
`[[quota]]`."""

from __future__ import annotations

import grp
import json
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from udfstore import signing
from udfstore.errors import UsageError
from udfstore.model import Author
from udfstore.quota import Quotas
from udfstore.refs import Pattern
from udfstore.service.rules import UNKNOWN, Grant, Rule, Rules, parse

HTTP = "http"
"""What rules call the door by which tokens come."""

LISTENERS = 64
"""One for each kind of caller; every one is looked at in each turn of the loop."""


def _path(value: object) -> object:
    if value == "":
        raise ValueError("an empty path")
    return Path(value).expanduser() if isinstance(value, str) else value


def _mode(value: object) -> object:
    try:
        mode = int(value, 8) if isinstance(value, str) else value
    except ValueError:
        mode = None
    if not isinstance(mode, int) or not 0 <= mode <= 0o777:
        raise ValueError("permissions are octal digits, 0 to 0777")
    return mode


def _grants(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError('a list of rights, as in ["read", "write:models/staging/*"]')
    try:
        return parse(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _pattern(text: str) -> str:
    try:
        return Pattern.parse(text).text
    except UsageError as error:
        raise ValueError(str(error)) from error


def _number(value: object, what: str, find: Callable[[str], int]) -> object:
    """The number of a user or group, which may be named."""
    if isinstance(value, str) and not value.isdecimal():
        try:
            value = find(value)
        except KeyError:
            raise ValueError(f"there is no {what} of that name on this system") from None
    if str(value) == str(UNKNOWN):
        raise ValueError(f"{UNKNOWN} stands for every {what} that has no number here, so no rule can be about it")
    return value


def _user(value: object) -> object:
    return _number(value, "user", lambda name: pwd.getpwnam(name).pw_uid)


def _group(value: object) -> object:
    return _number(value, "group", lambda name: grp.getgrnam(name).gr_gid)


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error


AnyPath = Annotated[Path, BeforeValidator(_path)]
Mode = Annotated[int, BeforeValidator(_mode)]
Grants = Annotated[tuple[Grant, ...], BeforeValidator(_grants)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Table):
    """One socket, and the most that whoever comes by it may do; without `allow`, everything.

    `name` is what rules, the log and the service manager call it: without one, the name of its file.
    """

    path: AnyPath
    name: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    mode: Mode | None = None
    group: str | None = Field(None, min_length=1)
    allow: Grants | None = None

    @property
    def known(self) -> str:
        """Its name."""
        return self.name or self.path.stem

    @property
    def permissions(self) -> int:
        """Those of its file."""
        if self.mode is not None:
            return self.mode
        return 0o600 if self.group is None else 0o660


class Allowed(_Table):
    """What is allowed to whoever fits all that is said of it."""

    allow: Grants
    listener: str = ""
    user: Annotated[int | None, BeforeValidator(_user), Field(ge=0)] = None
    group: Annotated[int | None, BeforeValidator(_group), Field(ge=0)] = None
    token: str = ""

    @model_validator(mode="after")
    def _fits_somebody(self) -> Allowed:
        if self.token and (self.user is not None or self.group is not None):
            raise ValueError("nobody comes with a token and as a user of this machine: make a table for each")
        return self


class SignedTags(_Table):
    """Tags that move only with a signature by one of the keys."""

    tags: Annotated[str, AfterValidator(_pattern)]
    keys: Annotated[tuple[AnyPath, ...], Field(min_length=1)]


class Quota(_Table):
    """How much content one user or one token may have; with neither, each that no other table is about."""

    bytes: Annotated[ByteSize, Field(ge=0)]
    user: Annotated[int | None, BeforeValidator(_user), Field(ge=0)] = None
    token: str = ""

    @model_validator(mode="after")
    def _about_one(self) -> Quota:
        if self.token and self.user is not None:
            raise ValueError(f"about the user {self.user} or the token {self.token}: make a table for each")
        return self

    @property
    def owner(self) -> str:
        """Whom it is about; "": all others."""
        return Author("", -1 if self.user is None else self.user, token=self.token).owner


Listens = Annotated[tuple[Listen, ...], NoDecode, BeforeValidator(_json), Field(max_length=LISTENERS)]
Alloweds = Annotated[tuple[Allowed, ...], NoDecode, BeforeValidator(_json)]
Signeds = Annotated[tuple[SignedTags, ...], NoDecode, BeforeValidator(_json)]
QuotaTables = Annotated[tuple[Quota, ...], NoDecode, BeforeValidator(_json)]


def rules(listens: Sequence[Listen], allowed: Sequence[Allowed], place: str) -> Rules:
    """The rules for the gate. Raises `UsageError` for listeners that cannot be told apart, or that no rule can mean."""
    names = [listen.known for listen in listens]
    for name in names:
        if names.count(name) > 1 or name in (HTTP, "metrics"):
            raise UsageError(f"{place}: a listener cannot be named {name}: something else is; give it another `name`")
    paths = [listen.path.absolute() for listen in listens]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"{place}: two listeners have the path {path}")
    for rule in allowed:
        if rule.listener not in ("", HTTP, *names):
            raise UsageError(
                f"{place}: a rule is about the listener {rule.listener}, and there is none of that name",
                expected=" or ".join([*names, HTTP]),
            )
    return Rules(
        {listen.known: listen.allow for listen in listens if listen.allow is not None},
        tuple(Rule(rule.allow, rule.listener, rule.user, rule.group, rule.token) for rule in allowed),
        place,
    )


def quotas(tables: Sequence[Quota]) -> Quotas:
    """Who may have how much. Raises `UsageError` for tables of which not one alone is about somebody."""
    owners = [table.owner for table in tables]
    for owner in owners:
        if owners.count(owner) > 1:
            raise UsageError(f"two quotas are about {owner or 'all others'}")
    of = {owner: int(table.bytes) for owner, table in zip(owners, tables, strict=True)}
    return Quotas({owner: most for owner, most in of.items() if owner}, of.get(""))


def signers(tables: Sequence[SignedTags]) -> signing.Signers:
    """Who may move which tags. Raises `UsageError` for patterns and keys that are none, and `Unsupported`."""
    return signing.Signers(signing.Rule(Pattern.parse(table.tags), tuple(map(_signer, table.keys))) for table in tables)


def _signer(path: Path) -> signing.Key:
    try:
        return signing.Key(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path} is {error}") from error
