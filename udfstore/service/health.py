"""Whether a store takes writes: what every front says of it."""

from __future__ import annotations

from udfstore.store import Store


def problems(store: Store, *, names: bool) -> list[str]:
    """Why it takes no writes, or soon will not; nothing: it does. Without `names` in words that tell no path."""
    limits, found = store.limits, []
    if store.problem:
        found.append(f"the store takes no writes{': ' + store.problem if names else ''}")
    free, floor = store.free_bytes(), limits.floor_bytes
    if free < floor + limits.reserve_bytes:
        found.append(f"the disk is near its floor: {free} bytes are free, saves are refused below {floor}")
    return found
