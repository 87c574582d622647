from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.errors import ProtocolError
from udfstore.wire import varint


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**28, "8080808001"), (2**35 - 1, "ffffffff7f")],
)
def test_agrees_with_the_documented_encoding(value: int, encoded: str) -> None:
    assert varint.encode(value).hex() == encoded
    assert varint.maybe_decode(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**35 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_comes_back_from_anywhere_in_the_data(value: int, before: bytes, behind: bytes) -> None:
    encoded = varint.encode(value)
    data = before + encoded + behind
    assert varint.maybe_decode(data, len(before)) == (value, len(before) + len(encoded))


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**35 - 1))
def test_waits_for_its_last_byte(value: int) -> None:
    encoded = varint.encode(value)
    for cut in range(len(encoded)):
        assert varint.maybe_decode(encoded[:cut], 0) is None


def test_refuses_one_without_an_end_at_the_last_byte_it_may_have() -> None:
    assert varint.maybe_decode(b"\xff" * 4, 0) is None
    with pytest.raises(ProtocolError, match="at most 5 bytes"):
        varint.maybe_decode(b"\xff" * 5, 0)
    with pytest.raises(ProtocolError, match="at most 3 bytes"):
        varint.maybe_decode(b"\x80\x80\x80\x01", 0, 3)
