"""A UDF that does what the name of a point says, with what its tag `with` says."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from udfstore.agent import Agent, Handler, udf_pb2
from udfstore.errors import UdfstoreError


class Obliging(Handler):
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._state = b""
        self._size = 0
        print("made")

    def info(self):
        response = udf_pb2.Response()
        response.info.wants = udf_pb2.STREAM
        response.info.provides = udf_pb2.STREAM
        response.info.options["field"].valueTypes.append(udf_pb2.STRING)
        return response

    def init(self, init_req):
        options = {option.name: option.values[0].stringValue for option in init_req.options}
        if "text" in options:
            return "yes"
        if "nothing" in options:
            return None
        response = udf_pb2.Response()
        response.init.success = "no" not in options
        response.init.error = options.get("no", "")
        return response

    def snapshot(self):
        if self._state == b"text":
            return self._state.decode()
        if self._state == b"raise":
            raise RuntimeError("no state today")
        if self._state == b"empty response":
            return udf_pb2.Response()
        response = udf_pb2.Response()
        response.snapshot.snapshot = self._state * self._size if self._size else self._state
        return response

    def restore(self, restore_req):
        response = udf_pb2.Response()
        if restore_req.snapshot == b"bad":
            response.restore.error = "that is bad"
            return response
        self._state = restore_req.snapshot
        response.restore.success = True
        return response

    def begin_batch(self, begin_req):
        response = udf_pb2.Response()
        response.begin.CopyFrom(begin_req)
        self._agent.write_response(response)

    def end_batch(self, end_req):
        response = udf_pb2.Response()
        response.end.CopyFrom(end_req)
        self._agent.write_response(response)

    def point(self, point):
        response = udf_pb2.Response()
        response.point.CopyFrom(point)
        getattr(self, f"do_{point.name}", self.do_mirror)(point.tags["with"], response)
        self._agent.write_response(response)

    def do_mirror(self, _with, _response):
        pass

    def do_print(self, text, _response):
        print(text)

    def do_wait(self, path, response):
        """Until somebody writes to a named pipe."""
        response.point.tags["heard"] = Path(path).read_text()

    def do_raise(self, text, _response):
        raise RuntimeError(text)

    def do_state(self, text, _response):
        state, _, size = text.partition("*")
        self._state, self._size = state.encode(), int(size or 0)

    def do_tell_state(self, _with, response):
        response.point.fieldsString["sha256"] = hashlib.sha256(self._state).hexdigest()

    def do_load(self, ref, response):
        content = self._agent.store.load(ref)
        response.point.fieldsInt["size"] = len(content)

    def do_save(self, text, response):
        response.point.tags["saved"] = str(self._agent.store.save(text.encode(), tag="agent/saved").id)

    def do_store(self, _with, response):
        try:
            response.point.tags["server"] = self._agent.store.status().version
        except UdfstoreError as error:
            response.point.tags["error"] = f"{type(error).__name__}: {error}"

    def do_follow(self, tag, _response):
        self._model = self._agent.follow(tag, lambda blob: blob.read().decode())

    def do_replace(self, tag, _response):
        self._model = self._agent.follow(tag, lambda blob: blob.read().decode(), fallback="nothing", swap="replace")

    def do_follow_beside(self, tag, response):
        self._model = self._agent.follow(tag, load_beside, process=True)
        value = self._model.value
        response.point.tags["text"] = value["text"]
        response.point.fieldsBool["beside"] = value["pid"] != os.getpid()
        response.point.fieldsBool["numbers"] = bool(value["numbers"].flags.writeable and value["numbers"][-1] == 1.0)

    def do_beside(self, _with, response):
        response.point.tags["text"] = self._model.value["text"]
        response.point.tags["error"] = repr(self._model.error)

    def do_child(self, text, _response):
        """A child process that writes to its standard output, and reads its input to the end."""
        subprocess.run(["sh", "-c", f"cat; echo {text}"], check=True)

    def do_fork(self, _with, response):
        """What a forked child gets of the store."""
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                self._agent.store.status()
            except UdfstoreError as error:
                os.write(writing, str(error).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as told:
            response.point.tags["error"] = told.read()

    def do_model(self, path, response):
        """The model, before and after somebody wrote to a named pipe."""
        before = self._model.value
        if path:
            Path(path).read_text()
        response.point.tags["before"] = before
        response.point.tags["after"] = self._model.value
        response.point.fieldsInt["version"] = self._model.version or 0


def load_beside(blob):
    text = blob.read().decode()
    if text == "raise":
        raise ValueError("not a model")
    if text == "exit":
        os._exit(3)
    import numpy

    return {"pid": os.getpid(), "text": text, "numbers": numpy.ones(1_000_000)}


if __name__ == "__main__":
    print("before")
    agent = Agent()
    agent.handler = Obliging(agent)
    agent.start()
    agent.wait()
    print("ended", file=sys.stderr)
