"""What Kapacitor keeps in place of a state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.bridge.reference import MAGIC, Reference, maybe_decode
from udfstore.digest import BlobId
from udfstore.errors import UsageError

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128).filter(
    lambda name: len(name.encode()) <= 128
)
REFERENCES = st.builds(
    Reference, st.binary(min_size=16, max_size=16), st.builds(BlobId.of, st.binary(max_size=4)), NAMES, NAMES
)
ONE = Reference(bytes(range(16)), BlobId.of(b"manifest"), "line1/größe \N{SNOWMAN}", "moving_avg2")


@settings(derandomize=True, max_examples=200)
@given(REFERENCES)
def test_it_comes_back_as_it_was_and_is_small(reference: Reference) -> None:
    data = reference.encode()
    assert len(data) <= 512
    assert maybe_decode(data) == reference


def test_the_bytes_of_one_are_these() -> None:
    task, node = "line1/größe ☃".encode(), b"moving_avg2"
    body = MAGIC + bytes(range(16)) + ONE.manifest.raw + bytes([len(task)]) + task + bytes([len(node)]) + node
    assert ONE.encode()[:-4] == body
    assert ONE.encode()[-4:].hex() == "3b52a0b6"


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04\x95", b'{"mean": 1.5}', MAGIC[:-1], b" " + MAGIC, MAGIC.swapcase() + b"x", b"\x00" * 100]
)
def test_a_udfs_own_state_is_told_apart(data: bytes) -> None:
    assert maybe_decode(data) is None


@settings(derandomize=True, max_examples=200)
@given(st.data())
def test_a_reference_that_was_touched_is_refused(data: st.DataObject) -> None:
    whole = ONE.encode()
    at = data.draw(st.integers(len(MAGIC), len(whole) - 1))
    touched = bytearray(whole)
    touched[at] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(touched), whole[:at], whole + bytes(at - len(MAGIC) + 1)):
        with pytest.raises(UsageError, match="reference"):
            maybe_decode(wrong)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129])
def test_names_that_are_none_make_no_reference(name: str) -> None:
    with pytest.raises(UsageError):
        Reference(ONE.store_id, ONE.manifest, name, "node").encode()
    with pytest.raises(UsageError):
        Reference(ONE.store_id, ONE.manifest, "task", name).encode()
