"""The rules of a conversation: order, numbers, credit, cancel, ends that come early."""

from __future__ import annotations

import pytest
from session_kit import ID, WELCOME, RawHost, Talk, Token

from udfstore import calls
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Cancelled, Closing, Mismatch, ProtocolError, TooLarge, Unsupported, UsageError
from udfstore.refs import Ref, Tag
from udfstore.session.events import (
    Answered,
    Committed,
    Content,
    Ending,
    Failed,
    Found,
    Granted,
    Hello,
    Left,
    Opened,
    Paged,
    Withdrawn,
)
from udfstore.session.host import ENDED_EARLY, State
from udfstore.wire import codec

SAVE = {"save": pb.Save()}
LOAD = {"load": pb.Load(ref="models/x")}
STAT = {"stat": pb.Stat(ref="models/x")}


def only(events: list[object]) -> object:
    (event,) = events
    return event


# --- the order of the conversation ---


def test_nothing_but_a_hello_is_taken_first() -> None:
    for envelope in (
        pb.Response(goodbye=pb.Goodbye()),
        pb.Response(call=pb.Call(call=1, status=pb.Status())),
        pb.Response(chunk=pb.Chunk(call=1, data=b"x")),
        pb.Response(cancel=pb.Cancel(call=1)),
    ):
        host = RawHost(greet=False)
        with pytest.raises(ProtocolError, match="out of order") as caught:
            host.hear(envelope)
        assert caught.value.expected == "hello"


def test_a_large_frame_before_the_hello_is_refused_before_it_is_taken_in() -> None:
    with pytest.raises(ProtocolError, match="over every limit"):
        list(RawHost(greet=False).session.receive(codec.chunk_head(1, 100_000)))


def test_a_hello_and_what_follows_it_may_come_in_one_piece() -> None:
    host = RawHost(greet=False)
    hello, call = pb.Response(hello=pb.Hello(protocol=1)), pb.Response(call=pb.Call(call=1, status=pb.Status()))
    assert host.hear(hello, call, pb.Response(goodbye=pb.Goodbye()))[1:] == [Opened(1, calls.Status()), Left()]


def test_a_second_hello_and_a_call_after_goodbye_end_the_conversation() -> None:
    with pytest.raises(ProtocolError, match="out of order: hello"):
        RawHost().hear(pb.Response(hello=pb.Hello(protocol=1)))
    host = RawHost()
    assert host.hear(pb.Response(goodbye=pb.Goodbye())) == [Left()]
    with pytest.raises(ProtocolError, match="out of order: call"):
        host.call(1, **STAT)


def test_calls_that_are_open_at_a_goodbye_go_on() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.session.grant(1, 10)
    host.hear(pb.Response(goodbye=pb.Goodbye()))
    assert isinstance(only(host.chunk(1, b"abc")), Content)
    assert isinstance(only(host.commit(1, 3)), Committed)
    assert host.session.state is State.LEAVING


def test_another_version_of_the_protocol_is_refused_by_both_sides() -> None:
    with pytest.raises(ProtocolError, match="does not speak"):
        RawHost(greet=False).hear(pb.Response(hello=pb.Hello(protocol=2)))
    with pytest.raises(Unsupported, match="update this client"):
        Talk().to_udf(codec.encode(pb.Request(welcome=pb.Welcome(protocol=2, chunk_bytes=1))))


def test_a_claim_that_is_too_long_is_refused() -> None:
    hello = pb.Hello(protocol=1, claim=pb.Claim(person="x" * 2000))
    with pytest.raises(ProtocolError, match="claim"):
        RawHost(greet=False).hear(pb.Response(hello=hello))


def test_the_udf_says_nothing_before_the_welcome() -> None:
    talk = Talk()
    assert not talk.udf.outbox
    with pytest.raises(ProtocolError, match="before the welcome"):
        talk.udf.open(calls.Status())
    for request in (pb.Request(closing=pb.Closing()), pb.Request(result=pb.Result(call=1))):
        with pytest.raises(ProtocolError, match="out of order"):
            Talk().to_udf(codec.encode(request))


def test_a_second_welcome_is_out_of_order() -> None:
    welcome = codec.encode(pb.Request(welcome=pb.Welcome(protocol=1, chunk_bytes=1)))
    talk = Talk()
    talk.to_udf(welcome)
    with pytest.raises(ProtocolError, match="out of order: welcome"):
        talk.to_udf(welcome)


