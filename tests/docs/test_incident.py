"""The commands of docs/incident.md, run as they are written on the night that the page tells of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from kit import SECONDS, ServerProcess
from page_kit import DOCS, Page

import udfstore

EXAMPLE = DOCS.parent / "examples" / "water_flow"
sys.path.insert(0, str(EXAMPLE))

from data import line, readings  # noqa: E402
from model import dump  # noqa: E402
from train import CANDIDATE, RECIPES, build, labels  # noqa: E402

TAG = "models/water-flow"
PROMOTED = datetime.fromisoformat("2022-05-04T00:00+02:00")
TOLD = ("precision", "recall", "false-alarms", "features", "trained-until")


def promote(store: udfstore.Store, recipe: int, note: str) -> None:
    """What Ada does: train, save, move the tag, and wait for whoever follows it."""
    model, score, rows = build(RECIPES[recipe])
    known = labels(RECIPES[recipe], score, rows)
    store.save(dump(model), tag=CANDIDATE, labels={name: known[name] for name in TOLD})
    entry = store.tag(TAG, CANDIDATE, note=note)
    store.await_followers(TAG, entry.version, SECONDS)


@contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator[Callable[[list[str]], list[str]]]:
    """The UDF at work; feed it lines, and get what it made of them."""
    run = subprocess.Popen(
        [sys.executable, "-m", "udfstore", "run", "--task", "water", "--node", "score", "--", sys.executable, "udf.py"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )
    stdin, stdout = run.stdin, run.stdout
    assert stdin is not None
    assert stdout is not None

    def feed(lines: list[str]) -> list[str]:
        stdin.write("".join(lines))
        return [stdout.readline() for _ in lines]

    try:
        yield feed
        stdin.close()
        assert run.wait(SECONDS) == 0
    finally:
        run.kill()
        run.wait()
        stdin.close()
        stdout.close()


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, own_server: ServerProcess) -> None:
    for name in ("udf.py", "model.py", "usual.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    unnamed = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
    ours = {"UDFSTORE_SOCKET": str(own_server.socket), "UDFSTORE_STATE": str(tmp_path / "state"), "HOME": str(tmp_path)}
    grace, pump = (unnamed | ours | {"UDFSTORE_AUTHOR": who} for who in ("Grace", "pump-7"))

    lines = [f"{line(reading)}\n" for reading in readings()]
    before = sum(reading.time < PROMOTED for reading in readings())
    with udfstore.connect(own_server.socket, claim=udfstore.Claim("Ada")) as store:
        promote(store, 2, "two weeks of readings")
    with running(tmp_path, pump) as feed:
        feed(lines[:before])
        with udfstore.connect(own_server.socket, claim=udfstore.Claim("Ada")) as store:
            store.save_snapshot("water", "before-2")
            promote(store, 1, "lighter: looks at the flow alone")
        scored = feed(lines[before:])
        (tmp_path / "night.lp").write_text("".join(lines[before:]))
        (tmp_path / "alerts.lp").write_text("".join(text for text in scored if "flag=true" in text))
        assert Page("incident.md", tmp_path, grace).play() > 10
