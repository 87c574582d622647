"""What came of it, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FORMAT = 1


def as_table(told: Mapping[str, Any]) -> str:
    """What `Soak.told` has."""
    return "\n".join(f"{name:24}{value}" for name, value in _rows(told))


def _rows(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from told["machine"].items()
    yield "took", f"{told['seconds']:,.0f} s"
    for kind in ("steps", "happened", "acknowledged"):
        yield kind, ", ".join(f"{name} {count:,}" for name, count in told[kind].items())
    for when, sample in told["server"].items():
        held = (
            f"{sample['memory_mib']:.1f} MiB",
            f"{sample['descriptors']} descriptors",
            f"{sample['threads']} threads",
        )
        yield f"server {when}", ", ".join(held)
    memory = told["memory"]
    thirds = ", ".join(f"{third:.1f}" for third in memory["thirds"])
    yield "longest life", f"{memory['seconds']:,.0f} s; MiB at the median of each third: {thirds}"
    for kind in ("descriptors", "catalog", "threads", "staging", "uploads", "trash", "journal"):
        yield f"most {kind}", str(max(sample[kind] for sample in told["samples"]))
    yield "found", "; ".join(told["problems"]) or "nothing wrong"
