"""A connection that is a node: what it says of itself, how it is restored, joined, asked and kept alive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from session_kit import ID, WELCOME, RawHost, Talk, ids, models, nodes, numbers, places, sent, words

from udfstore import calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import Blame, ProtocolError, TooLarge, UsageError
from udfstore.refs import Ref
from udfstore.session.events import Alive, Answered, Content, Failed, Hello, HostEvent, Left, Opened, UdfEvent
from udfstore.session.host import HostSession, State
from udfstore.session.udf import UdfSession
from udfstore.session.values import TEXT
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameTooLarge

FAST = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NODE = tasks.Node("pumps", "anomaly2")
PLAIN = replace(NODE, plain=True)
OTHER = BlobId.of(b"manifest")
RESTORE = tasks.Restore(OTHER, 12, 3, ID)
JOINED = tasks.Joined(True, OTHER, 12, "the newest snapshot")
ANSWER = tasks.Answer(1, ID, 3, models=(tasks.Model("models/x", 4, ID),))
SAID = pb.Node(task="pumps", name="anomaly2")
SAID_PLAIN = pb.Node(task="pumps", name="anomaly2", plain=True)


def joined(node: tasks.Node = NODE) -> Talk:
    """A node in its place."""
    talk = Talk.greeted(node=node)
    talk.host.joined(JOINED)
    talk.to_udf()
    return talk


def only(events: list[Any]) -> Any:
    (event,) = events
    return event


# --- hello ---


@FAST
@given(nodes)
def test_a_node_arrives_as_it_was_said(node: tasks.Node) -> None:
    talk = Talk(node=node)
    talk.to_udf()
    assert only(talk.to_host()).node == talk.host.node == node


@FAST
@given(places)
def test_a_place_arrives_as_it_was_said(place: tasks.Place) -> None:
    host, udf = HostSession(WELCOME), UdfSession(place=place)
    list(udf.receive(sent(host.outbox)))
    hello = only(list(host.receive(sent(udf.outbox))))
    assert isinstance(hello, Hello)
    assert (hello.place, hello.node, host.node) == (place, None, None)


BAD_HELLOS = {
    "no task": ({"node": pb.Node(name="n")}, "a task and a name"),
    "no name": ({"node": pb.Node(task="t")}, "a task and a name"),
    "nothing": ({"node": pb.Node()}, "a task and a name"),
    "dag and fingerprint": ({"node": pb.Node(task="t", name="n", dag=b"{}", fingerprint="f")}, "not both"),
    "a long dag": ({"node": pb.Node(task="t", name="n", dag=b" " * (limits.DAG_BYTES + 1))}, "fingerprint"),
    "an unknown policy": ({"node": pb.Node(task="t", name="n", policy=3)}, "policy"),  # type: ignore[arg-type]
    "an unknown host": ({"node": pb.Node(task="t", name="n", host=-1)}, "kind of host"),  # type: ignore[arg-type]
    "a short interval": ({"node": pb.Node(task="t", name="n", interval_ms=999)}, "interval"),
    "an endless interval": ({"node": pb.Node(task="t", name="n", interval_ms=2**64 - 1)}, "interval"),
    "a short timeout": ({"node": pb.Node(task="t", name="n", timeout_ms=99)}, "timeout"),
    "a time before 1970": ({"node": pb.Node(task="t", name="n", not_before_ns=-1)}, "1970"),
    "a session of 64 bits": ({"node": pb.Node(task="t", name="n", resumed=2**63)}, "session"),
    "a short manifest": ({"node": pb.Node(task="t", name="n", restored=b"short")}, "32 bytes"),
    "node and place": ({"node": SAID, "place": pb.Place(task="t", node="n")}, "not both"),
    "half a place": ({"place": pb.Place(task="t")}, "a node of a task"),
}


@pytest.mark.parametrize("case", BAD_HELLOS)
def test_a_hello_that_makes_no_sense_ends_the_conversation(case: str) -> None:
    said, why = BAD_HELLOS[case]
    host = RawHost(greet=False)
    with pytest.raises(ProtocolError, match=why):
        host.hear(pb.Response(hello=pb.Hello(protocol=1, **said)))  # type: ignore[arg-type]
    assert host.session.state is State.GREETING


@pytest.mark.parametrize(
    ("node", "error"),
    [
        (tasks.Node("", "n"), UsageError),
        (tasks.Node("t", "n", interval=0.5), UsageError),
        (tasks.Node("t", "n", interval=-1), UsageError),
        (tasks.Node("t", "n", timeout=float("nan")), UsageError),
        (tasks.Node("t", "n", dag=b" " * (limits.DAG_BYTES + 1)), TooLarge),
        (tasks.Node("t", "n", key="k" * limits.SMALL_BYTES), TooLarge),
    ],
)
def test_a_node_that_no_host_would_take_is_refused_before_anything_is_sent(
    node: tasks.Node, error: type[Exception]
) -> None:
    with pytest.raises(error):
        UdfSession(node=node)


def test_the_largest_dag_fits_a_hello() -> None:
    node = tasks.Node("t" * 128, "n" * 128, dag=b" " * limits.DAG_BYTES, key="k" * 128, options="o" * 128)
    assert Talk.greeted(node=node).host.node == node


# --- a host that is known before its welcome ---


def test_hello_goes_out_before_the_welcome_where_the_host_is_known() -> None:
    udf, host = UdfSession(place=tasks.Place("t", "n"), host_known=True), HostSession(WELCOME)
    hello = sent(udf.outbox)
    assert isinstance(only(list(host.receive(hello))), Hello)
    with pytest.raises(ProtocolError, match="before the welcome"):
        udf.open(calls.Status())
    assert list(udf.receive(sent(host.outbox))) == [WELCOME]
    assert not udf.outbox
    assert udf.open(calls.Status()) == 1


# --- every message: whole, byte by byte, and with bytes behind it ---

TO_UDF: list[tuple[str, tasks.Node, list[UdfEvent]]] = [
    ("restore", NODE, [RESTORE]),
    ("restore", PLAIN, [tasks.Restore(OTHER, 0, 5, None, b"state")]),
    ("joined", NODE, [JOINED]),
    ("joined", NODE, [tasks.Joined(False)]),
    ("ask", NODE, [JOINED, tasks.Asked(2**63)]),
    ("restart", NODE, [tasks.Restart("snapshot use")]),
]
TO_HOST: list[tuple[tasks.Node, HostEvent]] = [
    (NODE, ANSWER),
    (NODE, tasks.Answer(7)),
    (NODE, tasks.Answer(0, error="busy learning")),
    (PLAIN, tasks.Answer(7, None, 5, b"state")),
    (NODE, tasks.Restored()),
    (NODE, tasks.Restored("not a state of mine")),
]


def in_pieces(data: bytes, way: str) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))] if way == "bytes" else [data]


@pytest.mark.parametrize("way", ["whole", "bytes", "with bytes behind"])
@pytest.mark.parametrize(("method", "node", "expected"), TO_UDF)
def test_what_a_node_hears(method: str, node: tasks.Node, expected: list[UdfEvent], way: str) -> None:
    talk = Talk.greeted(node=node)
    for event in expected:
        match event:
            case tasks.Restore():
                talk.host.restore(event)
            case tasks.Joined():
                talk.host.joined(event)
            case tasks.Asked():
                talk.host.ask(event.round)
            case tasks.Restart():
                talk.host.restart(event.why)
    behind = b"\x05" if way == "with bytes behind" else b""
    pieces = in_pieces(sent(talk.host.outbox) + behind, way)
    assert [event for piece in pieces for event in talk.udf.receive(piece)] == expected
    assert (talk.udf._frames.half_read > 0) is (way == "with bytes behind")


@pytest.mark.parametrize("way", ["whole", "bytes", "with bytes behind"])
@pytest.mark.parametrize(("node", "expected"), TO_HOST)
def test_what_a_node_answers(node: tasks.Node, expected: HostEvent, way: str) -> None:
    talk = Talk.greeted(node=node)
    if isinstance(expected, tasks.Restored):
        talk.host.restore(RESTORE)
        talk.to_udf()
        talk.udf.restored(expected)
    else:
        talk.host.joined(JOINED)
        talk.to_udf()
        talk.udf.answer(expected)  # type: ignore[arg-type]
    behind = b"\x05" if way == "with bytes behind" else b""
    pieces = in_pieces(sent(talk.udf.outbox) + behind, way)
    assert [event for piece in pieces for event in talk.host.receive(piece)] == [expected]
    assert (talk.host.half_read > 0) is (way == "with bytes behind")


@FAST
@given(numbers, st.one_of(st.none(), ids), st.integers(1, 2**63 - 1), models, words)
def test_any_answer_arrives(round: int, blob: BlobId | None, size: int, in_use: Any, error: str) -> None:
    talk = joined()
    answer = tasks.Answer(round, error=error)
    if not error:
        answer = tasks.Answer(round, blob, size if blob else 0, models=in_use)
    talk.udf.answer(answer)
    assert talk.to_host() == [answer]


@FAST
@given(numbers, ids, numbers, ids, st.booleans(), words)
def test_any_restore_and_joined_arrive(
    number: int, manifest: BlobId, size: int, blob: BlobId, owner: bool, why: str
) -> None:
    talk = Talk.greeted(node=NODE)
    restore = tasks.Restore(manifest, number, size, blob)
    talk.host.restore(restore)
    assert talk.to_udf() == [restore]
    talk.udf.restored(tasks.Restored())
    talk.to_host()
    place = tasks.Joined(owner, manifest, number, why)
    talk.host.joined(place)
    assert talk.to_udf() == [place]


# --- the order of a node's conversation ---


def test_a_node_is_restored_then_joined_then_asked_as_often_as_need_be() -> None:
    talk = Talk.greeted(node=NODE)
    talk.host.restore(RESTORE)
    assert talk.to_udf() == [RESTORE]
    talk.udf.restored(tasks.Restored())
    assert talk.to_host() == [tasks.Restored()]
    talk.host.joined(JOINED)
    talk.host.ask(1)
    talk.host.ask(2)
    assert talk.to_udf() == [JOINED, tasks.Asked(1), tasks.Asked(2)]
    talk.udf.answer(tasks.Answer(2, ID, 3))
    talk.udf.answer(tasks.Answer(0))
    assert talk.to_host() == [tasks.Answer(2, ID, 3), tasks.Answer(0)]


@pytest.mark.parametrize(
    "said",
    [
        pb.Response(snapshot=pb.SnapshotResponse(round=9, blob=ID.raw, size=1)),
        pb.Response(snapshot=pb.SnapshotResponse()),
    ],
)
def test_answers_to_rounds_that_nobody_knows_are_passed_on(said: pb.Response) -> None:
    host = RawHost(node=SAID)
    answer = only(host.hear(said))
    assert isinstance(answer, tasks.Answer)
    assert answer.round == said.snapshot.round
    assert host.hear(said) == [answer]


def test_a_restore_answered_twice_or_without_a_question_ends_the_conversation() -> None:
    answer = pb.Response(restore=pb.RestoreResponse(success=True))
    host = RawHost(node=SAID)
    with pytest.raises(ProtocolError, match="an answer to a restore") as caught:
        host.hear(answer)
    assert caught.value.blame is Blame.REMOTE
    host = RawHost(node=SAID)
    host.session.restore(RESTORE)
    assert host.hear(answer) == [tasks.Restored()]
    with pytest.raises(ProtocolError, match="an answer to a restore"):
        host.hear(answer)


def test_a_restore_that_failed_without_a_word_has_failed_still() -> None:
    host = RawHost(node=SAID)
    host.session.restore(RESTORE)
    restored = only(host.hear(pb.Response(restore=pb.RestoreResponse(success=False))))
    assert restored.error


@pytest.mark.parametrize("name", ["keepalive", "snapshot", "restore"])
def test_a_client_that_is_no_node_answers_nothing(name: str) -> None:
    envelope = pb.Response()
    getattr(envelope, name).SetInParent()
    for host in (RawHost(), RawHost(greet=False)):
        with pytest.raises(ProtocolError, match="does not begin with a message this side takes"):
            host.hear(envelope)


TO_A_NODE: dict[str, Any] = {
    "restore": lambda host: host.restore(RESTORE),
    "joined": lambda host: host.joined(JOINED),
    "ask": lambda host: host.ask(1),
    "keepalive": lambda host: host.keepalive(1),
    "restart": lambda host: host.restart("why"),
}


@pytest.mark.parametrize("name", TO_A_NODE)
def test_nothing_is_said_to_a_client_that_is_no_node(name: str) -> None:
    host = RawHost()
    with pytest.raises(ProtocolError, match="no node") as caught:
        TO_A_NODE[name](host.session)
    assert caught.value.blame is Blame.LOCAL
    assert host.answers() == []


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ([], "ask"),
        (["restore"], "ask"),
        (["restore"], "joined"),
        (["restore"], "restore"),
        (["joined"], "joined"),
        (["joined"], "restore"),
    ],
)
def test_neither_end_goes_on_when_a_node_is_led_another_way(before: list[str], then: str) -> None:
    talk = Talk.greeted(node=NODE)
    for name in before:
        TO_A_NODE[name](talk.host)
    talk.to_udf()
    with pytest.raises(ProtocolError, match="out of order") as caught:
        TO_A_NODE[then](talk.host)
    assert caught.value.blame is Blame.LOCAL
    wrong = Talk.greeted(node=NODE)
    if then == "ask":
        wrong.host.joined(JOINED)
        sent(wrong.host.outbox)
    TO_A_NODE[then](wrong.host)
    with pytest.raises(ProtocolError, match="out of order") as caught:
        talk.to_udf(sent(wrong.host.outbox))
    assert caught.value.blame is Blame.REMOTE


def test_a_node_that_resumed_is_never_restored() -> None:
    talk = Talk.greeted(node=replace(NODE, resumed=3))
    with pytest.raises(ProtocolError, match="resumed"):
        talk.host.restore(RESTORE)
    other = Talk.greeted(node=NODE)
    other.host.restore(RESTORE)
    with pytest.raises(ProtocolError, match="resumed"):
        talk.to_udf(sent(other.host.outbox))
    talk.host.joined(JOINED)
    talk.host.ask(1)
    assert talk.to_udf() == [JOINED, tasks.Asked(1)]


def test_the_node_answers_nothing_that_was_not_asked() -> None:
    talk = Talk.greeted(node=NODE)
    with pytest.raises(ProtocolError, match="out of order"):
        talk.udf.restored(tasks.Restored())
    with pytest.raises(ProtocolError, match="out of order"):
        talk.udf.answer(ANSWER)
    with pytest.raises(ProtocolError, match="no node"):
        Talk.greeted().udf.answer(ANSWER)
    assert not talk.udf.outbox


@pytest.mark.parametrize(
    "request_",
    [
        pb.Request(joined=pb.Joined(owner=True)),
        pb.Request(restart=pb.Restart()),
        pb.Request(snapshot=pb.SnapshotRequest(round=1)),
        pb.Request(restore=pb.RestoreRequest()),
        pb.Request(keepalive=pb.KeepaliveRequest()),
    ],
)
def test_a_client_hears_nothing_that_is_for_nodes(request_: pb.Request) -> None:
    with pytest.raises(ProtocolError, match=r"no node|does not begin"):
        Talk.greeted().to_udf(codec.encode(request_))


@pytest.mark.parametrize(
    "request_",
    [
        pb.Request(restore=pb.RestoreRequest(size=3, manifest=OTHER.raw)),
        pb.Request(restore=pb.RestoreRequest(blob=ID.raw, size=3)),
        pb.Request(restore=pb.RestoreRequest(blob=ID.raw, snapshot=b"x", manifest=OTHER.raw)),
        pb.Request(restore=pb.RestoreRequest(blob=b"short", manifest=OTHER.raw)),
        pb.Request(joined=pb.Joined(manifest=b"short")),
        pb.Request(snapshot=pb.SnapshotRequest()),
    ],
)
def test_what_a_node_cannot_make_sense_of_is_the_hosts_error(request_: pb.Request) -> None:
    talk = joined() if request_.HasField("snapshot") else Talk.greeted(node=NODE)
    with pytest.raises(ProtocolError, match=r"makes no sense|of no round"):
        talk.to_udf(codec.encode(request_))


def test_a_restart_may_come_at_any_time() -> None:
    talk = Talk.greeted(node=NODE)
    talk.host.restart("snapshot 3 was chosen")
    assert talk.to_udf() == [tasks.Restart("snapshot 3 was chosen")]
    talk.host.joined(JOINED)
    talk.host.restart("once more")
    assert talk.to_udf() == [JOINED, tasks.Restart("once more")]


# --- keepalive ---


def test_keepalives_are_answered_before_anybody_hears_of_them() -> None:
    talk = Talk.greeted(node=NODE)
    talk.host.keepalive(1_700_000_000_000_000_000)
    assert talk.to_udf() == []
    assert talk.to_host() == [Alive()]


def test_every_whole_frame_is_a_sign_of_life() -> None:
    talk = joined()
    before = talk.host.frames
    number = talk.udf.open(calls.Save())
    data = sent(talk.udf.outbox)
    talk.to_host(data[:-1])
    assert talk.host.frames == before
    talk.to_host(data[-1:])
    assert talk.host.frames == before + 1
    talk.host.grant(number, 9)
    talk.host.result(number, calls.Saved(ID, 3, True))
    assert talk.to_host(codec.encode(pb.Response(chunk=pb.Chunk(call=number, data=b"late")))) == []
    assert talk.host.frames == before + 2  # of no event, but a sign of life


# --- plain ---


def test_a_plain_state_may_be_as_long_as_the_limit_and_no_longer() -> None:
    host, udf = HostSession(WELCOME, plain_bytes=200_000), UdfSession(node=PLAIN)
    list(udf.receive(sent(host.outbox)))
    list(host.receive(sent(udf.outbox)))
    host.joined(JOINED)
    list(udf.receive(sent(host.outbox)))
    udf.answer(tasks.Answer(1, None, 200_000, b"x" * 200_000))
    udf.answer(tasks.Answer(2, None, 200_001, b"x" * 200_001))
    good, bad = host.receive(sent(udf.outbox))
    assert good == tasks.Answer(1, None, 200_000, b"x" * 200_000)
    assert isinstance(bad, tasks.Answer)
    assert (bad.round, bad.plain, bad.blob) == (2, b"", None)
    assert "too long" in bad.error
    udf.answer(tasks.Answer(3, None, 300_000, b"x" * 300_000))
    with pytest.raises(FrameTooLarge):
        list(host.receive(sent(udf.outbox)))


def test_a_plain_state_too_long_for_a_message_is_refused_where_it_is() -> None:
    udf, host = UdfSession(node=PLAIN, plain_bytes=10), HostSession(WELCOME, plain_bytes=10)
    list(udf.receive(sent(host.outbox)))
    list(host.receive(sent(udf.outbox)))
    with pytest.raises(TooLarge):
        host.restore(tasks.Restore(OTHER, 1, 11, None, b"x" * 11))
    host.joined(JOINED)
    list(udf.receive(sent(host.outbox)))
    with pytest.raises(TooLarge):
        udf.answer(tasks.Answer(1, None, 11, b"x" * 11))


def test_a_state_in_another_way_than_the_hello_said_is_an_answer_with_an_error() -> None:
    for node, message in (
        (SAID, pb.SnapshotResponse(round=4, snapshot=b"x")),
        (SAID_PLAIN, pb.SnapshotResponse(round=4, blob=ID.raw, size=3)),
        (SAID, pb.SnapshotResponse(round=4, blob=b"short", size=3)),
        (SAID, pb.SnapshotResponse(round=4, blob=ID.raw, models=[pb.Model(tag="//", version=1, id=ID.raw)])),
        (SAID, pb.SnapshotResponse(round=4, blob=ID.raw, size=2**64 - 1)),
    ):
        host = RawHost(node=node)
        answer = only(host.hear(pb.Response(snapshot=message)))
        assert isinstance(answer, tasks.Answer)
        assert answer.error
        assert answer == tasks.Answer(4, error=answer.error)
        assert host.call(1, stat=pb.Stat(ref="x")) == [Opened(1, calls.Stat(Ref.parse("x")))]


def test_our_own_ends_send_no_state_in_another_way_than_the_hello_said() -> None:
    for node, answer, restore in (
        (NODE, tasks.Answer(1, None, 1, b"x"), tasks.Restore(OTHER, 1, 1, None, b"x")),
        (PLAIN, tasks.Answer(1, ID, 3), RESTORE),
    ):
        with pytest.raises(ProtocolError, match="another way"):
            joined(node).udf.answer(answer)
        with pytest.raises(ProtocolError, match="another way"):
            Talk.greeted(node=node).host.restore(restore)


def test_a_long_plain_state_from_a_node_that_did_not_say_plain_is_not_taken_in() -> None:
    host = RawHost(node=SAID)
    with pytest.raises(FrameTooLarge):
        host.hear(pb.Response(snapshot=pb.SnapshotResponse(snapshot=b"x" * 70_000)))


def test_texts_for_people_are_cut_so_that_they_fit() -> None:
    talk = joined()
    talk.udf.answer(tasks.Answer(1, error="é" * 100_000))
    answer = only(talk.to_host())
    assert len(answer.error) == TEXT
    talk.host.restart("é" * 100_000)
    assert len(only(talk.to_udf()).why) == TEXT


# --- calls, credit and goodbye ---


def test_a_node_saves_its_last_state_after_its_goodbye() -> None:
    talk = joined()
    talk.udf.goodbye()
    assert talk.to_host() == [Left()]
    talk.host.ask(5)
    assert talk.to_udf() == [tasks.Asked(5)]
    number = talk.udf.open(calls.Save())
    assert talk.to_host() == [Opened(number, calls.Save())]
    talk.host.grant(number, 10)
    talk.to_udf()
    talk.udf.chunk(number, b"abc")
    talk.udf.commit(number, calls.Commit(0))
    assert isinstance(talk.to_host()[0], Content)
    talk.host.result(number, calls.Saved(ID, 3, False))
    assert talk.to_udf() == [Answered(number, calls.Saved(ID, 3, False))]
    talk.udf.answer(tasks.Answer(5, ID, 3))
    assert talk.to_host() == [tasks.Answer(5, ID, 3)]
    with pytest.raises(ProtocolError, match="out of order: goodbye"):
        talk.to_host(codec.encode(pb.Response(goodbye=pb.Goodbye())))


def test_credit_of_call_0_is_for_points_and_means_nothing_here() -> None:
    for host in (RawHost(), RawHost(node=SAID)):
        assert host.hear(pb.Response(credit=pb.Credit(call=0, amount=1 << 20))) == []
        assert host.answers() == []
    assert joined().to_udf(codec.encode(pb.Request(credit=pb.Credit(call=0, amount=1)))) == []


def test_a_host_that_closes_still_hears_its_nodes() -> None:
    talk = joined()
    talk.host.ask(1)
    talk.to_udf()
    talk.host.close(1.0)
    number = talk.udf.open(calls.Status())
    talk.udf.answer(ANSWER)
    assert talk.to_host() == [ANSWER]
    assert [type(event) for event in talk.to_udf()][1:] == [Failed]
    assert not talk.udf.is_open(number)
