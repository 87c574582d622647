"""udfstore: blobs, tags and their history for stream-processing UDFs.

    import udfstore

    with udfstore.connect() as store:
        model = store.follow("models/pump", loader)

Importing this loads nothing; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from udfstore.version import __version__

if TYPE_CHECKING:
    from udfstore.client.files import OpenBlob
    from udfstore.client.follow import Follower
    from udfstore.client.member import Member
    from udfstore.client.remote import Store, connect
    from udfstore.digest import BlobId
    from udfstore.errors import (
        Busy,
        Cancelled,
        Closing,
        Conflict,
        Corrupt,
        Denied,
        Gone,
        InternalError,
        Mismatch,
        NoServer,
        NoSpace,
        NotFound,
        ProtocolError,
        ReadOnly,
        TimedOut,
        TooLarge,
        UdfstoreError,
        Unsupported,
        UsageError,
    )
    from udfstore.local import LocalStore, open_store
    from udfstore.model import Author, BlobInfo, Claim, Entry, Event
    from udfstore.refs import Ref, Tag
    from udfstore.tasks import Given, Node, NodeState, Place, Policy, Reason, Snapshot, Taken, Task, Use

_HOMES = {
    "udfstore.client.files": ("OpenBlob",),
    "udfstore.client.follow": ("Follower",),
    "udfstore.client.member": ("Member",),
    "udfstore.client.remote": ("Store", "connect"),
    "udfstore.digest": ("BlobId",),
    "udfstore.errors": (
        "Busy",
        "Cancelled",
        "Closing",
        "Conflict",
        "Corrupt",
        "Denied",
        "Gone",
        "InternalError",
        "Mismatch",
        "NoServer",
        "NoSpace",
        "NotFound",
        "ProtocolError",
        "ReadOnly",
        "TimedOut",
        "TooLarge",
        "UdfstoreError",
        "Unsupported",
        "UsageError",
    ),
    "udfstore.local": ("LocalStore", "open_store"),
    "udfstore.model": ("Author", "BlobInfo", "Claim", "Entry", "Event"),
    "udfstore.refs": ("Ref", "Tag"),
    "udfstore.tasks": (
        "Given",
        "Node",
        "NodeState",
        "Place",
        "Policy",
        "Reason",
        "Snapshot",
        "Taken",
        "Task",
        "Use",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Author",
    "BlobId",
    "BlobInfo",
    "Busy",
    "Cancelled",
    "Claim",
    "Closing",
    "Conflict",
    "Corrupt",
    "Denied",
    "Entry",
    "Event",
    "Follower",
    "Given",
    "Gone",
    "InternalError",
    "LocalStore",
    "Member",
    "Mismatch",
    "NoServer",
    "NoSpace",
    "Node",
    "NodeState",
    "NotFound",
    "OpenBlob",
    "Place",
    "Policy",
    "ProtocolError",
    "ReadOnly",
    "Reason",
    "Ref",
    "Snapshot",
    "Store",
    "Tag",
    "Taken",
    "Task",
    "TimedOut",
    "TooLarge",
    "UdfstoreError",
    "Unsupported",
    "UsageError",
    "Use",
    "__version__",
    "connect",
    "open_store",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'udfstore' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
