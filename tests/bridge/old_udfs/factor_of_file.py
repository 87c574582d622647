"""A stream UDF that reads its model, a number, from a file in its constructor, and knows nothing of snapshots."""

from __future__ import annotations

import sys
from pathlib import Path

from by_hand import POINT, Udf, entries, entry


class FactorOfFile(Udf):
    def __init__(self, path):
        super().__init__()
        self.factor = float(Path(path).read_text())

    def point(self, point):
        value = entries(point.get(8, []))["value"]
        if self.factor == 13.0:
            raise ValueError("this model does not work")
        self.say(POINT, {**point, 8: [entry("value", value * self.factor)]})


if __name__ == "__main__":
    FactorOfFile(sys.argv[1]).serve()
