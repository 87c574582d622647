"""The store on disk: blob files, the tag log with its committer, and the catalog made from both. See FORMAT.md.

    Store ── changes ──> Committer ──> Log (the truth about names)
      │                      └───────> Catalog (a view, disposable)
      └──── content ───> Upload, BlobFile ──> Files (the truth about content)

No protobuf and no event loop here: calls block, and any thread may make them.
"""

from __future__ import annotations

from udfstore.store.appender import Appender
from udfstore.store.blobs import BlobFile
from udfstore.store.limits import StoreLimits
from udfstore.store.log import Head, HeadMoved, Log, LogFailed
from udfstore.store.partial import Partial
from udfstore.store.reads import Made
from udfstore.store.resolve import Resolved
from udfstore.store.retention import Rule
from udfstore.store.store import Store
from udfstore.store.upload import Room, Upload

__all__ = [
    "Appender",
    "BlobFile",
    "Head",
    "HeadMoved",
    "Log",
    "LogFailed",
    "Made",
    "Partial",
    "Resolved",
    "Room",
    "Rule",
    "Store",
    "StoreLimits",
    "Upload",
]
