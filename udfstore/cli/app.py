"""The commands, where each lives, and what happens when one fails."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from udfstore.cli.words import Command, Group
from udfstore.errors import (
    CODES,
    INTERRUPTED_EXIT,
    Code,
    Denied,
    InternalError,
    NoSpace,
    ReadOnly,
    UdfstoreError,
    UsageError,
)
from udfstore.version import __version__

NAME = "udfstore"
COMPLETION = "_UDFSTORE_COMPLETE"
"""The variable in which a shell says that it wants words completed (Typer's own convention)."""

UNREAD_EXIT = 141
"""Exit status when nobody reads the output any more, as shells use it: 128 + SIGPIPE."""

TERMINATED_EXIT = 143
"""Exit status after SIGTERM, as shells use it: 128 + 15. `serve` takes the signal for itself and ends with 0."""

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "udfstore serve --root /var/lib/udfstore"),
    "status": ("server", "udfstore status --json"),
    "put": ("content", "udfstore put model.onnx --tag models/pump --note 'trained on May' --label f1=0.93"),
    "get": ("content", "udfstore get models/pump@3 -o model.onnx"),
    "stat": ("content", "udfstore stat models/pump"),
    "blobs": ("content", "udfstore blobs --json"),
    "rm": ("content", "udfstore rm models/pump@2"),
    "undelete": ("room", "udfstore undelete models/pump@2"),
    "gc": ("room", "udfstore gc --dry-run"),
    "ls": ("tags", "udfstore ls models/"),
    "tag": ("tags", "udfstore tag models/pump models/pump/candidate --expect 7"),
    "log": ("tags", "udfstore log models/pump"),
    "rollback": ("tags", "udfstore rollback models/pump --note 'false alarms since noon'"),
    "untag": ("tags", "udfstore untag models/old"),
    "hold": ("tags", "udfstore hold models/pump --note 'the inspector looks at it until Friday'"),
    "release": ("tags", "udfstore release models/pump"),
    "sign": ("signing", "udfstore sign models/pump@8 models/prod/pump --key private.pem"),
    "watch": ("tags", "udfstore watch models/ --json"),
    "why": ("content", "udfstore why ab12cd34"),
    "follow": ("follow", "udfstore follow models/pump -o model.onnx -- python3 score.py model.onnx"),
    "tasks": ("tasks", "udfstore tasks"),
    "task rm": ("tasks", "udfstore task rm cpu-alert"),
    "snapshot ls": ("snapshots", "udfstore snapshot ls cpu-alert"),
    "snapshot show": ("snapshots", "udfstore snapshot show cpu-alert 17"),
    "snapshot save": ("snapshots", "udfstore snapshot save cpu-alert --name before-upgrade"),
    "snapshot name": ("snapshots", "udfstore snapshot name cpu-alert good-week 17 --note 'no alarm missed'"),
    "snapshot use": ("snapshots", "udfstore snapshot use cpu-alert --before models/pump@8 --now"),
    "snapshot get": ("snapshots", "udfstore snapshot get cpu-alert anomaly2 -o state.bin"),
    "snapshot rm": ("snapshots", "udfstore snapshot rm cpu-alert 15 16"),
    "snapshot plan": ("snapshots", "udfstore snapshot plan cpu-alert --dag cpu-alert.dot --policy upstream"),
    "sessions": ("tasks", "udfstore sessions"),
    "used": ("tasks", "udfstore used cpu-alert --at 2026-11-22T18:00"),
    "token add": ("access", "udfstore token add ci --can write"),
    "token ls": ("access", "udfstore token ls"),
    "token rm": ("access", "udfstore token rm ci"),
    "web": ("access", "udfstore web --open"),
    "metrics": ("metrics", "udfstore metrics --textfile /var/lib/node_exporter/udfstore.prom"),
    "backup": ("backup", "udfstore backup /mnt/backup/udfstore"),
    "restore": ("backup", "udfstore restore /mnt/backup/udfstore --root /var/lib/udfstore"),
    "check": ("check", "udfstore check --rate 20MiB"),
    "bridge": ("bridge", "udfstore bridge -- python3 my_udf.py"),
    "run": ("run", "udfstore run --task water --node score -- python3 udf.py < points.lp"),
    "replay": ("server", "udfstore replay save.transcript --socket /tmp/agent.sock"),
}
"""Each command's module, which has a function of the command's name, and an example for its help."""

