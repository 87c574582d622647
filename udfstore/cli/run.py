"""The command that drives one UDF by itself."""

from __future__ import annotations

import os
import signal
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import trio
import typer

from udfstore.bridge import known
from udfstore.bridge.host import HostSettings, Shelter
from udfstore.bridge.options import duration_ns
from udfstore.bridge.points import PRECISIONS, Reading
from udfstore.bridge.run import Counts, RunSettings
from udfstore.bridge.run import run as drive
from udfstore.bridge.settings import ModelFile, OnMove, WithoutStore
from udfstore.cli.files import read_dag
from udfstore.cli.words import LogFormat, LogLevel, Socket, check_log
from udfstore.client import where
from udfstore.errors import UsageError
from udfstore.server import logging
from udfstore.snapshots import check_name, unescape
from udfstore.snapshots.rounds import LEAST_INTERVAL_S
from udfstore.tasks import FRESH, HostKind, Node, Policy

_Choice = TypeVar("_Choice", bound=Enum)

STATE = "State"
POINTS = "Points"
MODELS = "Models"


def run(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND…", help="The UDF and its arguments.", show_default=False)
    ],
    task: Annotated[str, typer.Option("--task", metavar="T", help="The task that the UDF is part of.")],
    node: Annotated[str, typer.Option("--node", metavar="N", help="Which of its nodes the UDF is.")],
    opt: Annotated[
        list[str] | None,
        typer.Option("--opt", metavar="NAME=VALUE", help="An option of the UDF; may be repeated. V1,V2 for several."),
    ] = None,
    points: Annotated[
        str, typer.Option("--points", metavar="FILE|-", help="Line protocol; - is stdin.", rich_help_panel=POINTS)
    ] = "-",
    group_by: Annotated[
        list[str] | None,
        typer.Option("--group-by", metavar="TAG|*", help="Group by a tag; may be repeated.", rich_help_panel=POINTS),
    ] = None,
    group_by_name: Annotated[
        bool, typer.Option("--group-by-name", help="Group by measurement, too.", rich_help_panel=POINTS)
    ] = False,
    database: Annotated[
        str, typer.Option("--database", metavar="NAME", help="Of the points.", rich_help_panel=POINTS)
    ] = "",
    retention_policy: Annotated[
        str, typer.Option("--retention-policy", metavar="NAME", help="Of the points.", rich_help_panel=POINTS)
    ] = "",
    precision: Annotated[
        str, typer.Option("--precision", metavar="ns|us|ms|s", help="Of their times.", rich_help_panel=POINTS)
    ] = "ns",
    snapshot_interval: Annotated[
        str, typer.Option("--snapshot-interval", metavar="DURATION", help="From 1s.", rich_help_panel=STATE)
    ] = "60s",
    restore: Annotated[
        str,
        typer.Option(
            "--restore",
            metavar="latest|none|SNAPSHOT",
            help="What the UDF is given: the newest state, none, or that of a snapshot (number, name or ID).",
            rich_help_panel=STATE,
        ),
    ] = "latest",
    policy: Annotated[
        str,
        typer.Option(
            "--policy", metavar="strict|upstream|key", help="What a change of the DAG leaves.", rich_help_panel=STATE
        ),
    ] = "strict",
    dag: Annotated[
        Path | None,
        typer.Option("--dag", metavar="FILE", help="The task's DAG, JSON or Kapacitor's dot.", rich_help_panel=STATE),
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="TEXT", help="The stable key of the node's state.", rich_help_panel=STATE)
    ] = "",
    no_save: Annotated[bool, typer.Option("--no-save", help="Store no state.", rich_help_panel=STATE)] = False,
    fork: Annotated[
        str,
        typer.Option(
            "--fork",
            metavar="TASK[/SNAPSHOT]",
            help="Begin with the state of another task; a / in its name is written ~2f.",
            rich_help_panel=STATE,
        ),
    ] = "",
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Take the task over from Kapacitor or from a UDF of its own.", rich_help_panel=STATE
        ),
    ] = False,
    without_store: Annotated[
        str,
        typer.Option(
            "--without-store",
            metavar="fresh|fail|wait=SECONDS",
            help="When a state is needed and the server is away.",
            rich_help_panel=STATE,
        ),
    ] = "wait=60",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="TAG=PATH", help="Keep TAG's content at PATH; may be repeated.", rich_help_panel=MODELS
        ),
    ] = None,
    on_move: Annotated[
        str,
        typer.Option(
            "--on-move", metavar="restart|write|ignore", help="When such a TAG moves.", rich_help_panel=MODELS
        ),
    ] = "restart",
    pin: Annotated[
        list[str] | None,
        typer.Option(
            "--pin",
            metavar="TAG@VERSION",
            help="Whoever follows TAG, here, gets that version; may be repeated.",
            rich_help_panel=MODELS,
        ),
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Of a UDF that says nothing.")] = "10s",
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
    socket: Socket = None,
) -> None:
    """Drive one UDF with line protocol, and print what comes back as line protocol.

    A bench for UDF authors, and a way to run a UDF with no Kapacitor: its state is stored in rounds and comes back.
    Ctrl-C and the end of the input take a last snapshot. For a batch UDF, a blank line ends a batch.
    """
    check_log(log_format, log_level)
    pins = where.pins(" ".join(pin or ()))
    source, _, forked = fork.partition("/")
    if forked and restore != "latest":
        raise UsageError("a snapshot is named twice", expected="--fork TASK/SNAPSHOT or --restore", got=restore)
    settings = RunSettings(
        host=HostSettings(
            command=tuple(command),
            environment=os.environ | where.environment_of(pins),
            models=tuple(_pinned(ModelFile.parse(text), pins) for text in model or ()),
            on_move=_one_of(OnMove, on_move, "--on-move"),
            without_store=WithoutStore.parse(without_store),
        ),
        node=Node(
            task=check_name(task, "the name of the task"),
            name=check_name(node, "the name of the node"),
            dag=b"" if dag is None else read_dag(dag),
            key=key,
            interval=_seconds(snapshot_interval, LEAST_INTERVAL_S, "--snapshot-interval"),
            policy=_one_of(Policy, policy, "--policy"),
            host=HostKind.RUN,
            take_over=take_over,
            no_save=no_save,
            snapshot=forked or {"latest": "", "none": FRESH}.get(restore, restore),
            source=unescape(source) if source else "",
        ),
        options=opt or (),
        reading=_reading(group_by, group_by_name, database, retention_policy, precision),
        timeout=_seconds(timeout, 0.1, "--timeout"),
    )
    logging.configure(log_format, log_level)
    with open(0 if points == "-" else points, "rb", buffering=0, closefd=points != "-") as file:
        sockets = where.sockets() if socket is None else [socket]
        counts = trio.run(_run, settings, sockets, file.fileno())
    print(_summary(counts), file=sys.stderr)
    if counts.unread:
        raise BrokenPipeError


