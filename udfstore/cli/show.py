"""What people read: sizes, local times, columns, and the line that tells of a move. Pure but for the time zone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise

from udfstore.calls import Health, Kept, Usage
from udfstore.model import Author, BlobInfo, Entry, datetime_of

TOGETHER = 1000
"""Rows that are aligned with each other: a list of any length is shown without holding it."""


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one: `1.2 MiB`."""
    if count < 1024:
        return f"{count} B"
    amount, units = float(count), iter(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))
    unit = ""
    while amount >= 1024 and (following := next(units, "")):
        amount, unit = amount / 1024, following
    return f"{amount:.1f} {unit}"


def when(time_ns: int) -> str:
    """Local time to the second; `unknown` for 0."""
    return f"{datetime_of(time_ns).astimezone():%Y-%m-%d %H:%M:%S}" if time_ns else "unknown"


def one_line(text: str) -> str:
    """Text of somebody else's in one line, with nothing in it that moves a terminal's cursor."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(text.split()))


def blob(entry: Entry | None) -> str:
    """An entry's blob in brief."""
    return entry.id.short if entry is not None and entry.id is not None else "untagged"


def columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines with aligned columns; the last column is left as it is."""
    waiting = iter(rows)
    while batch := list(islice(waiting, TOGETHER)):
        widths = [max(map(len, column)) for column in zip(*batch, strict=True)]
        for row in batch:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def facts(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One fact a line, without those that are not there."""
    return columns((name, fact) for name, fact in pairs if fact)


def said(entry: Entry, released: bool = False) -> str:
    """What an entry says of itself: that it is held, or no longer, or where it came from; and its note."""
    what = "held" if entry.held else "released" if released else f"back to @{entry.origin}" if entry.origin else ""
    note = one_line(entry.note)
    return f"{what}: {note}" if what and note else what or note


def author(someone: Author) -> str:
    """Who did it, with what else they claimed."""
    claim = someone.claim
    more = (("host", claim.host), ("job", claim.job), ("commit", claim.commit))
    return one_line(", ".join([str(someone), *(f"{name} {text}" for name, text in more if text)]))


def tag_row(entry: Entry) -> Sequence[str]:
    """A tag as `ls` and `watch` list it."""
    amount = size(entry.size) if entry.id else ""
    return entry.ref, blob(entry), amount, when(entry.time_ns), author(entry.author), said(entry)


def history(entries: Iterable[Entry]) -> Iterator[Sequence[str]]:
    """The versions of a tag, newest first: what follows on a hold is its release."""
    for entry, older in pairwise(chain(entries, [None])):
        assert entry is not None
        yield *tag_row(entry)[:-1], said(entry, released=older is not None and older.held)


def naming(info: BlobInfo) -> str:
    """The newest versions that name a blob, and how many older ones do."""
    older = f"{info.history} older version{'s'[: info.history != 1]}"
    return ", ".join([*info.tags, *([older] if info.history else [])])


def blob_row(info: BlobInfo) -> Sequence[str]:
    """A blob as `blobs` lists it."""
    return str(info.id), size(info.size), when(info.saved_ns), naming(info)


def blob_facts(info: BlobInfo) -> Iterator[str]:
    """All that is known of a blob, and of the entry through which it was asked for."""
    pairs = [
        ("id", str(info.id)),
        ("size", f"{size(info.size)} ({info.size:,} bytes)"),
        ("saved", when(info.saved_ns)),
        ("verified", when(info.verified_ns)),
        ("named by", naming(info) or "nothing"),
    ]
    if (entry := info.entry) is not None:
        pairs += [
            ("version", entry.ref),
            ("moved", when(entry.time_ns)),
            ("author", author(entry.author)),
            ("held" if entry.held else "note", one_line(entry.note)),
            ("labels", "  ".join(one_line(f"{key}={value}") for key, value in sorted(entry.labels.items()))),
            ("source", entry.source + (f", back to @{entry.origin}" if entry.origin else "")),
            ("links", ", ".join(link.short for link in entry.links)),
        ]
    return facts(pairs)


def kept_facts(kept: Kept) -> Iterator[str]:
    """What keeps a blob."""
    now, let_go = set(kept.info.tags), set(kept.let_go)
    rules = dict(zip((entry.ref for entry in kept.named), kept.rules, strict=False))  # an older server tells none
    rows = []
    for entry in kept.named:
        age, rule = "" if entry.ref in now else "history", rules.get(entry.ref, "")
        ruled = f"let go by {rule}" if entry.ref in let_go else rule
        rows.append(("named by", entry.ref, when(entry.time_ns), ", ".join(filter(None, (age, ruled)))))
    rows += [("linked by", e.ref, when(e.time_ns), "") for e in kept.linked]
    yield f"{kept.info.id}  {size(kept.info.size)}"
    yield from columns(rows)
    if kept.more:
        yield f"and {kept.more} more"
    if kept.goes_ns:
        yield f"nothing keeps it: it may be removed from {when(kept.goes_ns)} on"


def health_facts(health: Health) -> Iterator[str]:
    """How a store and its server are."""
    return facts(
        [
            ("state", f"not ready: {one_line(health.problem)}" if health.problem else "ready"),
            ("warning", one_line(health.warning)),
            ("store", health.root),
            ("server", f"udfstore {health.version}, pid {health.pid}, since {when(health.started_ns)}"),
            ("store ID", f"{health.store_id.hex()}, epoch {health.epoch}, revision {health.revision}"),
            ("blobs", f"{health.blobs:,}, {size(health.bytes)}; {size(health.free_bytes)} free"),
            ("tags", f"{health.tags:,}"),
            ("retention", ", ".join(health.retention)),
            ("connections", str(health.connections)),
            *(("use", _use(usage)) for usage in health.usage),
        ]
    )


def _use(usage: Usage) -> str:
    """What one owner has in a store."""
    most = "" if usage.quota is None else f" of {size(usage.quota)}"
    unnamed = f", {size(usage.unnamed)} of it without a tag" if usage.unnamed else ""
    return f"{one_line(usage.owner)}: {size(usage.bytes + usage.unnamed)}{most}{unnamed}"


def move(before: Entry | None, after: Entry, flags: str = "") -> str:
    """What a move did, and the command that takes it back. `flags` lead that command to the same store."""
    if before is None:
        change = f"new -> {after.version} ({blob(after)})"
    else:
        change = f"{before.version} -> {after.version} ({blob(before)} -> {blob(after)})"
    return f"{after.tag}: {change}  undo: {undo(before, after)}{flags}"


def undo(before: Entry | None, after: Entry) -> str:
    """The command that brings back what was before: a plain rollback where that is where it leads."""
    name = shlex.quote(after.tag)
    if after.held:
        return f"udfstore release {name}"
    if before is not None and before.held:
        return f"udfstore hold {name} --note {shlex.quote(one_line(before.note))}"
    if before is None or before.id is None:
        return f"udfstore untag {name}"
    # From an entry that went back, a plain rollback goes further back still.
    return f"udfstore rollback {name}" + (f" --to {before.version}" if after.origin else "")
