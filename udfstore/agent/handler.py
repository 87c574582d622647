"""What a UDF's author writes, and what is made of the answers."""

from __future__ import annotations

from typing import Protocol

from udfstore._pb import udfstore_pb2 as udf_pb2
from udfstore.errors import UsageError
from udfstore.wire import limits, varint
from udfstore.wire.framing import KEY_BYTES

_KINDS = frozenset(limits.of_kapacitor_udfs())
_ERROR = 6
_LENGTH_DELIMITED = 2


class Response(Protocol):
    """A `udf_pb2.Response`: ours or that of Kapacitor's own package."""

    def SerializeToString(self) -> bytes: ...


class Handler:
    """A UDF: give what the host asks for, take what it sends. All methods are called in one thread, one at a time.

    An exception ends the UDF, and the host is told why. `info` has to be supplied; the others begin as those of a
    stream UDF that wants no options and has no state.
    """

    def info(self) -> Response:
        """What the UDF takes, gives, and which options it has: a `Response` with `info`."""
        raise UsageError(f"{type(self).__name__} has no method info(), which says what the UDF takes and gives")

    def init(self, init_req: udf_pb2.InitRequest) -> Response:
        """Take the options and whose node this is; a `Response` with `init`, whose `success` has to be set."""
        return udf_pb2.Response(init=udf_pb2.InitResponse(success=True))

    def snapshot(self) -> Response:
        """The state: a `Response` with `snapshot`, empty where there is none. Also when it is asked for at any time."""
        return udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse())

    def restore(self, restore_req: udf_pb2.RestoreRequest) -> Response:
        """Take up the state in `restore_req.snapshot`; a `Response` with `restore`: whether that worked."""
        return udf_pb2.Response(restore=udf_pb2.RestoreResponse(error=f"{type(self).__name__} keeps no state"))

    def begin_batch(self, begin_req: udf_pb2.BeginBatch) -> None:
        """A batch begins; its points follow."""
        raise UsageError(f"{type(self).__name__} takes no batches")

    def point(self, point: udf_pb2.Point) -> None:
        """A point, by itself or of the batch that has begun."""
        raise UsageError(f"{type(self).__name__} takes no points")

    def end_batch(self, end_req: udf_pb2.EndBatch) -> None:
        """The batch has come whole."""
        raise UsageError(f"{type(self).__name__} takes no batches")


def envelope(response: object, wanted: str = "") -> bytes:
    """The bytes of a response that a UDF may send: of any kind, or the answer to `wanted`, or an error.

    Raises `UsageError` for anything else; an empty one would end a Kapacitor with all of its tasks.
    """
    expected = f"a udf_pb2.Response with `{wanted}` set" if wanted else "a udf_pb2.Response with one message set"
    if getattr(getattr(response, "DESCRIPTOR", None), "name", "") != "Response":
        raise UsageError("not a response", expected=expected, got=f"{type(response).__name__} {response!r:.60}")
    data: bytes = response.SerializeToString()  # type: ignore[attr-defined]
    key = varint.maybe_decode(data, 0, KEY_BYTES)
    kind = key[0] >> 3 if key and key[0] & 7 == _LENGTH_DELIMITED else 0
    if kind not in (_KINDS if not wanted else (udf_pb2.Response.DESCRIPTOR.fields_by_name[wanted].number, _ERROR)):
        field = udf_pb2.Response.DESCRIPTOR.fields_by_number.get(kind)
        raise UsageError(
            "a response with nothing that can be sent", expected=expected, got=field.name if field else "an empty one"
        )
    return data
