"""A stream UDF with a state: the mean of the last `size` values of each group, in the field `mean`."""

from __future__ import annotations

import json
import os
import sys

from by_hand import INT, POINT, STRING, Udf, entries, entry, options


class MovingAverage(Udf):
    options = (("field", STRING), ("size", INT))

    def __init__(self, *pipes):
        super().__init__(*pipes)
        self.windows = {}

    def init(self, request):
        given = options(request)
        self.field = given.get("field", b"").decode()
        self.size = given.get("size", 3)
        return (True, "") if self.field else (False, "must supply a field name")

    def snapshot(self):
        return json.dumps(self.windows, sort_keys=True).encode()

    def restore(self, state):
        self.windows = json.loads(state)
        return True, ""

    def point(self, point):
        value = entries(point.get(8, [])).get(self.field)
        if value is None:
            return
        group = point.get(5, [b""])[0].decode()
        window = self.windows.setdefault(group, [])
        window.append(value)
        del window[: -self.size]
        if value == -666.0:  # a point that no child survives
            sys.stderr.write("cannot go on\n")
            os._exit(3)
        self.say(POINT, {**point, 8: [entry("mean", sum(window) / len(window))]})


if __name__ == "__main__":
    MovingAverage().serve()
