"""What is fuzzed: functions of any bytes that raise only when something is wrong, and the bytes to begin with.

Each takes its circumstances from the first byte of its input, and what follows as what a peer sends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from udfstore import calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import NotFound, ProtocolError, UdfstoreError
from udfstore.model import BlobInfo
from udfstore.refs import Prefix, Ref
from udfstore.session import events
from udfstore.session.host import HostSession
from udfstore.session.nodes import node_to_pb
from udfstore.session.outbox import Outbox
from udfstore.session.udf import UdfSession
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader
from udfstore.wire.transcript import Side, parse

HERE = Path(__file__).parent
TRANSCRIPTS = HERE.parent / "transcripts"

ID = BlobId.of(b"content")
WELCOME = events.Welcome("fuzz", bytes(16), epoch=1, revision=7, chunk_bytes=1000, calls=8, session=3, save_credit=5)
NODES = (None, tasks.Node("t", "n"), tasks.Node("t", "n", plain=True), tasks.Node("t", "n", resumed=3))
LINKS = (
    limits.of_strangers(),
    limits.of_clients(),
    limits.of_nodes(1000, 1000),
    limits.of_hosts(1000),
    limits.of_hosts_of_nodes(),
    limits.of_kapacitor(),
    limits.of_kapacitor_udfs(),
)


def frames(data: bytes) -> None:
    """However a stream is cut, it gives the same frames and ends in the same way."""
    if not data:
        return
    of, step, stream = LINKS[data[0] % len(LINKS)], data[0] // len(LINKS) + 1, data[1:]

    def cut(step: int) -> tuple[list[tuple[int, bytes]], str]:
        reader, found = FrameReader(of), list[tuple[int, bytes]]()
        try:
            for start in range(0, len(stream), step):
                for frame in reader.receive(stream[start : start + step]):
                    assert len(frame.envelope) <= of[frame.kind]
                    found.append((frame.kind, bytes(frame.envelope)))
            reader.end()
        except ProtocolError as error:
            return found, str(error)
        return found, ""

    assert cut(step) == cut(len(stream) or 1)


def host(data: bytes) -> None:
    """A host hears anything, gives each call one result at most, and says only what a UDF may hear."""
    if not data:
        return
    node, step = NODES[data[0] % len(NODES)], data[0] // len(NODES) + 1
    session = HostSession(WELCOME, plain_bytes=1000)
    if data[0] & 128:
        hello = pb.Hello(protocol=1, credit=True, node=node and node_to_pb(node))
        list(session.receive(codec.encode(pb.Response(hello=hello))))
    try:
        for start in range(1, len(data), step):
            for event in session.receive(data[start : start + step]):
                _answer(session, event)
            assert session.open_calls <= WELCOME.calls
        session.end()
    except ProtocolError:
        pass
    ended = Counter[int]()
    for message in said(session.outbox, pb.Request, limits.of_hosts_of_nodes()):
        if isinstance(message, pb.Result):
            ended[message.call] += 1
    assert not ended or max(ended.values()) == 1


def _answer(session: HostSession, event: events.HostEvent) -> None:
    match event:
        case events.Hello(node=tasks.Node()):
            session.restore(tasks.Restore(ID, 1, 3))
            session.ask(1)
        case tasks.Restored():
            session.joined(tasks.Joined(True))
        case events.Opened(call, calls.Save()):
            session.grant(call, 100)
        case events.Opened(call, calls.Load()):
            session.head(call, calls.Loading(BlobInfo(ID, 7), 0, 7))
            if session.credit(call) is None or (session.credit(call) or 0) >= 7:
                session.chunk(call, b"content")
                session.result(call, calls.Loaded(7))
        case events.Opened(call, calls.ListTags() | calls.Watch()):
            pass  # stays open
        case events.Opened(call) | events.Withdrawn(call):
            session.fault(call, NotFound("there is none"))
        case events.Committed(call, commit):
            session.result(call, calls.Saved(ID, commit.size, False))


def udf(data: bytes) -> None:
    """A UDF hears anything, hands on what belongs to calls that it has open, and says only what a host may hear."""
    if not data:
        return
    node, step = NODES[data[0] % len(NODES)], data[0] // len(NODES) + 1
    session = UdfSession(node=node, host_known=True, plain_bytes=1000)
    for _ in session.receive(codec.encode(pb.Request(welcome=pb.Welcome(protocol=1, chunk_bytes=1000, calls=8)))):
        pass
    asked = calls.Save(), calls.Load(Ref.of(ID)), calls.ListTags(Prefix.parse("")), calls.Status()
    opened = {session.open(call, 100) for call in asked}
    try:
        for start in range(1, len(data), step):
            for event in session.receive(data[start : start + step]):
                if isinstance(event, events.Found | events.Content | events.Paged | events.Answered | events.Failed):
                    assert event.call in opened
                elif isinstance(event, tasks.Restore):
                    session.restored(tasks.Restored())
                elif isinstance(event, tasks.Asked):
                    session.answer(tasks.Answer(event.round))
        session.end()
    except ProtocolError:
        pass
    except UdfstoreError:
        assert b"\xb2\x02" in data or b"\x82\x02" in data, "only a fault of the conversation or a welcome may say so"
    said(session.outbox, pb.Response, limits.of_nodes(plain_bytes=1000))


def said(outbox: Outbox, envelope: type[pb.Request] | type[pb.Response], of: object) -> list[object]:
    """The messages that wait, each of which must be one that the peer takes."""
    taken = bytearray()

    def send(buffers: list[memoryview], token: object) -> int:
        for buffer in buffers:
            taken.extend(buffer)
        return sum(map(len, buffers))

    outbox.flush(send)
    reader = FrameReader(of)  # type: ignore[arg-type]
    found = [codec.decode(envelope, frame) for frame in reader.receive(bytes(taken))]
    reader.end()
    return found


TARGETS: dict[str, Callable[[bytes], None]] = {"frames": frames, "host": host, "udf": udf}


def seeds(target: str) -> Iterator[bytes]:
    """What each side says in the recorded conversations, in several circumstances."""
    sides = {"frames": [*Side], "host": [Side.UDF], "udf": [Side.HOST]}[target]
    for path in sorted(TRANSCRIPTS.glob("*.transcript")):
        for steps in parse(path.read_text()).conversations:
            for side in sides:
                stream = b"".join(step.data for step in steps if step.side is side)
                yield from (bytes([first]) + stream for first in (0, 1, 125, 254))


def corpus(target: str) -> list[Path]:
    """What fuzzing found to be worth keeping."""
    return sorted((HERE / "corpus" / target).iterdir())
