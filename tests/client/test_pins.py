"""Pins: the same program under another version, with nothing changed."""

from __future__ import annotations

from typing import Any

import pytest
from kit import eventually

from udfstore import OpenBlob, UsageError
from udfstore.client import where


def read(blob: OpenBlob) -> bytes:
    return blob.read()


def test_a_pinned_follower_has_its_version_and_stays_there(
    store: Any, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, other = f"{unique}/x", f"{unique}/y"
    for tag in (name, other):
        for content in (b"one", b"two"):
            store.save(f"{tag} ".encode() + content, tag=tag)
    monkeypatch.setenv(where.PINS, f"{name}@1 {unique}/z@4")
    with store.follow(name, read) as pinned, store.follow(other, read) as free:
        assert (pinned.value[-3:], pinned.version, free.version) == (b"one", 1, 2)
        store.save(f"{name} three".encode(), tag=name)
        store.save(f"{other} three".encode(), tag=other)
        eventually(lambda: store.status() and free.version == 3)
        assert pinned.version == 1
    assert not list(store.uses(tag=name)), "what is tried out under a pin is nobody's use of the tag"


def test_a_pin_to_a_version_that_never_was_is_an_error(
    store: Any, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(b"one", tag=f"{unique}/x")
    monkeypatch.setenv(where.PINS, f"{unique}/x@7")
    with pytest.raises(Exception, match=r"x@7|version 7"), store.follow(f"{unique}/x", read):
        pass


@pytest.mark.parametrize("text", ["models/x", "models/x@-1", "sha256:" + "0" * 64, "@3"])
def test_a_pin_names_a_version(text: str) -> None:
    with pytest.raises(UsageError):
        where.pins(text)


def test_pins_reach_a_child_through_its_environment() -> None:
    assert where.pins(where.environment_of({"a": 1, "b/c": 20})[where.PINS]) == {"a": 1, "b/c": 20}
    assert where.environment_of({}) == {}


def test_a_fallback_does_not_take_the_place_of_a_pinned_version(
    store: Any, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(b"one", tag=f"{unique}/x")
    monkeypatch.setenv(where.PINS, f"{unique}/x@7")
    with pytest.raises(Exception, match=r"version 7"), store.follow(f"{unique}/x", read, fallback=b"none"):
        pass
