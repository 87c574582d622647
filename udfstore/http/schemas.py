"""What requests and answers look like, for OpenAPI: answers are described from our own values, so the two cannot part.

Answers are written by `udfstore.plain`; the models of them made here serve the description alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, create_model

from udfstore import calls
from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.http import words
from udfstore.model import LABELS, NOTE_BYTES, Entry, check_labels, check_note
from udfstore.refs import Ref, Tag
from udfstore.snapshots.names import NAME_BYTES, check_snapshot_name

BLOB_ID = r"^sha256:[0-9a-f]{64}$"

_BRIEF = {"author", "note", "labels", "links"}
"""What an entry told in brief leaves out."""


@cache
def answer(kind: type) -> type[BaseModel]:
    """The form of one of our values (a dataclass) in an answer."""
    hints = get_type_hints(kind, localns={"bytes": bytes})  # some have a field of that name
    members: dict[str, Any] = {}
    for field in fields(kind):
        hint = AwareDatetime | None if field.name.endswith("_ns") else _form(hints[field.name])
        optional = kind is Entry and field.name in _BRIEF
        members[field.name.removesuffix("_ns")] = (hint, None if optional else ...)
    config = ConfigDict(extra="forbid", title=kind.__name__)
    doc = (kind.__doc__ or "").strip()
    model: type[BaseModel] = create_model(kind.__name__, __config__=config, __doc__=doc, **members)
    return model


def _form(hint: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is BlobId:
        return Annotated[str, Field(pattern=BLOB_ID)]
    if hint is bytes:
        return Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    if origin in (Union, UnionType):
        return Union[tuple(NoneType if arg is NoneType else _form(arg) for arg in args)]  # noqa: UP007 - made of a tuple
    if origin is tuple:
        return list[_form(args[0])]  # type: ignore[misc]
    if origin in (Mapping, dict):
        return dict[str, str]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Literal[tuple(member.value for member in hint)]
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return answer(hint)
    return hint


class Problem(BaseModel):
    """What went wrong (RFC 9457). `expected` and `got` are the two sides of a comparison where there was one."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    expected: str = ""
    got: str = ""


# --- requests: strict, and nothing that is not known ----------------------------------------------------------------


class Body(BaseModel):
    """A request in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)


_Value = TypeVar("_Value")


def _checked(check: Callable[[_Value], object]) -> AfterValidator:
    """A member that is refused, by its place in the body, where `check` raises `UsageError`."""

    def validate(value: _Value) -> _Value:
        try:
            check(value)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return value

    return AfterValidator(validate)


TagText = Annotated[str, _checked(Tag.parse), Field(json_schema_extra=words.TAG)]
RefText = Annotated[str, _checked(Ref.parse), Field(json_schema_extra=words.REF)]
Chosen = Annotated[str, Field(max_length=NAME_BYTES, description="A number, a name or an ID of a snapshot.")]
Note = Annotated[str, _checked(check_note), Field(max_length=NOTE_BYTES)]
Version = Annotated[int, Field(ge=0, le=2**53)]
Labels = Annotated[dict[str, str], _checked(check_labels), Field(max_length=LABELS)]


class MissingBody(Body):
    """Which of these blobs are not there?"""

    ids: Annotated[
        list[Annotated[str, Field(pattern=r"^(sha256:)?[0-9a-f]{64}$")]], Field(max_length=calls.MISSING_IDS)
    ]


class TagBody(Body):
    """What a tag shall point at. Without `labels`, those of the entry that `ref` names are copied."""

    ref: RefText
    note: Note = ""
    labels: Labels | None = None


class StepBody(Body):
    """One tag to move; `expected` is the version it must have now (0: it must name nothing)."""

    tag: TagText
    ref: RefText
    expected: Version | None = None
    labels: Labels | None = None


class MoveBody(Body):
    """Tags to move in one step: all of them or none."""

    steps: Annotated[list[StepBody], Field(min_length=1, max_length=calls.MOVES)]
    note: Note = ""


class HoldBody(Body):
    """A tag to keep where it is, and why."""

    tag: TagText
    note: Annotated[Note, Field(min_length=1)]


class ReleaseBody(Body):
    """A held tag to release."""

    tag: TagText
    note: Note = ""


class RollbackBody(Body):
    """A tag to move back: to version `to`, or to the one before the version whose content it has now."""

    tag: TagText
    to: Annotated[int, Field(ge=1, le=2**53)] | None = None
    expected: Version | None = None
    note: Note = ""
    labels: Labels | None = None


class SnapshotBody(Body):
    """Take a snapshot now, and give it a name too."""

    name: Annotated[str, _checked(lambda name: name and check_snapshot_name(name)), Field(max_length=NAME_BYTES)] = ""


class NamedBody(Body):
    """Which snapshot gets the name: its number, name or ID; empty: the newest."""

    snapshot: Chosen = ""
    note: Note = ""


class UseBody(Body):
    """What a task is given at its next start: `snapshot` (or `fresh`), or the newest from `before` a ref was in use."""

    snapshot: Chosen = ""
    before: RefText | None = None
    now: bool = False


class PlanBody(Body):
    """A DAG (docs/dag.md), and what its nodes would be given."""

    dag: dict[str, Any] | None = None
    policy: Literal["strict", "upstream", "key"] = "strict"
    snapshot: Chosen = ""