GROUPS = {
    "task": "Tasks, one at a time.",
    "snapshot": "The snapshots of a task.",
    "token": "Who may ask over HTTP.",
}
"""The first words of commands of two."""

ALIASES = {"tags": "ls", "history": "log", "inspect": "stat"}


def application(names: Iterable[str] = (*COMMANDS, *ALIASES), *, completion: bool = True) -> typer.Typer:
    """The Typer application with these commands; only their modules are imported."""
    app = typer.Typer(cls=Group, add_completion=completion, context_settings={"help_option_names": HELP})
    app.callback()(_root)
    groups: dict[str, typer.Typer] = {}
    for name in names:
        command = ALIASES.get(name, name)
        module, example = COMMANDS[command]
        function = getattr(import_module(f"udfstore.cli.{module}"), command.replace(" ", "_"))
        group, _, last = name.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(cls=Group, help=GROUPS[group])
            app.add_typer(groups[group], name=group)
        home = groups[group] if group else app
        home.command(last, cls=Command, epilog=f"Example: {example}", hidden=name in ALIASES)(function)
    return app


HELP = ["-h", "--help"]


def _version(wanted: bool) -> None:
    if wanted:
        print(NAME, __version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Blobs, tags and their history for stream-processing UDFs."""


def run(argv: list[str]) -> int:
    """Run one command. What goes wrong is told in one line on stderr; the result is the exit status."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _run(argv or ["--help"])
        sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED_EXIT
    except BrokenPipeError:
        return _unread()
    except typer.TyperException as error:
        return _misused(error)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - the one place where every error becomes a line and a status
        return _failed(error)
    return 0


def _run(argv: list[str]) -> None:
    if COMPLETION in os.environ:
        typer.main.get_command(application())(argv, prog_name=NAME, complete_var=COMPLETION)
    # Only the command that is asked for is imported; help needs all.
    names = [name for name in (*COMMANDS, *ALIASES) if argv and name.split()[0] == argv[0]]
    command = typer.main.get_command(application(names, completion=False) if names else application())
    with command.make_context(NAME, argv) as context:
        command.invoke(context)


def _terminated(*_: Any) -> None:
    raise SystemExit(TERMINATED_EXIT)


def _unread() -> int:
    """Whoever read our output went away: that is their right, and no reason for a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD_EXIT


def _misused(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    _say(error.format_message())
    if context is not None:
        print(f"{context.get_usage()}\nHelp, with an example: {context.command_path} --help", file=sys.stderr)
    return CODES[Code.USAGE].exit


def _failed(error: Exception) -> int:
    if os.environ.get("UDFSTORE_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, OSError):
        error = _told(error)
    if not isinstance(error, UdfstoreError):
        kind = type(error).__name__
        error = InternalError(
            f"this should not have happened: {kind}: {error}; with UDFSTORE_TRACEBACK=1 it is shown in full"
        )
    _say(str(error))
    return CODES[error.code].exit


def _told(error: OSError) -> UdfstoreError:
    """What the system refused about a user's own file, in the words of the one table."""
    what = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
    match error.errno:
        case errno.ENOENT | errno.EISDIR | errno.ENOTDIR | errno.ENAMETOOLONG | errno.ELOOP:
            return UsageError(what)
        case errno.EACCES | errno.EPERM:
            return Denied(what)
        case errno.ENOSPC | errno.EDQUOT:
            return NoSpace(what)
        case errno.EROFS:
            return ReadOnly(what)
    return InternalError(what)


def _say(message: str) -> None:
    print(f"udfstore: {message}", file=sys.stderr)
