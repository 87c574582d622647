"""The scrub: content is hashed again, gently, so that what the disk has spoiled is found while it can be mended."""

from __future__ import annotations

from contextlib import closing

import structlog
import trio

from udfstore.admin import Finding
from udfstore.errors import UdfstoreError
from udfstore.pace import Pace
from udfstore.plain import plain
from udfstore.server.rooms import Rooms
from udfstore.store import Store

LOOK_SECONDS = 86400.0
"""Between two looks for what has come of age; what is damaged and not mended is told again in each."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def scrub(store: Store, rooms: Rooms) -> None:
    """Scrub for as long as the store takes writes: what was verified, and when, is noted in the catalog."""
    while rooms.limits.scrub_days and not store.problem:
        try:
            await look(store, rooms)
        except Exception as error:  # noqa: BLE001 - housekeeping that fails must not end the service
            unforeseen = None if isinstance(error, UdfstoreError) else error
            _log.warning("content could not be verified", reason=str(error), exc_info=unforeseen)
        await trio.sleep(LOOK_SECONDS)


async def look(store: Store, rooms: Rooms) -> None:
    """Verify what has come of age, at the pace of the limits. Raises what keeps it from that, an `UdfstoreError`."""
    pace, done, found = Pace(rooms.limits.scrub_bytes), 0, 0
    scrub = store.scrub(rooms.limits.scrub_days)
    with closing(scrub.steps()) as steps:
        while (findings := await rooms.reading(next, steps, None)) is not None:
            for finding in findings:
                found += not finding.mended
                _tell(finding)
            await trio.sleep(pace.delay(scrub.work - done, trio.current_time()))
            done = scrub.work
    if scrub.blobs:
        _log.info("content was verified", blobs=scrub.blobs, bytes=scrub.bytes, findings=found)


def _tell(finding: Finding) -> None:
    told = _log.info if finding.mended else _log.error
    told("found in the store", **plain(finding))
