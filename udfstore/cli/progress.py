"""A bar for transfers that take long, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG_BYTES = 64 * 1024 * 1024
"""From here on a transfer is worth a bar: about a tenth of a second, as long as it takes to load what draws it."""

Advance = Callable[[int], object]
"""Told how many bytes are done by now."""


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """Show how far a transfer of `total` bytes is (None: nobody knows). Nothing is shown beside a terminal's back."""
    if not sys.stderr.isatty() or (total is not None and total < LONG_BYTES):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    shown = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
    with Progress(*shown, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(what, total=total)
        yield lambda done: bars.update(bar, completed=done)
