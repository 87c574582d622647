"""The store on disk holds to what every store does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance import StoreConformance
from store_kit import blob_path

from udfstore.digest import BlobId
from udfstore.store import Store


class TestStoreOnDisk(StoreConformance):
    @pytest.fixture
    def at_rest(self, store: Store) -> Callable[[BlobId], bytes]:
        return lambda id: blob_path(store, id).read_bytes()
