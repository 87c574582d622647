"""`python -m tests.bench`: measure udfstore, each figure beside what the machine gives without it.

It judges nothing: a goal stands beside each figure, and docs/performance.md says what both mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.bench.command import command_probes
from tests.bench.content import content_probes
from tests.bench.http import http_probes
from tests.bench.machine import describe
from tests.bench.memory import memory_probes
from tests.bench.relay import relay_probes
from tests.bench.report import as_json, as_table
from tests.bench.rows import Probe, take_rounds
from tests.bench.small import small_probes
from tests.bench.stand import Sizes, Stand
from tests.bench.tags import tag_probes, watch_probes

GROUPS: dict[str, Callable[[Stand], AbstractContextManager[list[Probe]]]] = {
    "content": content_probes,
    "http": http_probes,
    "small": small_probes,
    "tags": tag_probes,
    "watch": watch_probes,
    "memory": memory_probes,
    "command": command_probes,
    "relay": relay_probes,
}
ONCE = {"memory"}
"""Groups that give a peak, not a rate: one round, and nothing to warm up."""

FOLDER = Path(__file__).parents[2] / ".bench"


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds: shows that it runs, no more")
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=list(GROUPS), help="only these groups")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    given = parser.parse_args()
    machine = describe(FOLDER.parent)
    sizes = Sizes.quick() if given.quick else Sizes()
    groups = {}
    with Stand(FOLDER, sizes) as stand:
        for name in given.only:
            once = name in ONCE
            with GROUPS[name](stand) as probes:
                groups[name] = take_rounds(name, probes, 1 if once else sizes.rounds, warm_up=not once)
    print(as_table(machine, groups, sizes.rounds))
    if given.json:
        given.json.write_text(as_json(machine, groups, quick=given.quick))


if __name__ == "__main__":
    main()
