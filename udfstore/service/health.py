"""Whether a store takes writes: what every front says of it."""

from __future__ import annotations

from udfstore.store import Store


def problems(store: Store, *, names: bool) -> list[str]:
    """Why it takes no writes, or soon will not; nothing: it does. Without `names` in words that tell no path."""
    stuck = f"the store takes no writes{': ' + store.problem if names else ''}" if store.problem else ""
    return [problem for problem in (stuck, warning(store)) if problem]


def warning(store: Store) -> str:
    """Why saves are or soon will be refused, while all else goes on; "": they are not."""
    free, limits = store.free_bytes(), store.limits
    if free >= limits.floor_bytes + limits.reserve_bytes:
        return ""
    return f"the disk is near its floor: {free} bytes are free, saves are refused below {limits.floor_bytes}"
