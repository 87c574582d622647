"""Whatever bytes come, nothing but a `ProtocolError` (or the host's own word) leaves a core."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from session_kit import CALLS, ID, RESULTS, WELCOME, RawHost, Talk

from udfstore import calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import ProtocolError, UdfstoreError
from udfstore.refs import Ref
from udfstore.session import answers, requests
from udfstore.session.nodes import node_to_pb
from udfstore.wire import codec, limits
from udfstore.wire.framing import frame

FAST = settings(
    derandomize=True,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
small = st.integers(0, 6)

responses = st.one_of(
    st.builds(lambda n, c: pb.Response(call=requests.call_to_pb(n, c)), small, st.one_of(*CALLS.values())),
    st.builds(lambda n, d: pb.Response(chunk=pb.Chunk(call=n, data=d)), small, st.binary(max_size=40)),
    st.builds(lambda n, s: pb.Response(commit=pb.Commit(call=n, size=s)), small, st.integers(0, 40)),
    st.builds(lambda n: pb.Response(cancel=pb.Cancel(call=n)), small),
    st.builds(lambda n, a: pb.Response(credit=pb.Credit(call=n, amount=a)), small, st.integers(0, 2**64 - 1)),
    st.just(pb.Response(goodbye=pb.Goodbye())),
    st.just(pb.Response(hello=pb.Hello(protocol=1))),
    st.builds(lambda n, b: pb.Response(snapshot=pb.SnapshotResponse(round=n, blob=b)), small, st.binary(max_size=40)),
    st.builds(lambda n, d: pb.Response(snapshot=pb.SnapshotResponse(round=n, snapshot=d)), small, st.binary()),
    st.builds(lambda ok: pb.Response(restore=pb.RestoreResponse(success=ok)), st.booleans()),
    st.just(pb.Response(keepalive=pb.KeepaliveResponse(time=1))),
)
results = st.one_of(*RESULTS.values())
hosts = st.one_of(
    st.builds(lambda n, r: pb.Request(result=answers.result_to_pb(n, r)), small, results),
    st.builds(lambda n, d: pb.Request(chunk=pb.Chunk(call=n, data=d)), small, st.binary(max_size=40)),
    st.builds(lambda n, c: pb.Request(fault=pb.Fault(call=n, code=c)), small, st.sampled_from(["usage", "gone", "?"])),
    st.builds(lambda n, a: pb.Request(credit=pb.Credit(call=n, amount=a)), small, st.integers(0, 2**64 - 1)),
    st.builds(lambda n: pb.Request(head=pb.Head(call=n, blob=pb.Blob(id=ID.raw))), small),
    st.builds(lambda n: pb.Request(page=pb.Page(call=n)), small),
    st.just(pb.Request(closing=pb.Closing(grace_ms=5))),
    st.builds(lambda b: pb.Request(restore=pb.RestoreRequest(blob=b, manifest=ID.raw)), st.binary(max_size=40)),
    st.builds(lambda b: pb.Request(restore=pb.RestoreRequest(snapshot=b, manifest=ID.raw)), st.binary(max_size=40)),
    st.builds(lambda b: pb.Request(joined=pb.Joined(owner=True, manifest=b)), st.sampled_from([b"", ID.raw, b"x"])),
    st.builds(lambda n: pb.Request(snapshot=pb.SnapshotRequest(round=n)), small),
    st.just(pb.Request(keepalive=pb.KeepaliveRequest(time=1))),
    st.just(pb.Request(restart=pb.Restart(why="why"))),
)
nodes = st.sampled_from([None, tasks.Node("t", "n"), tasks.Node("t", "n", plain=True), tasks.Node("t", "n", resumed=3)])


def mutated(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """Some bytes changed."""
    out = bytearray(data)
    for position, value in edits:
        if out:
            out[position % len(out)] = value
    return bytes(out)


edits = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4)


@FAST
@given(st.lists(responses, max_size=8), edits, st.integers(1, 50), nodes)
def test_a_host_hears_anything(
    envelopes: list[pb.Response], edits: list[tuple[int, int]], step: int, node: tasks.Node | None
) -> None:
    data = mutated(b"".join(map(codec.encode, envelopes)), edits)
    host = RawHost(node=None if node is None else node_to_pb(node))
    if node is not None and not node.resumed:
        host.session.restore(tasks.Restore(ID, 1, 3, None if node.plain else ID))
    with suppress(ProtocolError):
        for start in range(0, len(data), step):
            for event in host.session.receive(data[start : start + step]):
                assert event is not None
        host.session.end()
    assert len(host.answers()) <= len(data) + 1
    assert host.session.open_calls <= WELCOME.calls


@FAST
@given(st.binary(max_size=120), st.booleans())
def test_a_host_hears_noise(data: bytes, greeted: bool) -> None:
    host = RawHost(greet=greeted)
    with suppress(ProtocolError):
        list(host.session.receive(data))
        host.session.end()


@FAST
@given(st.sampled_from(sorted(limits.of_clients())), st.binary(max_size=80))
def test_a_host_hears_noise_in_a_frame(kind: int, noise: bytes) -> None:
    body = (kind << 3 | 2).to_bytes(1, "little") if kind < 16 else bytes((kind << 3 & 0x7F | 0x82, kind >> 4))
    host = RawHost()
    with suppress(ProtocolError):
        list(host.session.receive(frame(body + bytes((len(noise),)) + noise)))


@FAST
@given(st.lists(hosts, max_size=8), edits, nodes)
def test_a_udf_hears_anything(
    envelopes: list[pb.Request], edits: list[tuple[int, int]], node: tasks.Node | None
) -> None:
    talk = Talk.greeted(node=node)
    for call in (calls.Save(), calls.Load(Ref.of(ID)), calls.Sessions(), calls.Status()):
        talk.udf.open(call)
    data = mutated(b"".join(map(codec.encode, envelopes)), edits)
    try:
        for event in talk.udf.receive(data):
            assert event is not None
        talk.udf.end()
    except ProtocolError:
        pass
    except UdfstoreError:
        assert b"\xb2\x02" in data  # only a fault of the conversation can have said so
    assert talk.udf.open_calls <= 4
