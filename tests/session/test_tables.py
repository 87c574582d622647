"""Tables that must be total: what they leave out would fail only in the field."""

from __future__ import annotations

import typing

from session_kit import CALLS, ITEMS, RESULTS, WELCOME

from udfstore import admin, calls, errors, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.model import Event
from udfstore.session import requests
from udfstore.session.host import MAY_COME, NODES_MAY, HostSession, State
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


def test_every_item_is_tried() -> None:
    assert set(typing.get_args(calls.Item)) | {Event} == set(ITEMS)
    lists = {field.name for field in pb.Page.DESCRIPTOR.fields} - {"call"}
    assert len(lists) == len(ITEMS)


def test_enums_have_the_same_members_at_both_ends() -> None:
    for kind, wire in ((tasks.Policy, pb.Policy), (tasks.HostKind, pb.HostKind), (admin.Can, pb.Can)):
        assert [member.name for member in kind] == wire.keys()


NODES_OWN = {"keepalive", "snapshot", "restore"}
"""Kapacitor's messages that a node and its host use: the same names in both envelopes."""


def test_the_host_handles_every_message_of_a_udf_in_some_state() -> None:
    assert set(MAY_COME) == set(State)
    assert set().union(*MAY_COME.values()) == own(pb.Response)
    assert NODES_OWN | {"call"} == NODES_MAY
    assert set(HostSession(WELCOME)._handlers) | {"chunk"} == own(pb.Response) | NODES_OWN


def test_the_udf_handles_every_message_of_a_host() -> None:
    assert set(UdfSession()._handlers) | {"chunk"} == own(pb.Request) | NODES_OWN


def test_every_message_has_a_limit_and_only_content_and_answers_are_large() -> None:
    plain = 1 << 20
    for kinds, envelope, taken, large in (
        (limits.of_strangers(), pb.Response, own(pb.Response), set()),
        (limits.of_clients(), pb.Response, own(pb.Response), {"chunk"}),
        (limits.of_nodes(), pb.Response, own(pb.Response) | NODES_OWN, {"chunk"}),
        (limits.of_nodes(plain_bytes=plain), pb.Response, own(pb.Response) | NODES_OWN, {"chunk", "snapshot"}),
        (limits.of_hosts(), pb.Request, own(pb.Request), {"chunk", "result", "page"}),
        (limits.of_hosts_of_nodes(), pb.Request, own(pb.Request) | NODES_OWN, {"chunk", "result", "page"}),
        (
            limits.of_hosts_of_nodes(plain_bytes=plain),
            pb.Request,
            own(pb.Request) | NODES_OWN,
            {"chunk", "result", "page", "restore"},
        ),
    ):
        fields = {envelope.DESCRIPTOR.fields_by_number[kind].name: most for kind, most in kinds.items()}
        assert set(fields) == taken
        assert {name for name, most in fields.items() if most != limits.SMALL_BYTES} == large


def test_chunks_have_one_number_in_both_envelopes() -> None:
    for envelope in (pb.Request, pb.Response):
        assert envelope.DESCRIPTOR.fields_by_name["chunk"].number == codec.CHUNK
