"""A batch UDF: what lies outside of Tukey's fences."""

from __future__ import annotations

import statistics

from udfstore.agent import Agent, Handler, udf_pb2


class Tukey(Handler):
    def __init__(self, agent):
        self._agent = agent

    def info(self):
        response = udf_pb2.Response()
        response.info.wants = udf_pb2.BATCH
        response.info.provides = udf_pb2.BATCH
        response.info.options["field"].valueTypes.append(udf_pb2.STRING)
        response.info.options["scale"].valueTypes.append(udf_pb2.DOUBLE)
        return response

    def init(self, init_req):
        options = {option.name: option.values[0] for option in init_req.options}
        self._field, self._scale = options["field"].stringValue, options["scale"].doubleValue
        return super().init(init_req)

    def begin_batch(self, begin_req):
        self._begin, self._points = begin_req, []

    def point(self, point):
        self._points.append(point)

    def end_batch(self, end_req):
        low, _, high = statistics.quantiles((point.fieldsDouble[self._field] for point in self._points), n=4)
        reach = (high - low) * self._scale
        found = [p for p in self._points if not low - reach <= p.fieldsDouble[self._field] <= high + reach]
        self._begin.size = len(found)
        self._agent.write_response(udf_pb2.Response(begin=self._begin))
        for point in sorted(found, key=lambda point: point.fieldsDouble[self._field]):
            self._agent.write_response(udf_pb2.Response(point=point))
        self._agent.write_response(udf_pb2.Response(end=end_req))


if __name__ == "__main__":
    agent = Agent()
    agent.handler = Tukey(agent)
    agent.start()
    agent.wait()
