"""`python -m tests.bench`: measure udfstore, each figure beside what the machine gives without it.

It judges nothing: a goal stands beside each figure, and docs/performance.md says what both mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from tests.bench.age import age_probes
from tests.bench.busy import busy_probes
from tests.bench.command import command_probes
from tests.bench.content import content_probes
from tests.bench.descriptors import descriptor_probes
from tests.bench.gains import gain_probes
from tests.bench.machine import describe
from tests.bench.memory import memory_probes
from tests.bench.over_http import http_probes
from tests.bench.relay import relay_probes
from tests.bench.report import as_json, as_table
from tests.bench.rows import Probe, take_rounds
from tests.bench.sampling import sampled
from tests.bench.small import small_probes
from tests.bench.stand import FOLDER, Sizes, Stand
from tests.bench.tags import tag_probes, watch_probes
from tests.bench.year import WHOLE, year_probes

GROUPS: dict[str, Callable[[Stand], AbstractContextManager[list[Probe]]]] = {
    "content": content_probes,
    "descriptors": descriptor_probes,
    "http": http_probes,
    "small": small_probes,
    "tags": tag_probes,
    "watch": watch_probes,
    "busy": busy_probes,
    "memory": memory_probes,
    "age": age_probes,
    "year": year_probes,
    "command": command_probes,
    "relay": relay_probes,
    "gains": gain_probes,
}
ONCE = {"memory", "year"}
"""Groups that give a peak or a size, not a rate: one round, and nothing to warm up."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and tell."""
    given = _parser().parse_args(arguments)
    sizes = Sizes.quick() if given.quick else Sizes()
    if given.year:
        sizes = replace(sizes, snapshots=WHOLE // 2)
    names = [given.profile] if given.profile else given.only
    machine = describe(given.folder)
    groups = {}
    with Stand(given.folder / FOLDER, sizes, sampled if given.profile else nullcontext) as stand:
        for name in names:
            once = name in ONCE
            with GROUPS[name](stand) as probes:
                groups[name] = take_rounds(name, probes, 1 if once else sizes.rounds, warm_up=not once)
    print(as_table(machine, groups, sizes.rounds))
    if given.json:
        given.json.write_text(as_json(machine, groups, quick=given.quick))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds: shows that it runs, no more")
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=list(GROUPS), help="only these groups")
    parser.add_argument(
        "--profile", choices=GROUPS, metavar="GROUP", help="this group, and where its server's time went"
    )
    parser.add_argument("--year", action="store_true", help="a whole year of snapshot rounds, not the beginning of one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument(
        "--folder", type=Path, default=Path(), help=f"work in {FOLDER} there, which is emptied (default: this folder)"
    )
    return parser


if __name__ == "__main__":
    main()
