"""A UDF that scores water-flow readings with whatever model a tag names, and swaps when the tag moves.

    python udf.py < readings.csv

Each line of standard input is one reading, `TIME,FLOW`. Each line of standard output is one scored reading as JSON; it
says which version scored it. Everything else, bad lines and swaps among them, goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from model import Model, Reading, load

import udfstore

TAG = "models/water-flow"


def scored(
    lines: Iterable[str], follower: udfstore.Follower[Model], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """One result per reading, in order. A line that is no reading is told to `say` and passed over.

    What must be remembered from reading to reading is kept here and not in the model, so that a swap forgets nothing.
    """
    before: Reading | None = None
    used: udfstore.Entry | None = None
    for number, line in enumerate(lines, 1):
        try:
            reading = Reading.parse(line)
        except ValueError as error:
            say(f"line {number}: {error}")
            continue
        model, entry = follower.current  # once per reading: the two belong together, and the next look may differ
        assert entry is not None, "a follower without a fallback has an entry"
        if entry != used:
            say(swap("in use", entry))
            used = entry
        score = model.score(reading, before)
        before = reading
        yield {
            "time": reading.time.isoformat(),
            "flow": reading.flow,
            "score": round(score, 2),
            "flag": model.flags(score),
            "model": entry.ref,
            "id": str(entry.id),
        }


def swap(what: str, entry: udfstore.Entry) -> str:
    """A step of a swap as a line of JSON, with the time since the tag moved (right where both clocks are one)."""
    return json.dumps({"swap": what, "model": entry.ref, "ms_after_tag": (time.time_ns() - entry.time_ns) / 1e6})


def main() -> int:
    """Score standard input until it ends; exit status 1, and why, when there is no model to begin with."""
    parser = argparse.ArgumentParser(description="Score water-flow readings with the model that a tag names.")
    parser.add_argument("--tag", default=TAG, help="the tag to follow")
    parser.add_argument("--socket", help="the store's socket; without it where udfstore looks by itself")
    args = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def load_and_say(blob: udfstore.OpenBlob) -> Model:
        model = load(blob)
        if blob.entry is not None:
            say(swap("loaded", blob.entry))
        return model

    try:
        store = udfstore.connect(args.socket)
        follower = store.follow(args.tag, load_and_say)
    except (udfstore.UdfstoreError, ValueError) as error:
        say(f"udf: {error}")
        return 1
    with store:
        for result in scored(sys.stdin, follower, say):
            print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
