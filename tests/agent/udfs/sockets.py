"""A socket UDF: the obliging one, for each connection."""

from __future__ import annotations

import sys

from obliging import Obliging

from udfstore.agent import Agent, Server


class Accepter:
    def accept(self, conn, addr):
        agent = Agent(conn, conn)
        agent.handler = Obliging(agent)
        agent.start()
        agent.wait()
        print("one ended")


if __name__ == "__main__":
    server = Server(sys.argv[1], Accepter())
    print("listening", flush=True)
    server.serve()
