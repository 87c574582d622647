"""Whether a store takes writes: what every front says of it."""

from __future__ import annotations

from udfstore.store import Store


def problems(store: Store, *, names: bool) -> list[str]:
    """Why it takes no writes, or soon will not; nothing: it does. Without `names` in words that tell no path."""
    found = []
    if store.problem:
        found.append(f"the store takes no writes{': ' + store.problem if names else ''}")
    if near_floor(store):
        free, floor = store.free_bytes(), store.limits.floor_bytes
        found.append(f"the disk is near its floor: {free} bytes are free, saves are refused below {floor}")
    return found


def near_floor(store: Store) -> bool:
    """Whether saves will soon be refused for want of room."""
    return store.free_bytes() < store.limits.floor_bytes + store.limits.reserve_bytes
