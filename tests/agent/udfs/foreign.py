"""A mirror that makes its responses from other generated classes than ours, as Kapacitor's own package has them."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from udfstore.agent import Agent, Handler, udf_pb2

file = descriptor_pb2.FileDescriptorProto()
udf_pb2.DESCRIPTOR.CopyToProto(file)
text = file.SerializeToString().replace(b".udfstore.v1.", b".another.pkg.")  # as long as the name that it replaces
file = descriptor_pb2.FileDescriptorProto.FromString(text)
file.name, file.package = "another.proto", "another.pkg"
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Response = message_factory.GetMessageClass(pool.FindMessageTypeByName("another.pkg.Response"))


class Foreign(Handler):
    def __init__(self, agent):
        self._agent = agent

    def info(self):
        response = Response()
        response.info.wants = udf_pb2.STREAM
        return response

    def init(self, init_req):
        response = Response()
        response.init.success = True
        return response

    def snapshot(self):
        response = Response()
        response.snapshot.snapshot = b"foreign"
        return response

    def point(self, point):
        response = Response()
        response.point.ParseFromString(point.SerializeToString())
        self._agent.write_response(response)


if __name__ == "__main__":
    agent = Agent()
    agent.handler = Foreign(agent)
    agent.start()
    agent.wait()