@pytest.mark.parametrize("size", [0, 2**20 + 1, 2**32 - 1])
def test_a_welcome_with_an_impossible_chunk_size_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="size of chunks"):
        Talk().to_udf(codec.encode(pb.Request(welcome=pb.Welcome(protocol=1, chunk_bytes=size))))


def test_a_udf_that_is_turned_away_hears_why() -> None:
    fault = pb.Request(fault=pb.Fault(code="busy", message="too many connections"))
    with pytest.raises(Exception, match="too many connections") as caught:
        Talk().to_udf(codec.encode(fault))
    assert caught.value.code.value == "busy"  # type: ignore[attr-defined]


def test_a_closing_host_says_so_and_refuses_new_calls_alone() -> None:
    talk = Talk.greeted()
    first = talk.udf.open(calls.Status())
    talk.to_host()
    talk.host.close(1.5)
    assert talk.to_udf() == [Ending(1.5)]
    second = talk.udf.open(calls.Status())
    assert talk.to_host() == []
    talk.host.result(first, calls.Noted(1))
    refused, answered = talk.to_udf()
    assert isinstance(refused, Failed)
    assert (refused.call, type(refused.error)) == (second, Closing)
    assert answered == Answered(first, calls.Noted(1))


def test_descriptors_that_no_frame_announces_end_the_conversation() -> None:
    with pytest.raises(ProtocolError, match="descriptor"):
        list(RawHost().session.receive(b"", [Token()]))
    with pytest.raises(ProtocolError, match="descriptor"):
        list(Talk().udf.receive(b"", [Token()]))


def test_a_stream_that_ends_inside_a_frame_is_an_error_at_both_ends() -> None:
    talk = Talk.greeted()
    talk.to_host(b"\x05\x92")
    talk.to_udf(b"\x05\xaa")
    for end in (talk.host.end, talk.udf.end):
        with pytest.raises(ProtocolError, match="ended inside"):
            end()


# --- numbers ---


def test_a_number_used_before_is_a_fault_of_that_number_alone() -> None:
    host = RawHost()
    host.call(5, **STAT)
    assert host.call(3, **STAT) == []
    assert host.faults() == [(3, "usage")]
    assert host.session.is_open(5)
    assert host.call(6, **STAT) == [Opened(6, calls.Stat(Ref.parse("models/x")))]


def test_a_number_that_is_open_ends_both_when_it_is_used_again() -> None:
    host = RawHost()
    host.call(1, **LOAD)
    failed = only(host.call(1, **STAT))
    assert isinstance(failed, Failed)
    assert host.faults() == [(1, "usage")]
    assert not host.session.is_open(1)


@pytest.mark.parametrize("what", ["call", "chunk", "commit"])
def test_number_0_is_the_conversations_own(what: str) -> None:
    envelope = {
        "call": pb.Response(call=pb.Call(call=0, status=pb.Status())),
        "chunk": pb.Response(chunk=pb.Chunk(call=0, data=b"x")),
        "commit": pb.Response(commit=pb.Commit(call=0)),
    }[what]
    with pytest.raises(ProtocolError, match="call 0"):
        RawHost().hear(envelope)


def test_whatever_is_sent_for_a_call_that_never_was_is_a_fault_of_that_number() -> None:
    for envelope in (
        pb.Response(chunk=pb.Chunk(call=9, data=b"x")),
        pb.Response(commit=pb.Commit(call=9)),
        pb.Response(cancel=pb.Cancel(call=9)),
        pb.Response(credit=pb.Credit(call=9, amount=1)),
    ):
        host = RawHost()
        assert host.hear(envelope) == []
        assert host.faults() == [(9, "usage")]


def test_an_answer_to_a_call_that_was_never_opened_is_the_hosts_error() -> None:
    for request in (
        pb.Request(result=pb.Result(call=1, ok=pb.Ok())),
        pb.Request(chunk=pb.Chunk(call=1, data=b"x")),
        pb.Request(page=pb.Page(call=1)),
        pb.Request(credit=pb.Credit(call=1, amount=1)),
    ):
        with pytest.raises(ProtocolError, match="never opened"):
            Talk.greeted().to_udf(codec.encode(request))


def test_more_calls_than_the_welcome_allows_are_busy() -> None:
    host = RawHost()
    for number in range(1, WELCOME.calls + 2):
        host.call(number, **STAT)
    assert host.faults() == [(WELCOME.calls + 1, "busy")]
    host.session.result(1, calls.Noted(1))
    assert only(host.call(9, **STAT)) == Opened(9, calls.Stat(Ref.parse("models/x")))


