"""A clock that is a year off, ahead or behind, and comes right again."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_kit import START_NS, Clock, delete, forget_catalog, move, open_store, read, rollback, save

from udfstore.errors import Gone
from udfstore.refs import Tag

YEAR = 365 * 86_400


@pytest.mark.parametrize("off", [YEAR, -YEAR])
def test_a_clock_that_is_a_year_off_loses_nothing(root: Path, clock: Clock, off: int) -> None:
    """Names and content do not hang on it, nor do versions; only what was deleted goes at other times."""
    with open_store(root, clock=clock) as store:
        move(store, "t", save(store, b"1"))
        deleted = save(store, b"deleted")
        delete(store, deleted)
    clock.advance(off)
    with open_store(root, clock=clock) as store:
        move(store, "t", save(store, b"2"))
        unnamed = save(store, b"unnamed")
        store.sweep()
    clock.ns = START_NS
    forget_catalog(root)
    with open_store(root, clock=clock) as store:
        assert store.problem == ""
        store.sweep()
        move(store, "t", save(store, b"3"))
        assert [entry.version for entry in store.history(Tag.parse("t"))] == [3, 2, 1]
        assert [read(store, f"t@{version}") for version in (1, 2, 3)] == [b"1", b"2", b"3"]
        assert rollback(store, "t").version == 4
        assert read(store, "t") == b"2"
        assert read(store, unnamed) == b"unnamed"
        with pytest.raises(Gone):
            store.open(deleted)
        save(store, b"deleted")
        assert read(store, deleted) == b"deleted"
