"""Tables that must be total: what they leave out would fail only in the field."""

from __future__ import annotations

import typing

from session_kit import CALLS, RESULTS, WELCOME

from udfstore import calls, errors
from udfstore._pb import udfstore_pb2 as pb
from udfstore.session import requests
from udfstore.session.host import MAY_COME, HostSession, State
from udfstore.session.udf import UdfSession
from udfstore.wire import codec, limits


def names(message: type, oneof: str) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.oneofs_by_name[oneof].fields}  # type: ignore[attr-defined]


def own(envelope: type) -> set[str]:
    fields = envelope.DESCRIPTOR.oneofs_by_name["message"].fields  # type: ignore[attr-defined]
    return {field.name for field in fields if field.number >= 32}


def test_every_code_has_a_meaning_and_an_error() -> None:
    assert set(errors.CODES) == set(errors.Code)
    assert {kind.code for kind in errors.UdfstoreError.__subclasses__()} == set(errors.Code)
    assert all(type(errors.error_for(code.value, "x")).code is code for code in errors.Code)


def test_every_call_is_written_and_read() -> None:
    kinds = set(typing.get_args(calls.Call))
    assert set(requests._WRITE) == kinds == set(CALLS)
    assert {name for name, _ in requests._WRITE.values()} == set(requests._READ) == names(pb.Call, "op")


def test_every_result_is_tried() -> None:
    assert set(typing.get_args(calls.Result)) == set(RESULTS)
    assert len(names(pb.Result, "result")) == len(RESULTS)


def test_the_host_handles_every_message_of_a_udf_in_some_state() -> None:
    assert set(MAY_COME) == set(State)
    assert set().union(*MAY_COME.values()) == own(pb.Response)
    assert set(HostSession(WELCOME)._handlers) | {"chunk"} == own(pb.Response)


def test_the_udf_handles_every_message_of_a_host() -> None:
    assert set(UdfSession()._handlers) | {"chunk"} == own(pb.Request)


def test_every_message_has_a_limit_and_only_content_and_answers_are_large() -> None:
    for kinds, envelope, large in (
        (limits.of_clients(), pb.Response, {"chunk"}),
        (limits.of_hosts(), pb.Request, {"chunk", "result", "page"}),
        (limits.of_strangers(), pb.Response, set()),
    ):
        fields = {envelope.DESCRIPTOR.fields_by_number[kind].name: most for kind, most in kinds.items()}
        assert set(fields) == own(envelope)
        assert {name for name, most in fields.items() if most != limits.SMALL_BYTES} == large


def test_chunks_have_one_number_in_both_envelopes() -> None:
    for envelope in (pb.Request, pb.Response):
        assert envelope.DESCRIPTOR.fields_by_name["chunk"].number == codec.CHUNK
