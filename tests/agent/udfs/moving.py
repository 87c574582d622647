"""A stream UDF with a state: the mean of the last values of each group."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict, deque

from udfstore.agent import Agent, Handler, udf_pb2


class Moving(Handler):
    def __init__(self, agent):
        self._agent = agent

    def info(self):
        response = udf_pb2.Response()
        response.info.wants = udf_pb2.STREAM
        response.info.provides = udf_pb2.STREAM
        for name, kind in (("field", udf_pb2.STRING), ("size", udf_pb2.INT), ("as", udf_pb2.STRING)):
            response.info.options[name].valueTypes.append(kind)
        return response

    def init(self, init_req):
        options = {option.name: option.values[0] for option in init_req.options}
        self._field, self._as = options["field"].stringValue, options["as"].stringValue
        self._windows = defaultdict(lambda: deque(maxlen=options["size"].intValue))
        return super().init(init_req)

    def snapshot(self):
        state = {group: {"window": list(window)} for group, window in self._windows.items()}
        response = udf_pb2.Response()
        response.snapshot.snapshot = json.dumps(state).encode()
        return response

    def restore(self, restore_req):
        for group, state in json.loads(restore_req.snapshot).items():
            self._windows[group].extend(state["window"])
        response = udf_pb2.Response()
        response.restore.success = True
        return response

    def point(self, point):
        window = self._windows[point.group]
        window.append(point.fieldsDouble[self._field])
        response = udf_pb2.Response()
        response.point.CopyFrom(point)
        for kind in ("fieldsInt", "fieldsString", "fieldsDouble"):
            response.point.ClearField(kind)
        response.point.fieldsDouble[self._as] = statistics.fmean(window)
        self._agent.write_response(response)


if __name__ == "__main__":
    agent = Agent()
    agent.handler = Moving(agent)
    agent.start()
    agent.wait()
