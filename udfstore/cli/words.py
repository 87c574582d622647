"""The options and arguments that commands share, and how their words are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from udfstore.cli.complete import refs, snapshots, tags, tasks
from udfstore.errors import UsageError

STORE = "Which store"

Socket = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="The server's socket; beats --root.", rich_help_panel=STORE),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Open the store at DIR, with no server.", rich_help_panel=STORE),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RefWord = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="A tag, tag@version (@-1: the one before), an ID or eight or more of its digits.",
        autocompletion=refs,
        show_default=False,
    ),
]
TagWord = Annotated[str, typer.Argument(metavar="NAME", help="A tag.", autocompletion=tags, show_default=False)]
PrefixWord = Annotated[
    str,
    typer.Argument(
        metavar="PREFIX",
        help="All tags below it if it ends in '/', else the tag of that name; all tags without it.",
        autocompletion=tags,
        show_default=False,
    ),
]
TaskWord = Annotated[
    str, typer.Argument(metavar="TASK", help="A task, by name.", autocompletion=tasks, show_default=False)
]
SnapshotWord = Annotated[
    str,
    typer.Argument(
        metavar="SNAPSHOT",
        help="Its number, name, ID or eight or more of its digits.",
        autocompletion=snapshots,
        show_default=False,
    ),
]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, for the history.", show_default=False)]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="K=V", help="A label; may be repeated. Without any, those of the source stay."),
]
Expect = Annotated[
    int | None,
    typer.Option("--expect", metavar="N", help="Move the tag only from version N (0: it must name nothing)."),
]
Wait = Annotated[
    int | None,
    typer.Option("--wait", metavar="[SECONDS]", help="Return when every follower has it, or time (60 s) is up."),
]
WAIT_SECONDS = "60"
LogFormat = Annotated[str, typer.Option("--log-format", metavar="auto|human|json", help="Form of the log on stderr.")]
LogLevel = Annotated[
    str, typer.Option("--log-level", metavar="LEVEL", help="The least that is logged: debug, info, warning, error.")
]


def check_log(form: str, level: str) -> None:
    """Raises `UsageError` for a `LogFormat` or a `LogLevel` that is none."""
    levels = ("debug", "info", "warning", "error")
    for option, word, words in (("format", form, ("auto", "human", "json")), ("level", level, levels)):
        if word not in words:
            raise UsageError(f"--log-{option}", expected=", ".join(words), got=repr(word))


def labels(words: list[str] | None) -> dict[str, str] | None:
    """Labels from `K=V` words; None for none. Raises `UsageError`."""
    if not words:
        return None
    read: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError("not a label", expected="K=V", got=repr(word))
        if key in read:
            raise UsageError("a label that is given twice", got=key)
        read[key] = value
    return read


def moment(word: str) -> datetime:
    """A time, local unless it has a zone. Raises `UsageError`."""
    try:
        return datetime.fromisoformat(word).astimezone()
    except ValueError:
        raise UsageError("not a time", expected="2026-11-22T18:00, with or without a zone", got=repr(word)) from None


def amount(word: str) -> int:
    """A number of bytes, more than none: 500, 64KiB, 20 MiB. Raises `UsageError`."""
    match = re.fullmatch(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB)?", word, re.ASCII)
    size = int(match[1]) << {"KiB": 10, "MiB": 20, "GiB": 30}.get(match[2], 0) if match else 0
    if not size:
        raise UsageError("not a number of bytes", expected="500, 64KiB, 20MiB", got=repr(word))
    return size


def whole(word: str) -> int:
    """A whole number, 0 or more."""
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{word!r} is not a whole number")
    return int(word)


def path(word: str) -> Path:
    """A path; an empty one is a variable that was never set."""
    if not word:
        raise ValueError("an empty path")
    return Path(word)


_READERS: dict[Any, Callable[[str], Any]] = {str: str, list[str]: str, int: whole, Path: path, bool: bool}


class _Reader:
    """Takes the place of Typer's own reader, which imports pydantic: that takes longer than all else of a `get`."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if param.multiple:
            return [self._one(word, param, ctx) for word in value or ()]
        return None if value is None else self._one(value, param, ctx)

    def _one(self, word: Any, param: Any, ctx: Any) -> Any:
        try:
            return self._read(word) if isinstance(word, str) else word
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error


def _lend_readers(command: Any, ctx: Any) -> None:
    """A Typer that reads words by other means goes on doing so."""
    for param in command.get_params(ctx):
        described = getattr(param, "type_descriptor", None)
        read = _READERS.get(getattr(described, "annotation", None))
        if read is not None:
            param._runtime_param = _Reader(read)


class Command(TyperCommand):
    """A command whose words are read here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _lend_readers(self, ctx)
        if any(param.metavar == "[SECONDS]" for param in self.params):
            args = _with_seconds(args)
        return super().parse_args(ctx, args)


def _with_seconds(args: list[str]) -> list[str]:
    """`--wait` with the number that it may leave out: Typer knows no option with a value that may be left out."""
    if "--wait" not in args:
        return args
    after = args.index("--wait") + 1
    told = after < len(args) and args[after].isdigit()
    return args if told else [*args[:after], WAIT_SECONDS, *args[after:]]


class Group(TyperGroup):
    """All commands. Its own words are read here, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _lend_readers(self, ctx)
        return super().parse_args(ctx, args)
