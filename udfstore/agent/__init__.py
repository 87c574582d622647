"""An agent for Kapacitor's UDFs, with udfstore at its side. In place of Kapacitor's two imports:

    from udfstore.agent import Agent, Handler, Server, udf_pb2

Needs nothing but protobuf. docs/udf-authors.md tells what it does beyond Kapacitor's own.
"""

from __future__ import annotations

from udfstore._pb import udfstore_pb2 as udf_pb2
from udfstore.agent.agent import Agent
from udfstore.agent.handler import Handler
from udfstore.agent.server import Server

__all__ = ["Agent", "Handler", "Server", "udf_pb2"]
