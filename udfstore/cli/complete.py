"""Words for the shell to complete, from the store. Whatever goes wrong here completes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import typer

from udfstore.cli.stores import opened
from udfstore.errors import UdfstoreError
from udfstore.tasks import FRESH

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore

MOST = 1000
"""Words that are offered at once: more than anybody reads."""


def _of_store(ctx: typer.Context, incomplete: str, words: Callable[[BaseStore], Iterable[str]]) -> list[str]:
    try:
        with opened(ctx.params.get("root"), ctx.params.get("socket")) as store:
            return list(islice((word for word in words(store) if word.startswith(incomplete)), MOST))
    except (UdfstoreError, OSError):
        return []


def tags(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tags that begin so."""
    folder = incomplete.rpartition("/")[0]
    return _of_store(ctx, incomplete, lambda store: (entry.tag for entry in store.tags(f"{folder}/" if folder else "")))


def refs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tags that begin so; or the versions of a tag, once an @ follows it."""
    name, at, _ = incomplete.partition("@")
    if not at:
        return tags(ctx, incomplete)
    return _of_store(
        ctx, incomplete, lambda store: (entry.ref for entry in store.history(name) if entry.id is not None)
    )


def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tasks that begin so."""
    return _of_store(ctx, incomplete, lambda store: (task.name for task in store.tasks()))


def tasks_and_tags(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tasks and tags that begin so."""
    return tasks(ctx, incomplete) + tags(ctx, incomplete)


def tokens(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tokens that begin so."""
    return _of_store(ctx, incomplete, lambda store: (token.name for token in store.tokens()))


def snapshots(ctx: typer.Context, incomplete: str) -> list[str]:
    """Numbers and names of the snapshots of the task that was named before."""

    def listed(store: BaseStore) -> Iterator[str]:
        for snapshot in store.snapshots(ctx.params.get("task") or ""):
            yield from [str(snapshot.number)] if snapshot.number else []
            yield from snapshot.names

    return _of_store(ctx, incomplete, listed)


def chosen(ctx: typer.Context, incomplete: str) -> list[str]:
    """Likewise, and `fresh`."""
    return [*([FRESH] if FRESH.startswith(incomplete) else []), *snapshots(ctx, incomplete)]


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Nodes in the newest snapshot of the task that was named before."""
    return _of_store(
        ctx, incomplete, lambda store: (state.name for state in store.states(ctx.params.get("task") or ""))
    )
