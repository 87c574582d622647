"""A Kapacitor UDF that scores water-flow readings with whatever model a tag names, and swaps when the tag moves.

    udfstore run --task water --node score -- python udf.py < readings.lp

Each point comes back with `score` and `flag` of the model, `usual` of what the UDF has learned of the stream itself,
and the version that scored it: as the tag `model`, its ID as the field `id`. What is learned is the state of the UDF:
it comes back after a crash. The same file is a UDF of Kapacitor, without a change.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime

from model import Model, Reading, load
from usual import Usual

import udfstore
from udfstore.agent import Agent, Handler, udf_pb2

TAG = "models/water-flow"


class WaterFlow(Handler):
    """One node: options `tag` (the model to follow) and `field` (where a point has its flow)."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._usual = Usual()
        self._field = "flow"
        self._follower: udfstore.Follower[Model] | None = None
        self._used: udfstore.Entry | None = None

    def info(self) -> udf_pb2.Response:
        """A stream in, a stream out, two options."""
        info = udf_pb2.InfoResponse(wants=udf_pb2.STREAM, provides=udf_pb2.STREAM)
        for option in ("tag", "field"):
            info.options[option].valueTypes.append(udf_pb2.STRING)
        return udf_pb2.Response(info=info)

    def init(self, init_req: udf_pb2.InitRequest) -> udf_pb2.Response:
        """Read the options, and begin to follow the model. Without a model there is no start."""
        given = {option.name: option.values[0].stringValue for option in init_req.options}
        self._field = given.get("field", self._field)
        try:
            self._follower = self._agent.follow(given.get("tag", TAG), load_and_say)
        except (udfstore.UdfstoreError, ValueError) as error:
            return udf_pb2.Response(init=udf_pb2.InitResponse(error=str(error)))
        return udf_pb2.Response(init=udf_pb2.InitResponse(success=True))

    def snapshot(self) -> udf_pb2.Response:
        """What was learned so far."""
        return udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse(snapshot=self._usual.dump()))

    def restore(self, restore_req: udf_pb2.RestoreRequest) -> udf_pb2.Response:
        """Go on from what was learned before."""
        try:
            self._usual = Usual.load(restore_req.snapshot)
        except ValueError as error:
            return udf_pb2.Response(restore=udf_pb2.RestoreResponse(error=str(error)))
        return udf_pb2.Response(restore=udf_pb2.RestoreResponse(success=True))

    def point(self, point: udf_pb2.Point) -> None:
        """Score a reading, then learn from it. A point without a flow is told and passed over."""
        if self._field not in point.fieldsDouble:
            say(f"a point without a number {self._field!r}: {point.name} at {point.time}")
            return
        assert self._follower is not None, "a point before init"
        model, entry = self._follower.current  # of one and the same version; swaps come between two points
        assert entry is not None, "a follower without a fallback has an entry"
        if entry != self._used:
            say(swap("in use", entry))
            self._used = entry
        reading = Reading(datetime.fromtimestamp(point.time / 1e9, UTC), point.fieldsDouble[self._field])
        score = model.score(reading, self._usual.before)
        scored = udf_pb2.Response(point=point)
        scored.point.fieldsDouble["score"] = round(score, 2)
        scored.point.fieldsDouble["usual"] = round(self._usual.score(reading), 2)
        scored.point.fieldsBool["flag"] = model.flags(score)
        scored.point.fieldsString["id"] = str(entry.id)
        scored.point.tags["model"] = entry.ref
        self._usual.learn(reading)
        self._agent.write_response(scored)


def load_and_say(blob: udfstore.OpenBlob) -> Model:
    """The loader, which tells when it has loaded."""
    model = load(blob)
    if blob.entry is not None:
        say(swap("loaded", blob.entry))
    return model


def swap(what: str, entry: udfstore.Entry) -> str:
    """A step of a swap as a line of JSON, with the time since the tag moved (right where both clocks are one)."""
    return json.dumps({"swap": what, "model": entry.ref, "ms_after_tag": (time.time_ns() - entry.time_ns) / 1e6})


def say(text: str) -> None:
    """A line for the log of whoever hosts this UDF."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Serve the host on standard input and output until it closes them."""
    say(json.dumps({"pid": os.getpid()}))
    agent = Agent()
    agent.handler = WaterFlow(agent)
    agent.start()
    agent.wait()


if __name__ == "__main__":
    main()
