"""The whole story in half a minute: train, promote, score, crash, promote again, roll back, and ask what happened.

    python demo.py

Starts a server and a UDF of its own, shows every command that it runs with its output, and ends with a table that can
be checked. All it makes lies in one folder of the checkout, which it removes again, whatever happens.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from types import FrameType
from typing import Any

from data import anomalous, line, readings
from model import Reading
from stage import CHECKOUT, Child, DemoError, Feed, environment, output, run, show, workplace
from train import CANDIDATE, TESTED_FROM
from udf import TAG

from udfstore.bridge.points import Reading as Lines

PACE = 100
"""Readings per second: six weeks of hours in ten seconds, slow enough to see a swap between two of them."""

UDF = ["python", "examples/water_flow/udf.py"]
RUN = ["udfstore", "run", "--task", "water", "--node", "score"]


@dataclass(frozen=True, slots=True)
class Scored:
    """A point that came back: when, by which version, how far from normal, how far from usual, and whether flagged."""

    time: int
    model: str
    score: float
    usual: float
    flag: bool


def say(text: str) -> None:
    """A step of the story."""
    print(f"\n== {text}", flush=True)


def told(run: Child, key: str) -> list[dict[str, Any]]:
    """What the UDF wrote to its stderr as JSON with that key; `run` logs each line of it."""
    logged = [json.loads(text) for _, text in run.err if text.startswith("{")]
    lines = [entry["line"] for entry in logged if entry["event"] == "udf" and entry["line"].startswith("{")]
    return [said for said in map(json.loads, lines) if key in said]


def swaps(run: Child, step: str) -> dict[str, float]:
    """The versions that the UDF brought to that step of a swap, each with the milliseconds since the tag's move."""
    return {said["model"]: said["ms_after_tag"] for said in told(run, "swap") if said["swap"] == step}


def scored(text: str) -> Scored:
    """A line that came back."""
    point = Lines().point(text, time.time_ns)
    assert point is not None
    numbers = point.fieldsDouble
    return Scored(point.time, point.tags["model"], numbers["score"], numbers["usual"], point.fieldsBool["flag"])


def story(stack: ExitStack, folder: str, series: list[Reading]) -> tuple[Child, Feed]:
    """Everything up to the last reading. Gives the run and the feed, both at their end."""
    ada, grace = environment(folder, "Ada"), environment(folder, "Grace")
    train = "examples/water_flow/train.py"

    say("a store, empty")
    server = Child(["udfstore", "serve", "--root", f"{folder}/store", "--socket", f"{folder}/udfstore.sock"], ada)
    stack.callback(server.stop)
    server.wait_for(lambda: any(re.search(r"\bready\b", line) for _, line in server.err), "line that says ready")

    say("Ada trains version 1 and promotes it")
    run(["python", train, "--version", "1"], ada)
    run(["udfstore", "tag", TAG, CANDIDATE, "--note", "first model, to see how it does"], ada)

    say("a UDF follows the tag, and learns of the stream what is usual: its state is stored every second")
    udf = Child([*RUN, "--snapshot-interval", "1s", "--", *UDF], environment(folder, "pump-7"))
    stack.callback(udf.stop)

    say("Ada trains version 2; a candidate disturbs nobody")
    run(["python", train, "--version", "2"], ada)

    say(f"readings flow, {PACE} a second, through all that follows")
    feed = Feed(udf, series, PACE)
    stack.callback(feed.stop)
    feed.start()
    after_training = sum(reading.time < TESTED_FROM for reading in series)
    udf.wait_for(lambda: len(udf.out) > after_training, f"result number {after_training}")
    early = Counter(scored(text).flag for _, text in udf.out)
    print(f"  the UDF has scored {early.total()} readings with {TAG}@1 and flagged {early[True]} of them")

    say("the UDF is killed, in mid-stream")
    crash(udf)

    say("Ada promotes version 2 while they flow, and waits until every follower has it")
    note = "two weeks of data; 2 false alarms where v1 had 65"
    run(["udfstore", "tag", TAG, CANDIDATE, "--note", note, "--wait", "20"], ada)
    udf.wait_for(lambda: f"{TAG}@2" in swaps(udf, "in use"), "swap to version 2")

    say("a month later, at night, Grace is on call and rolls back first, to ask later")
    low_flow_over = sum(reading.time < series[-1].time for reading in series if reading.time.month < 5)
    udf.wait_for(lambda: len(udf.out) > low_flow_over, f"result number {low_flow_over}")
    run(["udfstore", "rollback", TAG, "--note", "pump alarm at night, v2 suspected"], grace)
    udf.wait_for(lambda: f"{TAG}@3" in swaps(udf, "in use"), "swap to version 3")

    feed.finish()
    udf.finish()
    look_back(udf, ada)
    compare(udf, folder, series, ada)

    say("the server stops when asked to")
    show(["kill", "-TERM", str(server.process.pid)])
    server.process.terminate()
    server.finish()
    for _, text in server.err[-1:]:
        print(f"  {text}")
    return udf, feed