def test_a_call_that_makes_no_sense_is_a_fault_of_its_own_number() -> None:
    host = RawHost()
    for number, op in enumerate(
        (
            {},
            {"stat": pb.Stat(ref="../../etc/passwd")},
            {"save": pb.Save(id=b"short")},
            {"missing": pb.Missing(ids=[b"x" * 31])},
            {"missing": pb.Missing(ids=[ID.raw] * (calls.MISSING_IDS + 1))},
            {"move": pb.Move()},
            {"move": pb.Move(steps=[pb.Step(tag=f"t{n}", ref="x") for n in range(calls.MOVES + 1)])},
            {"untag": pb.Untag(tags=["a", "b"], expected=[1])},
            {"rollback": pb.Rollback(tag="a", to=2**64 - 1)},
            {"used": pb.Used(tag="a", version=2**64 - 1, id=ID.raw)},
            {"watch": pb.Watch(prefix="//")},
            {"plan_restore": pb.PlanRestore(task="t", policy=3)},  # type: ignore[arg-type]
            {"plan_restore": pb.PlanRestore(task="t", dag=b" " * (48 * 1024 + 1))},
            {"save_snapshot": pb.SaveSnapshot(task="t", reason="boredom")},
            {"name_snapshot": pb.NameSnapshot(task="t", name="n", note="n" * 5000)},
            {"use_snapshot": pb.UseSnapshot(task="t", before="//")},
            {"list_uses": pb.ListUses(tag="//")},
            {"await_followers": pb.AwaitFollowers(tag="a", version=2**64 - 1)},
            {"await_followers": pb.AwaitFollowers(tag="a", timeout_ms=2**64 - 1)},
            {"await_followers": pb.AwaitFollowers()},
        ),
        1,
    ):
        assert host.call(number, **op) == []
        assert host.faults() == [(number, "usage")], op
    for number, change in enumerate(
        (
            pb.Call(untag=pb.Untag(tags=["a"])),
            pb.Call(delete_task=pb.DeleteTask(task="t")),
            pb.Call(name_snapshot=pb.NameSnapshot(task="t", name="n")),
            pb.Call(use_snapshot=pb.UseSnapshot(task="t", snapshot="1")),
            pb.Call(delete_snapshots=pb.DeleteSnapshots(task="t")),
        ),
        99,
    ):
        change.call, change.request = number, b"short"
        host.hear(pb.Response(call=change))
        assert host.faults() == [(number, "usage")]


# --- credit ---


def test_content_is_taken_as_far_as_it_was_granted() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.session.grant(1, 5)
    assert only(host.chunk(1, b"abc")) == Content(1, memoryview(b"abc"))
    failed = only(host.chunk(1, b"def"))
    assert isinstance(failed, Failed)
    assert (failed.error.expected, failed.error.got) == ("2", "3")
    assert [a.WhichOneof("message") for a in host.answers()] == ["credit", "fault"]
    assert host.chunk(1, b"late") == []
    assert host.commit(1, 9) == []
    assert host.faults() == []


def test_credit_is_0_until_it_is_granted() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    assert isinstance(only(host.chunk(1, b"x")), Failed)
    talk = Talk.greeted()
    number = talk.udf.open(calls.Save())
    talk.to_host()
    assert talk.udf.credit(number) == 0
    talk.host.grant(number, 7)
    assert talk.to_udf() == [Granted(number)]
    talk.udf.chunk(number, b"abc")
    assert talk.udf.credit(number) == 4


def test_without_credit_content_may_come_at_once_but_only_one_call_has_it() -> None:
    host = RawHost(credit=False)
    host.call(1, **SAVE)
    assert isinstance(only(host.chunk(1, b"x" * 900)), Content)
    host.call(2, **LOAD)
    host.call(3, **STAT)
    assert host.faults() == [(2, "busy")]
    assert host.session.credit(3) is None


def test_a_host_that_counts_no_credit_is_sent_content_at_once() -> None:
    welcome = pb.Welcome(protocol=1, chunk_bytes=500)
    talk = Talk()
    talk.to_udf(codec.encode(pb.Request(welcome=welcome)))
    assert talk.udf.credit(talk.udf.open(calls.Save())) == 500


def test_a_chunk_longer_than_the_welcome_allows_is_a_fault_of_its_call() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.session.grant(1, 5000)
    failed = only(host.chunk(1, b"x" * (WELCOME.chunk_bytes + 1)))
    assert isinstance(failed, Failed)
    assert (failed.error.expected, failed.error.got) == ("1000", "1001")


