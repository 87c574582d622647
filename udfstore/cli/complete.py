"""Words for the shell to complete, from the store. Whatever goes wrong here completes nothing."""

from __future__ import annotations

from itertools import islice

import typer

from udfstore.cli.stores import opened
from udfstore.errors import UdfstoreError

MOST = 1000
"""Words that are offered at once: more than anybody reads."""


def tags(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tags that begin so."""
    folder = incomplete.rpartition("/")[0]
    try:
        with opened(ctx.params.get("root"), ctx.params.get("socket")) as store:
            found = (entry.tag for entry in store.tags(f"{folder}/" if folder else ""))
            return list(islice((tag for tag in found if tag.startswith(incomplete)), MOST))
    except (UdfstoreError, OSError):
        return []


def refs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tags that begin so; or the versions of a tag, once an @ follows it."""
    name, at, _ = incomplete.partition("@")
    if not at:
        return tags(ctx, incomplete)
    try:
        with opened(ctx.params.get("root"), ctx.params.get("socket")) as store:
            found = (entry.ref for entry in store.history(name) if entry.id is not None)
            return list(islice((ref for ref in found if ref.startswith(incomplete)), MOST))
    except (UdfstoreError, OSError):
        return []