def crash(udf: Child) -> None:
    """Kill the UDF, not the `run` that hosts it, and wait for the one that takes its place."""
    victim = told(udf, "pid")[-1]["pid"]
    show(["kill", "-9", str(victim)])
    before = len(udf.out)
    os.kill(victim, signal.SIGKILL)
    udf.wait_for(lambda: told(udf, "pid")[-1]["pid"] != victim, "new UDF")
    udf.wait_for(lambda: len(udf.out) > before + PACE, "reading scored after the crash")
    print(f"  a new one, process {told(udf, 'pid')[-1]['pid']}, has its state and goes on; the sensor noticed nothing")


def compare(udf: Child, folder: str, series: list[Reading], env: dict[str, str]) -> None:
    """Score the same readings again, undisturbed, once under each version. `DemoError` where a score differs."""
    points = f"{folder}/readings.lp"
    (CHECKOUT / points).write_text("".join(f"{line(reading)}\n" for reading in series))
    live = [scored(text) for _, text in udf.out]
    say("was it all the same? the same readings under each version, with nothing killed, promoted or stored")
    for version in (1, 2):
        pinned = ["--pin", f"{TAG}@{version}", "--restore", "none", "--no-save", "--points", points]
        again = [scored(text) for text in output([*RUN, *pinned, "--", *UDF], env)]
        # Version 3 is version 1 again.
        pairs = [(a, b) for a, b in zip(live, again, strict=True) if (a.model == f"{TAG}@2") is (version == 2)]
        other = [a for a, b in pairs if (a.time, a.score, a.usual, a.flag) != (b.time, b.score, b.usual, b.flag)]
        if other:
            raise DemoError(f"{len(other)} of {len(pairs)} scores differ, the first at {other[0]}")
        print(f"  {len(pairs)} readings of the stream were scored by that model; all scores are equal")


def look_back(udf: Child, env: dict[str, str]) -> None:
    """From one flagged reading to the model that flagged it, and who put it there and why; and the state of the UDF."""
    flagged = [text for _, text in udf.out if scored(text).flag]
    text = next((text for text in flagged if scored(text).model == f"{TAG}@2"), flagged[-1])
    say("in the morning: which model raised that alarm, who promoted it, and why?")
    print(f"  {text}")
    run(["udfstore", "stat", scored(text).model], env)
    say("what happened to the tag, and which states are kept?")
    run(["udfstore", "log", TAG], env)
    run(["udfstore", "snapshot", "ls", "water"], env)


def closing(udf: Child, feed: Feed, series: list[Reading]) -> None:
    """The table. `DemoError` when a reading was lost, came twice, or came out of order."""
    results = [scored(text) for _, text in udf.out]
    if [result.time for result in results] != [time_ns(reading) for reading in series]:
        raise DemoError(f"{len(series)} readings went in, {len(results)} came out, and not the same in the same order")
    waits = [(came - sent) * 1000 for (came, _), sent in zip(udf.out, feed.sent, strict=True)]
    truth = {time_ns(reading): anomalous(reading) for reading in series}

    say("to check")
    row("readings in", len(series))
    row("readings out, each once and in order", len(results))
    for version in dict.fromkeys(result.model for result in results):
        of_it = [result for result in results if result.model == version]
        right = sum(result.flag and truth[result.time] for result in of_it)
        wrong = sum(result.flag and not truth[result.time] for result in of_it)
        row(f"  scored by {version}", len(of_it), f"{right} anomalies flagged, {wrong} false alarms")
    row("UDFs killed, and scores that differ from a run without", f"{len(told(udf, 'pid')) - 1}, 0")
    loaded, in_use = swaps(udf, "loaded"), swaps(udf, "in use")
    for version in (f"{TAG}@2", f"{TAG}@3"):
        row(f"from the tag's move to {version} in the UDF", f"{loaded[version]:.1f} ms")
        row("  and to the first reading scored by it", f"{in_use[version]:.1f} ms")
    row("a reading waited for its result: median", f"{median(waits):.1f} ms")
    row("a reading waited for its result: longest, crash and swaps included", f"{max(waits):.1f} ms")


def time_ns(reading: Reading) -> int:
    """Its time as points have it."""
    return int(reading.time.timestamp()) * 1_000_000_000


def row(what: str, value: object, more: str = "") -> None:
    """A line of the table."""
    print(f"  {what:<66}{value!s:>10}  {more}".rstrip())


def terminated(_number: int, _frame: FrameType | None) -> None:
    """Leave by the same way as on Ctrl-C, so that nothing stays behind."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; 0 when every promise held, 1 with the reason otherwise, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, terminated)
    begun = time.monotonic()
    try:
        series = readings()
        with workplace() as folder, ExitStack() as stack:
            udf, feed = story(stack, folder, series)
            closing(udf, feed, series)
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; nothing is left running", file=sys.stderr)
        return 130
    row("all of it", f"{time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