def test_loads_and_pages_take_the_credit_that_was_granted() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Load(Ref.of(ID)))
    talk.udf.grant(number, 10)
    talk.udf.grant(number, 5)
    assert talk.to_host()[1:] == [Granted(number), Granted(number)]
    assert talk.host.credit(number) == 15
    talk.host.chunk(number, b"four")
    assert talk.host.credit(number) == 11
    listing = talk.udf.open(calls.Sessions())
    talk.udf.grant(listing, 1)
    talk.to_host()
    talk.host.page(listing, pb.Page(call=listing))
    assert talk.host.credit(listing) == 0


# --- calls and their ends ---


def test_two_saves_and_a_load_interleave() -> None:
    talk = Talk.greeted()
    one, two = talk.udf.open(calls.Save()), talk.udf.open(calls.Save())
    load = talk.udf.open(calls.Load(Ref.of(ID)))
    talk.to_host()
    for number in (one, two):
        talk.host.grant(number, 100)
    talk.to_udf()
    for part in (b"a", b"b"):
        talk.udf.chunk(one, part * 3)
        talk.udf.chunk(two, part)
    talk.udf.commit(one, calls.Commit(0))
    events = talk.to_host()
    assert [e.data.tobytes() for e in events if isinstance(e, Content) and e.call == one] == [b"aaa", b"bbb"]
    assert [e.data.tobytes() for e in events if isinstance(e, Content) and e.call == two] == [b"a", b"b"]
    assert Committed(one, calls.Commit(6)) in events
    talk.host.chunk(load, b"x")
    talk.host.result(one, calls.Saved(ID, 6, False))
    talk.host.fault(two, UsageError("no"))
    events = talk.to_udf()
    assert Answered(one, calls.Saved(ID, 6, False)) in events
    assert Content(load, memoryview(b"x")) in events
    assert talk.udf.open_calls == talk.host.open_calls == 1


def test_a_result_comes_after_the_content_it_ends() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Load(Ref.of(ID)))
    talk.to_host()
    talk.host.chunk(number, b"x" * 900)
    talk.host.result(number, calls.Loaded(900))
    assert [type(event) for event in talk.to_udf()] == [Content, Answered]


def test_a_commit_of_another_size_than_was_sent_is_a_mismatch() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.session.grant(1, 10)
    host.chunk(1, b"abc")
    failed = only(host.commit(1, 4))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Mismatch)
    assert (failed.error.expected, failed.error.got) == ("4", "3")


def test_content_after_the_commit_and_for_a_load_are_faults() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.session.grant(1, 10)
    host.commit(1, 0)
    host.call(2, **LOAD)
    for number in (1, 2):
        assert isinstance(only(host.chunk(number, b"x")), Failed)
    assert [code for _, code in host.faults()] == ["usage", "usage"]


def test_content_for_a_save_that_ended_early_is_dropped_in_silence() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.session.grant(1, 10)
    host.session.result(1, calls.Saved(ID, 3, True))
    host.answers()
    assert host.chunk(1, b"x") == host.chunk(1, b"x" * 50) == host.commit(1, 2) == []
    assert host.answers() == []
    assert host.commit(1, 2) == []
    assert host.faults() == [(1, "usage")]  # the commit was the last that could not know


def test_the_memory_of_ends_that_came_early_is_bounded() -> None:
    host = RawHost()
    for number in range(1, ENDED_EARLY + 3):
        host.call(number, **SAVE)
        host.session.fault(number, Cancelled("no"))
    host.answers()
    assert host.chunk(1, b"x") == host.chunk(ENDED_EARLY, b"x") == []
    assert host.faults() == [(1, "usage")]


def test_content_for_a_call_that_ended_after_its_commit_is_a_fault() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    host.commit(1, 0)
    host.session.result(1, calls.Saved(ID, 0, False))
    host.answers()
    assert host.chunk(1, b"x") == []
    assert host.faults() == [(1, "usage")]


def test_what_the_shell_still_sends_for_an_ended_call_is_dropped() -> None:
    host = RawHost()
    host.call(1, **LOAD)
    host.session.fault(1, UsageError("no"))
    host.answers()
    host.session.head(1, calls.Loading(calls.BlobInfo(ID, 3), 0, 3))
    host.session.chunk(1, b"x")
    host.session.page(1, pb.Page(call=1))
    host.session.grant(1, 5)
    assert host.session.credit(1) == 0
    assert host.answers() == []


