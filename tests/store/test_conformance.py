"""The store on disk holds to what every store does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance import StoreConformance
from store_kit import JOURNALED, Clock, blob_path, open_store

from udfstore.digest import BlobId
from udfstore.store import Store


class TestStoreOnDisk(StoreConformance):
    @pytest.fixture
    def at_rest(self, store: Store) -> Callable[[BlobId], bytes]:
        return lambda id: blob_path(store, id).read_bytes()


class TestStoreWithAJournal(TestStoreOnDisk):
    @pytest.fixture
    def store(self, root: Path, clock: Clock) -> Iterator[Store]:
        with open_store(root, clock=clock, limits=JOURNALED) as store:
            yield store
