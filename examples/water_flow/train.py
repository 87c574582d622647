"""Train an anomaly model, measure it on readings it has not seen, and store it as a candidate.

    python train.py --version 1
    udfstore tag models/water-flow models/water-flow/candidate      # promotes it: whoever follows the tag swaps

Version 1 learned four quiet days and looks at the flow alone; version 2 learned two weeks and looks also at the step
from the reading before. The ID goes to standard output, what was measured to standard error.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from data import Score, anomalous, digest, measure, readings
from model import Model, dump, pairs, train

import udfstore

CANDIDATE = "models/water-flow/candidate"
TESTED_FROM = datetime.fromisoformat("2022-04-03T00:00+02:00")
"""No version is trained on readings from here on, so that all are measured on the same unseen six weeks."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one version is made: from the readings before `until`, with those features."""

    until: datetime
    features: tuple[str, ...]
    note: str


RECIPES = {
    1: Recipe(datetime.fromisoformat("2022-03-24T00:00+01:00"), ("flow",), "four quiet days, the flow alone"),
    2: Recipe(TESTED_FROM, ("flow", "step"), "two weeks, the flow and its step from the hour before"),
}


def build(recipe: Recipe) -> tuple[Model, Score, int]:
    """The trained model, its score on the unseen readings, and from how many readings it learned.

    The stretches known to be anomalous are left out of training.
    """
    series = readings()
    seen = [reading for reading in series if reading.time < recipe.until]
    model = train(seen, recipe.features, skip=anomalous)
    score = measure(
        (reading, model.flags(model.score(reading, before)))
        for before, reading in pairs(series)
        if reading.time >= TESTED_FROM
    )
    return model, score, sum(not anomalous(reading) for reading in seen)


def labels(recipe: Recipe, score: Score, rows: int) -> dict[str, str]:
    """What an entry shall say of the model, for whoever asks one day how it was made."""
    return {
        "precision": f"{score.precision:.2f}",
        "recall": f"{score.recall:.2f}",
        "false-alarms": str(score.false_alarms),
        "stretches": f"{score.stretches_found}/{score.stretches}",
        "tested-from": f"{TESTED_FROM:%Y-%m-%d}",
        "trained-until": f"{recipe.until:%Y-%m-%d}",
        "rows": str(rows),
        "features": ",".join(recipe.features),
        "data": f"river.datasets.WaterFlow sha256:{digest()}",
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("scikit-learn", "skops", "numpy", "river")},
    }


def commit() -> str:
    """The commit of the code that trains, with `-dirty` when files differ from it; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def main() -> int:
    """Train, measure, store; exit status 1 with a line that says why when the store did not take it."""
    parser = argparse.ArgumentParser(description="Train a water-flow model and store it as a candidate.")
    parser.add_argument("--version", type=int, choices=sorted(RECIPES), default=max(RECIPES), help="which recipe")
    parser.add_argument("--socket", help="the store's socket; without it where udfstore looks by itself")
    args = parser.parse_args()

    recipe = RECIPES[args.version]
    model, score, rows = build(recipe)
    print(
        f"version {args.version}: {recipe.note}\n"
        f"  learned from {rows} readings before {recipe.until:%F}, tested on those from {TESTED_FROM:%F} on:\n"
        f"  {score.stretches_found} of {score.stretches} anomalous stretches found, precision {score.precision:.2f}, "
        f"recall {score.recall:.2f}, {score.false_alarms} false alarms",
        file=sys.stderr,
    )
    try:
        with udfstore.connect(args.socket) as store:
            saved = store.save(dump(model), tag=CANDIDATE, note=recipe.note, labels=labels(recipe, score, rows))
    except udfstore.UdfstoreError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    print(saved.id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
