"""A batch UDF with a state: passes each batch on with a running sum over all batches in the field `sum`."""

from __future__ import annotations

from by_hand import BATCH, BEGIN, END, POINT, Udf, entries, entry


class BatchSum(Udf):
    wants = provides = BATCH

    def __init__(self, *pipes):
        super().__init__(*pipes)
        self.sum = 0.0
        self.points = []

    def snapshot(self):
        return repr(self.sum).encode()

    def restore(self, state):
        self.sum = float(state)
        return True, ""

    def begin(self, begin):
        self.points = []
        self.head = begin

    def point(self, point):
        self.points.append(point)

    def end(self, end):
        self.say(BEGIN, {**self.head, 4: [len(self.points)]})
        for point in self.points:
            self.sum += sum(entries(point.get(8, [])).values())
            self.say(POINT, {**point, 8: [entry("sum", self.sum)]})
        self.say(END, end)


if __name__ == "__main__":
    BatchSum().serve()