def test_a_fault_forgets_the_content_that_waits() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Load(Ref.of(ID)))
    talk.to_host()
    talk.host.chunk(number, b"x" * 900)
    talk.host.fault(number, UsageError("no"))
    assert [type(event) for event in talk.to_udf()] == [Failed]


def test_the_fault_of_the_conversation_is_the_last_frame() -> None:
    host = RawHost()
    host.call(1, **LOAD)
    host.call(2, **STAT)
    host.session.chunk(1, b"x")
    host.session.fault(0, ProtocolError("no order"))
    host.session.chunk(1, b"x")
    assert not host.session.is_open(2)
    assert [(a.fault.call, a.fault.code) for a in host.answers()] == [(0, "usage")]


def test_a_cancelled_call_still_has_one_end() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Watch(calls.Prefix("")))
    talk.to_host()
    talk.udf.cancel(number)
    assert talk.to_host() == [Withdrawn(number)]
    talk.host.fault(number, Cancelled("taken back"))
    assert talk.to_udf() == []
    assert talk.udf.open_calls == talk.host.open_calls == 0


def test_whatever_comes_for_a_cancelled_call_is_dropped() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Load(Ref.of(ID)))
    talk.to_host()
    talk.udf.cancel(number)
    talk.udf.cancel(number)
    info = calls.BlobInfo(ID, 3)
    talk.host.head(number, calls.Loading(info, 0, 3))
    talk.host.chunk(number, b"abc")
    talk.host.result(number, calls.Loaded(3))
    assert talk.to_udf() == []
    assert talk.to_host() == []  # the cancel crossed the result


def test_a_cancelled_save_forgets_what_it_had_to_send() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Save())
    talk.to_host()
    talk.host.grant(number, 100)
    talk.to_udf()
    talk.udf.chunk(number, b"abc")
    talk.udf.cancel(number)
    assert talk.to_host() == [Withdrawn(number)]


def test_empty_chunks_mean_nothing() -> None:
    host = RawHost()
    host.call(1, **SAVE)
    assert host.chunk(1, b"") == []
    assert host.session.is_open(1)


# --- a host of another release ---


def test_a_result_that_this_release_does_not_know_fails_its_call_alone() -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Status())
    failed = only(talk.to_udf(codec.encode(pb.Request(result=pb.Result(call=number)))))
    assert isinstance(failed, Failed)
    assert "update the client" in str(failed.error)
    talk.udf.open(calls.Status())


@pytest.mark.parametrize(
    "request_",
    [
        pb.Request(result=pb.Result(call=1, saved=pb.Saved(id=b"short"))),
        pb.Request(head=pb.Head(call=1)),
        pb.Request(page=pb.Page(call=1, blobs=[pb.Blob(id=b"short")])),
    ],
)
def test_an_id_of_another_length_is_the_hosts_error(request_: pb.Request) -> None:
    talk = Talk.greeted()
    talk.udf.open(calls.Load(Ref.of(ID)))
    with pytest.raises(ProtocolError, match="makes no sense"):
        talk.to_udf(codec.encode(request_))


# --- what is too large to be sent ---


def test_a_call_that_no_host_would_take_is_refused_before_it_is_sent() -> None:
    talk = Talk.greeted()
    links = (ID,) * 3000
    with pytest.raises(TooLarge, match="links"):
        talk.udf.open(calls.Move((calls.Step(Tag("a"), Ref.of(ID), None, None, links),), "", bytes(16)))
    number = talk.udf.open(calls.Save(request=bytes(16)))
    talk.to_host()
    with pytest.raises(TooLarge):
        talk.udf.commit(number, calls.Commit(0, None, calls.Target(Tag("a"), links=links)))
    assert (number, talk.udf.open_calls) == (1, 1)


def test_events_say_which_call_they_belong_to() -> None:
    talk = Talk.greeted()
    first, second = talk.udf.open(calls.Load(Ref.of(ID))), talk.udf.open(calls.Sessions())
    talk.udf.grant(second, 1)
    assert [e.call for e in talk.to_host() if not isinstance(e, Hello)] == [first, second, second]
    talk.host.head(first, calls.Loading(calls.BlobInfo(ID, 1), 0, 1))
    talk.host.page(second, pb.Page(call=second))
    assert {(type(e), e.call) for e in talk.to_udf()} == {(Found, first), (Paged, second)}  # type: ignore[union-attr]
