"""Descriptors that come along: each to the frame that announces it, and none is left open."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from session_kit import ID, RawHost, Talk, Token

from udfstore import calls
from udfstore._pb import udfstore_pb2 as pb
from udfstore.errors import Mismatch, ProtocolError
from udfstore.model import BlobInfo
from udfstore.refs import Ref
from udfstore.session.events import Answered, Committed, Content, Failed, Found, HostEvent, Opened
from udfstore.session.outbox import Outbox
from udfstore.session.tokens import MOST
from udfstore.wire import codec

STATUS = codec.encode(pb.Response(call=pb.Call(call=9, status=pb.Status())))
LOADING = calls.Loading(BlobInfo(ID, 7), 0, 7)


def save(number: int, size: int = 7, **more: object) -> bytes:
    op = pb.Save(size=size, descriptor=True, **more)  # type: ignore[arg-type]
    return codec.encode(pb.Response(call=pb.Call(call=number, save=op)))


def head(number: int, descriptor: bool = True) -> bytes:
    return codec.encode(pb.Request(head=pb.Head(call=number, blob=pb.Blob(id=ID.raw, size=7), descriptor=descriptor)))


def chunk(number: int) -> bytes:
    return codec.encode(pb.Request(chunk=pb.Chunk(call=number, data=b"content")))


class Host(RawHost):
    """A host that takes descriptors."""

    def __init__(self, agreed: bool = True) -> None:
        super().__init__(greet=False, descriptors=True)
        self.hear(pb.Response(hello=pb.Hello(protocol=1, credit=True, descriptors=agreed)))

    def receive(self, data: bytes, tokens: Sequence[Token] = ()) -> list[HostEvent]:
        return list(self.session.receive(data, tokens))


def loading(*refs: Ref) -> Talk:
    """A UDF that takes descriptors, with a load open for each ref."""
    talk = Talk.greeted(descriptors=True)
    for ref in refs:
        talk.udf.open(calls.Load(ref, descriptor_from=0))
    talk.to_host()
    return talk


# --- from UDF to host ---


def test_a_save_brings_its_file_and_needs_no_content() -> None:
    talk, file = Talk.greeted(descriptors=True), Token()
    call = calls.Save(size=7, descriptor=True, offset=3)
    number = talk.udf.open(call, file=file)
    talk.udf.commit(number, calls.Commit(0))
    assert talk.to_host() == [Opened(number, call, file), Committed(number, calls.Commit(7))]
    assert file.closed == 1
    talk.host.result(number, calls.Saved(ID, 7, existed=False))
    assert talk.to_udf() == [Answered(number, calls.Saved(ID, 7, existed=False))]


def test_each_frame_takes_the_first_that_waits() -> None:
    host, first, second = Host(), Token(1), Token(2)
    data = save(1)
    assert host.receive(data[:5], [first]) == []
    (opened,) = host.receive(data[5:] + save(2)[:1], [second])
    assert isinstance(opened, Opened)
    assert opened.file is first
    (opened,) = host.receive(save(2)[1:])
    assert isinstance(opened, Opened)
    assert opened.file is second


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_frame_in_pieces_has_its_descriptor_from_the_first_byte_on(step: int) -> None:
    host, data, file = Host(), save(1), Token()
    events = [
        event
        for start in range(0, len(data), step)
        for event in host.receive(data[start : start + step], [file] if start == 0 else [])
    ]
    assert [event.file for event in events if isinstance(event, Opened)] == [file]


def test_one_that_comes_with_the_end_of_the_frame_before_waits_for_its_own() -> None:
    host, file = Host(), Token()
    host.receive(STATUS[:3])
    status, opened = host.receive(STATUS[3:] + save(10), [file])
    assert isinstance(status, Opened)
    assert isinstance(opened, Opened)
    assert (status.file, opened.file) == (None, file)


def test_a_claim_without_one_ends_the_conversation() -> None:
    host = Host()
    with pytest.raises(ProtocolError, match="none came with it"):
        host.receive(save(1))


def test_a_claim_that_was_not_agreed_on_ends_the_conversation() -> None:
    host, file = Host(agreed=False), Token()
    with pytest.raises(ProtocolError, match="descriptor"):
        host.receive(save(1), [file])
    host.session.tokens.close()
    assert file.closed == 1


def test_one_that_nobody_claims_ends_the_conversation_once_no_frame_is_half_read() -> None:
    host, file = Host(), Token()
    assert host.receive(STATUS[:4], [file]) == []
    with pytest.raises(ProtocolError, match="no frame announces"):
        host.receive(STATUS[4:])
    assert file.closed == 0
    host.session.tokens.close()
    assert file.closed == 1


def test_seventeen_that_wait_end_the_conversation() -> None:
    host, files = Host(), [Token(n) for n in range(MOST + 1)]
    host.receive(STATUS[:4], files[:MOST])
    with pytest.raises(ProtocolError, match="more descriptors"):
        host.receive(STATUS[4:5], files[MOST:])
    host.session.tokens.close()
    assert [file.closed for file in files] == [1] * len(files)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (codec.encode(pb.Response(call=pb.Call(call=1, save=pb.Save(descriptor=True)))), "usage"),
        (save(1, size=2**63 - 1, offset=1), "usage"),
        (save(1, id=b"short"), "usage"),
    ],
    ids=["without a size", "beyond any file", "with an impossible ID"],
)
def test_a_save_that_is_refused_leaves_nothing_open(frame: bytes, code: str) -> None:
    host, file = Host(), Token()
    assert host.receive(frame, [file]) == []
    assert host.faults() == [(1, code)]
    assert file.closed == 1


def test_a_save_beyond_the_limit_of_calls_leaves_nothing_open() -> None:
    host, file = Host(), Token()
    for number in range(1, 5):
        host.receive(codec.encode(pb.Response(call=pb.Call(call=number, status=pb.Status()))))
    assert host.receive(save(5), [file]) == []
    assert host.faults() == [(5, "busy")]
    assert file.closed == 1


def test_content_for_a_save_that_brought_a_file_is_its_fault() -> None:
    host = Host()
    host.receive(save(1), [Token()])
    (failed,) = host.chunk(1, b"x")
    assert isinstance(failed, Failed)
    assert "descriptor" in failed.error.message


def test_a_commit_of_another_size_is_its_fault() -> None:
    host = Host()
    host.receive(save(1, size=7), [Token()])
    (failed,) = host.commit(1, 8)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Mismatch)


# --- from host to UDF ---


def test_a_load_is_given_a_file_and_that_is_the_end_of_it() -> None:
    talk, file = loading(Ref.of(ID)), Token()
    talk.host.give(1, LOADING, file)
    talk.host.result(1, calls.Loaded(7))
    assert talk.to_udf() == [Found(1, LOADING, file)]
    assert file.closed == 1
    assert talk.udf.open_calls == 0
    assert not talk.udf.outbox


def test_a_host_gives_none_to_a_udf_that_takes_none() -> None:
    host = Host(agreed=False)
    (opened,) = host.call(1, load=pb.Load(ref="x", descriptor_from=0))
    assert isinstance(opened, Opened)
    assert opened.op == calls.Load(Ref.parse("x"))


def test_one_for_a_call_that_was_taken_back_is_closed() -> None:
    talk, file = loading(Ref.of(ID)), Token()
    talk.udf.cancel(1)
    assert list(talk.udf.receive(head(1), [file])) == []
    assert file.closed == 1


def test_a_udf_that_misses_one_is_told_and_takes_no_more() -> None:
    """A relay on the way that passes bytes alone."""
    talk, late = loading(Ref.of(ID), Ref.of(ID)), Token()
    assert talk.udf.descriptors
    (found,) = talk.udf.receive(head(1))
    assert isinstance(found, Found)
    assert (found.file, found.lost) == (None, True)
    assert not talk.udf.descriptors
    (found,) = talk.udf.receive(head(2), [late])
    assert isinstance(found, Found)
    assert (found.file, found.lost) == (None, True)
    assert late.closed == 1


def test_a_udf_that_lost_one_mistakes_no_other_for_it() -> None:
    """The process could open no more, and then it could: the second one must not pass for the first."""
    talk, second = loading(Ref.of(ID), Ref.of(ID)), Token()
    list(talk.udf.receive(head(1)[:5]))
    talk.udf.tokens.lose()
    first, other = talk.udf.receive(head(1)[5:] + head(2), [second])
    assert isinstance(first, Found)
    assert isinstance(other, Found)
    assert (first.file, other.file, second.closed) == (None, None, 1)


def test_content_after_all_is_as_good() -> None:
    talk = loading(Ref.of(ID))
    found, content = talk.udf.receive(head(1, descriptor=False) + chunk(1))
    assert isinstance(found, Found)
    assert isinstance(content, Content)
    assert (found.lost, bytes(content.data)) == (False, b"content")


def test_one_that_no_head_announces_ends_the_conversation_at_the_udf_too() -> None:
    talk, file = loading(Ref.of(ID)), Token()
    with pytest.raises(ProtocolError, match="no frame announces"):
        list(talk.udf.receive(head(1, descriptor=False), [file]))


# --- on the way out ---


def test_a_frame_with_a_descriptor_goes_alone_and_in_its_place() -> None:
    outbox, sends = Outbox(), []
    outbox.put(b"before")
    outbox.put_with(b"first", Token(1))
    outbox.put_with(b"second", Token(2))
    outbox.put(b"after")

    def send(buffers: list[memoryview], token: object) -> int:
        sends.append((b"".join(buffers), token))
        return sum(map(len, buffers))

    assert outbox.tokens == 2
    outbox.flush(send)
    assert sends == [(b"before", None), (b"first", Token(1)), (b"second", Token(2)), (b"after", None)]
    assert outbox.tokens == outbox.bytes == outbox.small_bytes == 0


def test_it_goes_with_the_first_byte_and_not_again() -> None:
    outbox, token, sends = Outbox(), Token(), []
    outbox.put_with(b"frames", token)

    def send(buffers: list[memoryview], token: object) -> int:
        if not sends:
            sends.append(None)
            raise BlockingIOError
        sends.append(token)
        return 2

    with pytest.raises(BlockingIOError):
        outbox.flush(send)
    assert token.closed == 0
    outbox.flush(send)
    assert sends == [None, token, None, None]
    assert token.closed == 1


def test_what_was_never_sent_is_closed() -> None:
    outbox, tokens = Outbox(), [Token(1), Token(2)]
    for token in tokens:
        outbox.put_with(b"frame", token)
    with pytest.raises(BlockingIOError):
        sent_nothing(outbox)
    outbox.close()
    assert [token.closed for token in tokens] == [1, 1]
    assert outbox.tokens == 0


def sent_nothing(outbox: Outbox) -> None:
    def send(buffers: list[memoryview], token: object) -> int:
        raise BlockingIOError

    outbox.flush(send)


def test_content_stays_behind_the_head_of_its_call_where_a_descriptor_waits_between() -> None:
    outbox, sent = Outbox(), []
    outbox.put(b"result of 1")
    outbox.put_with(b"head of 2", Token(2))
    outbox.put(b"head of 3")
    outbox.put_chunk(3, b"<", b"content of 3>")

    def send(buffers: list[memoryview], token: object) -> int:
        sent.append(b"".join(buffers))
        return len(sent[-1])

    outbox.flush(send)
    assert sent == [b"result of 1", b"head of 2", b"head of 3<content of 3>"]