async def _run(settings: RunSettings, sockets: list[Path], points: int) -> Counts:
    stop = trio.Event()
    async with trio.open_nursery() as nursery, Shelter(sockets, notes=known.folder()) as shelter:
        nursery.start_soon(_stop_on_signal, stop)
        counts = await drive(settings, shelter, points, sys.stdout.fileno(), stop)
        nursery.cancel_scope.cancel()
    return counts


async def _stop_on_signal(stop: trio.Event) -> None:
    """The first signal ends the run well, a second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.is_set():
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            stop.set()


def _pinned(model: ModelFile, pins: dict[str, int]) -> ModelFile:
    return ModelFile(model.tag, model.path, model.version or pins.get(model.tag.name))


def _reading(
    group_by: list[str] | None, by_name: bool, database: str, retention_policy: str, precision: str
) -> Reading:
    if precision not in PRECISIONS:
        raise UsageError("not a precision", expected=", ".join(PRECISIONS), got=precision)
    return Reading(tuple(group_by or ()), by_name, database, retention_policy, precision)


def _one_of(kind: type[_Choice], word: str, option: str) -> _Choice:
    try:
        return kind(word)
    except ValueError:
        choices = ", ".join(member.value for member in kind)
        raise UsageError(f"not a value of {option}", expected=choices, got=repr(word)) from None


def _seconds(text: str, least: float, option: str) -> float:
    seconds = duration_ns(text) / 1e9
    if seconds < least:
        raise UsageError(f"{option} is too short", expected=f"{least:g} s or more", got=text)
    return seconds


def _summary(counts: Counts) -> str:
    bad = f", {counts.bad_lines} lines passed over" if counts.bad_lines else ""
    return f"{counts.points_in} points in, {counts.points_out} out{bad}"
