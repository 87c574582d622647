"""A week of a box whose disk is too small: it is filled to its floor, and comes back by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from store_kit import SMALL, Clock, commit, move, open_store, read, save

from udfstore.digest import BlobId
from udfstore.errors import NoSpace
from udfstore.refs import Tag
from udfstore.store import Rule, Store

MIB = 1 << 20
STEP_S = 600
WEEK = 7 * 86_400 // STEP_S
DAY, HOUR = 86_400 // STEP_S, 3600 // STEP_S
KEPT_MODELS = 3
LIMITS = replace(SMALL, floor_bytes=MIB, reserve_bytes=MIB // 2, retention=(Rule("models/**", versions=KEPT_MODELS),))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(store: Store) -> int:
    """A program runs wild: it saves until it is refused, and names nothing."""
    count = 0
    for size in (MIB // 4, 4096):
        with contextlib.suppress(NoSpace):
            while True:
                save(store, os.urandom(size))
                count += 1
    return count


def test_a_week_of_snapshots_on_a_disk_that_was_filled(disk: Path) -> None:
    clock = Clock()
    refused: list[int] = []
    models: list[bytes] = []
    with open_store(disk / "root", clock=clock, limits=LIMITS) as store:
        for step in range(WEEK):
            if step == DAY:
                assert fill(store) > 20
            with contextlib.suppress(NoSpace):
                if step % (6 * HOUR) == 0:
                    model = os.urandom(MIB // 2)
                    move(store, "models/pump", save(store, model))
                    models.append(model)
            try:
                commit(store, b"manifest %d" % step, b"state %d " % step * 2000)
            except NoSpace:
                refused.append(step)
            clock.advance(STEP_S)
            if step % HOUR == 0 or store.is_short:
                for _ in store.collect():
                    pass
            store.sweep()
        # What was dropped before the disk was filled makes room meanwhile: some rounds between get through.
        assert refused[0] == DAY, "refused from when the disk was full"
        assert refused[-1] <= 2 * DAY + HOUR, "a day of grace, and all is well again"
        assert 2 * len(refused) > refused[-1] - refused[0], "most of them were refused meanwhile"
        assert len(store.kept(Tag.parse("snapshots/pump/auto"))) == 10
        assert read(store, BlobId.of(b"state %d " % (WEEK - 1) * 2000))
        for version, model in zip(range(-KEPT_MODELS + 1, 1), models[-KEPT_MODELS:], strict=True):
            assert read(store, f"models/pump@{version}" if version else "models/pump") == model
        blobs, _, tags = store.totals()
        assert (blobs, tags) == (2 * 10 + KEPT_MODELS + blobs_in_grace(store), 2)


def blobs_in_grace(store: Store) -> int:
    return sum(len(batch) for batch in store.collect(dry_run=True))
