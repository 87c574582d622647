"""Fuzzes one target: `python -m tests.fuzz frames|host|udf [OPTION…]`, with the options of libFuzzer.

What it finds is put into `.fuzz/TARGET`, an input that fails into the present folder; `-runs=N` or `-max_total_time=N`
(seconds) end it. With `-merge=1` what reaches new places goes into the corpus that is kept.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["udfstore.wire", "udfstore.session"]):
    from tests.fuzz import fuzz_kit


def main(target: str, *options: str) -> None:
    kept, found = fuzz_kit.HERE / "corpus" / target, Path(".fuzz", target)
    with tempfile.TemporaryDirectory(prefix="udfstore-") as name:
        for folder in (kept, found):
            folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(fuzz_kit.seeds(target)):
            Path(name, str(number)).write_bytes(seed)
        into, other = (kept, found) if "-merge=1" in options else (found, kept)
        again = f"{sys.executable} -m tests.fuzz {target}"  # a merge runs itself, by a shell
        atheris.Setup([again, *options, str(into), str(other), name], fuzz_kit.TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in fuzz_kit.TARGETS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
