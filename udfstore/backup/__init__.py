"""Backup and restore: one set of files, in a folder or as one stream. See `form` for the files and their order.

    store ── take ──> Target: Folder or Stream          Files: of a folder or of a stream ── restore ──> a new root

Above both the client and the store: what is taken comes through either, and a restore makes a store of its own.
"""

from __future__ import annotations

from udfstore.backup.folder import Folder, read_folder, summary_of
from udfstore.backup.restore import Restored, restore
from udfstore.backup.stream import Stream, read_stream
from udfstore.backup.take import Damage, Taken, Target, take

__all__ = [
    "Damage",
    "Folder",
    "Restored",
    "Stream",
    "Taken",
    "Target",
    "read_folder",
    "read_stream",
    "restore",
    "summary_of",
    "take",
]
