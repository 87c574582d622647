"""Quotas: how much content each user and each token may have here. Pure.

Owners are called as `Author.owner` has it. A blob counts once, for the author of the first entry that names it, or that
links it; what no entry keeps yet counts for the connection that saved it.
"""

from __future__ import annotations

from collections.abc import Mapping

from udfstore.errors import NoSpace

SERVER = "server"
"""The owner of what the server writes by itself, automatic snapshots above all: retention bounds it, no quota does."""


class Quotas:
    """How many bytes each owner may have, and how many every other one; None: as many as the disk takes."""

    def __init__(self, of: Mapping[str, int] | None = None, others: int | None = None) -> None:
        self.named = dict(of or {})
        self._others = others

    def __bool__(self) -> bool:
        return bool(self.named) or self._others is not None

    def of(self, owner: str) -> int | None:
        """The quota of an owner; None: it has none."""
        return self.named.get(owner, None if owner == SERVER else self._others)


def check(owner: str, quota: int, used: int, more: int) -> None:
    """Refuse so many bytes more than an owner uses, where they pass its quota (`NoSpace`)."""
    if more and used + more > quota:
        raise NoSpace(
            f"{more} bytes more would pass the quota of {owner}, who uses {used}: untag and rm what is not needed, or"
            " have the quota raised",
            expected=f"at most {quota} bytes",
            got=used + more,
        )


NO_QUOTAS = Quotas()
"""Everybody may have as much as the disk takes."""
